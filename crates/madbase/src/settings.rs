//! Settings of the process: from flags, variables and a settings file, in this order of precedence.
//!
//! Here is what no flag stands for: secrets and where programs are. Read once, and passed on as values.

mod check;
mod file;
mod load;
mod table;
mod traces;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use state::postgres::Search;
use store::{ReplicaSettings, Server};

use crate::cli::{DataDir, ReadReplicas};

pub(crate) use self::file::SettingsFile;
pub(crate) use self::load::{Loaded, Shown, problems};
pub(crate) use self::table::Role;
pub(crate) use self::traces::TraceSettings;

/// How long caches keep values unless told otherwise (REQ C7).
const CACHE_TTL: Duration = Duration::from_secs(3600);

/// The variables that no flag stands for.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Use this PostgreSQL instead of running one (`DATABASE_URL`).
    pub(crate) database_url: Option<SecretString>,
    /// Standbys that reads may go to, separated by commas (`READ_REPLICA_URL`).
    pub(crate) read_replica_url: Option<SecretString>,
    /// Share caches, limits and messages through this Redis (`REDIS_URL`).
    pub(crate) redis_url: Option<SecretString>,
    /// The longest that a cache keeps a value, in seconds (`CACHE_TTL_SECONDS`).
    cache_ttl_seconds: Option<String>,
    /// The admin token, when the data directory is on another machine (`MADBASE_ADMIN_TOKEN`).
    pub(crate) admin_token: Option<SecretString>,
    /// Lets this node join a cluster (`MADBASE_JOIN_TOKEN`).
    pub(crate) join_token: Option<SecretString>,
    /// The master key itself, 43 characters of base64url (`MADBASE_MASTER_KEY`).
    pub(crate) master_key: Option<SecretString>,
    /// What to log (`MADBASE_LOG`, else `RUST_LOG`).
    pub(crate) log: Option<String>,
    /// `text` or `json`, wherever it goes (`MADBASE_LOG_FORMAT`).
    pub(crate) log_format: Option<String>,
    /// Where PostgreSQL's programs are (`MADBASE_POSTGRES_BIN`).
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Whether there are traces (`OTEL_…`).
    pub(crate) traces: TraceSettings,
}

impl Environment {
    /// Read the variables, and what `file` says where they say nothing.
    pub(crate) fn read(file: &SettingsFile) -> Self {
        let value = |key: &str| {
            let setting = table::PLAIN.iter().find(|it| it.key == key);
            let variables = setting.into_iter().flat_map(|it| it.variables);
            variables.copied().find_map(text).or_else(|| file.get(key).map(str::to_owned))
        };
        let secret = |key: &str| value(key).map(SecretString::from);
        Self {
            database_url: secret("database-url"),
            read_replica_url: secret(table::REPLICAS),
            redis_url: secret("redis-url"),
            cache_ttl_seconds: value("cache-ttl-seconds"),
            admin_token: secret("admin-token"),
            join_token: secret("join-token"),
            master_key: secret("master-key"),
            log: value("log"),
            log_format: value("log-format"),
            postgres_bin: value("postgres-bin").map(PathBuf::from),
            traces: TraceSettings {
                endpoint: value("otlp-endpoint"),
                headers: secret("otlp-headers"),
                service_name: value("otel-service-name"),
                sampler: value("otel-traces-sampler"),
                sampler_arg: value("otel-traces-sampler-arg"),
                disabled: value("otel-sdk-disabled"),
            },
        }
    }

    /// The longest that a cache keeps a value.
    pub(crate) fn cache_ttl(&self) -> Result<Duration> {
        let Some(text) = &self.cache_ttl_seconds else { return Ok(CACHE_TTL) };
        let seconds = text.trim().parse().ok().filter(|it| (1..=86_400).contains(it));
        seconds.map(Duration::from_secs).context("CACHE_TTL_SECONDS must be 1 to 86400")
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
