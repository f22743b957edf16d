//! What was found a moment ago, in front of a cache that costs more to ask: one that counts uses and keeps an order.

use std::hash::BuildHasher as _;
use std::time::Duration;

use common::ProjectRef;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::Shelves;

const PLACES: usize = 64;
/// How long a value counts as found a moment ago; then the cache behind is asked again, and so learns of its use.
const MOMENT: Duration = Duration::from_millis(250);

/// At most 64 values of projects for each core, each for a quarter of a second. Who changes the cache behind calls
/// [`Self::forget`].
#[derive(Debug)]
pub struct Recent<V> {
    shelves: Shelves<Found<V>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Found<V> {
    reference: ProjectRef,
    version: i64,
    value: V,
    at: Instant,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { shelves: Shelves::new(PLACES), hasher: RandomState::default() }
    }
}

impl<V: Clone> Recent<V> {
    /// The value of `version` of project `reference`, if it was found a moment before `now`.
    pub fn get(&self, reference: &ProjectRef, version: i64, now: Instant) -> Option<V> {
        self.shelves.find(self.hasher.hash_one(reference), |it| {
            let is_it = it.version == version && it.reference == *reference;
            (is_it && now.saturating_duration_since(it.at) < MOMENT).then(|| it.value.clone())
        })
    }

    /// It is found at `now`.
    pub fn put(&self, reference: &ProjectRef, version: i64, value: V, now: Instant) {
        let found = Found { reference: reference.clone(), version, value, at: now };
        self.shelves.put(self.hasher.hash_one(reference), found);
    }

    /// Whatever was found about project `reference` counts no more.
    pub fn forget(&self, reference: &ProjectRef) {
        self.shelves.forget(self.hasher.hash_one(reference));
    }

    /// Whatever was found counts no more.
    pub fn forget_all(&self) {
        self.shelves.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_a_moment_and_for_its_version() {
        let (recent, now) = (Recent::default(), Instant::now());
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        recent.put(&one, 1, 'a', now);
        assert_eq!(recent.get(&one, 1, now), Some('a'));
        assert_eq!(recent.get(&one, 2, now), None);
        assert_eq!(recent.get(&two, 1, now), None);
        assert_eq!(recent.get(&one, 1, now + MOMENT), None);
        recent.forget(&one);
        assert_eq!(recent.get(&one, 1, now), None);
    }
}
