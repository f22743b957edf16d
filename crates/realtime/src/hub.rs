//! Who receives what: the topics of one project in this process, and their subscribers.
//!
//! Public and private topics of one name are two. A topic exists while somebody has joined it.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::event::{BROADCAST, Event};
use crate::outbox::Outbox;

/// Parts that are locked by themselves.
const SHARDS: usize = 16;

type Topics = std::collections::HashMap<Arc<str>, Arc<Topic>, RandomState>;

/// The topics of a project.
pub(crate) struct Hub {
    shards: [RwLock<Topics>; SHARDS],
    hasher: RandomState,
}

struct Topic {
    key: Arc<str>,
    /// As clients name it.
    name: Arc<str>,
    members: RwLock<IndexMap<u64, Member, RandomState>>,
}

struct Member {
    outbox: Outbox,
    wants: Wants,
}

/// Which events a subscriber is sent; others than these it always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) broadcast: bool,
    pub(crate) presence: bool,
}

impl Wants {
    fn takes(self, event: &Event) -> bool {
        match event.name {
            BROADCAST => self.broadcast,
            "presence_diff" => self.presence,
            _ => true,
        }
    }
}

/// Ends a subscription when it is dropped.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    topic: Arc<Topic>,
    socket: u64,
}

/// The name of a topic among public and private ones.
pub(crate) fn key(topic: &str, is_private: bool) -> Arc<str> {
    if is_private { format!("private-{topic}").into() } else { topic.into() }
}

/// The topic of a [`key`], as clients name it.
pub(crate) fn topic_of(key: &str) -> &str {
    key.strip_prefix("private-").unwrap_or(key)
}

impl Hub {
    /// Without topics.
    pub(crate) fn new() -> Arc<Self> {
        let shards = std::array::from_fn(|_| RwLock::default());
        Arc::new(Self { shards, hasher: RandomState::default() })
    }

    /// Send what comes on `key` to `outbox` from now on.
    pub(crate) fn subscribe(self: &Arc<Self>, key: &Arc<str>, outbox: &Outbox, wants: Wants) -> Subscription {
        let socket = outbox.id();
        let mut topics = self.topics_mut(key);
        let topic = topics.entry(Arc::clone(key)).or_insert_with(|| {
            let name = topic_of(key).into();
            Arc::new(Topic { key: Arc::clone(key), name, members: RwLock::default() })
        });
        let topic = Arc::clone(topic);
        topic.members_mut().insert(socket, Member { outbox: outbox.clone(), wants });
        Subscription { hub: Arc::clone(self), topic, socket }
    }

    /// Send `event` to whoever subscribed to `key` in this process, but for the socket `except`: to how many.
    pub(crate) fn deliver(&self, key: &str, event: &Arc<Event>, except: Option<u64>) -> usize {
        let Some(topic) = self.topics(key).get(key).cloned() else { return 0 };
        let members = topic.members();
        let wanting = members.iter().filter(|(socket, it)| Some(**socket) != except && it.wants.takes(event));
        wanting.filter(|(_, it)| it.outbox.send(event)).count()
    }

    /// The name of `key` as its subscribers share it; `None` when there are none.
    pub(crate) fn name(&self, key: &str) -> Option<Arc<str>> {
        self.topics(key).get(key).map(|it| Arc::clone(&it.name))
    }

    /// All topics that have subscribers.
    pub(crate) fn keys(&self) -> Vec<Arc<str>> {
        let shards = self.shards.iter().map(|it| it.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|it| it.keys().cloned().collect::<Vec<_>>()).collect()
    }

    fn shard(&self, key: &str) -> &RwLock<Topics> {
        let [first, ..] = &self.shards;
        let place = usize::try_from(self.hasher.hash_one(key) % (SHARDS as u64)).unwrap_or_default();
        self.shards.get(place).unwrap_or(first)
    }

    fn topics(&self, key: &str) -> RwLockReadGuard<'_, Topics> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics_mut(&self, key: &str) -> RwLockWriteGuard<'_, Topics> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, topic: &Topic, socket: u64) {
        let mut topics = self.topics_mut(&topic.key);
        let mut members = topic.members_mut();
        members.swap_remove(&socket);
        if members.is_empty() {
            topics.remove(&topic.key);
        }
    }
}

impl Topic {
    fn members(&self) -> RwLockReadGuard<'_, IndexMap<u64, Member, RandomState>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn members_mut(&self) -> RwLockWriteGuard<'_, IndexMap<u64, Member, RandomState>> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Other events are wanted from now on.
    pub(crate) fn want(&self, wants: Wants) {
        if let Some(member) = self.topic.members_mut().get_mut(&self.socket) {
            member.wants = wants;
        }
    }

    /// The topic as clients name it, shared by its subscribers.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.topic.name
    }

    /// The topic among public and private ones.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.topic.key
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(&self.topic, self.socket);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic.key).field("socket", &self.socket).finish()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn taken(outbox: &Outbox) -> usize {
        outbox.take(&Context::from_waker(Waker::noop()), true).0.len()
    }

    const ALL: Wants = Wants { broadcast: true, presence: true };

    #[test]
    fn events_reach_those_who_joined_and_want_them() {
        let hub = Hub::new();
        let [a, b, c] = [1, 2, 3].map(|id| Outbox::new(id, 1000));
        let (public, private) = (key("realtime:x", false), key("realtime:x", true));
        let first = hub.subscribe(&public, &a, ALL);
        let _second = hub.subscribe(&public, &b, Wants { broadcast: false, presence: true });
        let _third = hub.subscribe(&private, &c, ALL);
        let event = Event::json(first.name(), BROADCAST, "{}");
        assert_eq!(hub.deliver(&public, &event, None), 1);
        assert_eq!(hub.deliver(&public, &event, Some(1)), 0);
        assert_eq!((taken(&a), taken(&b), taken(&c)), (1, 0, 0));
        first.want(Wants { broadcast: false, presence: false });
        assert_eq!(hub.deliver(&public, &Event::json(first.name(), "presence_diff", "{}"), None), 1);
        assert_eq!(hub.deliver(&private, &Event::json(&"realtime:x".into(), "system", "{}"), None), 1);
    }

    #[test]
    fn a_topic_ends_with_its_last_subscriber() {
        let hub = Hub::new();
        let topic = key("realtime:x", false);
        let one = hub.subscribe(&topic, &Outbox::new(1, 1000), ALL);
        let two = hub.subscribe(&topic, &Outbox::new(2, 1000), ALL);
        drop(one);
        assert_eq!(hub.keys().len(), 1);
        drop(two);
        assert!(hub.keys().is_empty());
    }
}
