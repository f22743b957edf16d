//! `LISTEN` on a connection of its own, made anew whenever it breaks.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Notifications kept for a slow listener; further ones wait on the socket.
const BACKLOG: usize = 64;
/// The first wait after a lost connection; doubles up to [`LONGEST_WAIT`] while none can be made. Nothing is heard
/// meanwhile, so that people would wait as long for their new tables, and a project for what was changed of it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

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
    receiver: mpsc::Receiver<Notification>,
}

impl Notifications {
    /// The next notification; `None` when the database was closed.
    pub async fn next(&mut self) -> Option<Notification> {
        self.receiver.recv().await
    }

    /// Wait until no further notification came for `quiet` (debouncing), but not longer than `at_most`; what comes
    /// meanwhile is dropped.
    pub async fn settle(&mut self, quiet: Duration, at_most: Duration) {
        let settled =
            async { while let Ok(Some(_)) = tokio::time::timeout(quiet, self.receiver.recv()).await {} };
        let _ = tokio::time::timeout(at_most, settled).await;
    }
}

/// Listen on `channel` until the receiver is dropped or `closing` is cancelled.
pub(crate) fn listen(config: Config, channel: &'static str, closing: CancellationToken) -> Notifications {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        tokio::select! {
            () = closing.cancelled() => {}
            () = sender.closed() => {}
            () = keep_listening(&config, channel, &sender) => {}
        }
    });
    Notifications { receiver }
}

async fn keep_listening(config: &Config, channel: &str, sender: &mpsc::Sender<Notification>) {
    let mut wait = FIRST_WAIT;
    loop {
        let Err(error) = listen_once(config, channel, sender, &mut wait).await else { return };
        tracing::debug!(channel, %error, wait_ms = wait.as_millis(), "listener lost its connection");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Returns `Ok` when nobody listens any more. Once it listens, the next wait is the first one again.
async fn listen_once(
    config: &Config,
    channel: &str,
    sender: &mpsc::Sender<Notification>,
    wait: &mut Duration,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let forward = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(it) = message?
                && sender.send(Notification::Message(it.payload().to_owned())).await.is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    };
    let hold = async {
        client.batch_execute(&format!("listen \"{}\"", channel.replace('"', "\"\""))).await?;
        *wait = FIRST_WAIT;
        let _ = sender.send(Notification::Connected).await;
        // The client must live as long as its connection.
        std::future::pending().await
    };
    tokio::select! {
        it = forward => it,
        it = hold => it,
    }
}
