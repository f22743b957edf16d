//! The lock under which roles, databases and migrations change: one at a time in the whole cluster.
//!
//! An advisory lock belongs to a database, so it is taken in the one that the administrator's URL names, which exists
//! before ours do. Only PostgreSQL has a say in it: Redis may forget. A process that loses it, dead or cut off, loses the
//! connection that it works on as well.

use std::sync::Arc;
use std::time::Duration;

use store::postgres::Client;
use store::{DistributedLock, Locks, Redis, Server};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

const NAME: &str = "provisioning";

/// How long the lock outlives a process that falls silent.
const TTL_SECS: u64 = 30;

/// Longest wait for another node that provisions.
const WAIT: Duration = Duration::from_secs(600);

/// The most changes of one process that wait for their turn.
const MAX_WAITING: usize = 32;

/// This process's queue before the cluster's lock: one connection waits there, however many requests come.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_WAITING)), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Wait for the turn, then for the cluster's lock.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when too many wait already, or when another node holds the lock for ten minutes;
    /// [`Error::Store`] when PostgreSQL does not answer.
    pub(crate) async fn lock(&self, server: &Server) -> Result<ClusterLock, Error> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|it| Error::Broken(it.into()))?;
        let database = server.database().unwrap_or("postgres");
        let lock = DistributedLock::new(&Locks::new(&Redis::none(), server, database), NAME, TTL_SECS);
        if !lock.acquire_within(WAIT).await? {
            return Err(Error::Busy);
        }
        let (client, _) = server.admin_until(database, lock.lost()).await?;
        client.batch_execute("set application_name = 'madbase provisioning'").await?;
        Ok(ClusterLock { client, _lock: lock, _place: place, _turn: turn })
    }
}

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    /// Serves for what must run outside any project's database; ends with the lock.
    pub(crate) client: Client,
    _lock: DistributedLock,
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_at_once() {
        let queue = Queue::new();
        let _full = queue.places.clone().try_acquire_many_owned(32).unwrap();
        let server = Server::from_url("postgres://nobody@127.0.0.1:1/none").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(matches!(runtime.block_on(queue.lock(&server)), Err(Error::Busy)));
    }
}
