//! What is counted of one cache; handles are looked up once, because that costs more than counting.

use metrics::{Counter, Gauge, counter, gauge};

/// The counters of one cache.
#[derive(Debug)]
pub(super) struct Measures {
    pub(super) here: Lookups,
    pub(super) redis: Lookups,
    /// Values that were loaded, because nobody had them.
    pub(super) loads: Counter,
    /// Callers that waited for another one's load.
    pub(super) joined: Counter,
    pub(super) invalidations: Counter,
    pub(super) entries: Gauge,
}

/// Lookups in one tier.
#[derive(Debug)]
pub(super) struct Lookups {
    hits: Counter,
    misses: Counter,
}

impl Lookups {
    fn new(cache: &'static str, tier: &'static str) -> Self {
        let lookups = |outcome: &'static str| counter!("cache_lookups_total", "cache" => cache, "tier" => tier, "outcome" => outcome);
        Self { hits: lookups("hit"), misses: lookups("miss") }
    }

    pub(super) fn count(&self, found: bool) {
        if found { &self.hits } else { &self.misses }.increment(1);
    }
}

impl Measures {
    /// Of the recorder that is installed now.
    pub(super) fn new(cache: &'static str) -> Self {
        Self {
            here: Lookups::new(cache, "l1"),
            redis: Lookups::new(cache, "l2"),
            loads: counter!("cache_loads_total", "cache" => cache),
            joined: counter!("cache_joined_loads_total", "cache" => cache),
            invalidations: counter!("cache_invalidations_total", "cache" => cache),
            entries: gauge!("cache_entries", "cache" => cache),
        }
    }
}
