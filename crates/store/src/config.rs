//! How to reach a database as somebody: what the driver's configuration says, and TLS, which the driver leaves to us.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Connection, Error, NoTls};

use crate::budget::Budget;
use crate::hosts::{self, Favourite};
use crate::socket::{self, Address, Socket};
use crate::tls::{self, Tls};

/// Fails on a server that cannot write.
pub(crate) const REFUSE_STANDBY: &str = "do $$ begin if current_setting('transaction_read_only')::bool then \
    raise exception 'the server is read-only' using errcode = '25006'; end if; end $$";
const REFUSE_PRIMARY: &str = "do $$ begin if not current_setting('transaction_read_only')::bool then \
    raise exception 'the server is not read-only' using errcode = '25006'; end if; end $$";

/// How values are written in a stream.
const OUTPUT: &str =
    "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1 -c bytea_output=hex -c timezone=UTC";

/// Longest time from a socket to a session.
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// A configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    driver: tokio_postgres::Config,
    tls: Tls,
    /// What its connections take their places of; `None` counts none.
    budget: Option<Budget>,
    /// Which host served last; known to all configurations of a server.
    favourite: Favourite,
    /// Its sessions speak the replication protocol. Only our own client knows it.
    replicates: bool,
}

impl Config {
    /// From a URL or key-value string, as `libpq` reads it.
    ///
    /// # Errors
    /// [`crate::Error::Url`] when it cannot be read, or names a file that cannot.
    pub(crate) fn parse(text: &str) -> Result<Self, crate::Error> {
        let (rest, parameters) = tls::split(text).map_err(crate::Error::Url)?;
        let driver = rest.parse().map_err(|it: tokio_postgres::Error| crate::Error::Url(it.to_string()))?;
        Ok(Self::new(driver, Tls::new(&parameters).map_err(crate::Error::Url)?))
    }

    /// The driver must not negotiate: its socket is encrypted already.
    pub(crate) fn new(mut driver: tokio_postgres::Config, tls: Tls) -> Self {
        driver.ssl_mode(SslMode::Disable);
        Self { driver, tls, budget: None, favourite: Favourite::default(), replicates: false }
    }

    /// What the driver gets of it.
    pub(crate) fn clone_driver(&self) -> tokio_postgres::Config {
        self.driver.clone()
    }

    /// As this, with its connections counted.
    #[must_use]
    pub(crate) fn within(self, budget: Option<Budget>) -> Self {
        Self { budget, ..self }
    }

    /// As this, for sessions that speak the replication protocol, on a server that can be written to.
    #[must_use]
    pub(crate) fn for_replication(mut self) -> Self {
        self.driver.target_session_attrs(TargetSessionAttrs::ReadWrite);
        // Values must be read the same way whatever a database prefers.
        let options = self.driver.get_options().unwrap_or_default();
        self.driver.options(format!("{options} {OUTPUT}").trim());
        Self { replicates: true, ..self }
    }

    pub(crate) fn replicates(&self) -> bool {
        self.replicates
    }

    pub(crate) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    pub(crate) fn favourite(&self) -> &Favourite {
        &self.favourite
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Connect to the first address that serves; the last failure is the one that is told. Stands in for the driver's own
    /// way, which knows no TLS but the one that it is given here.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn connect(
        &self,
        _tls: NoTls,
    ) -> Result<(Client, Connection<Socket, NoTlsStream>), Error> {
        match hosts::first(self, |address| self.open_at(address)).await {
            Ok(opened) => Ok(opened),
            Err(Some(error)) => Err(error),
            Err(None) => self.fail(io::Error::other("the configuration names no host")).await,
        }
    }

    /// A session at `address`, in bounded time: a server that hangs accepts connections all the same.
    async fn open_at(&self, address: Address) -> Result<(Client, Connection<Socket, NoTlsStream>), Error> {
        let limit = SESSION_TIMEOUT + self.driver.get_connect_timeout().copied().unwrap_or_default();
        let opening = async {
            match socket::connect(&address, self).await {
                Ok(socket) => self.open(socket).await,
                Err(error) => self.fail(error).await,
            }
        };
        match timeout(limit, opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => self.fail(io::ErrorKind::TimedOut.into()).await,
        }
    }

    /// `error` as the driver tells it.
    async fn fail(&self, error: io::Error) -> Result<(Client, Connection<Socket, NoTlsStream>), Error> {
        self.driver.connect_raw(Socket::Failed(Some(error)), NoTls).await
    }

    async fn open(&self, socket: Socket) -> Result<(Client, Connection<Socket, NoTlsStream>), Error> {
        let (client, mut connection) = self.driver.connect_raw(socket, NoTls).await?;
        let check = match self.driver.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => REFUSE_STANDBY,
            TargetSessionAttrs::ReadOnly => REFUSE_PRIMARY,
            _ => return Ok((client, connection)),
        };
        let checked = {
            let mut asked = pin!(client.batch_execute(check));
            tokio::select! {
                checked = &mut asked => checked,
                ended = &mut connection => match ended {
                    Err(error) => Err(error),
                    Ok(()) => asked.await,
                },
            }
        };
        checked.map(|()| (client, connection))
    }
}

impl Deref for Config {
    type Target = tokio_postgres::Config;

    fn deref(&self) -> &Self::Target {
        &self.driver
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.driver
    }
}
