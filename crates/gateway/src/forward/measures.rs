//! Metrics of one worker; their handles are looked up once.

use std::fmt;

use metrics::{Counter, Gauge};

/// Of one worker, by its id.
pub(super) struct Measures {
    /// Requests that it has and has not answered to the end.
    pub(super) outstanding: Gauge,
    /// Requests that it was chosen for.
    pub(super) picks: Counter,
    /// Requests that moved on from it to another one, or to another connection.
    pub(super) retries: Counter,
    /// How often it was suspended.
    pub(super) ejections: Counter,
}

impl Measures {
    pub(super) fn new(worker: &str) -> Self {
        let worker = || worker.to_owned();
        Self {
            outstanding: metrics::gauge!("madbase_worker_outstanding_requests", "worker" => worker()),
            picks: metrics::counter!("madbase_worker_picks_total", "worker" => worker()),
            retries: metrics::counter!("madbase_worker_retries_total", "worker" => worker()),
            ejections: metrics::counter!("madbase_worker_ejections_total", "worker" => worker()),
        }
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}
