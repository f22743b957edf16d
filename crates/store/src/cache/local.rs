//! L1 of one cache: bounded in entries and time, and safe against loads that were overtaken by an invalidation.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache as Moka;

use super::measures::Measures;
use super::{CacheSpec, Flights, Key, Value};

/// Invalidations are counted for groups of keys: one concerns few of the loads that run meanwhile.
const GROUPS: usize = 64;

/// L1 of one cache.
pub(crate) struct Local<K: Key, V: Value> {
    pub(super) spec: CacheSpec,
    pub(super) measures: Measures,
    /// What is being loaded.
    pub(super) flights: Flights<K, Option<V>>,
    /// Values, and keys that have none.
    entries: Moka<K, Option<V>>,
    invalidations: [AtomicU64; GROUPS],
    hasher: RandomState,
    spread: AtomicU64,
}

/// Taken before a value is read; what was invalidated since is not filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(pub(super) u64);

impl<K: Key, V: Value> Local<K, V> {
    pub(super) fn new(spec: CacheSpec) -> Self {
        let entries = Moka::builder()
            .max_capacity(spec.local_entries)
            .expire_after(Spread {
                ttl: spec.local_ttl,
                absent_ttl: spec.absent_ttl.min(spec.local_ttl),
                hasher: RandomState::new(),
            })
            .build();
        Self {
            measures: Measures::new(spec.label),
            flights: Flights::default(),
            spec,
            entries,
            invalidations: [const { AtomicU64::new(0) }; GROUPS],
            hasher: RandomState::new(),
            spread: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<Option<V>> {
        self.entries.get(key)
    }

    pub(super) fn ticket(&self, key: &K) -> Ticket {
        Ticket(self.group(key).load(Ordering::Acquire))
    }

    /// Keep `value` unless its key was invalidated since `ticket` was taken.
    pub(super) fn fill(&self, ticket: Ticket, key: &K, value: Option<V>) {
        let group = self.group(key);
        if group.load(Ordering::Acquire) != ticket.0 {
            return;
        }
        self.entries.insert(key.clone(), value);
        if group.load(Ordering::Acquire) != ticket.0 {
            self.entries.invalidate(key);
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        self.measures.entries.set(self.entries.entry_count() as f64);
    }

    pub(super) fn forget(&self, key: &K) {
        self.measures.invalidations.increment(1);
        self.group(key).fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate(key);
    }

    pub(super) fn forget_all(&self) {
        for group in &self.invalidations {
            group.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.invalidate_all();
    }

    /// As invalidations name it.
    pub(super) fn forget_text(&self, key: &str) {
        match key.parse() {
            Ok(key) => self.forget(&key),
            Err(_) => self.forget_all(),
        }
    }

    /// For Redis: the time to live of a value, or of its absence, up to a tenth shorter.
    pub(super) fn ttl_ms(&self, is_absent: bool) -> u64 {
        let count = self.spread.fetch_add(1, Ordering::Relaxed);
        let ttl = if is_absent { self.spec.absent_ttl } else { self.spec.ttl };
        let ttl = spread(ttl, self.hasher.hash_one(count));
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn group(&self, key: &K) -> &AtomicU64 {
        let idx = usize::try_from(self.hasher.hash_one(key) % 64).unwrap_or_default();
        let [first, ..] = &self.invalidations;
        self.invalidations.get(idx).unwrap_or(first)
    }
}

impl<K: Key, V: Value> fmt::Debug for Local<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Each entry lives a little differently long.
struct Spread {
    ttl: Duration,
    absent_ttl: Duration,
    hasher: RandomState,
}

impl<K: Key, V> Expiry<K, Option<V>> for Spread {
    fn expire_after_create(&self, key: &K, value: &Option<V>, _: Instant) -> Option<Duration> {
        let ttl = if value.is_some() { self.ttl } else { self.absent_ttl };
        Some(spread(ttl, self.hasher.hash_one(key)))
    }
}

/// `ttl`, up to a tenth shorter.
fn spread(ttl: Duration, random: u64) -> Duration {
    let thousandths = u32::try_from(random % 101).unwrap_or_default();
    ttl - ttl / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local<String, u32> {
        Local::new(CacheSpec {
            name: "x".into(),
            label: "x",
            ttl: Duration::from_secs(100),
            local_ttl: Duration::from_secs(10),
            local_entries: 10,
            absent_ttl: Duration::from_secs(1),
        })
    }

    #[test]
    fn an_overtaken_load_fills_nothing_in() {
        let (local, key) = (local(), "a".to_owned());
        let ticket = local.ticket(&key);
        local.forget(&key);
        local.fill(ticket, &key, Some(1));
        assert_eq!(local.get(&key), None);
        local.fill(local.ticket(&key), &key, Some(2));
        assert_eq!(local.get(&key), Some(Some(2)));
        local.forget_text("a");
        assert_eq!(local.get(&key), None);
    }

    #[test]
    fn times_to_live_are_spread_within_a_tenth() {
        let local = local();
        let all: Vec<u64> = (0..200).map(|_| local.ttl_ms(false)).collect();
        assert!(all.iter().all(|it| (90_000..=100_000).contains(it)), "{all:?}");
        assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 20);
    }
}
