//! `run.json`: where the running server listens, for `status`, `stop` and the other commands. No secrets in it.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;

/// A running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Its process id.
    pub(crate) pid: u32,
    /// MadBase's version.
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) started_at_secs: u64,
    /// The API, where the process serves it.
    #[serde(default)]
    pub(crate) api_url: Option<String>,
    /// The control plane, where the process serves it.
    #[serde(default)]
    pub(crate) control_url: Option<String>,
    /// The PostgreSQL that it runs; absent when `DATABASE_URL` names one.
    pub(crate) postgres: Option<RunningPostgres>,
}

/// The PostgreSQL that the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningPostgres {
    /// Major version.
    pub(crate) major: u32,
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    /// The user that it runs as, when that is not the server's.
    pub(crate) user: Option<String>,
}

impl RunFile {
    /// Of this process, from now on.
    pub(crate) fn now(
        api_url: Option<String>,
        control_url: Option<String>,
        postgres: Option<RunningPostgres>,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let started_at_secs = crate::commands::unix_now();
        Self { pid: std::process::id(), version, started_at_secs, api_url, control_url, postgres }
    }

    /// Replace the file at once, so that a reader never sees half of it.
    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.run_file();
        let unfinished = path.with_extension("new");
        let text = serde_json::to_string_pretty(self).context("write run.json")?;
        fs::write(&unfinished, text + "\n")
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("write {}", path.display()))
    }

    /// What the last server wrote; it may have died since.
    pub(crate) fn read(layout: &Layout) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(layout.run_file()).ok()?).ok()
    }

    /// Remove it: the server stopped in order.
    pub(crate) fn remove(layout: &Layout) {
        let _ = fs::remove_file(layout.run_file());
    }
}
