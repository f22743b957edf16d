//! Messages between the processes of a project, by Redis: each is told to every process that has subscribers in its part of
//! the topics, once, and given to those there.
//!
//! Topics fall into [`PARTS`] parts, one channel of Redis each; a process listens to the parts in which it has channels.
//! Without Redis there is one process, and nothing to tell. What was missed while Redis was away is gone: subscribers are
//! told so when it is back.

mod wire;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::ProjectRef;
use futures_util::future::join_all;
use serde_json::json;
use store::{Notification, Redis};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::wire::Told;
use crate::event::Event;
use crate::hub::{self, Hub};

/// Parts of a project's topics.
const PARTS: usize = 64;
/// What may wait for Redis, in kB; more is lost, and told as a gap.
const MAX_WAITING_KB: usize = 64 * 1024;
/// Messages that are sent together.
const TOGETHER: usize = 64;
/// How long a joining waits until messages of other processes come.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// How long Redis may take for a message.
const PATIENCE: Duration = Duration::from_secs(1);

const GAP: &str = "Messages of other servers may have been lost";

/// A project's messages from and to other processes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bus {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    redis: Redis,
    /// In front of a part's number.
    prefix: String,
    /// This process.
    origin: u64,
    hub: Arc<Hub>,
    parts: Mutex<[Part; PARTS]>,
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    /// Parts that lost a message for want of room or of Redis, one bit each.
    lost: Arc<AtomicU64>,
    _ends: DropGuard,
}

#[derive(Default)]
struct Part {
    holds: usize,
    listening: Option<Listening>,
}

struct Listening {
    ready: watch::Receiver<bool>,
    _ends: DropGuard,
}

struct Waiting {
    part: usize,
    message: String,
    _room: OwnedSemaphorePermit,
}

/// Keeps messages of other processes coming, for one channel of a socket.
pub(crate) struct Hold {
    shared: Option<(Arc<Shared>, usize)>,
}

impl Bus {
    /// Must be called on a runtime.
    pub(crate) fn new(redis: &Redis, project: &ProjectRef, hub: &Arc<Hub>) -> Self {
        if !redis.is_configured() {
            return Self { shared: None };
        }
        let (queue, waiting) = mpsc::unbounded_channel();
        let (ends, lost) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let shared = Arc::new(Shared {
            redis: redis.clone(),
            prefix: format!("madbase:realtime:bus:{project}:"),
            origin: RandomState::new().hash_one(std::process::id()),
            hub: Arc::clone(hub),
            parts: Mutex::new(std::array::from_fn(|_| Part::default())),
            queue,
            room: Arc::new(Semaphore::new(MAX_WAITING_KB)),
            lost: Arc::clone(&lost),
            _ends: ends.clone().drop_guard(),
        });
        let sending = send(redis.clone(), shared.prefix.clone(), waiting, lost);
        tokio::spawn(async move { ends.run_until_cancelled(sending).await });
        Self { shared: Some(shared) }
    }

    /// Whether there are other processes to hear of.
    pub(crate) fn is_alone(&self) -> bool {
        self.shared.is_none()
    }

    /// Tell the other processes of `event`, which was sent to `key`. Never waits.
    pub(crate) fn tell(&self, key: &str, event: &Event) {
        let Some(shared) = &self.shared else { return };
        let part = part_of(key);
        let message = wire::write(shared.origin, key, event);
        let bit = 1_u64 << part;
        if shared.lost.load(Ordering::Relaxed) & bit != 0 && shared.put(part, wire::gap(shared.origin)) {
            shared.lost.fetch_and(!bit, Ordering::Relaxed);
        }
        if !shared.put(part, message) {
            lose(&shared.lost, part);
        }
    }

    /// Hear what others send to `key`, as long as the answer lives.
    pub(crate) fn hold(&self, key: &str) -> Hold {
        let Some(shared) = &self.shared else { return Hold { shared: None } };
        let part = part_of(key);
        if let Some(it) = shared.parts().get_mut(part) {
            it.holds += 1;
            it.listening.get_or_insert_with(|| shared.listen(part));
        }
        Hold { shared: Some((Arc::clone(shared), part)) }
    }
}

