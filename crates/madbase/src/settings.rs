//! What only the environment says: secrets and where programs are. Read here, once, and passed on as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use state::postgres::Search;
use store::{ReplicaSettings, Server};

use crate::cli::{DataDir, ReadReplicas};

/// The variables that no flag stands for.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Use this PostgreSQL instead of running one (`DATABASE_URL`).
    pub(crate) database_url: Option<SecretString>,
    /// Standbys that reads may go to, separated by commas (`READ_REPLICA_URL`).
    pub(crate) read_replica_url: Option<SecretString>,
    /// Share caches, limits and messages through this Redis (`REDIS_URL`).
    pub(crate) redis_url: Option<SecretString>,
    /// The admin token, when the data directory is on another machine (`MADBASE_ADMIN_TOKEN`).
    pub(crate) admin_token: Option<SecretString>,
    /// The master key itself, 43 characters of base64url (`MADBASE_MASTER_KEY`).
    pub(crate) master_key: Option<SecretString>,
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
            read_replica_url: text("READ_REPLICA_URL").map(SecretString::from),
            redis_url: text("REDIS_URL").map(SecretString::from),
            admin_token: text("MADBASE_ADMIN_TOKEN").map(SecretString::from),
            master_key: text("MADBASE_MASTER_KEY").map(SecretString::from),
            log: text("MADBASE_LOG").or_else(|| text("RUST_LOG")),
            postgres_bin: text("MADBASE_POSTGRES_BIN").map(PathBuf::from),
        }
    }

    /// The replicas of `server` that reads may go to.
    pub(crate) fn replicas(&self, args: &ReadReplicas, server: &Server) -> Result<ReplicaSettings> {
        let given = args.read_replica_url.iter().map(String::as_str);
        let variable = self.read_replica_url.as_ref().filter(|_| args.read_replica_url.is_empty());
        let listed = variable.map_or("", |it| it.expose_secret()).split(',');
        let urls = given.chain(listed).map(str::trim).filter(|it| !it.is_empty());
        let servers = urls.map(|it| server.replica(it)).collect::<Result<_, _>>().context(
            "READ_REPLICA_URL cannot be read; an example: postgres://replica-1:5432,postgres://replica-2:5432",
        )?;
        Ok(ReplicaSettings { servers, max_lag: Duration::from_secs(args.replica_max_lag.into()) })
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
