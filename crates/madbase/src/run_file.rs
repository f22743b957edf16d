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
    /// The API.
    pub(crate) api_url: String,
    /// The control plane.
    pub(crate) control_url: String,
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
