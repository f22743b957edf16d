//! PostgreSQL as a child of this process: found, initialised, configured, started, healed, supervised, stopped.
//!
//! [`Binaries::find`] → [`Cluster::open`] → [`Cluster::initialise`] (does nothing the second time) →
//! [`Cluster::recover`] (stops what `kill -9` orphaned) → [`Cluster::start`] → [`Running::stop`].
//! [`ephemeral()`] does all of it for a test process and cleans up by itself.
//!
//! PostgreSQL refuses to run as root: [`Account`] is the user that it runs as then. The system's own cluster is
//! never touched.

mod account;
mod binaries;
mod cluster;
mod config;
mod ephemeral;
mod error;
mod initdb;
mod leftovers;
mod pidfile;
mod running;
mod standby;
mod supervisor;

pub use account::Account;
pub use binaries::{Binaries, MIN_MAJOR, Search};
pub use cluster::{Cluster, Recovered, free_port};
pub use config::{Durability, Memory, SUPERUSER};
pub use ephemeral::{Ephemeral, ephemeral};
pub use error::Error;
pub use running::{Running, Stopped};
pub use standby::Standby;
pub use supervisor::Supervisor;

/// The process id of the PostgreSQL that runs on the cluster under `root`, if one does.
#[must_use]
pub fn postmaster(root: &std::path::Path) -> Option<i32> {
    leftovers::postmaster(&root.canonicalize().ok()?.join("postgres"))
}
