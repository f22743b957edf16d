//! Makes the services' connections: on a watched socket, and only to a server that can write when that is asked for.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Error, NoTls};

use super::watched::Watched;
use crate::config::{Config, REFUSE_STANDBY};
use crate::hosts;
use crate::socket::{self, Address};

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

tokio::task_local! {
    /// The mark of the connection that this task has just made: how it gets from here to the pool's hook.
    pub(super) static FRESH: RefCell<Option<Mark>>;
}

/// Becomes true when its connection is useless.
pub(super) type Mark = Arc<AtomicBool>;

/// How the pool of a project's services connects.
#[derive(Debug)]
pub(super) struct WatchedConnect(pub(super) Config);

impl Connect for WatchedConnect {
    /// As our own configuration says, which the pool's is made from.
    fn connect(&self, _config: &tokio_postgres::Config) -> Connecting<'_> {
        Box::pin(connect(&self.0))
    }
}

/// Connect to the first address that serves; the last failure is the one that is told.
async fn connect(config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
    match hosts::first(config, |address| open_at(address, config)).await {
        Ok(it) => Ok(it),
        Err(Some(error)) => Err(error),
        Err(None) => open(Watched::failed(io::Error::other("the configuration names no host")), config).await,
    }
}

async fn open_at(address: Address, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
    let stream = match socket::connect(&address, config).await {
        Ok(it) => Watched::new(it),
        Err(error) => Watched::failed(error),
    };
    open(stream, config).await
}

async fn open(stream: Watched, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
    let mark = stream.mark();
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a service's connection ended");
        }
    });
    if config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
        client.batch_execute(REFUSE_STANDBY).await?;
    }
    let _ = FRESH.try_with(|it| it.replace(Some(mark)));
    Ok((client, task))
}
