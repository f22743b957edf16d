//! What is worth counting: the metrics of all sockets of the process.

use metrics::{Counter, Gauge, counter, gauge};

/// Handles that are looked up once.
#[derive(Clone)]
pub(crate) struct Measures {
    pub(crate) connections: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) received: Counter,
    pub(crate) delivered: Counter,
    pub(crate) written_bytes: Counter,
}

impl Measures {
    pub(crate) fn new() -> Self {
        Self {
            connections: gauge!("madbase_realtime_connections"),
            channels: gauge!("madbase_realtime_channels"),
            received: counter!("madbase_realtime_messages_received_total"),
            delivered: counter!("madbase_realtime_events_delivered_total"),
            written_bytes: counter!("madbase_realtime_written_bytes_total"),
        }
    }
}

impl std::fmt::Debug for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Measures(..)")
    }
}

/// A socket was refused or closed by us.
pub(crate) fn refused(reason: &'static str) {
    counter!("madbase_realtime_refusals_total", "reason" => reason).increment(1);
}
