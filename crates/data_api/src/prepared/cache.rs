//! A bounded map from shapes to prepared reads, in two generations: what is asked for again stays.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{PreparedRead, Shape};

type Generation = HashMap<Vec<u8>, Arc<PreparedRead>>;

/// Prepared reads by shape.
#[derive(Debug, Default)]
pub(crate) struct Reads(RwLock<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Reads {
    /// The read of this shape, if it was kept.
    pub(crate) fn get(&self, shape: &Shape<'_>) -> Option<Arc<PreparedRead>> {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = generations.young.get(shape.key()) {
            return Some(Arc::clone(read));
        }
        let is_old = generations.old.contains_key(shape.key());
        drop(generations);
        if !is_old {
            return None;
        }
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (key, read) = generations.old.remove_entry(shape.key())?;
        generations.young.insert(key, Arc::clone(&read));
        Some(read)
    }

    /// Keep `read`; of more than `max_reads`, those that were not asked for lately are dropped.
    pub(crate) fn keep(&self, shape: &Shape<'_>, read: &Arc<PreparedRead>, max_reads: usize) {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= max_reads.div_ceil(2) {
            generations.old = std::mem::take(&mut generations.young);
        }
        if max_reads > 0 {
            generations.young.insert(shape.key().to_vec(), Arc::clone(read));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.0.read().unwrap();
        generations.young.len() + generations.old.len()
    }
}
