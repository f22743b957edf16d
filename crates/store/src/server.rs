//! Where PostgreSQL is: hosts or a socket directory, and the login that may create databases and roles.
//!
//! Made by `madbase` from `DATABASE_URL` or from the PostgreSQL that it runs itself. What the URL leaves open gets the
//! limits that failover was measured with: a dead peer is noticed within seconds instead of minutes.

use std::time::Duration;

use crate::budget::Budget;
use crate::config::Config;
use common::Login;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_util::sync::CancellationToken;

use crate::listen::{self, Notifications};
use crate::{Error, socket};

/// `connect_timeout` when the URL names none; covers TCP only.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// `tcp_user_timeout` when the URL names none: how long sent bytes may stay unacknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);
/// The driver's own default, which stands for "the URL names none".
const KEEPALIVES_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);

/// What a URL may leave open.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Host name, address or socket directory.
    pub host: String,
    /// Port; `None` is 5432.
    pub port: Option<u16>,
    /// Role to log in as.
    pub user: String,
    /// Its password.
    pub password: Option<SecretString>,
    /// Database; `None` is called as the user.
    pub database: Option<String>,
}

/// A PostgreSQL server (or several hosts of one cluster).
#[derive(Debug, Clone)]
pub struct Server {
    config: Config,
}

impl Server {
    /// From a URL or key-value string, as `libpq` reads it. Unix sockets: `host=/run/dir`.
    ///
    /// # Errors
    /// [`Error::Url`] when it cannot be read.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        Ok(Self { config: with_limits(Config::parse(url)?) })
    }

    /// As [`Server::from_url`]; what the URL leaves open is taken from `defaults`, as `libpq` takes it from `PGHOST`,
    /// `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE`. The database is by default called as the user.
    ///
    /// # Errors
    /// [`Error::Url`] when it cannot be read.
    pub fn from_url_or(url: &str, defaults: Defaults) -> Result<Self, Error> {
        let mut server = Self::from_url(url)?;
        let config = &mut server.config;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host(defaults.host);
        }
        if let (true, Some(port)) = (config.get_ports().is_empty(), defaults.port) {
            config.port(port);
        }
        if config.get_user().is_none() {
            config.user(defaults.user);
        }
        if let (None, Some(password)) = (config.get_password(), defaults.password) {
            config.password(password.expose_secret());
        }
        if config.get_dbname().is_none() {
            let database = defaults.database.or_else(|| config.get_user().map(str::to_owned));
            config.dbname(database.unwrap_or_default());
        }
        Ok(server)
    }

    /// A replica of this server: what `url` leaves open (user, password, database) is as here.
    ///
    /// # Errors
    /// [`Error::Url`] when it cannot be read, or names not exactly one host: what one server has replayed says nothing
    /// about another one.
    pub fn replica(&self, url: &str) -> Result<Self, Error> {
        let mut replica = Self::from_url(url)?;
        let config = &mut replica.config;
        if config.get_hosts().len().max(config.get_hostaddrs().len()) != 1 {
            return Err(Error::Url("a replica's URL names one host; write one URL per replica".to_owned()));
        }
        if config.get_user().is_none() {
            self.config.get_user().map(|it| config.user(it));
        }
        if config.get_password().is_none() {
            self.config.get_password().map(|it| config.password(it));
        }
        if config.get_dbname().is_none() {
            self.config.get_dbname().map(|it| config.dbname(it));
        }
        config.target_session_attrs(TargetSessionAttrs::Any);
        Ok(replica)
    }

    /// As this, with its connections counted.
    #[must_use]
    pub(crate) fn within(self, budget: Budget) -> Self {
        Self { config: self.config.within(Some(budget)) }
    }

    /// `host:port`, or the socket's path; of several the first. For people and metrics.
    #[must_use]
    pub fn name(&self) -> String {
        socket::addresses(&self.config).first().map(ToString::to_string).unwrap_or_default()
    }

    /// As the administrator, to his own database.
    pub(crate) fn own_config(&self) -> Config {
        let mut config = self.config.clone();
        if config.get_dbname().is_none() {
            config.dbname("postgres");
        }
        config
    }

    /// The login named in the URL; an empty password where it names none.
    #[must_use]
    pub fn named_login(&self) -> Option<Login> {
        let password = self.config.get_password().map(|it| String::from_utf8_lossy(it).into_owned());
        let user = self.config.get_user()?.to_owned();
        Some(Login { user, password: password.unwrap_or_default().into() })
    }

    /// The administrator's database named in the URL, if any.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.config.get_dbname()
    }

    /// Configuration for `database` as `login`; `None` stays the administrator of the URL.
    pub(crate) fn config(&self, database: &str, login: Option<&Login>) -> Config {
        let mut config = self.config.clone();
        config.dbname(database);
        if let Some(login) = login {
            config.user(&login.user);
            config.password(login.password.expose_secret());
        }
        config
    }

    /// One connection as the administrator, outside any pool: for creating databases and roles.
    ///
    /// # Errors
    /// [`Error::Connect`] when PostgreSQL does not answer or refuses the login.
    pub async fn admin(&self, database: &str) -> Result<tokio_postgres::Client, Error> {
        open(&self.config(database, None)).await
    }

    /// As [`Server::admin`], for as long as `until` is not cancelled: then it ends, and with it what it does.
    ///
    /// The token that comes back is cancelled when the connection has ended, for whatever reason.
    ///
    /// # Errors
    /// As [`Server::admin`].
    pub async fn admin_until(
        &self,
        database: &str,
        until: CancellationToken,
    ) -> Result<(tokio_postgres::Client, CancellationToken), Error> {
        open_until(&self.config(database, None), until).await
    }

    /// One connection as `login`, outside any pool: for migrations, which run a project's own triggers and must not
    /// lend them an administrator's rights.
    ///
    /// # Errors
    /// [`Error::Connect`] when PostgreSQL does not answer or refuses the login.
    pub async fn login(&self, database: &str, login: &Login) -> Result<tokio_postgres::Client, Error> {
        open(&self.config(database, Some(login))).await
    }

    /// As the administrator on a server that can write, for a stream of changes.
    pub(crate) fn replication_config(&self, database: &str) -> Config {
        self.config(database, None).for_replication()
    }

    /// As [`Server::admin`], on a server that can write.
    pub(crate) async fn primary(&self, database: &str) -> Result<tokio_postgres::Client, Error> {
        open(&self.replication_config(database)).await
    }

    /// Listen on `channel` of `database` as the administrator, until the receiver is dropped; reconnects by itself.
    #[must_use]
    pub fn listen(&self, database: &str, channel: &'static str) -> Notifications {
        listen::listen(self.config(database, None), channel, CancellationToken::new())
    }
}

