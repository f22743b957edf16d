//! One project's database: the data path, the service pool and notifications.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use common::Project;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::data_path::{DataPath, Mode, Part};
use crate::listen::{self, Notifications};
use crate::replicas::{Replicas, Routes};
use crate::services::Services;
use crate::traced;
use crate::{Answer, End, Error, PoolSettings, Server, ServiceClient, Session, Statement};

/// One project's database. Dropping the last reference closes its connections.
#[derive(Debug)]
pub struct Database {
    name: Box<str>,
    data: DataPath,
    /// Where reads may go instead.
    routes: Option<Routes>,
    services: Services,
    authenticator: Config,
    /// Cancelled when this is dropped, or earlier by [`Database::close`]: everything behind ends.
    closing: CancellationToken,
}

impl Database {
    /// No connection is made yet.
    pub(crate) fn open(
        server: &Server,
        replicas: Option<&Arc<Replicas>>,
        settings: &PoolSettings,
        project: &Project,
    ) -> Self {
        let authenticator = server.config(&project.database, Some(&project.logins.authenticator));
        let services = server.config(&project.database, Some(&project.logins.services));
        let closing = CancellationToken::new();
        let part = if replicas.is_some() { Part::Primary } else { Part::Sole };
        let data = DataPath::new(authenticator.clone(), settings, part, closing.clone());
        let routes = replicas.map(|it| Routes::new(it, settings, project, &closing));
        let (name, services) = (project.database.as_str().into(), Services::new(services, settings));
        Self { name, data, routes, services, authenticator, closing }
    }

    /// Run a statement that only reads (`transaction_read_only` is set): may share a connection with other reads
    /// and may be repeated after a lost connection. One round trip.
    ///
    /// With a caller in `session`, a replica may answer; what it answers has what that caller wrote (REQ H3).
    ///
    /// # Errors
    /// [`Error::Statement`] carries the SQLSTATE; [`Error::Connect`], [`Error::Lost`] and [`Error::PoolTimeout`]
    /// when PostgreSQL does not answer.
    pub async fn read(&self, session: &Session, statement: &Statement) -> Result<Answer, Error> {
        let span = trace::ask_database(session.operation, &self.name);
        let outcome = match &self.routes {
            None => self.data.run(session, statement, Mode::Read).await,
            // On the heap, so that reads without replicas stay small.
            Some(routes) => Box::pin(routes.read(&self.data, session, statement)).await,
        };
        traced::answered(span, &outcome);
        outcome
    }

    /// Run a statement that may write, alone on its connection. One round trip, two for [`End::If`].
    ///
    /// Not repeated once sent: [`Error::Lost`] means that the outcome is unknown.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub async fn write(&self, session: &Session, statement: &Statement, end: End) -> Result<Answer, Error> {
        let span = trace::ask_database(session.operation, &self.name);
        let outcome = self.data.run(session, statement, Mode::Write(end)).await;
        traced::answered(span, &outcome);
        if let Some(routes) = &self.routes {
            Box::pin(routes.wrote(session, &outcome)).await;
        }
        outcome
    }

    /// A pooled connection of the services' login.
    ///
    /// # Errors
    /// [`Error::PoolTimeout`] when none is free in time, [`Error::Connect`] when PostgreSQL does not answer.
    pub async fn services(&self) -> Result<ServiceClient, Error> {
        self.services.get().await
    }

    /// Listen on `channel` as the authenticator: reconnects by itself (at most a second apart).
    #[must_use]
    pub fn listen(&self, channel: &'static str) -> Notifications {
        listen::listen(self.authenticator.clone(), channel, self.closing.clone())
    }

    /// Connections open or being opened, but for listeners.
    pub(crate) fn connections(&self) -> usize {
        self.services.open() + self.data.open() + self.routes.as_ref().map_or(0, Routes::open)
    }

    /// End the connections that nobody uses now; new ones are made when needed.
    pub(crate) fn end_idle(&self) {
        self.services.end_idle();
        self.data.end_idle();
        self.routes.iter().for_each(Routes::end_idle);
    }

    /// Refuse new work, let what runs finish until `deadline`, then end every connection.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.services.drain();
        self.data.drain();
        self.routes.iter().for_each(Routes::drain);
        let drained = async {
            while self.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, drained).await;
        self.closing.cancel();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