impl Hold {
    /// Wait until messages come, unless Redis is away.
    pub(crate) async fn ready(&self) {
        let Some((shared, part)) = &self.shared else { return };
        if !shared.redis.is_up() {
            return;
        }
        let ready = shared.parts().get(*part).and_then(|it| Some(it.listening.as_ref()?.ready.clone()));
        if let Some(mut ready) = ready {
            let _late_is_a_gap = timeout(READY_LIMIT, ready.wait_for(|it| *it)).await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some((shared, part)) = self.shared.take() else { return };
        if let Some(part) = shared.parts().get_mut(part) {
            part.holds -= 1;
            if part.holds == 0 {
                part.listening = None;
            }
        }
    }
}

impl Shared {
    fn parts(&self) -> MutexGuard<'_, [Part; PARTS]> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, part: usize, message: String) -> bool {
        let size_kb = u32::try_from(message.len() / 1000 + 1).unwrap_or(u32::MAX);
        let Ok(_room) = Arc::clone(&self.room).try_acquire_many_owned(size_kb) else { return false };
        self.queue.send(Waiting { part, message, _room }).is_ok()
    }

    fn listen(&self, part: usize) -> Listening {
        let (told, ready) = watch::channel(false);
        let ends = CancellationToken::new();
        let channel = format!("{}{part}", self.prefix);
        let mut messages = self.redis.subscribe(&channel);
        let (hub, origin, until) = (Arc::clone(&self.hub), self.origin, ends.clone());
        let listening = async move {
            while let Some(message) = messages.next().await {
                match message {
                    Notification::Connected if !told.send_replace(true) => {}
                    Notification::Connected => tell_gap(&hub, part),
                    Notification::Message(text) => match wire::read(&text, origin, &hub) {
                        Some(Told::Event(key, event)) => {
                            hub.deliver(&key, &event, None);
                        }
                        Some(Told::Gap) => tell_gap(&hub, part),
                        None => {}
                    },
                }
            }
        };
        tokio::spawn(async move { until.run_until_cancelled(listening).await });
        Listening { ready, _ends: ends.drop_guard() }
    }
}

/// The same in all processes, and in all their versions.
fn part_of(key: &str) -> usize {
    // FNV-1a.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, it| {
        (hash ^ u64::from(it)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    usize::try_from(hash % (PARTS as u64)).unwrap_or_default()
}

fn tell_gap(hub: &Hub, part: usize) {
    metrics::counter!("madbase_realtime_bus_gaps_total").increment(1);
    for key in hub.keys().into_iter().filter(|it| part_of(it) == part) {
        let Some(topic) = hub.name(&key) else { continue };
        let name = hub::topic_of(&key).strip_prefix("realtime:").unwrap_or_default();
        let payload = json!({"extension": "broadcast", "status": "error", "message": GAP, "channel": name});
        hub.deliver(&key, &Event::json(&topic, "system", payload.to_string()), None);
    }
}

/// The part's next message says that one is missing.
fn lose(lost: &AtomicU64, part: usize) {
    metrics::counter!("madbase_realtime_bus_lost_total").increment(1);
    lost.fetch_or(1 << part, Ordering::Relaxed);
}

/// In the order of their sending, many at once.
async fn send(
    redis: Redis,
    prefix: String,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    lost: Arc<AtomicU64>,
) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, TOGETHER).await > 0 {
        let sending = batch.drain(..).map(|it| {
            let (redis, lost, channel) = (&redis, &lost, format!("{prefix}{}", it.part));
            async move {
                if !redis.tell(&channel, &it.message, PATIENCE).await {
                    lose(lost, it.part);
                }
            }
        });
        // A task that has used up its turn is woken for what is left in any order.
        tokio::task::unconstrained(join_all(sending)).await;
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("is_alone", &self.is_alone()).finish()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold(..)")
    }
}
