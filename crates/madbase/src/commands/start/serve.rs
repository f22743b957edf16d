//! A server with everything in it: serves until told to stop, then stops from the outside inwards.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gateway::{Drained, Endpoint, ServeSettings};
use store::Databases;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Ground;
use super::postgres::{self, Postgres};
use super::signals::Signals;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::roles::{CLOSE_LIMIT, Parts};
use crate::run_file::RunFile;

/// Ended by a second signal.
const INTERRUPTED: i32 = 130;

/// A running server.
pub(crate) struct Server {
    layout: Layout,
    /// Held until everything has stopped.
    _lock: Lock,
    postgres: Postgres,
    databases: Databases,
    listeners: Vec<JoinHandle<Drained>>,
    shutdown: CancellationToken,
}

impl Server {
    /// Accept connections from now on.
    pub(crate) fn open(ground: Ground, postgres: Postgres, parts: Parts) -> Result<Self> {
        let shutdown = CancellationToken::new();
        let listeners = vec![
            serve(ground.api.listen()?, parts.api, shutdown.clone()),
            serve(ground.control.listen()?, parts.control.into(), shutdown.clone()),
        ];
        Ok(Self {
            layout: ground.layout,
            _lock: ground.lock,
            postgres,
            databases: parts.databases,
            listeners,
            shutdown,
        })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Until a signal; then requests in flight finish (REQ H5), pools close, PostgreSQL stops.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<ExitCode> {
        signals.next().await;
        tracing::info!("stopping: requests in flight finish first");
        tokio::spawn(end_at_second(signals, self.layout.clone()));
        self.shutdown.cancel();
        for listener in self.listeners {
            listener.await.context("drain a listener")?;
        }
        self.databases.close(CLOSE_LIMIT).await;
        self.postgres.stop().await;
        RunFile::remove(&self.layout);
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

fn serve(listener: TcpListener, endpoint: Endpoint, shutdown: CancellationToken) -> JoinHandle<Drained> {
    tokio::spawn(gateway::serve(listener, endpoint, ServeSettings::default(), shutdown))
}

/// Whoever asks twice does not want to wait.
async fn end_at_second(mut signals: Signals, layout: Layout) {
    signals.next().await;
    tracing::warn!("asked twice: ending at once");
    postgres::end_at_once(&layout);
    std::process::exit(INTERRUPTED);
}
