//! Redis, or its absence: what processes share beside PostgreSQL. Only what can be rebuilt lives there.
//!
//! No request fails or waits because Redis is away: [`Link`] answers "nothing" at once while there is no connection,
//! and a task of its own brings it back. Messages to other processes go by [`Redis::publish`] and
//! [`Redis::subscribe`]; without Redis they stay in this process.

mod link;
mod measures;
mod members;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use link::Link;
pub use members::Member;
pub use messages::Messages;

use crate::Error;
use crate::cache::Registry;
use messages::Channels;

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host[:port][/db]`; `None` does without.
    pub url: Option<SecretString>,
    /// The longest that a cache keeps a value, whatever it wants by itself (REQ C7).
    pub cache_ttl: Duration,
    /// Longest wait for an answer; a request waits that long once, then Redis counts as away.
    pub answer_timeout: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Time between attempts to come back, and between checks that the connection still stands.
    pub retry: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            cache_ttl: Duration::from_secs(3600),
            answer_timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(1),
            retry: Duration::from_millis(250),
        }
    }
}

/// A handle on Redis, or on nothing. Cheap to clone; the last one dropped ends the connections.
#[derive(Debug, Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    channels: Arc<Channels>,
    caches: Arc<Registry>,
    _ends: DropGuard,
}

impl Redis {
    /// No Redis: caches stay in this process, messages too.
    #[must_use]
    pub fn none() -> Self {
        Self::build(RedisSettings::default()).0
    }

    /// Connects in the background, now and whenever the connection was lost. Must be called on a runtime.
    ///
    /// # Errors
    /// [`Error::RedisUrl`] when the URL cannot be read; that Redis does not answer is no error.
    pub fn open(settings: RedisSettings) -> Result<Self, Error> {
        let client = match &settings.url {
            Some(url) => Some(redis::Client::open(url.expose_secret()).map_err(|_| Error::RedisUrl)?),
            None => None,
        };
        let (redis, ends) = Self::build(settings);
        if let Some(client) = client {
            let Inner { link, channels, caches, .. } = &*redis.inner;
            link::keep_up(Arc::clone(link), client.clone(), Arc::clone(caches), ends.clone());
            messages::keep_listening(client, Arc::clone(channels), link.settings().clone(), ends.clone());
            crate::cache::keep_hearing(redis.subscribe(crate::cache::CHANNEL), Arc::clone(caches), ends);
        }
        Ok(redis)
    }

    fn build(settings: RedisSettings) -> (Self, CancellationToken) {
        let ends = CancellationToken::new();
        let configured = settings.url.is_some();
        let inner = Inner {
            link: Arc::new(Link::new(settings)),
            channels: Arc::new(Channels::new(configured)),
            caches: Arc::default(),
            _ends: ends.clone().drop_guard(),
        };
        (Self { inner: Arc::new(inner) }, ends)
    }

    /// Whether a Redis is configured at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.inner.link.settings().url.is_some()
    }

    /// The longest that a cache keeps a value.
    #[must_use]
    pub fn cache_ttl(&self) -> Duration {
        self.inner.link.settings().cache_ttl
    }

    /// Whether it answers right now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.inner.link.is_up()
    }

    /// Tell `message` to whoever subscribed to `channel`, in all processes; in this one only while Redis is away.
    pub async fn publish(&self, channel: &str, message: &str) {
        let mut pipe = redis::pipe();
        pipe.publish(channel, message).ignore();
        if self.inner.link.ask::<()>(&pipe).await.is_none() {
            self.inner.channels.tell(channel, message);
        }
    }

    /// As [`Redis::publish`], for what others must not miss: waits for Redis up to `patience`, and says whether it was told.
    pub async fn tell(&self, channel: &str, message: &str, patience: Duration) -> bool {
        if !self.is_configured() {
            self.inner.channels.tell(channel, message);
            return true;
        }
        let mut pipe = redis::pipe();
        pipe.publish(channel, message).ignore();
        self.inner.link.ask_within::<()>(&pipe, patience).await.is_some()
    }

    /// Hear what is told on `channel` from now on.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Messages {
        self.inner.channels.subscribe(channel)
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.inner.link
    }

    pub(crate) fn caches(&self) -> &Registry {
        &self.inner.caches
    }
}
