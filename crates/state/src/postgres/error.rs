//! Why PostgreSQL could not be run. Every message names the next step, because a person at a terminal reads it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::MIN_MAJOR;

/// Why PostgreSQL could not be found, initialised, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable binaries.
    #[error(
        "PostgreSQL {MIN_MAJOR} or newer was not found (looked in {searched}). \
         Install it (Debian: apt-get install postgresql) or set MADBASE_POSTGRES_BIN to the directory \
         that holds `postgres` and `initdb`"
    )]
    NotFound {
        /// Where we looked, for people.
        searched: String,
    },
    /// The data was made by a major version that is not installed.
    #[error(
        "{} was made by PostgreSQL {major}, which is not installed. \
         Install that version (Debian: apt-get install postgresql-{major}), or dump the data there and restore it here",
        directory.display()
    )]
    WrongMajor {
        /// The data directory.
        directory: PathBuf,
        /// Its major version.
        major: u32,
    },
    /// A directory or file could not be made, read or written.
    #[error("cannot {action} {}: {source}. Check its permissions or choose another --data-dir", path.display())]
    File {
        /// What was tried: `create`, `write` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user that PostgreSQL runs as cannot reach the data directory.
    #[error(
        "PostgreSQL runs as user {user}, which may not enter {}. \
         Choose a --data-dir that this user can reach, for example /var/lib/madbase, \
         or allow it to pass: chmod o+x {}", blocked.display(), blocked.display()
    )]
    Unreachable {
        /// The user that PostgreSQL runs as.
        user: String,
        /// The first directory that it may not enter.
        blocked: PathBuf,
    },
    /// As root, no unprivileged user was found or made.
    #[error(
        "PostgreSQL refuses to run as root and no user for it could be made ({reason}). \
         Make one: useradd --system --no-create-home madbase"
    )]
    NoAccount {
        /// What `useradd` said.
        reason: String,
    },
    /// The directory holds something that is no PostgreSQL data.
    #[error(
        "{} exists but holds no PostgreSQL data (PG_VERSION is missing or unreadable). \
         Move it away or choose another --data-dir", .0.display()
    )]
    NotACluster(PathBuf),
    /// A program could not be run.
    #[error("cannot run {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed. Its last lines:\n{output}")]
    Initdb {
        /// The end of what it printed.
        output: String,
    },
    /// `pg_basebackup` failed.
    #[error("pg_basebackup failed. Its last lines:\n{output}")]
    BaseBackup {
        /// The end of what it printed.
        output: String,
    },
    /// `pg_ctl` failed.
    #[error("pg_ctl failed. Its last lines:\n{output}")]
    Control {
        /// The end of what it printed.
        output: String,
    },
    /// PostgreSQL ended while starting.
    #[error("PostgreSQL ended while starting ({status}). The end of {}:\n{output}", log.display())]
    Start {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        output: String,
    },
    /// PostgreSQL was not ready in time.
    #[error("PostgreSQL was not ready after {} s; see {}", waited.as_secs(), log.display())]
    Slow {
        /// How long we waited.
        waited: Duration,
        /// Its log.
        log: PathBuf,
    },
    /// A process that uses the data directory does not end.
    #[error("process {pid} still uses {} and does not end. Stop it: kill -QUIT {pid}", directory.display())]
    Stuck {
        /// The process.
        pid: i32,
        /// The data directory.
        directory: PathBuf,
    },
    /// No port is free.
    #[error("no free port for PostgreSQL between {first} and {last} on 127.0.0.1. Set MADBASE_POSTGRES_PORT")]
    NoPort {
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
}

impl Error {
    /// For `map_err`: what was tried on which path.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err`: a program that could not be run.
    pub(crate) fn spawn(program: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let program = program.to_owned();
        move |source| Self::Spawn { program, source }
    }
}
