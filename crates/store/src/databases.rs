//! One [`Database`] per project: opened on demand, at most 100, closed after 300 s without use (REQ H7).

use std::sync::Arc;
use std::time::Duration;

use common::Project;

use crate::{Database, Error, Server};

/// Bounds of the pools; every field is a setting with this default.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Data-path connections per project.
    pub data_connections: usize,
    /// Service connections per project.
    pub service_connections: usize,
    /// Longest wait for a free connection.
    pub acquire_timeout: Duration,
    /// Prepared statements kept per data-path connection.
    pub statements_per_connection: usize,
    /// Open projects; the least recently used one closes first.
    pub max_projects: u64,
    /// A project without requests for this long closes its connections.
    pub idle_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            data_connections: 10,
            service_connections: 5,
            acquire_timeout: Duration::from_secs(10),
            statements_per_connection: 256,
            max_projects: 100,
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// The databases of all projects on one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Databases {
    server: Server,
    settings: PoolSettings,
}

impl Databases {
    /// No connection is made yet.
    #[must_use]
    pub fn new(server: Server, settings: PoolSettings) -> Self {
        Self { server, settings }
    }

    /// The server behind, for the administrator's work.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The database of `project`; opened on first use, connections are made when first needed.
    ///
    /// A project with another `version` opens anew when its login, password or database changed.
    pub async fn of(&self, project: &Project) -> Arc<Database> {
        let _ = (project, &self.settings);
        todo!("store")
    }

    /// Close all connections; borrowers finish first, at most `limit` long.
    pub async fn close(&self, limit: Duration) {
        let _ = limit;
        todo!("store")
    }
}

#[expect(dead_code, reason = "replaced by the implementation")]
fn unused(_: Error) {}
