//! A server with everything in it: serves until told to stop, then stops from the outside inwards.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gateway::{Cores, Drained, Endpoint, Listener, ServeSettings};
use realtime::Realtime;
use store::Databases;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::layout::Layout;
use crate::lock::Lock;
use crate::postgres::{self, Postgres};
use crate::roles::CLOSE_LIMIT;
use crate::run_file::RunFile;
use crate::signals::Signals;

/// Ended by a second signal.
const INTERRUPTED: i32 = 130;
/// How long work in the background may take to end once nobody is served any more.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);

/// What tells the parts of a process to end, in order. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// Somebody asks this process to stop, as a signal does.
    pub(crate) stop: CancellationToken,
    /// The signal came: requests in flight finish.
    pub(crate) draining: CancellationToken,
    /// The last request has finished: work in the background ends.
    pub(crate) ended: CancellationToken,
    /// That work.
    pub(crate) background: TaskTracker,
}

/// A running server.
pub(crate) struct Server {
    /// The data directory.
    pub(crate) layout: Layout,
    /// Held until everything has stopped.
    pub(crate) lock: Lock,
    /// Stopped last, when it is ours.
    pub(crate) postgres: Postgres,
    /// The pools.
    pub(crate) databases: Databases,
    /// What was opened by [`serve`], and [`drain_sockets`].
    pub(crate) listeners: Vec<JoinHandle<Drained>>,
    /// Where connections are served, if not everywhere. Connections to databases and work in the background may have been
    /// begun there, too: they end last.
    pub(crate) cores: Option<Cores>,
    /// Tells everything to end.
    pub(crate) life: Life,
}

impl Server {
    /// Until a signal; then requests in flight finish (REQ H5), background work ends, pools close, PostgreSQL stops.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<ExitCode> {
        tokio::select! {
            () = signals.next() => {}
            () = self.life.stop.cancelled() => {}
        }
        tracing::info!("stopping: requests in flight finish first");
        tokio::spawn(end_at_second(signals, self.layout.clone()));
        self.life.draining.cancel();
        for listener in self.listeners {
            listener.await.context("drain a listener")?;
        }
        self.life.ended.cancel();
        self.life.background.close();
        if timeout(BACKGROUND_LIMIT, self.life.background.wait()).await.is_err() {
            tracing::warn!("work in the background did not end in time");
        }
        self.databases.close(CLOSE_LIMIT).await;
        drop(self.cores);
        self.postgres.stop().await;
        RunFile::remove(&self.layout);
        drop(self.lock);
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// Accept connections from now on, until `life` drains.
pub(crate) fn serve(
    listener: impl Into<Listener>,
    endpoint: impl Into<Endpoint>,
    settings: ServeSettings,
    life: &Life,
) -> JoinHandle<Drained> {
    tokio::spawn(gateway::serve(listener.into(), endpoint.into(), settings, life.draining.clone()))
}

/// As [`serve()`], with the connections on `cores`.
pub(crate) fn serve_on(
    cores: &Cores,
    listener: impl Into<Listener>,
    endpoint: impl Into<Endpoint>,
    settings: ServeSettings,
    life: &Life,
) -> JoinHandle<Drained> {
    let (cores, draining) = (cores.clone(), life.draining.clone());
    tokio::spawn(gateway::serve_on(Some(cores), listener.into(), endpoint.into(), settings, draining))
}

/// The sockets of `realtime` reconnect elsewhere when `life` drains, in the time that requests have to finish.
pub(crate) fn drain_sockets(realtime: Realtime, settings: ServeSettings, life: &Life) -> JoinHandle<Drained> {
    let draining = life.draining.clone();
    tokio::spawn(async move {
        draining.cancelled().await;
        sleep(settings.drain_delay).await;
        let drained = realtime.drain(settings.drain_deadline).await;
        Drained { finished: drained.told.saturating_sub(drained.left), cut: drained.left }
    })
}

/// Whoever asks twice does not want to wait.
async fn end_at_second(mut signals: Signals, layout: Layout) {
    signals.next().await;
    tracing::warn!("asked twice: ending at once");
    postgres::end_at_once(&layout);
    std::process::exit(INTERRUPTED);
}
