//! What is told about replicas. Handles are looked up once per project and once per replica.

use std::time::Duration;

use metrics::{Counter, Gauge, Label, counter, gauge};

use super::Lsn;

/// Why a read was answered by the primary although there are replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The read must see everything: a catalog is loaded, or the transaction wants more than `read committed`.
    Asked,
    /// The caller's token is so young that what other services wrote for it may be on its way.
    Fresh,
    /// No replica has replayed what the caller wrote.
    Behind,
    /// No replica is usable.
    Unusable,
    /// The replica was lost on the way.
    Lost,
    /// The replica refused what the primary may not refuse: a conflict with recovery, a table it has not got yet.
    Refused,
}

impl Fallback {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Asked, "asked"),
        (Self::Fresh, "fresh"),
        (Self::Behind, "behind"),
        (Self::Unusable, "unusable"),
        (Self::Lost, "lost"),
        (Self::Refused, "refused"),
    ];
}

/// The counters of one project's reads.
pub(super) struct Reads {
    primary: Counter,
    replicas: Vec<Counter>,
    fallbacks: [Counter; 6],
}

impl Reads {
    pub(super) fn new<'a>(database: &str, replicas: impl Iterator<Item = &'a str>) -> Self {
        let labels = |name: &'static str, value: &str| {
            vec![Label::new("database", database.to_owned()), Label::new(name, value.to_owned())]
        };
        let reads = |target: &str| counter!("madbase_reads_total", labels("target", target));
        Self {
            primary: reads("primary"),
            replicas: replicas.map(reads).collect(),
            fallbacks: Fallback::ALL
                .map(|(_, reason)| counter!("madbase_read_fallbacks_total", labels("reason", reason))),
        }
    }

    /// Replica `idx` answered.
    pub(super) fn on_replica(&self, idx: usize) {
        self.replicas.get(idx).inspect(|it| it.increment(1));
    }

    /// The primary answers, and why.
    pub(super) fn on_primary(&self, why: Fallback) {
        self.primary.increment(1);
        let known = Fallback::ALL.iter().zip(&self.fallbacks).find(|((it, _), _)| *it == why);
        known.inspect(|(_, counter)| counter.increment(1));
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

/// The gauges of one replica.
pub(super) struct Gauges {
    usable: Gauge,
    lag: Gauge,
    lag_bytes: Gauge,
}

impl Gauges {
    pub(super) fn new(replica: &str) -> Self {
        let labels = || vec![Label::new("replica", replica.to_owned())];
        Self {
            usable: gauge!("madbase_replica_usable", labels()),
            lag: gauge!("madbase_replica_lag_seconds", labels()),
            lag_bytes: gauge!("madbase_replica_lag_bytes", labels()),
        }
    }

    pub(super) fn usable(&self, usable: bool) {
        self.usable.set(f64::from(u8::from(usable)));
    }

    pub(super) fn lag(&self, lag: Duration, primary: Lsn, replayed: Lsn) {
        self.lag.set(lag.as_secs_f64());
        let bytes = u32::try_from(primary.0.saturating_sub(replayed.0)).unwrap_or(u32::MAX);
        self.lag_bytes.set(f64::from(bytes));
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}
