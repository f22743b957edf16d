//! The lock under which roles, databases and migrations change: one at a time in the whole cluster.
//!
//! An advisory lock belongs to a database, so it is taken in the one that the administrator's URL names, which exists
//! before ours do. It ends with its connection, hence also with a process that dies.

use std::sync::Arc;

use store::Server;
use store::postgres::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// "madbase" as a number, so that other users of advisory locks do not meet it by chance.
const KEY: i64 = 0x006d_6164_6261_7365;

/// Longest wait for another node that provisions.
const WAIT: &str = "set lock_timeout = '10min'; set application_name = 'madbase provisioning'";

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
    /// [`Error::Busy`] at once when too many wait already; [`Error::Store`] when PostgreSQL does not answer,
    /// or another node holds the lock for ten minutes.
    pub(crate) async fn lock(&self, server: &Server) -> Result<ClusterLock, Error> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|it| Error::Broken(it.into()))?;
        Ok(ClusterLock { client: acquire(server).await?, _place: place, _turn: turn })
    }
}

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    /// Also serves for what must run outside any project's database.
    pub(crate) client: Client,
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

async fn acquire(server: &Server) -> Result<Client, Error> {
    let client = server.admin(server.database().unwrap_or("postgres")).await?;
    client.batch_execute(WAIT).await?;
    client.execute("select pg_advisory_lock($1)", &[&KEY]).await?;
    Ok(client)
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
