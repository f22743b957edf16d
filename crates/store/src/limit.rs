//! Rate limits: so many per time and key, counted by all processes together through Redis, else by each for itself.
//!
//! A key's budget refills evenly (GCRA): after a burst one request passes every `per / max`. The process's own
//! count is asked first, so whoever is over it costs no round trip, and an outage of Redis hands out no second burst.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use redis::Script;
use tokio::time::Instant;

use crate::Redis;

/// How many are allowed in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The most in `per`, evenly spread; 0 refuses everything.
    pub max: u32,
    /// The time in which `max` come back.
    pub per: Duration,
    /// The most at once; more than `max` counts as `max`.
    pub burst: u32,
}

/// The key is over its limit: try again after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited(pub Duration);

impl Limited {
    /// For `Retry-After`: whole seconds, at least one.
    #[must_use]
    pub fn retry_after_secs(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0).max(u64::from(self.0.is_zero()))
    }
}

/// Counts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limiter {
    redis: Redis,
    /// When each key's budget is full again, in microseconds since `start`.
    local: Cache<String, Arc<AtomicU64>>,
    start: Instant,
}

impl Limiter {
    /// Remembers at most `max_keys` keys in this process; the least used are forgotten first.
    #[must_use]
    pub fn new(redis: &Redis, max_keys: u64) -> Self {
        let local = Cache::builder().max_capacity(max_keys).time_to_idle(Duration::from_secs(3600)).build();
        Self { redis: redis.clone(), local, start: Instant::now() }
    }

    /// Take one from `key`'s budget. `key` is also the key in Redis: start it with `ratelimit:`.
    ///
    /// # Errors
    /// [`Limited`] when it is used up.
    pub async fn take(&self, key: &str, limit: Limit) -> Result<(), Limited> {
        let Some(terms) = Terms::of(limit) else { return Err(Limited(limit.per)) };
        let slot = self.local.get_with_by_ref(key, || Arc::new(AtomicU64::new(0)));
        take_local(&slot, micros(self.start.elapsed()), terms)?;
        let arguments =
            [terms.interval_us, terms.tolerance_us].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let mut call = TAKE.prepare_invoke();
        call.key(key).arg(&arguments);
        match self.redis.link().run::<i64>(&call).await {
            Some(wait_us) if wait_us > 0 => Err(Limited(Duration::from_micros(wait_us.unsigned_abs()))),
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    /// What one request costs.
    interval_us: u64,
    /// How far ahead of time a key may be: a burst but for one.
    tolerance_us: u64,
}

impl Terms {
    fn of(limit: Limit) -> Option<Self> {
        let per_us = micros(limit.per);
        let interval_us = per_us.checked_div(u64::from(limit.max))?;
        let burst = u64::from(limit.burst.clamp(1, limit.max));
        Some(Self { interval_us, tolerance_us: interval_us.saturating_mul(burst - 1) })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn take_local(slot: &AtomicU64, now_us: u64, terms: Terms) -> Result<(), Limited> {
    let mut full_at = slot.load(Ordering::Relaxed);
    loop {
        let base = full_at.max(now_us);
        let ahead = base - now_us;
        if ahead > terms.tolerance_us {
            return Err(Limited(Duration::from_micros(ahead - terms.tolerance_us)));
        }
        let next = base.saturating_add(terms.interval_us);
        match slot.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(seen) => full_at = seen,
        }
    }
}

/// The same, by Redis's clock: 0 when taken, else how many microseconds to wait.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME') \
         local now = time[1] * 1000000 + time[2] \
         local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]) \
         local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) \
         local ahead = full - now \
         if ahead > tolerance then return ahead - tolerance end \
         full = full + interval \
         redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1) \
         return 0",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_at_a_time() {
        let terms = Terms::of(Limit { max: 3, per: Duration::from_secs(3), burst: 9 }).unwrap();
        let slot = AtomicU64::new(0);
        for _ in 0..3 {
            assert_eq!(take_local(&slot, 10, terms), Ok(()));
        }
        assert_eq!(take_local(&slot, 10, terms), Err(Limited(Duration::from_secs(1))));
        assert_eq!(take_local(&slot, 1_000_010, terms), Ok(()));
        assert!(take_local(&slot, 1_000_010, terms).is_err());
        assert_eq!(take_local(&slot, 9_000_000, terms), Ok(()));
        let terms = Terms::of(Limit { max: 150, per: Duration::from_secs(300), burst: 30 }).unwrap();
        let slot = AtomicU64::new(0);
        let passed = (0..100).filter(|_| take_local(&slot, 0, terms).is_ok()).count();
        assert_eq!(passed, 30);
    }

    #[test]
    fn waiting_is_told_in_whole_seconds() {
        assert!(Terms::of(Limit { max: 0, per: Duration::from_secs(1), burst: 1 }).is_none());
        let secs = |it| Limited(Duration::from_millis(it)).retry_after_secs();
        assert_eq!((secs(0), secs(1), secs(1000), secs(1001)), (1, 1, 1, 2));
    }
}
