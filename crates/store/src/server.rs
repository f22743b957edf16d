//! Where PostgreSQL is: hosts or a socket directory, and the login that may create databases and roles.
//!
//! Made by `madbase` from `DATABASE_URL` or from the PostgreSQL that it runs itself.

use common::Login;

use crate::Error;

/// A PostgreSQL server (or several hosts of one cluster).
#[derive(Debug, Clone)]
pub struct Server {
    config: tokio_postgres::Config,
}

impl Server {
    /// From a URL or key-value string, as `libpq` reads it. Unix sockets: `host=/run/dir`.
    ///
    /// # Errors
    /// [`Error::Url`] when it cannot be read.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let config = url.parse().map_err(|it: tokio_postgres::Error| Error::Url(it.to_string()))?;
        Ok(Self { config })
    }

    /// The administrator's database named in the URL, if any.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.config.get_dbname()
    }

    /// Configuration for `database` as `login`; `None` stays the administrator of the URL.
    pub(crate) fn config(&self, database: &str, login: Option<&Login>) -> tokio_postgres::Config {
        use secrecy::ExposeSecret as _;
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
        let (client, connection) = self.config(database, None).connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}
