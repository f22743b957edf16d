//! Keeps PostgreSQL running: when it ends by itself (out of memory, `kill`), it is healed and started again.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Cluster, Error, Running, Stopped};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A task that holds a running PostgreSQL.
#[derive(Debug)]
pub struct Supervisor {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<Stopped>>,
}

impl Supervisor {
    /// Watch `running`, which belongs to `cluster`; it comes back on the same port.
    #[must_use]
    pub fn new(cluster: Cluster, running: Running) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(watch(cluster, running, stopped)) }
    }

    /// Stop PostgreSQL. `None` when it was down at that moment.
    pub async fn stop(self) -> Option<Stopped> {
        let _ = self.stop.send(());
        self.task.await.ok().flatten()
    }
}

async fn watch(cluster: Cluster, mut running: Running, mut stop: oneshot::Receiver<()>) -> Option<Stopped> {
    let port = running.port();
    loop {
        tokio::select! {
            _ = &mut stop => return Some(running.stop().await),
            status = running.exited() => {
                let status = status.map(|it| it.to_string());
                tracing::error!(status, "postgres ended by itself; starting it again");
            }
        }
        running = tokio::select! {
            _ = &mut stop => return None,
            again = restart(&cluster, port) => again,
        };
        tracing::info!(pid = running.pid(), "postgres is back");
    }
}

/// Until it works; the pauses between attempts grow.
async fn restart(cluster: &Cluster, port: u16) -> Running {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt(cluster, port).await {
            Ok(running) => return running,
            Err(error) => tracing::error!(%error, "postgres could not be started again"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(cluster: &Cluster, port: u16) -> Result<Running, Error> {
    cluster.recover().await?;
    cluster.start(port).await
}
