//! What is known about one replica: whether it may be read from, how far it is, how much it has to do. The data path
//! only looks at atomics; a watcher keeps them up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Lsn;
use super::measures::Gauges;

/// Whether a replica may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It does not answer, or was not asked yet.
    Away,
    /// It lacks what is older than the limit.
    Lagging,
    /// It follows no primary, or another one than ours.
    Astray,
    /// It may be read from.
    Usable,
}

/// One replica.
#[derive(Debug)]
pub(super) struct Standing {
    name: Arc<str>,
    state: AtomicU8,
    replayed: AtomicU64,
    outstanding: AtomicUsize,
    away: Notify,
    pub(super) gauges: Gauges,
}

impl Standing {
    pub(super) fn new(name: &str) -> Self {
        let gauges = Gauges::new(name);
        gauges.usable(false);
        Self {
            name: name.into(),
            state: AtomicU8::new(State::Away as u8),
            replayed: AtomicU64::default(),
            outstanding: AtomicUsize::default(),
            away: Notify::new(),
            gauges,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn is_usable(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Usable as u8
    }

    /// How far it was when somebody looked last; it never goes back but by [`Self::restart_at`].
    pub(super) fn replayed(&self) -> Lsn {
        Lsn(self.replayed.load(Ordering::Acquire))
    }

    pub(super) fn has_replayed(&self, position: Lsn) {
        self.replayed.fetch_max(position.0, Ordering::AcqRel);
    }

    /// Somebody else may answer at its address now: what was known before is of no use.
    pub(super) fn restart_at(&self, position: Lsn) {
        self.replayed.store(position.0, Ordering::Release);
    }

    pub(super) fn set(&self, state: State, why: &str) {
        let before = self.state.swap(state as u8, Ordering::AcqRel);
        if state == State::Away {
            self.away.notify_waiters();
        }
        if before == state as u8 {
            return;
        }
        self.gauges.usable(state == State::Usable);
        if state == State::Usable {
            tracing::info!(replica = &*self.name, "the replica is read from");
        } else {
            tracing::warn!(replica = &*self.name, why, "the replica is left out");
        }
    }

    /// Reads that it has not answered yet.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// One more, until the guard is dropped.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Ends when it is found not to answer; from now on, not from the first poll on.
    pub(super) fn away(&self) -> Notified<'_> {
        self.away.notified()
    }
}

/// A read on its way.
pub(super) struct Busy<'a>(&'a Standing);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}
