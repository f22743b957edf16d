//! The task of one worker's presence: tells its sockets and the other workers what changed, hears what those tell, and
//! looks after the keys in Redis.
//!
//! Workers talk on one channel of the project, and each has one of its own for what is meant for it alone. Nothing that is
//! said need arrive: every message carries its sender's clock, and who lacks an operation asks for all.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use store::{Member, Notification};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Shared;
use super::local::{Local, Place};
use super::state::{Meta, Op, Snapshot, WorkerId};
use super::text::{self, Message, Said};
use crate::event::Event;
use crate::hub;

/// Between two questions to the same worker, and two attempts to write keys.
const RETRY: Duration = Duration::from_secs(1);
/// Keys that are written before others have a turn again.
const KEYS_AT_ONCE: usize = 512;
/// The most operations, or metas, in one message, and about the most bytes of them.
const MOST_AT_ONCE: usize = 256;
const MOST_BYTES: usize = 256 * 1024;
/// Workers that said good-bye, whose late messages count no more.
const MOST_GONE: usize = 256;

/// Run the task until the presence ends.
pub(super) fn start(shared: Arc<Shared>) {
    let said_all = shared.ended.clone().drop_guard();
    tokio::spawn(async move {
        let mut worker = Worker::new(&shared);
        worker.run().await;
        worker.end().await;
        drop(said_all);
    });
}

struct Worker<'a> {
    shared: &'a Shared,
    peers: HashMap<WorkerId, Peer, RandomState>,
    gone: VecDeque<WorkerId>,
    /// When the keys of all own members are written again, and when that was last begun.
    keys_due: Instant,
    keys_begun: Option<Instant>,
    /// Whose keys are being written.
    to_write: Vec<Place>,
    /// When what changed is told.
    flush_at: Option<Instant>,
}

/// Another worker.
struct Peer {
    heard: Instant,
    asked: Option<Instant>,
    /// What it has, until all parts came.
    parts: Option<Parts>,
}

