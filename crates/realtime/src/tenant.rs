//! One project's part of this process: its topics, its limits, and what its sockets share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use bytes::Bytes;
use common::{Project, RealtimeSettings};
use serde_json::json;
use store::{Databases, Locks, Redis};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bus::Bus;
use crate::changes::Changes;
use crate::event::Event;
use crate::feed::{Feed, Feeds, Sinks, SqlBroadcast, Status};
use crate::hub::{self, Hub};
use crate::limits::Rate;
use crate::partitions;
use crate::presence::{Presence, PresenceSettings};
use crate::rights::{Rights, RightsSettings};
use crate::sessions::{self, Check, Sessions};

/// What tenants are made from.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) databases: Databases,
    pub(crate) redis: Redis,
    pub(crate) locks: Locks,
    pub(crate) feeds: Feeds,
    pub(crate) check: Arc<Check>,
    pub(crate) rights: RightsSettings,
}

/// A project that has sockets here.
pub(crate) struct Tenant {
    /// As the newest request had it.
    project: RwLock<Arc<Project>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) bus: Bus,
    pub(crate) rights: Rights,
    pub(crate) presence: Presence,
    pub(crate) changes: Arc<Changes>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) joins: Rate,
    pub(crate) events: Rate,
    pub(crate) bytes: Rate,
    sockets: AtomicUsize,
    feeds: Feeds,
    /// While there are channels; shared by them.
    feed: Mutex<Weak<Feed>>,
    /// Ends the upkeep of its partitions.
    _ends: DropGuard,
}

impl Tenant {
    /// Must be called on a runtime.
    pub(crate) fn new(project: Arc<Project>, ground: &Ground) -> Arc<Self> {
        let hub = Hub::new();
        let (reference, members) = (&project.reference, Arc::clone(&hub));
        let events_per_second = project.realtime.max_presence_events_per_second;
        let settings = PresenceSettings { events_per_second, ..PresenceSettings::default() };
        let deliver = move |key: &Arc<str>, event| {
            members.deliver(key, &event, None);
        };
        let ends = CancellationToken::new();
        let (databases, locks) = (ground.databases.clone(), ground.locks.clone());
        tokio::spawn(partitions::keep_up(
            databases,
            locks,
            Arc::clone(&project),
            partitions::EVERY,
            ends.clone(),
        ));
        let tenant = Arc::new(Self {
            _ends: ends.drop_guard(),
            bus: Bus::new(&ground.redis, reference, &hub),
            rights: Rights::new(&ground.rights),
            presence: Presence::new(&ground.redis, reference, settings, Arc::new(deliver)),
            changes: Arc::new(Changes::new(ground.databases.clone(), Arc::clone(&project))),
            sessions: Arc::default(),
            joins: Rate::new(),
            events: Rate::new(),
            bytes: Rate::new(),
            sockets: AtomicUsize::new(0),
            feeds: ground.feeds.clone(),
            feed: Mutex::default(),
            project: RwLock::new(project),
            hub,
        });
        tokio::spawn(sessions::look_after(Arc::downgrade(&tenant), Arc::clone(&ground.check)));
        tenant
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        Arc::clone(&self.project.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request had it like this.
    pub(crate) fn meet(&self, project: &Arc<Project>) {
        if self.project().version != project.version {
            *self.project.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(project);
        }
    }

    pub(crate) fn settings(&self) -> RealtimeSettings {
        self.project().realtime
    }

    /// One more socket, if the project may have it.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let most = usize::try_from(self.settings().max_concurrent_users).unwrap_or(usize::MAX);
        if self.sockets.fetch_add(1, Ordering::Relaxed) >= most {
            self.sockets.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat(Arc::clone(self)))
    }

    /// Send `event` to who joined `key`, in all processes, but for the socket `except`.
    pub(crate) fn broadcast(&self, key: &str, event: &Arc<Event>, except: Option<u64>) {
        self.hub.deliver(key, event, except);
        self.bus.tell(key, event);
    }

    /// Whether a message of `bytes` keeps to the limits.
    pub(crate) fn admits(&self, settings: &RealtimeSettings, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.events.take(1, settings.max_events_per_second)
            && self.bytes.take(bytes, settings.max_bytes_per_second)
    }

    /// The project's stream of changes, which every channel keeps going.
    pub(crate) fn feed(self: &Arc<Self>) -> Arc<Feed> {
        let mut kept = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = kept.upgrade() {
            return feed;
        }
        let feed = Arc::new(self.feeds.follow(&self.project(), self.sinks()));
        tokio::spawn(tell_outages(feed.status(), Arc::clone(&self.changes)));
        *kept = Arc::downgrade(&feed);
        feed
    }

    fn sinks(&self) -> Sinks {
        let (changes, hub) = (Arc::clone(&self.changes), Arc::clone(&self.hub));
        let missing = Arc::clone(&self.changes);
        Sinks {
            changes: Arc::new(move |batch| {
                let changes = Arc::clone(&changes);
                Box::pin(async move { changes.apply(batch).await })
            }),
            broadcast: Arc::new(move |broadcast| deliver(&hub, broadcast)),
            gap: Arc::new(move || missing.tell_gap("Changes may have been lost")),
        }
    }
}

/// Tell subscribers when changes do not come any more, until the feed ends.
async fn tell_outages(mut status: watch::Receiver<Status>, changes: Arc<Changes>) {
    while status.wait_for(|it| *it == Status::Live).await.is_ok() {
        let Ok(now) = status.wait_for(|it| *it != Status::Live).await.map(|it| it.clone()) else { return };
        if let Status::Unavailable(why) = now {
            changes.tell_gap(&why);
        }
    }
}

/// Every process hears of what SQL sends: nobody else has to be told.
fn deliver(hub: &Hub, broadcast: SqlBroadcast) {
    let key = hub::key(&format!("realtime:{}", broadcast.topic), broadcast.is_private);
    let Some(topic) = hub.name(&key) else { return };
    let meta = Bytes::from(json!({"id": broadcast.id}).to_string());
    let event = Event::broadcast(&topic, &broadcast.event, (meta, broadcast.body), broadcast.is_json);
    hub.deliver(&key, &event, None);
}

/// A socket's place among those of its project.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Tenant>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenant").field("project", &self.project().reference).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ground(..)")
    }
}
