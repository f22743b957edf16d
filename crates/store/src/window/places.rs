//! Counters that were asked for a moment ago, in front of the cache of all, which counts uses and keeps an order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::slot::Slot;

const PLACES: usize = 1024;
/// How long a counter is found here; then the cache behind learns of its use. Much less than its time to idle: what is
/// found here is in the cache, too, and so a key has no second counter.
const MOMENT: Duration = Duration::from_millis(250);

/// At most 1,024 counters, each for a quarter of a second.
#[derive(Debug)]
pub(super) struct Places(Box<[Mutex<Option<Found>>]>);

#[derive(Debug)]
struct Found {
    key: [u64; 2],
    slot: Arc<Slot>,
    at: Instant,
}

impl Default for Places {
    fn default() -> Self {
        Self(std::iter::repeat_with(Mutex::default).take(PLACES).collect())
    }
}

impl Places {
    /// The counter of `key`, if it was found a moment before `now`.
    pub(super) fn get(&self, key: [u64; 2], now: Instant) -> Option<Arc<Slot>> {
        let place = self.place(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let found = place.as_ref().filter(|it| it.key == key)?;
        (now.saturating_duration_since(found.at) < MOMENT).then(|| Arc::clone(&found.slot))
    }

    /// It is found at `now`.
    pub(super) fn put(&self, key: [u64; 2], slot: &Arc<Slot>, now: Instant) {
        if let Some(place) = self.place(key) {
            let found = Found { key, slot: Arc::clone(slot), at: now };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }

    fn place(&self, [hash, _]: [u64; 2]) -> Option<&Mutex<Option<Found>>> {
        self.0.get(usize::try_from(hash % PLACES as u64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_for_a_moment_and_by_its_whole_key() {
        let (places, now) = (Places::default(), Instant::now());
        let slot = Arc::new(Slot::new("ratelimit:ip:192.0.2.1".into()));
        places.put([1, 2], &slot, now);
        assert!(places.get([1, 2], now).is_some_and(|it| Arc::ptr_eq(&it, &slot)));
        assert!(places.get([1, 3], now).is_none());
        assert!(places.get([1 + PLACES as u64, 2], now).is_none());
        assert!(places.get([1, 2], now + MOMENT).is_none());
    }
}