/// Parts of what a worker has.
struct Parts {
    clock: u64,
    /// How many there are.
    count: usize,
    came: BTreeMap<usize, Vec<(u64, Meta)>>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            peers: HashMap::default(),
            gone: VecDeque::new(),
            keys_due: Instant::now() + shared.settings.ttl / 3,
            keys_begun: None,
            to_write: Vec::new(),
            flush_at: None,
        }
    }

    async fn run(&mut self) {
        let shared = self.shared;
        let mut to_all = shared.redis.subscribe(&shared.channel);
        let mut to_me = shared.redis.subscribe(&self.channel_of(shared.own));
        let mut beat = interval(shared.settings.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let flush_at = self.flush_at;
            tokio::select! {
                () = shared.ends.cancelled() => return,
                () = shared.changed.notified(), if flush_at.is_none() => {
                    self.flush_at = Some(Instant::now() + shared.settings.gather);
                }
                () = sleep_until(flush_at.unwrap_or(self.keys_due)), if flush_at.is_some() => self.flush().await,
                () = sleep_until(self.keys_due), if shared.redis.is_configured() => self.begin_keys(),
                () = std::future::ready(()), if !self.to_write.is_empty() => self.write_keys().await,
                Some(heard) = to_all.next() => self.hear(heard).await,
                Some(heard) = to_me.next() => self.hear(heard).await,
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    /// Tell everybody of this worker's end.
    async fn end(&mut self) {
        let shared = self.shared;
        // Those who left a moment ago have keys, too.
        self.flush().await;
        self.say(&shared.channel, Said::Bye).await;
        let keys: Vec<Member> = {
            let local = shared.local();
            let places = local.state.places(shared.own);
            let mine = places.filter(|it| holders(&local, it).all(|worker| worker == shared.own));
            mine.map(|place| member(shared, place, "")).collect()
        };
        shared.redis.drop_members(&keys).await;
    }

    async fn hear(&mut self, heard: Notification) {
        match heard {
            // Something may have been missed, and keys may be lost.
            Notification::Connected => {
                let soon = self.keys_begun.map_or_else(Instant::now, |it| it + RETRY);
                self.keys_due = self.keys_due.min(soon);
                self.say(&self.shared.channel, Said::Hello).await;
            }
            // Its own come back, too.
            Notification::Message(text) if text::is_of(self.shared.own, &text) => {}
            Notification::Message(text) => {
                if let Some(message) = Message::read(&text) {
                    self.hear_message(message).await;
                }
            }
        }
    }

    async fn hear_message(&mut self, Message { from, clock, said }: Message) {
        let shared = self.shared;
        if from == shared.own || self.gone.contains(&from) {
            return;
        }
        let now = Instant::now();
        let peer = self.peers.entry(from).or_insert_with(|| Peer { heard: now, asked: None, parts: None });
        peer.heard = now;
        match said {
            Said::Beat => {}
            Said::Hello => {
                let channel = self.channel_of(from);
                self.say(&channel, Said::Beat).await;
            }
            Said::Ops(ops) => {
                shared.change(|local| ops.into_iter().for_each(|it| local.state.apply(from, it)));
            }
            Said::Ask(worker) if worker == shared.own => self.tell_all(from).await,
            Said::Ask(_) => {}
            Said::Part(idx, count, metas) => {
                if let Some(snapshot) = peer.put_together(clock, (idx, count), metas) {
                    shared.change(|local| local.state.merge(from, snapshot));
                }
            }
            Said::Bye => return self.forget(from),
        }
        self.ask_for_missing(from, clock, now).await;
    }

    /// Ask `worker` for all it has when something up to `clock` is missing.
    async fn ask_for_missing(&mut self, worker: WorkerId, clock: u64, now: Instant) {
        let lacks = self.shared.local().state.lacks(worker, clock);
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        if lacks && peer.asked.is_none_or(|it| now.duration_since(it) >= RETRY) {
            peer.asked = Some(now);
            let channel = self.channel_of(worker);
            self.say(&channel, Said::Ask(worker)).await;
        }
    }

    /// Tell `worker` all that this one has.
    async fn tell_all(&self, worker: WorkerId) {
        let snapshot = self.shared.local().state.snapshot();
        let parts = cut(snapshot.metas, |(_, meta)| meta.text.len());
        let channel = self.channel_of(worker);
        let count = parts.len();
        for (idx, metas) in parts.into_iter().enumerate() {
            let message =
                Message { from: self.shared.own, clock: snapshot.clock, said: Said::Part(idx, count, metas) };
            self.shared.redis.publish(&channel, &message.write()).await;
        }
    }

    /// `worker` has ended.
    fn forget(&mut self, worker: WorkerId) {
        self.peers.remove(&worker);
        if self.gone.len() >= MOST_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(worker);
        self.shared.change(|local| local.drop_worker(worker));
    }

    async fn beat(&mut self) {
        let shared = self.shared;
        let now = Instant::now();
        // While Redis is away nobody is heard, and nobody need be gone.
        let is_deaf = shared.redis.is_configured() && !shared.redis.is_up();
        let patience = shared.settings.ttl * 2 / 3;
        let mut silent = Vec::new();
        for (worker, peer) in &mut self.peers {
            if is_deaf {
                peer.heard = now;
            } else if now.duration_since(peer.heard) >= patience {
                silent.push(*worker);
            }
        }
        for worker in silent {
            tracing::info!(channel = shared.channel, "a worker fell silent: its members left");
            self.peers.remove(&worker);
            shared.change(|local| local.drop_worker(worker));
        }
        shared.change(|local| local.expire(now, shared.settings.client_window));
        let clock = shared.local().state.clock();
        if clock > 0 {
            self.say(&shared.channel, Said::Beat).await;
        }
    }

    /// Tell sockets, workers and Redis what changed.
    async fn flush(&mut self) {
        self.flush_at = None;
        let shared = self.shared;
        let (diffs, (ops, clock), keep, remove) = {
            let mut local = shared.local();
            let (diffs, untold) = (local.state.take_diffs(), local.take_untold());
            let (keep, remove) = keys(shared, &mut local);
            (diffs, untold, keep, remove)
        };
        for (topic, diff) in diffs {
            let name = hub::topic_of(&topic).into();
            (shared.deliver)(&topic, Event::json(&name, "presence_diff", text::diff(&diff)));
        }
        let len = |op: &Op| if let Op::Join(_, meta) = op { meta.text.len() } else { 0 };
        for ops in cut(ops, len).into_iter().filter(|it| !it.is_empty()) {
            let message = Message { from: shared.own, clock, said: Said::Ops(ops) };
            shared.redis.publish(&shared.channel, &message.write()).await;
        }
        shared.redis.drop_members(&remove).await;
        if !shared.redis.keep_members(&keep, shared.settings.ttl).await {
            self.keys_due = self.keys_due.min(Instant::now() + RETRY);
        }
    }

    /// The keys of all own members are to be written again.
    fn begin_keys(&mut self) {
        let now = Instant::now();
        let places: BTreeSet<Place> = self.shared.local().state.places(self.shared.own).cloned().collect();
        self.to_write = places.into_iter().collect();
        self.keys_begun = Some(now);
        self.keys_due = now + self.shared.settings.ttl / 3;
    }

    /// Write some of them; at the end take those out of the sets whose keys are gone.
    async fn write_keys(&mut self) {
        let shared = self.shared;
        let rest = self.to_write.len().saturating_sub(KEYS_AT_ONCE);
        let some = self.to_write.split_off(rest);
        let keep: Vec<Member> = {
            let local = shared.local();
            let places = some.iter().filter(|it| holders(&local, it).any(|worker| worker == shared.own));
            places.map(|it| kept(shared, &local, it)).collect()
        };
        if !shared.redis.keep_members(&keep, shared.settings.ttl).await {
            self.to_write.clear();
            self.keys_due = self.keys_due.min(Instant::now() + RETRY);
        } else if self.to_write.is_empty() {
            let first_in = shared.local().state.first_in();
            for topic in first_in {
                let (set, prefix) = names(shared, &topic);
                shared.redis.prune_members(&set, &prefix).await;
            }
        }
    }

    async fn say(&self, channel: &str, said: Said) {
        let clock = self.shared.local().state.clock();
        let message = Message { from: self.shared.own, clock, said };
        self.shared.redis.publish(channel, &message.write()).await;
    }

    fn channel_of(&self, worker: WorkerId) -> String {
        format!("{}:{worker:016x}", self.shared.channel)
    }
}

impl Peer {
    /// Keep a part; all of them when this was the last.
    fn put_together(
        &mut self,
        clock: u64,
        (idx, count): (usize, usize),
        metas: Vec<(u64, Meta)>,
    ) -> Option<Snapshot> {
        let parts = self.parts.take().filter(|it| (it.clock, it.count) == (clock, count));
        let mut parts = parts.unwrap_or_else(|| Parts { clock, count, came: BTreeMap::new() });
        parts.came.insert(idx, metas);
        if parts.came.len() < count {
            self.parts = Some(parts);
            return None;
        }
        self.asked = None;
        Some(Snapshot { clock, metas: parts.came.into_values().flatten().collect() })
    }
}

/// `items` in pieces that fit into a message; one empty piece when there are none.
fn cut<T>(items: Vec<T>, len: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in items {
        if piece.len() >= MOST_AT_ONCE || bytes >= MOST_BYTES {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += len(&item);
        piece.push(item);
    }
    pieces.push(piece);
    pieces
}

/// Which keys are to be written, and which removed: those that nobody holds any more. Those of others are theirs.
fn keys(shared: &Shared, local: &mut Local) -> (Vec<Member>, Vec<Member>) {
    let (mut keep, mut remove) = (Vec::new(), Vec::new());
    for place in std::mem::take(&mut local.touched) {
        if holders(local, &place).next().is_none() {
            remove.push(member(shared, &place, ""));
        } else if holders(local, &place).any(|worker| worker == shared.own) {
            keep.push(kept(shared, local, &place));
        }
    }
    (keep, remove)
}

/// The workers that have members at `place`; of both topics of that name, because they share a key in Redis.
fn holders<'a>(local: &'a Local, (topic, key): &'a Place) -> impl Iterator<Item = WorkerId> {
    let both = [false, true].map(|is_private| hub::key(hub::topic_of(topic), is_private));
    both.into_iter().flat_map(|it| local.state.of_key(&it, key)).map(|((worker, _), _)| *worker)
}

fn kept(shared: &Shared, local: &Local, place: &Place) -> Member {
    let last = local.state.of_key(&place.0, &place.1).last();
    member(shared, place, last.map_or("{}", |(_, text)| text))
}

fn member(shared: &Shared, place: &Place, value: &str) -> Member {
    let (set, prefix) = names(shared, &place.0);
    let id = id(&place.1);
    Member { set, key: format!("{prefix}{id}"), id, value: value.to_owned() }
}

/// A member's key as part of a key in Redis: without what would make it the key of another topic's set, or member.
fn id(key: &str) -> String {
    let id = key.replace('%', "%25").replace(':', "%3A");
    if id == "users" { "%75sers".to_owned() } else { id }
}

/// The set of a topic's members, and what their own keys start with (REQ C8).
fn names(shared: &Shared, topic: &str) -> (String, String) {
    let topic = hub::topic_of(topic);
    let name = topic.strip_prefix("realtime:").unwrap_or(topic);
    (format!("{}{name}:users", shared.prefix), format!("{}{name}:user:", shared.prefix))
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn no_member_has_the_key_of_a_set_or_of_another_channel() {
        assert_eq!(["ada", "x:users", "users", "a%3Ab"].map(id), ["ada", "x%3Ausers", "%75sers", "a%253Ab"]);
    }
}
