//! How long statements take, learnt from their answers: quick reads may share few connections, others may not.
//!
//! Many short statements over few connections cost PostgreSQL and us far less than the same over many: processes
//! stay awake and caches warm. What is not known to be quick gets a connection without others before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Statements remembered per project; beyond that all are forgotten and learnt anew.
const MOST: usize = 4096;

/// A statement that is expected to take less is quick.
const QUICK: Duration = Duration::from_millis(1);

/// What it costs a statement that others had to be undone for it. Each quick run halves that.
const HOLD_UP: Duration = Duration::from_millis(128);

/// What one statement takes, in µs; 0 while unknown.
///
/// Moves down fast and up slowly: what waits for a processor looks slow, however quick it is, and would stay so if that
/// alone sent it to connections of its own, for which there is no processor either.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// The time it takes, if known.
    pub(super) fn expected(&self) -> Option<Duration> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(u64::from(micros)))
    }

    /// Whether it is known to be quick.
    pub(super) fn is_quick(&self) -> bool {
        self.expected().is_some_and(|it| it < QUICK)
    }

    /// Its company failed: it goes alone for a while, until some of its runs went well.
    pub(super) fn hold_up(&self) {
        let micros = u32::try_from(HOLD_UP.as_micros()).unwrap_or(u32::MAX);
        self.0.fetch_max(micros, Ordering::Relaxed);
    }

    /// It took `time`.
    pub(super) fn record(&self, time: Duration) {
        let now = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.0.load(Ordering::Relaxed);
        let next = match old {
            0 => now,
            old if now > old => old + (now - old) / 16 + 1,
            old => old - (old - now) / 2,
        };
        // Two that learn at once: either is right enough.
        self.0.store(next, Ordering::Relaxed);
    }
}

/// The paces of a project's statements, by a hash of their text.
#[derive(Debug, Default)]
pub(super) struct Paces(HashMap<u64, Arc<Pace>, foldhash::fast::RandomState>);

impl Paces {
    /// That of the statement with this hash.
    pub(super) fn of(&mut self, key: u64) -> Arc<Pace> {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.clear();
        }
        Arc::clone(self.0.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quick_run_counts_at_once_and_slow_ones_when_they_repeat() {
        let pace = Pace::default();
        assert_eq!(pace.expected(), None);
        let after = |micros| {
            pace.record(Duration::from_micros(micros));
            pace.expected().unwrap().as_micros()
        };
        assert_eq!((after(10_000), after(100), after(100)), (10_000, 5050, 2575));
        (0..20).for_each(|_| assert!(after(0) > 0, "never unknown again"));
        assert_eq!(after(16_000) / 1000, 1);
        (0..100).for_each(|_| assert!(after(16_000) > 0));
        assert_eq!(after(16_000) / 1000, 15);
    }

    #[test]
    fn memory_is_bounded() {
        let mut paces = Paces::default();
        for key in 0..10_000 {
            paces.of(key);
        }
        assert!(paces.0.len() <= MOST);
        paces.of(1).record(Duration::from_millis(1));
        assert!(paces.of(1).expected().is_some());
    }
}
