//! One project's database: the data path, the service pool and notifications.

use std::time::Duration;

use crate::{Answer, End, Error, ServiceClient, Session, Statement};

/// One project's database.
#[derive(Debug)]
pub struct Database {}

impl Database {
    /// Run a statement that only reads (`transaction_read_only` is set): may share a connection with other reads
    /// and may be repeated after a lost connection. One round trip.
    ///
    /// # Errors
    /// [`Error::Statement`] carries the SQLSTATE; [`Error::Connect`], [`Error::Lost`] and [`Error::PoolTimeout`]
    /// when PostgreSQL does not answer.
    pub async fn read(&self, session: &Session, statement: &Statement) -> Result<Answer, Error> {
        let _ = (session, statement);
        todo!("store")
    }

    /// Run a statement that may write, alone on its connection. One round trip, two for [`End::If`].
    ///
    /// Not repeated once sent: [`Error::Lost`] means that the outcome is unknown.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub async fn write(&self, session: &Session, statement: &Statement, end: End) -> Result<Answer, Error> {
        let _ = (session, statement, end);
        todo!("store")
    }

    /// A pooled connection of the services' login.
    ///
    /// # Errors
    /// [`Error::PoolTimeout`] when none is free in time, [`Error::Connect`] when PostgreSQL does not answer.
    pub async fn services(&self) -> Result<ServiceClient, Error> {
        todo!("store")
    }

    /// Listen on `channel` as the authenticator: reconnects by itself (1 s, then up to 30 s apart).
    #[must_use]
    pub fn listen(&self, channel: &'static str) -> Notifications {
        let _ = channel;
        todo!("store")
    }
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// The connection is (again) up: whatever was notified before may have been missed.
    Connected,
    /// A `NOTIFY` with its payload.
    Message(String),
}

/// A stream of notifications; dropping it ends the connection behind.
#[derive(Debug)]
pub struct Notifications {
    receiver: tokio::sync::mpsc::Receiver<Notification>,
}

impl Notifications {
    /// The next notification; `None` when the database was closed.
    pub async fn next(&mut self) -> Option<Notification> {
        self.receiver.recv().await
    }

    /// Wait until no further notification came for `quiet` (debouncing), dropping what comes meanwhile.
    pub async fn settle(&mut self, quiet: Duration) {
        while let Ok(Some(_)) = tokio::time::timeout(quiet, self.receiver.recv()).await {}
    }
}
