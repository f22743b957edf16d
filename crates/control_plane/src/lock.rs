//! The lock under which roles, databases and migrations change: one at a time in the whole cluster.
//!
//! An advisory lock belongs to a database, so it is taken in the one that the administrator's URL names, which exists
//! before ours do. It ends with its connection, hence also with a process that dies.

use store::Server;
use store::postgres::Client;

use crate::Error;

/// "madbase" as a number, so that other users of advisory locks do not meet it by chance.
const KEY: i64 = 0x6d61_6462_6173_65;

/// Longest wait for another node that provisions.
const WAIT: &str = "set lock_timeout = '10min'; set application_name = 'madbase provisioning'";

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    /// Also serves for what must run outside any project's database.
    pub(crate) client: Client,
}

impl ClusterLock {
    /// Wait for the lock.
    ///
    /// # Errors
    /// [`Error::Store`] when PostgreSQL does not answer, or another node holds the lock for ten minutes.
    pub(crate) async fn acquire(server: &Server) -> Result<Self, Error> {
        let client = server.admin(server.database().unwrap_or("postgres")).await?;
        client.batch_execute(WAIT).await?;
        client.execute("select pg_advisory_lock($1)", &[&KEY]).await?;
        Ok(Self { client })
    }
}
