//! The data path: session settings and one statement travel to PostgreSQL together, under one Sync, and come back
//! in one answer. Own client, because drivers send a Sync for every statement.
//!
//! caller → [`request`] (encoded once) → [`pool`] (which connection?) → [`link`] (a task per connection, owns the
//! socket) → [`connection`] (what is in flight; [`pipeline`] writes it, [`frames`] reads it) → the caller's
//! [`Answer`]. Reads share connections and are pipelined; a write has its connection for itself. Nothing here knows
//! what a statement means.

pub(crate) mod broken;
pub(crate) mod cancel;
mod connection;
mod feed;
mod flight;
pub(crate) mod frames;
mod frontend;
mod job;
mod link;
mod measures;
mod opening;
mod pace;
mod pipeline;
mod pool;
mod request;
mod roster;
pub(crate) mod startup;
mod statements;
pub(crate) mod wire;

use std::sync::Arc;

use crate::config::Config;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{Answer, Error, PoolSettings, Session, Statement};
use broken::Broken;
use job::Job;
pub(crate) use job::Mode;
use pool::Pool;
use request::Request;

/// Which server of a cluster a data path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The only one.
    Sole,
    /// The one that is written to, while replicas are read from: writes tell their position.
    Primary,
    /// A replica, by its name: reads tell what was replayed before them, and a failure to connect is told at once.
    Replica(Arc<str>),
}

impl Part {
    /// The replica's name.
    fn replica(&self) -> Option<&str> {
        if let Self::Replica(name) = self { Some(name) } else { None }
    }
}

/// The data-path connections of one project.
#[derive(Debug)]
pub(crate) struct DataPath {
    pool: Arc<Pool>,
    part: Part,
}

impl DataPath {
    /// No connection is made yet; all end at once when `closing` is cancelled.
    pub(crate) fn new(
        config: Config,
        settings: &PoolSettings,
        part: Part,
        closing: CancellationToken,
    ) -> Self {
        Self { pool: Arc::new(Pool::new(config, settings, &part, closing)), part }
    }

    /// Run `statement`. Dropping the future is safe at any time: what was not sent is not sent; what was sent is
    /// cancelled if it only reads and takes long, else it runs to its end and its answer is thrown away.
    pub(crate) async fn run(
        &self,
        session: &Session,
        statement: &Statement,
        mode: Mode,
    ) -> Result<Answer, Error> {
        let mut request = Request::encode(session, statement, mode.is_read())?;
        request.position = match &self.part {
            Part::Sole => false,
            Part::Primary => !mode.is_read(),
            Part::Replica(_) => mode.is_read(),
        };
        let (reply, answer) = oneshot::channel();
        self.pool.submit(Job::new(request, mode, reply));
        answer.await.unwrap_or_else(|_| Err(Error::Lost(Broken::Closed.into())))
    }

    /// Refuse new jobs; connections end as soon as they have nothing to do.
    pub(crate) fn drain(&self) {
        self.pool.drain();
    }

    /// End connections that have nothing to do.
    pub(crate) fn end_idle(&self) {
        self.pool.end_idle();
    }

    /// Connections open or being opened.
    pub(crate) fn open(&self) -> usize {
        self.pool.open_count()
    }
}
