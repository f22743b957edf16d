//! The PostgreSQL behind a server: our own, made and started here, or the one that `DATABASE_URL` names.

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use state::postgres::{Cluster, Durability, Recovered, SUPERUSER, Supervisor};

use crate::layout::Layout;
use crate::progress::Steps;
use crate::run_file::RunningPostgres;
use crate::settings::Environment;

/// The first database of our own clusters.
const OWN_DATABASE: &str = "postgres";

/// Where the rows are.
pub(crate) enum Postgres {
    /// Run by us.
    Own(Box<Own>),
    /// Run by somebody else; its URL.
    External(SecretString),
}

/// Our own PostgreSQL.
pub(crate) struct Own {
    cluster: Cluster,
    supervisor: Supervisor,
    password: SecretString,
    port: u16,
}

impl Postgres {
    /// Two steps: find (and heal), then make and start. `port` is the first one tried for our own.
    pub(crate) async fn open(
        environment: &Environment,
        layout: &Layout,
        password: SecretString,
        port: u16,
        steps: &mut Steps,
    ) -> Result<Self> {
        if let Some(url) = &environment.database_url {
            steps.next("Use the PostgreSQL that DATABASE_URL names");
            let external = Self::External(url.clone());
            external.reach().await?;
            steps.next("Leave starting it to whoever runs it");
            return Ok(external);
        }
        steps.next("Find PostgreSQL");
        let cluster = Cluster::open(layout.root(), &environment.search(), Durability::Full)?;
        let recovered = cluster.recover().await?;
        steps.next(&announce(&cluster, recovered));
        cluster.initialise(&password).await?;
        let port = cluster.choose_port(port)?;
        let running = cluster.start(port).await?;
        let supervisor = Supervisor::new(cluster.clone(), running);
        Ok(Self::Own(Box::new(Own { cluster, supervisor, password, port })))
    }

    /// The one that `DATABASE_URL` names; a node of a cluster runs none by itself.
    pub(crate) fn external(environment: &Environment) -> Result<Self> {
        let url = environment.database_url.clone().context(
            "DATABASE_URL is not set: a node of a cluster works on a PostgreSQL that exists; \
             an example: DATABASE_URL=postgres://admin:password@host:5432/postgres",
        )?;
        let external = Self::External(url);
        external.server()?;
        Ok(external)
    }

    /// It answers and lets us in; said here, where the host can be named.
    pub(crate) async fn reach(&self) -> Result<()> {
        let (host, port) = self.shown_address()?;
        let database = self.default_database()?;
        self.server()?.admin(&database).await.with_context(|| {
            format!("cannot use the PostgreSQL at {host}:{port}: start it, or correct DATABASE_URL")
        })?;
        Ok(())
    }

    /// How the administrator connects.
    pub(crate) fn server(&self) -> Result<store::Server> {
        match self {
            Self::External(url) => store::Server::from_url(url.expose_secret()).context(
                "DATABASE_URL cannot be read; an example: postgres://admin:password@host:5432/database",
            ),
            Self::Own(own) => store::Server::from_url(&own.url()).context("connect to our own PostgreSQL"),
        }
    }

    /// The default project's database.
    pub(crate) fn default_database(&self) -> Result<String> {
        match self {
            Self::Own(_) => Ok(OWN_DATABASE.to_owned()),
            Self::External(_) => Ok(self.server()?.database().unwrap_or(OWN_DATABASE).to_owned()),
        }
    }

    /// Host and port for people's database tools.
    pub(crate) fn shown_address(&self) -> Result<(String, u16)> {
        match self {
            Self::Own(own) => Ok(("127.0.0.1".to_owned(), own.port)),
            Self::External(_) => {
                let name = self.server()?.name();
                let (host, port) = name.rsplit_once(':').unwrap_or((name.as_str(), ""));
                Ok((host.to_owned(), port.parse().unwrap_or(5432)))
            }
        }
    }

    /// For `run.json`.
    pub(crate) fn described(&self) -> Option<RunningPostgres> {
        match self {
            Self::External(_) => None,
            Self::Own(own) => Some(RunningPostgres {
                major: own.cluster.binaries().major(),
                port: own.port,
                user: own.cluster.account().map(|it| it.name.clone()),
            }),
        }
    }

    /// Stop it in order, when it is ours.
    pub(crate) async fn stop(self) {
        if let Self::Own(own) = self {
            let stopped = own.supervisor.stop().await;
            tracing::info!(how = ?stopped, "postgres stopped");
        }
    }
}

impl Own {
    /// Over the Unix socket when there is one.
    fn url(&self) -> String {
        let password = self.password.expose_secret();
        let host = match self.cluster.socket_dir() {
            Some(directory) => percent_encode(&directory.display().to_string()),
            None => "127.0.0.1".to_owned(),
        };
        format!("postgres://{SUPERUSER}:{password}@{host}:{}/{OWN_DATABASE}", self.port)
    }
}

/// Stop whatever a start that failed or was interrupted has left running.
pub(crate) async fn abandon(layout: &Layout, environment: &Environment) {
    if environment.database_url.is_some() || !layout.has_data() {
        return;
    }
    let Ok(cluster) = Cluster::open(layout.root(), &environment.search(), Durability::Full) else { return };
    if let Err(error) = cluster.recover().await {
        tracing::error!(%error, "postgres could not be stopped");
    }
}

/// End PostgreSQL without waiting: the person has asked twice.
pub(crate) fn end_at_once(layout: &Layout) {
    if let Some(pid) = state::postgres::postmaster(layout.root()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT);
    }
}

fn announce(cluster: &Cluster, recovered: Recovered) -> String {
    let major = cluster.binaries().major();
    let user = cluster.account().map_or_else(String::new, |it| format!(" as user {}", it.name));
    match (cluster.is_initialised(), recovered) {
        (false, _) => format!("Make a PostgreSQL {major} cluster and start it{user}"),
        (true, Recovered::Nothing) => format!("Start PostgreSQL {major}{user}"),
        (true, Recovered::StoppedOrphan) => {
            format!("Start PostgreSQL {major}{user} again (a killed madbase had left one running)")
        }
    }
}

fn percent_encode(text: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|it| if plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_directory_survives_the_url() {
        let url = format!("postgres://a:b@{}:54322/postgres", percent_encode("/var/lib/mad base/ü/run"));
        assert!(url.contains("%2Fvar%2Flib%2Fmad%20base%2F%C3%BC%2Frun"), "{url}");
        assert!(store::Server::from_url(&url).is_ok());
    }
}
