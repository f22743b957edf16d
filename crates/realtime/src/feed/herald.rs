//! The leader's voice: tells the other processes what comes, and knows whether there are any, and how far they have come.
//!
//! It does not run away from those who go on: what Redis and they would have to keep is bounded, and a follower that misses
//! something misses it for all its subscribers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::replication::Lsn;
use store::{Messages, Notification, Redis};
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep, timeout};
use uuid::Uuid;

use super::Entry;
use super::assemble::{Portion, Position};
use super::wire::{self, Head, Message};

/// Between signs of life.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// A follower that is not heard for so long is gone.
const FORGET: Duration = Duration::from_secs(10);
/// How long a portion may wait for Redis. Once one has waited in vain the next ones do not wait, until Redis takes one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Portions that a follower may be behind; it says how far it is after each so many of them.
const MOST_BEHIND: u64 = 128;
pub(super) const HEARD_EVERY: u64 = 32;
/// A follower that is behind and does not go on is not waited for after this. Longer than a socket holds it up.
const STUCK: Duration = Duration::from_secs(5);
/// Longest wait for one attempt, and the time between two.
pub(super) const ATTEMPT: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(50);

/// What followers are told by one leader.
pub(super) struct Herald<'a> {
    redis: &'a Redis,
    entry: &'a Entry,
    /// This leadership's own number.
    term: u64,
    state: Mutex<State>,
    /// A follower has gone on.
    moved: Notify,
}

struct Follower {
    /// When it said something.
    heard: Instant,
    /// What it has handed on.
    count: u64,
    /// Since when it is too far behind and does not go on.
    stands: Option<Instant>,
}

#[derive(Default)]
struct State {
    /// Reads the stream.
    is_live: bool,
    position: Position,
    /// Portions told.
    count: u64,
    followers: HashMap<u64, Follower>,
    /// Redis takes nothing.
    is_unheard: bool,
}

impl<'a> Herald<'a> {
    pub(super) fn new(redis: &'a Redis, entry: &'a Entry) -> Self {
        Self {
            redis,
            entry,
            term: Uuid::new_v4().as_u64_pair().0,
            state: Mutex::default(),
            moved: Notify::new(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish(&self, message: &str) -> bool {
        self.redis.tell(&self.entry.channel, message, ATTEMPT).await
    }

    /// Whether another process has subscribers.
    pub(super) fn has_followers(&self) -> bool {
        let mut state = self.state();
        state.followers.retain(|_, it| it.heard.elapsed() < FORGET);
        !state.followers.is_empty()
    }

    /// Everything after `position` will be told from now on.
    pub(super) async fn begin(&self, position: Position) {
        {
            let mut state = self.state();
            (state.is_live, state.position) = (true, position);
        }
        self.show_life().await;
    }

    async fn show_life(&self) {
        let message = {
            let mut state = self.state();
            state.followers.retain(|_, it| it.heard.elapsed() < FORGET);
            let followers: Vec<u64> = state.followers.keys().copied().collect();
            state.is_live.then(|| wire::live(self.term, state.count, state.position, &followers))
        };
        if let Some(message) = message {
            self.publish(&message).await;
        }
    }

    /// Changes were missed by all.
    pub(super) async fn gap(&self) {
        self.publish(&wire::gap(self.term)).await;
    }

    /// `portion`, which ends at `position`, as a message; `None` when nobody would hear it.
    pub(super) fn write(&self, portion: &Portion, position: Position, safe: Lsn) -> Option<String> {
        let has_followers = self.has_followers();
        let mut state = self.state();
        state.position = position;
        if !has_followers || portion.changes.is_empty() && portion.broadcasts.is_empty() {
            return None;
        }
        state.count += 1;
        let head = Head { from: self.term, count: state.count, position, safe };
        drop(state);
        Some(wire::portion(head, &portion.changes, &portion.broadcasts))
    }

    /// Tell what was [written](Self::write), again when Redis is slow: followers know what they have heard before. What it
    /// does not take they miss, and notice by the count.
    pub(super) async fn tell(&self, message: Option<String>) {
        let Some(message) = message else { return };
        self.keep_pace().await;
        let deadline = Instant::now() + PATIENCE;
        let is_told = loop {
            if self.publish(&message).await {
                break true;
            }
            if self.state().is_unheard || Instant::now() > deadline {
                break false;
            }
            sleep(RETRY).await;
        };
        self.state().is_unheard = !is_told;
    }

    /// Until nobody who goes on is too far behind.
    async fn keep_pace(&self) {
        loop {
            let moved = self.moved.notified();
            let Some(wait) = self.wait_for_followers() else { return };
            let _ = timeout(wait, moved).await;
        }
    }

    /// How long to wait for who is too far behind, if anybody is.
    fn wait_for_followers(&self) -> Option<Duration> {
        let mut state = self.state();
        let (now, told) = (Instant::now(), state.count);
        let left = |it: &mut Follower| {
            let is_behind = told.saturating_sub(it.count) > MOST_BEHIND;
            it.stands = is_behind.then(|| it.stands.unwrap_or(now));
            STUCK.checked_sub(now.saturating_duration_since(it.stands?)).filter(|it| !it.is_zero())
        };
        state.followers.values_mut().filter_map(left).max()
    }

    /// The follower `from` is there: whether that is new.
    fn meet(&self, from: u64) -> bool {
        let mut state = self.state();
        let (heard, count) = (Instant::now(), state.count);
        let is_new = !state.followers.contains_key(&from);
        state.followers.entry(from).or_insert(Follower { heard, count, stands: None }).heard = heard;
        is_new
    }

    /// The follower `from` has handed on `count` portions of ours.
    fn note(&self, from: u64, count: u64) {
        if let Some(it) = self.state().followers.get_mut(&from) {
            (it.heard, it.count) = (Instant::now(), it.count.max(count));
            it.stands = it.stands.map(|_| it.heard);
        }
        self.moved.notify_waiters();
    }

    /// Answer who asks, and give signs of life.
    pub(super) async fn keep_announcing(&self, messages: &mut Messages) -> Infallible {
        let mut beat = interval(BEAT);
        loop {
            tokio::select! {
                heard = messages.next() => match heard {
                    Some(Notification::Message(text)) => {
                        match wire::read(text) {
                            Some(Message::Hello { from }) if self.meet(from) => {}
                            Some(Message::Heard { from, leader, count }) if leader == self.term => {
                                self.note(from, count);
                                continue;
                            }
                            _ => continue,
                        }
                    }
                    // They may have missed us.
                    Some(Notification::Connected) => {}
                    None => std::future::pending().await,
                },
                _ = beat.tick() => {}
            }
            self.show_life().await;
        }
    }
}
