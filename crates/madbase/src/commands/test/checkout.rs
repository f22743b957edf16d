//! The source checkout that is tested.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::settings;

/// Its root, and where cargo builds.
#[derive(Debug)]
pub(super) struct Checkout {
    root: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// The checkout around the current directory.
    pub(super) fn find() -> Result<Self> {
        let here = std::env::current_dir().context("find the current directory")?;
        let root = here.ancestors().find(|it| is_root(it)).with_context(|| {
            format!(
                "{} is not in a source checkout of MadBase. Clone the repository and run ./madbase test in it",
                here.display()
            )
        })?;
        let target =
            settings::text("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |it| root.join(it));
        Ok(Self { root: root.to_owned(), target })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The binary that `cargo test` builds.
    pub(super) fn binary(&self) -> PathBuf {
        self.target.join("debug/madbase")
    }

    /// Where a part's output is kept.
    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.target.join("test-logs").join(part).with_extension("log")
    }
}

fn is_root(directory: &Path) -> bool {
    directory.join("crates/madbase/Cargo.toml").is_file() && directory.join("Cargo.lock").is_file()
}
