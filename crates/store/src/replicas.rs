//! Read replicas: reads go to standbys, and no caller ever misses its own writes (REQ H3).
//!
//! A write tells its position in the log with its answer, in the same round trip; [`marks`] keeps it for the caller.
//! [`watch`] asks primary and replicas ten times a second how far they are; [`standing`] holds what was learnt.
//! [`routes`] compares the two and chooses, for each read, a replica or the primary. The replica's answer tells in turn
//! what was replayed before it, so that a wrong guess costs time, not truth.

mod caller;
mod history;
mod lsn;
mod marks;
mod measures;
mod primary;
mod replica;
mod routes;
mod standing;
mod told;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Redis, Server};
pub use caller::CallerKey;
pub use lsn::Lsn;
use primary::{Primary, PrimaryWatch};
use replica::ReplicaWatch;
pub(crate) use routes::Routes;
use standing::Standing;

/// Replicas of a server, and how far they may lag.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    /// One each ([`Server::replica`]). Empty: everything is read on the primary.
    pub servers: Vec<Server>,
    /// A replica that lacks what is older than this is not read from.
    pub max_lag: Duration,
}

impl ReplicaSettings {
    /// `max_lag` when nothing else is set.
    pub const MAX_LAG: Duration = Duration::from_secs(10);
}

/// The replicas of a server, shared by all projects.
#[derive(Debug)]
pub(crate) struct Replicas {
    servers: Vec<(Server, Arc<Standing>)>,
    primary: Arc<Primary>,
    max_lag: Duration,
    turn: AtomicUsize,
    /// By which processes tell each other who wrote.
    shared: OnceLock<Redis>,
    closing: CancellationToken,
}

impl Replicas {
    /// Watch the replicas of `server` until this is dropped or closed.
    pub(crate) fn watch(server: &Server, settings: ReplicaSettings) -> Self {
        let closing = CancellationToken::new();
        let primary = Arc::new(Primary::new(settings.max_lag));
        let until_closed = |watch| closing.clone().run_until_cancelled_owned(watch);
        tokio::spawn(until_closed(Box::pin(watch::watch(
            server.own_config(),
            PrimaryWatch::new(Arc::clone(&primary)),
        )) as Watching));
        let watched = |replica: Server| {
            let standing = Arc::new(Standing::new(&replica.name()));
            let subject = ReplicaWatch::new(Arc::clone(&standing), Arc::clone(&primary), settings.max_lag);
            tokio::spawn(until_closed(Box::pin(watch::watch(replica.own_config(), subject)) as Watching));
            (replica, standing)
        };
        let servers = settings.servers.into_iter().map(watched).collect();
        let (turn, shared) = (AtomicUsize::default(), OnceLock::new());
        Self { servers, primary, max_lag: settings.max_lag, turn, shared, closing }
    }

    /// Tell other processes by `redis` who writes here, and hear of theirs. Only the first call counts.
    pub(crate) fn share(&self, redis: &Redis) {
        if redis.is_configured() && self.shared.set(redis.clone()).is_ok() {
            let hearing = told::hear(redis.clone(), Arc::clone(&self.primary));
            tokio::spawn(self.closing.clone().run_until_cancelled_owned(Box::pin(hearing) as Watching));
        }
    }

    /// Watch no more. Reads that still come go to the primary once the replicas are found away.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Who is next among equals.
    fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

type Watching = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Drop for Replicas {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
