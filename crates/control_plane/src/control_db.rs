//! One shared connection to the control database: statements of several callers travel over it side by side.
//!
//! Made anew when it broke or stopped answering. Every statement here is complete in itself, so no transaction
//! of one caller can hold up another.

use std::sync::Arc;
use std::time::Duration;

use store::Server;
use store::postgres::types::ToSql;
use store::postgres::{Client, Row};
use tokio::sync::Mutex;

use crate::Error;

/// Longest wait for an answer; `find` on a healthy server takes under a millisecond.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A value for a `$n`.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// The control database.
#[derive(Debug, Clone)]
pub(crate) struct ControlDb {
    server: Server,
    name: Arc<str>,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl ControlDb {
    /// No connection is made yet.
    pub(crate) fn new(server: Server, name: &str) -> Self {
        Self { server, name: name.into(), client: Arc::default() }
    }

    /// Run `statement`, all of whose rows fit into memory.
    ///
    /// # Errors
    /// [`Error::Store`] with the cause, [`Error::Timeout`] when nothing came back in time.
    pub(crate) async fn query(
        &self,
        statement: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let client = self.connected().await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, client.query(statement, params)).await {
            Ok(rows) => Ok(rows?),
            Err(_) => {
                // It may be dead without saying so (a failover): the next caller connects anew.
                *self.client.lock().await = None;
                Err(Error::Timeout)
            }
        }
    }

    async fn connected(&self) -> Result<Arc<Client>, Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|it| !it.is_closed()) {
            return Ok(client.clone());
        }
        let connecting = tokio::time::timeout(ANSWER_TIMEOUT, self.server.admin(&self.name));
        let client = Arc::new(connecting.await.map_err(|_| Error::Timeout)??);
        *slot = Some(client.clone());
        Ok(client)
    }
}
