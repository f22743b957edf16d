//! Who is in which topic, over all workers of a project.
//!
//! Each worker owns the members of its own sockets and tells the others of them by [`Redis`]; every worker knows all of
//! them, so that a state is read from memory and Redis may be away. A worker that falls silent loses its members after two
//! thirds of the TTL, one that ends at once; a gap in what was heard is mended from the owner's memory. Without Redis the
//! members of this process are all there are.
//!
//! [`Presence`], one per project and process, is what sockets use; a `topic` is a key of [`crate::hub`] here, so that public
//! and private topics of one name are two:
//! - [`Presence::new`] with the function that delivers an event to this process's subscribers of a topic;
//! - [`Presence::track`] and [`Presence::untrack`] for a client's events (they count against its limits), again `track`
//!   for an update; [`Presence::leave`] when a socket leaves a topic, [`Presence::leave_all`] when it closes, always;
//! - [`Presence::state`] is the payload of `presence_state`, sent after the socket was subscribed; `presence_diff` events
//!   follow by themselves;
//! - [`Presence::close`] when the process ends.
//!
//! [`PresenceManager`] is the same for the rest of the program (REQ C4): users instead of sockets, alive while heartbeats
//! come. In Redis stand, for people to look at (REQ C8), `presence:channel:{name}:users`, a set of keys, and
//! `presence:channel:{name}:user:{key}`, each key's last meta for the TTL; other projects than the default one have
//! `presence:project:{reference}:channel:…`. In keys of members `:` is written `%3A`.

mod limits;
mod local;
mod manager;
mod seen;
mod state;
mod text;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::ProjectRef;
use serde_json::Value;
use store::Redis;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use limits::{PresenceRefusal, PresenceSettings};
pub use manager::PresenceManager;

use crate::event::Event;
use local::{Local, Who};
use state::WorkerId;

/// Delivers an event to this process's subscribers of a topic.
pub(crate) type Deliver = Arc<dyn Fn(&Arc<str>, Arc<Event>) + Send + Sync>;

/// The members of one project's topics. Cheap to clone; the last one dropped lets this worker's members leave.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    shared: Arc<Shared>,
    _end: Arc<DropGuard>,
}

struct Shared {
    redis: Redis,
    own: WorkerId,
    settings: PresenceSettings,
    /// What stands in front of a channel's name in Redis.
    prefix: String,
    /// Where workers talk.
    channel: String,
    deliver: Deliver,
    local: Mutex<Local>,
    changed: Notify,
    ends: CancellationToken,
    ended: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("own", &self.own)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Change something, and let the others know a moment later.
    fn change<T>(&self, change: impl FnOnce(&mut Local) -> T) -> T {
        let (outcome, is_changed) = {
            let mut local = self.local();
            (change(&mut local), local.is_changed())
        };
        if is_changed {
            self.changed.notify_one();
        }
        outcome
    }
}

impl Presence {
    /// The members of `project`, nobody at first. Must be called on a runtime.
    pub(crate) fn new(
        redis: &Redis,
        project: &ProjectRef,
        settings: PresenceSettings,
        deliver: Deliver,
    ) -> Self {
        let (own, _) = Uuid::new_v4().as_u64_pair();
        let ends = CancellationToken::new();
        let _end = Arc::new(ends.clone().drop_guard());
        // Names of channels may hold anything: what is before them must tell projects apart.
        let prefix = match project.is_default() {
            true => "presence:channel:".to_owned(),
            false => format!("presence:project:{project}:channel:"),
        };
        let shared = Arc::new(Shared {
            redis: redis.clone(),
            own,
            settings,
            prefix,
            channel: format!("madbase:realtime:presence:{project}"),
            deliver,
            local: Mutex::new(Local::new(own, Instant::now())),
            changed: Notify::new(),
            ends,
            ended: CancellationToken::new(),
        });
        worker::start(Arc::clone(&shared));
        Self { shared, _end }
    }

    /// `socket` is in `topic` as `key`, and says `meta` of itself; a socket that was there already leaves at once.
    ///
    /// # Errors
    /// [`PresenceRefusal`]; then everything stays as it was.
    pub(crate) fn track(
        &self,
        topic: &Arc<str>,
        socket: u64,
        key: &str,
        meta: &Value,
    ) -> Result<(), PresenceRefusal> {
        let settings = &self.shared.settings;
        if key.len() > limits::SHORT_BYTES {
            return Err(PresenceRefusal::TooLarge);
        }
        let (said, bytes) = limits::said(meta, settings.max_meta_bytes)?;
        self.shared.change(|local| {
            local.admit(Who::Socket(socket), settings, Instant::now())?;
            local.make_sure_of_room(topic, bytes, settings)?;
            local.put(Who::Socket(socket), (topic, key), said, (None, settings.max_members))
        })
    }

    /// `socket` is not shown in `topic` any more.
    ///
    /// # Errors
    /// [`PresenceRefusal`]; then it is still shown.
    pub(crate) fn untrack(&self, topic: &str, socket: u64) -> Result<(), PresenceRefusal> {
        self.shared.change(|local| {
            local.admit(Who::Socket(socket), &self.shared.settings, Instant::now())?;
            local.take(&Who::Socket(socket), topic);
            Ok(())
        })
    }

    /// `socket` left `topic`.
    pub(crate) fn leave(&self, topic: &str, socket: u64) {
        self.shared.change(|local| local.take(&Who::Socket(socket), topic));
    }

    /// `socket` was closed.
    pub(crate) fn leave_all(&self, socket: u64) {
        self.shared.change(|local| local.take_all(&Who::Socket(socket)));
    }

    /// Who is in `topic`, as JSON: `{key: {metas: [{phx_ref, …}]}}`.
    pub(crate) fn state(&self, topic: &str) -> Bytes {
        let told = self.shared.local().state.told(topic);
        text::state(&told).into()
    }

    /// This worker's members leave everywhere, now. Returns when the others were told.
    pub(crate) async fn close(&self) {
        self.shared.ends.cancel();
        self.shared.ended.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
