//! The pool of the services' login: `tokio-postgres` connections for everything off the data path.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{Config, NoTls};

use crate::{Error, PoolSettings, ServiceClient};

/// Longest time to make a connection, all hosts tried.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time to look a returned connection over.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The services' connections of one project.
#[derive(Debug)]
pub(crate) struct Services {
    pool: Pool,
}

impl Services {
    /// No connection is made yet.
    pub(crate) fn new(config: Config, settings: &PoolSettings) -> Self {
        // Fast: a round trip for each use would find out no more than the socket tells by itself.
        let manager =
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(settings.service_connections.max(1))
            .timeouts(Timeouts {
                wait: Some(settings.acquire_timeout),
                create: Some(CREATE_TIMEOUT),
                recycle: Some(RECYCLE_TIMEOUT),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, and nothing else can be missing");
        Self { pool }
    }

    /// A connection of its own until it is dropped.
    pub(crate) async fn get(&self) -> Result<ServiceClient, Error> {
        self.pool.get().await.map_err(|it| match it {
            // What PostgreSQL says while connecting is no answer to a statement.
            PoolError::Backend(it) => Error::Connect(it.into()),
            other => other.into(),
        })
    }

    /// No new borrower; returned connections end.
    pub(crate) fn drain(&self) {
        self.pool.close();
    }

    /// Connections still open.
    pub(crate) fn open(&self) -> usize {
        self.pool.status().size
    }
}
