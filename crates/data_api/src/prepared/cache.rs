//! A bounded map from shapes to prepared statements, in two generations: what is asked for again stays.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::quality::RandomState;

use super::{Prepared, Shape};

type Generation = HashMap<Vec<u8>, Arc<Prepared>, RandomState>;

/// Prepared statements by shape.
#[derive(Debug, Default)]
pub(crate) struct Kept(RwLock<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Kept {
    /// The one of this shape, if it was kept.
    pub(crate) fn get(&self, shape: &Shape<'_>) -> Option<Arc<Prepared>> {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = generations.young.get(shape.key()) {
            return Some(Arc::clone(prepared));
        }
        let is_old = generations.old.contains_key(shape.key());
        drop(generations);
        if !is_old {
            return None;
        }
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (key, prepared) = generations.old.remove_entry(shape.key())?;
        generations.young.insert(key, Arc::clone(&prepared));
        Some(prepared)
    }

    /// Keep `prepared`; of more than `most`, those that were not asked for lately are dropped.
    pub(crate) fn keep(&self, shape: &Shape<'_>, prepared: &Arc<Prepared>, most: usize) {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= most.div_ceil(2) {
            generations.old = std::mem::take(&mut generations.young);
        }
        if most > 0 {
            generations.young.insert(shape.key().to_vec(), Arc::clone(prepared));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.0.read().unwrap();
        generations.young.len() + generations.old.len()
    }
}
