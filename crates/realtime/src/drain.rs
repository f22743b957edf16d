//! The end of a process: its sockets are told to reconnect, a few at a time, so that nobody is stormed by all at once.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::Realtime;
use crate::websocket::Fault;

/// "Service restart": clients come back by themselves, elsewhere.
const RESTART: Fault = Fault { code: 1012, reason: "the server restarts: connect again" };
/// Between two sockets, as long as that keeps to the spread.
const BETWEEN: Duration = Duration::from_millis(2);
/// Sockets are told in groups, no more often than timers can tell apart.
const TICK: Duration = Duration::from_millis(20);

/// How long other processes may take to hear of the end.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// How the end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sockets that were told to reconnect.
    pub told: usize,
    /// Sockets that did not go in time.
    pub left: usize,
}

impl Realtime {
    /// Open no more sockets, and tell all to reconnect; returns when they are gone, after `deadline` at the latest.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let inner = &self.inner;
        let spread = inner.config.drain_spread.min(deadline / 2);
        inner.draining.cancel();
        inner.tasks.close();
        let sockets: Vec<_> = inner.sockets().values().cloned().collect();
        let told = sockets.len();
        let count = u32::try_from(told).unwrap_or(u32::MAX).max(1);
        let between = (spread / count).min(BETWEEN);
        let mut due = Duration::ZERO;
        for outbox in sockets {
            outbox.end(RESTART);
            due += between;
            if due >= TICK {
                sleep(due).await;
                due = Duration::ZERO;
            }
        }
        let _late_ones_are_left = timeout(deadline - spread, inner.tasks.wait()).await;
        for tenant in inner.tenants() {
            let _elsewhere_they_time_out = timeout(LEAVE_LIMIT, tenant.presence.close()).await;
        }
        inner.ground.feeds.close(LEAVE_LIMIT).await;
        let drained = Drained { told, left: inner.tasks.len() };
        tracing::info!(told = drained.told, left = drained.left, "sockets drained");
        drained
    }
}
