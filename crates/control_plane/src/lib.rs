//! Projects: who they are, their databases, logins, keys and settings; and the REST interface on :8001.
//!
//! [`ControlPlane::start`] brings the control database, the default project and every other project up to date, in one
//! query when nothing changed. [`router`] is the REST interface. [`ControlPlane`] is the gateway's
//! [`common::Directory`]. A project is a tenant: nothing of one can be reached with another's keys or logins.

#![forbid(unsafe_code)]

mod authority;
mod certificates;
mod config;
mod control_db;
mod ddl;
mod error;
mod events;
mod lock;
mod nodes;
mod projects;
mod provision;
mod queries;
mod random;
mod routes;
mod scram;
mod seal;
mod secrets;
mod settings;
mod start;

use std::sync::Arc;

use common::{Directory, DirectoryError, Finding, Inbox, ProjectRef};
use refinery::Runner;
use store::{Locks, Notifications, Redis, Server, Versions};

pub use authority::{Authority, NODE_LIFE};
pub use certificates::{AcmeSettings, ChallengeKind};
pub use config::Config;
pub use error::Error;
pub use nodes::{
    CHANNEL as NODES_CHANNEL, Heartbeat, JoinToken, JoinTokenError, Node, Offer, Pulse, SILENCE, Standing,
    node_router,
};
pub use projects::NewProject;
pub use routes::router;

use control_db::ControlDb;
use lock::Queue;
use provision::Provisioner;
use seal::Seal;

/// A service's migrations: run in every project's database, as the role that owns the schema.
#[derive(Debug, Clone, Copy)]
pub struct ServiceMigrations {
    /// The schema; also holds the record of what was applied.
    pub schema: &'static str,
    /// The role that owns it.
    pub owner: &'static str,
    /// The migrations; called once per project and once for the fingerprint.
    pub runner: fn() -> Runner,
}

/// The control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    inbox: Inbox,
    db: ControlDb,
    seal: Seal,
    queue: Queue,
    provisioner: Provisioner,
    fingerprint: String,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("config", &self.config)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    fn new(
        config: Config,
        server: Server,
        inbox: Inbox,
        services: Vec<ServiceMigrations>,
    ) -> Result<Self, Error> {
        let inner = Inner {
            db: ControlDb::new(server.clone(), &config.control_database),
            queue: Queue::new(),
            seal: Seal::new(&config.master_key)?,
            fingerprint: fingerprint(&services),
            provisioner: Provisioner { server, services },
            config,
            inbox,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The references of projects that were made, changed or deleted, by whichever process. After
    /// [`store::Notification::Connected`] some may have been missed.
    #[must_use]
    pub fn changes(&self) -> Notifications {
        self.inner.provisioner.server.listen(&self.inner.config.control_database, "madbase_projects")
    }

    /// Versions of what projects hold, which all processes of the cluster tell each other. Must be called on a runtime.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions::shared(&self.inner.provisioner.server, &self.inner.config.control_database)
    }

    /// Where this installation's processes agree who does what.
    #[must_use]
    pub fn locks(&self, redis: &Redis) -> Locks {
        Locks::new(redis, &self.inner.provisioner.server, &self.inner.config.control_database)
    }
}

impl Directory for ControlPlane {
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a> {
        Box::pin(async move { self.project(reference).await.map_err(|it| DirectoryError(it.into())) })
    }
}

/// A short text that is equal for equal migrations: ours and those of `services`.
#[must_use]
pub fn fingerprint(services: &[ServiceMigrations]) -> String {
    provision::fingerprint(services)
}
