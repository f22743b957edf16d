//! Messages between processes: Redis pub/sub on a connection of its own, made anew whenever it breaks.
//!
//! Nothing is kept for whoever is away: after a gap a subscriber hears [`Notification::Connected`] and must assume that
//! it missed something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::Client;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::RedisSettings;
use crate::Notification;

/// Messages kept for a slow subscriber; one that falls further behind hears of a gap.
const BACKLOG: usize = 1024;
/// Between checks that the connection still stands.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// A stream of messages.
#[derive(Debug)]
pub struct Messages {
    receiver: broadcast::Receiver<Notification>,
    /// Told first.
    first: Option<Notification>,
}

impl Messages {
    /// The next message; `None` when the last [`super::Redis`] was dropped.
    pub async fn next(&mut self) -> Option<Notification> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        match self.receiver.recv().await {
            Ok(message) => Some(message),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Notification::Connected),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Who listens to what in this process.
#[derive(Debug)]
pub(super) struct Channels {
    configured: bool,
    senders: Mutex<HashMap<String, broadcast::Sender<Notification>>>,
    added: mpsc::UnboundedSender<String>,
    to_add: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Channels {
    pub(super) fn new(configured: bool) -> Self {
        let (added, to_add) = mpsc::unbounded_channel();
        Self { configured, senders: Mutex::default(), added, to_add: Mutex::new(Some(to_add)) }
    }

    /// Channels without a listener are forgotten here, so their number is bounded by the listeners.
    pub(super) fn subscribe(&self, channel: &str) -> Messages {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|name, it| name == channel || it.receiver_count() > 0);
        let sender = senders.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        let receiver = sender.subscribe();
        // Also for one that is subscribed to already: the new listener waits to hear that it is.
        if self.configured {
            let _ = self.added.send(channel.to_owned());
        }
        let first = (!self.configured).then_some(Notification::Connected);
        Messages { receiver, first }
    }

    /// Deliver within this process.
    pub(super) fn tell(&self, channel: &str, message: &str) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(channel) {
            let _ = sender.send(Notification::Message(message.to_owned()));
        }
    }

    fn tell_connected(&self, channel: Option<&str>) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, sender) in senders.iter() {
            if channel.is_none_or(|it| it == name) {
                let _ = sender.send(Notification::Connected);
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.keys().cloned().collect()
    }
}

/// Listen until `ends`.
pub(super) fn keep_listening(
    client: Client,
    channels: Arc<Channels>,
    settings: RedisSettings,
    ends: CancellationToken,
) {
    let to_add = channels.to_add.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut to_add) = to_add else { return };
    tokio::spawn(async move {
        let listening = async {
            loop {
                if let Err(error) = listen(&client, &channels, &settings, &mut to_add).await {
                    tracing::debug!(error, "subscriptions lost");
                }
                tokio::time::sleep(settings.retry).await;
            }
        };
        tokio::select! {
            () = ends.cancelled() => {}
            () = listening => {}
        }
    });
}

/// Returns when the connection broke.
async fn listen(
    client: &Client,
    channels: &Channels,
    settings: &RedisSettings,
    to_add: &mut mpsc::UnboundedReceiver<String>,
) -> Result<(), String> {
    let limit = settings.connect_timeout;
    let late = |_| "no answer in time".to_owned();
    let pubsub = timeout(limit, client.get_async_pubsub()).await.map_err(late)?;
    let (mut sink, mut stream) = pubsub.map_err(|it| it.to_string())?.split();
    // Those that are told of twice are harmless.
    while to_add.try_recv().is_ok() {}
    for name in channels.names() {
        timeout(limit, sink.subscribe(name)).await.map_err(late)?.map_err(|it| it.to_string())?;
    }
    channels.tell_connected(None);
    loop {
        tokio::select! {
            message = stream.next() => {
                let message = message.ok_or("the connection was closed")?;
                let payload: String = message.get_payload().unwrap_or_default();
                channels.tell(message.get_channel_name(), &payload);
            }
            name = to_add.recv() => {
                let name = name.ok_or("nobody subscribes any more")?;
                let subscribing = sink.subscribe(&name);
                timeout(limit, subscribing).await.map_err(late)?.map_err(|it| it.to_string())?;
                channels.tell_connected(Some(&name));
            }
            () = tokio::time::sleep(CHECK_EVERY) => {
                let pinging = sink.ping::<redis::Value>();
                timeout(limit, pinging).await.map_err(late)?.map_err(|it| it.to_string())?;
            }
        }
    }
}
