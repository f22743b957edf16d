//! What the data path tells about itself, by the database's name. Handles are looked up once per project.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

/// The metrics of one project's data path.
pub(super) struct Measures {
    /// Open connections.
    pub(super) connections: Gauge,
    /// Connections with at least one job.
    pub(super) in_use: Gauge,
    /// Jobs that had to wait for a connection.
    pub(super) waits: Counter,
    /// How long those waited.
    wait: Histogram,
    /// Jobs that waited in vain.
    pub(super) timeouts: Counter,
    /// From sending a job to its answer.
    round_trip: Histogram,
    /// Connections that broke.
    pub(super) lost: Counter,
    /// Statements that were cancelled because their caller had gone.
    pub(super) cancels: Counter,
    /// Statements that had to be parsed.
    pub(super) parses: Counter,
}

impl Measures {
    /// Of `database`; on a replica with its name.
    pub(super) fn new(database: &str, replica: Option<&str>) -> Self {
        let labels = || {
            let replica = replica.map(|it| Label::new("replica", it.to_owned()));
            [Label::new("database", database.to_owned())].into_iter().chain(replica).collect::<Vec<_>>()
        };
        Self {
            connections: gauge!("madbase_pool_connections", labels()),
            in_use: gauge!("madbase_pool_in_use", labels()),
            waits: counter!("madbase_pool_waits_total", labels()),
            wait: histogram!("madbase_pool_wait_seconds", labels()),
            timeouts: counter!("madbase_pool_timeouts_total", labels()),
            round_trip: histogram!("madbase_pool_round_trip_seconds", labels()),
            lost: counter!("madbase_pool_lost_total", labels()),
            cancels: counter!("madbase_pool_cancels_total", labels()),
            parses: counter!("madbase_pool_parses_total", labels()),
        }
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait.record(time);
    }

    pub(super) fn round_trip(&self, time: Duration) {
        self.round_trip.record(time);
    }
}

impl std::fmt::Debug for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}
