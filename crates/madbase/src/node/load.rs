//! How much a node has to do: requests under way and requests answered, counted at its door.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use gateway::Endpoint;

/// Counters that an endpoint keeps. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicI32,
    begun: AtomicU64,
}

/// A request under way.
struct Turn(Arc<Counts>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// `endpoint`, counted.
    pub(crate) fn count(&self, endpoint: Endpoint) -> Endpoint {
        let counts = Arc::clone(&self.counts);
        Endpoint::new(move |request| {
            counts.in_flight.fetch_add(1, Ordering::Relaxed);
            counts.begun.fetch_add(1, Ordering::Relaxed);
            let turn = Turn(Arc::clone(&counts));
            let answer = endpoint.answer(request);
            async move {
                let response = answer.await;
                drop(turn);
                response
            }
        })
    }

    /// Requests whose answer has not begun.
    pub(crate) fn in_flight(&self) -> i32 {
        self.counts.in_flight.load(Ordering::Relaxed)
    }

    /// Requests since the start.
    pub(crate) fn begun(&self) -> u64 {
        self.counts.begun.load(Ordering::Relaxed)
    }
}
