//! Counters that were asked for a moment ago, in front of the cache of all, which counts uses and keeps an order.

use std::time::Duration;

use tokio::time::Instant;

use super::Window;
use crate::Shelves;

const PLACES: usize = 1024;
/// How long a counter is found here; then the cache behind learns of its use. Much less than its time to idle: what is
/// found here is in the cache, too, and so a key has no second counter.
const MOMENT: Duration = Duration::from_millis(250);

/// At most 1,024 counters for each core, each for a quarter of a second.
#[derive(Debug)]
pub(super) struct Places(Shelves<Found>);

#[derive(Debug)]
struct Found {
    key: [u64; 2],
    window: Window,
    at: Instant,
}

impl Default for Places {
    fn default() -> Self {
        Self(Shelves::new(PLACES))
    }
}

impl Places {
    /// The counter of `key`, if it was found a moment before `now`.
    pub(super) fn get(&self, key: [u64; 2], now: Instant) -> Option<Window> {
        self.0.find(key[0], |it| {
            let is_it = it.key == key && now.saturating_duration_since(it.at) < MOMENT;
            is_it.then(|| it.window.clone())
        })
    }

    /// It is found at `now`.
    pub(super) fn put(&self, key: [u64; 2], window: &Window, now: Instant) {
        self.0.put(key[0], Found { key, window: window.clone(), at: now });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::slot::Slot;
    use super::*;

    #[test]
    fn a_counter_is_found_for_a_moment_and_by_its_whole_key() {
        let (places, now) = (Places::default(), Instant::now());
        let window = Window::of(Arc::new(Slot::new("ratelimit:ip:192.0.2.1".into())));
        places.put([1, 2], &window, now);
        assert!(places.get([1, 2], now).is_some_and(|it| Arc::ptr_eq(&it.0, &window.0)));
        assert!(places.get([1, 3], now).is_none());
        assert!(places.get([1 + PLACES as u64, 2], now).is_none());
        assert!(places.get([1, 2], now + MOMENT).is_none());
    }
}
