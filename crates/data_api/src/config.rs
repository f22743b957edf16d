//! What the data API can be told besides a project's own [`common::RestSettings`]; read by `madbase`, once.

use std::time::Duration;

/// How much of an error a client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// `code`, `message`, `details` and `hint`.
    #[default]
    Verbose,
    /// `code` and `message` only.
    Minimal,
}

/// Settings of the service, the same for all projects.
#[derive(Debug, Clone)]
pub struct Config {
    /// The largest request body, in bytes; a larger one is answered with 413.
    pub max_body_bytes: usize,
    /// How much of an error a client may read.
    pub verbosity: Verbosity,
    /// Whether an aliased embed may still be filtered by its relation's name (with a `Warning`).
    pub legacy_target_names: bool,
    /// A function that answers `/`; without one, `/` is 404 (PGRST126).
    pub root_function: Option<String>,
    /// Settings made in every transaction: name with a dot, value.
    pub app_settings: Vec<(String, String)>,
    /// The most projects whose catalogs are kept; the least recently used one is dropped first.
    pub max_catalogs: u64,
    /// How long notifications must pause before the catalog is loaded again.
    pub reload_quiet: Duration,
    /// The version of PostgREST that `Warning` names.
    pub postgrest_version: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 * 1024 * 1024,
            verbosity: Verbosity::Verbose,
            legacy_target_names: true,
            root_function: None,
            app_settings: Vec::new(),
            max_catalogs: 100,
            reload_quiet: Duration::from_millis(100),
            postgrest_version: "16.2".into(),
        }
    }
}
