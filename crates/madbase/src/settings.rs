//! What only the environment says: secrets and where programs are. Read here, once, and passed on as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::SecretString;
use state::postgres::Search;

use crate::cli::DataDir;

/// The variables that no flag stands for.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Use this PostgreSQL instead of running one (`DATABASE_URL`).
    pub(crate) database_url: Option<SecretString>,
    /// Share caches, limits and messages through this Redis (`REDIS_URL`).
    pub(crate) redis_url: Option<SecretString>,
    /// The admin token, when the data directory is on another machine (`MADBASE_ADMIN_TOKEN`).
    pub(crate) admin_token: Option<SecretString>,
    /// What to log (`MADBASE_LOG`, else `RUST_LOG`).
    pub(crate) log: Option<String>,
    /// Where PostgreSQL's programs are (`MADBASE_POSTGRES_BIN`).
    pub(crate) postgres_bin: Option<PathBuf>,
}

impl Environment {
    /// Read it.
    pub(crate) fn read() -> Self {
        Self {
            database_url: text("DATABASE_URL").map(SecretString::from),
            redis_url: text("REDIS_URL").map(SecretString::from),
            admin_token: text("MADBASE_ADMIN_TOKEN").map(SecretString::from),
            log: text("MADBASE_LOG").or_else(|| text("RUST_LOG")),
            postgres_bin: text("MADBASE_POSTGRES_BIN").map(PathBuf::from),
        }
    }

    /// Where to look for PostgreSQL's programs.
    pub(crate) fn search(&self) -> Search {
        Search { only: self.postgres_bin.clone(), path: raw("PATH") }
    }
}

/// The value of a variable; empty counts as unset.
pub(crate) fn text(name: &str) -> Option<String> {
    raw(name)?.into_string().ok()
}

/// All variables that start with `prefix`.
pub(crate) fn starting_with(prefix: &str) -> BTreeMap<String, String> {
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| name.starts_with(prefix)).collect()
}

fn raw(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|it| !it.is_empty())
}

impl DataDir {
    /// The directory: as root where a system keeps its state, else beside the person who tries it out.
    pub(crate) fn path(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            let root = nix::unistd::Uid::effective().is_root();
            PathBuf::from(if root { "/var/lib/madbase" } else { ".madbase" })
        })
    }
}
