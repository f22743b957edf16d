//! The data directory: what lies where, made with the modes it needs.
//!
//! ```text
//! <data>/secrets/      0700: master_key, admin_token, postgres_password (0600 each)
//! <data>/postgres/     PostgreSQL's data; run/, conf/ and log/ beside it (crate `state`)
//! <data>/spool/        0700: unnamed files of large answers on their way
//! <data>/madbase.lock  held while a server runs
//! <data>/run.json      where the running server listens
//! <data>/madbase.log   output of a server in the background
//! ```

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Paths only; nothing is made or read.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Make the directory when missing. PostgreSQL's user must be able to pass, so others may enter but not list it.
    pub(crate) fn make(&self) -> Result<()> {
        let next = || {
            format!(
                "cannot use {} as data directory: choose another one by --data-dir, or make it writable",
                self.root.display()
            )
        };
        if !self.root.is_dir() {
            DirBuilder::new().recursive(true).mode(0o711).create(&self.root).with_context(next)?;
            fs::set_permissions(&self.root, fs::Permissions::from_mode(0o711)).with_context(next)?;
        }
        for private in [self.secrets(), self.spool()] {
            if !private.is_dir() {
                DirBuilder::new().mode(0o700).create(private).with_context(next)?;
            }
        }
        Ok(())
    }

    /// The directory as an absolute path, for people and for other processes.
    pub(crate) fn shown(&self) -> String {
        let absolute = std::path::absolute(&self.root);
        absolute.as_deref().unwrap_or(&self.root).display().to_string()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("madbase.lock")
    }

    pub(crate) fn run_file(&self) -> PathBuf {
        self.root.join("run.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("madbase.log")
    }

    /// Whether PostgreSQL's data was made here already.
    pub(crate) fn has_data(&self) -> bool {
        self.root.join("postgres/PG_VERSION").exists()
    }
}
