//! How much a process has to do: requests under way and requests begun, counted where they come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use store::PerCore;

/// Counters of an endpoint, see [`crate::Endpoint::counted`]. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Load {
    counts: Arc<PerCore<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicI32,
    begun: AtomicU64,
}

/// A request under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Begun<'a>(&'a Counts);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(crate) fn begin(&self) -> Begun<'_> {
        let counts = self.counts.here();
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        counts.begun.fetch_add(1, Ordering::Relaxed);
        Begun(counts)
    }

    /// Requests whose answer has not begun.
    #[must_use]
    pub fn in_flight(&self) -> i32 {
        self.counts.all().map(|it| it.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Requests since the start.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.counts.all().map(|it| it.begun.load(Ordering::Relaxed)).sum()
    }
}