async fn open(config: &Config) -> Result<tokio_postgres::Client, Error> {
    Ok(open_until(config, CancellationToken::new()).await?.0)
}

async fn open_until(
    config: &Config,
    until: CancellationToken,
) -> Result<(tokio_postgres::Client, CancellationToken), Error> {
    let connected = config.connect(tokio_postgres::NoTls).await;
    let (client, connection) = connected.map_err(|it| Error::Connect(it.into()))?;
    let gone = CancellationToken::new();
    let ended = gone.clone().drop_guard();
    tokio::spawn(async move {
        let _ended = ended;
        tokio::select! {
            () = until.cancelled() => {}
            outcome = connection => if let Err(error) = outcome {
                tracing::debug!(%error, "a connection outside the pools ended");
            },
        }
    });
    Ok((client, gone))
}

/// `config` with our defaults where the URL named nothing.
fn with_limits(mut config: Config) -> Config {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives() && config.get_keepalives_idle() == KEEPALIVES_IDLE_UNSET {
        config.keepalives_idle(Duration::from_secs(1));
        config.keepalives_interval(Duration::from_secs(1));
        config.keepalives_retries(2);
    }
    if config.get_application_name().is_none() {
        config.application_name("madbase");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fill_gaps_only() {
        let server =
            Server::from_url("postgres://ada@db/app?connect_timeout=7&application_name=mine").unwrap();
        assert_eq!(server.database(), Some("app"));
        let config = server.config("other", None);
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        assert_eq!(config.get_application_name(), Some("mine"));
        assert_eq!(config.get_dbname(), Some("other"));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(1));
    }

    #[test]
    fn a_replica_takes_over_what_its_url_leaves_open() {
        let primary =
            Server::from_url("postgres://ada:secret@db/app?target_session_attrs=read-write").unwrap();
        let replica = primary.replica("postgres://near:5433").unwrap();
        assert_eq!((replica.name().as_str(), replica.database()), ("near:5433", Some("app")));
        let login = replica.named_login().unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_secret()), ("ada", "secret"));
        assert_eq!(replica.config.get_target_session_attrs(), TargetSessionAttrs::Any);
        let own = primary.replica("postgres://bob@near/other").unwrap();
        assert_eq!((own.config.get_user(), own.database()), (Some("bob"), Some("other")));
        for wrong in ["postgres://one,two", "postgres://", "user=ada", "postgres://near:port"] {
            assert!(matches!(primary.replica(wrong), Err(Error::Url(_))), "{wrong}");
        }
    }

    #[test]
    fn an_unreadable_url_is_told() {
        assert!(matches!(Server::from_url("postgres://db:port"), Err(Error::Url(_))));
    }
}
