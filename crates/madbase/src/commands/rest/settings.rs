//! Where the settings of `madbase rest` are read from, again and again: the file may change while the server runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use store::{Defaults, Server};

use super::file;
use super::options::{Options, Sources};
use crate::settings;

/// Where Debian's PostgreSQL, and `libpq` there, have their socket.
const SOCKETS: &str = "/var/run/postgresql";

/// The places outside of the database.
#[derive(Debug)]
pub(super) struct Settings {
    file: Option<PathBuf>,
}

impl Settings {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// All options; `database` is what the database itself says, as far as it was asked.
    pub(super) fn read(&self, database: Option<BTreeMap<String, String>>) -> Result<Options> {
        let file = match &self.file {
            Some(path) => {
                let text = read_file(path)?;
                file::parse(&text, &settings::text).with_context(|| path.display().to_string())?
            }
            None => file::Values::new(),
        };
        let sources = Sources {
            database: database.unwrap_or_default(),
            environment: settings::starting_with("PGRST_"),
            file,
        };
        Options::read(&sources, &|path| read_file(Path::new(path))).context("error in the settings")
    }

    /// The server of `db-uri`; what it leaves open is taken from `PGHOST` and its kin.
    pub(super) fn server(&self, options: &Options) -> Result<Server> {
        let host = settings::text("PGHOST").unwrap_or_else(|| {
            if Path::new(SOCKETS).is_dir() { SOCKETS.to_owned() } else { "localhost".to_owned() }
        });
        let defaults = Defaults {
            host,
            port: settings::text("PGPORT").and_then(|it| it.parse().ok()),
            user: settings::text("PGUSER").or_else(user_name).context("name a user in PGRST_DB_URI")?,
            password: settings::text("PGPASSWORD").map(SecretString::from),
            database: settings::text("PGDATABASE"),
        };
        Server::from_url_or(options.db_uri.expose_secret(), defaults)
            .context("read PGRST_DB_URI; an example: postgres://authenticator:…@localhost:5432/app")
    }
}

fn read_file(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn user_name() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten().map(|it| it.name)
}
