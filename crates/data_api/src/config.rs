//! What the data API can be told besides a project's own [`common::RestSettings`]; read by `madbase`, once.

use std::time::Duration;

pub use crate::request::Limits;

/// Settings of the service, the same for all projects.
#[derive(Debug, Clone)]
pub struct Config {
    /// The largest request body, in bytes; a larger one is answered with 413.
    pub max_body_bytes: usize,
    /// What else one request may ask for at most; more is answered with 400 (PGRST100, PGRST102).
    pub limits: Limits,
    /// The most projects whose catalogs are kept; the least recently used one is dropped first.
    pub max_catalogs: u64,
    /// The most requests of a project, by their shape, whose plans are kept; those not asked for lately are dropped first.
    pub max_plans: usize,
    /// How long notifications must pause before the catalog is loaded again.
    pub reload_quiet: Duration,
    /// How long the catalog waits at most for such a pause.
    pub reload_latest: Duration,
    /// Whether the `pgrst.*` settings that a project's database holds count; `madbase rest` reads them by itself.
    pub reads_settings: bool,
    /// What whoever calls the router has cut off from the path: the document at `/` says that paths begin there.
    pub base_path: String,
    /// The version of PostgREST that `Warning` and the document at `/` name.
    pub postgrest_version: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 * 1024 * 1024,
            limits: Limits::default(),
            max_catalogs: 100,
            max_plans: 1_000,
            reload_quiet: Duration::from_millis(100),
            reload_latest: Duration::from_secs(2),
            reads_settings: true,
            base_path: "/rest/v1".into(),
            postgrest_version: "16.2".into(),
        }
    }
}
