//! The leader's voice: tells the other processes what comes, and knows whether there are any.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::replication::Lsn;
use store::{Messages, Notification, Redis};
use tokio::time::{Instant, interval, sleep};
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
}

#[derive(Default)]
struct State {
    /// Reads the stream.
    is_live: bool,
    position: Position,
    /// Portions told.
    count: u64,
    followers: HashMap<u64, Instant>,
    /// Redis takes nothing.
    is_unheard: bool,
}

impl<'a> Herald<'a> {
    pub(super) fn new(redis: &'a Redis, entry: &'a Entry) -> Self {
        Self { redis, entry, term: Uuid::new_v4().as_u64_pair().0, state: Mutex::default() }
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
        state.followers.retain(|_, heard| heard.elapsed() < FORGET);
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
            state.followers.retain(|_, heard| heard.elapsed() < FORGET);
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

    /// Answer who asks, and give signs of life.
    pub(super) async fn keep_announcing(&self, messages: &mut Messages) -> Infallible {
        let mut beat = interval(BEAT);
        loop {
            tokio::select! {
                heard = messages.next() => match heard {
                    Some(Notification::Message(text)) => {
                        let Some(Message::Hello { from }) = wire::read(text) else { continue };
                        let is_new = self.state().followers.insert(from, Instant::now()).is_none();
                        if !is_new {
                            continue;
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
