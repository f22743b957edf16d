//! A process's part in following a project: leading when it has the lock, else hearing what the leader tells.

use std::sync::Arc;
use std::time::Duration;

use store::{DistributedLock, Messages, Notification};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::herald::{ATTEMPT, BEAT, HEARD_EVERY, Herald};
use super::lead::{Leader, Memory};
use super::wire::{self, Message};
use super::{Entry, Shared, slot};

/// A leader that falls silent loses its lock after so many seconds.
const LOCK_TTL_SECS: u64 = 5;
/// A leader that is not heard for so long may be gone: PostgreSQL is asked, whatever Redis says of the lock.
const SILENCE: Duration = Duration::from_secs(3);
/// Longest wait for the lock of a leader that is silent.
const CONTEST: Duration = Duration::from_secs(1);
/// Between two words of a follower, by which the leader knows of it.
const HELLO_EVERY: Duration = Duration::from_secs(2);
/// A follower that nobody needs ends after this.
const FOLLOWER_LINGER: Duration = Duration::from_secs(2);
/// Between attempts while PostgreSQL does not answer.
const RETRY: Duration = Duration::from_millis(250);
/// A leader that stands before what we heard for so long reads another log than we knew.
const BEHIND: Duration = Duration::from_secs(10);

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Take the lock if it is free.
    Try,
    /// Take the lock though Redis says that it is taken.
    Contest,
    /// Nobody needs us.
    End,
}

/// Follow `entry`'s project until nobody needs it.
pub(super) async fn run(shared: Arc<Shared>, entry: Arc<Entry>) {
    let messages = shared.ground.redis.subscribe(&entry.channel);
    let lock = DistributedLock::new(&shared.ground.locks, &slot::lock(&entry.project), LOCK_TTL_SECS);
    let mut member = Member { shared, entry, messages, memory: Memory::default() };
    let mut next = Next::Try;
    loop {
        let taken = match next {
            Next::Contest => lock.acquire_within(CONTEST).await,
            Next::Try | Next::End => lock.try_acquire().await,
        };
        next = match taken {
            Ok(true) => {
                let next = member.lead(&lock).await;
                lock.release().await;
                if next == Next::End {
                    member.part().await;
                }
                next
            }
            Ok(false) => member.follow(next == Next::Contest).await,
            Err(error) => {
                tracing::debug!(project.id = %member.entry.project, %error, "nobody can lead");
                member.entry.stumbles("the database cannot be reached");
                member.wait(RETRY).await
            }
        };
        if next == Next::End && member.shared.forget(&member.entry) {
            return;
        }
    }
}

struct Member {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    messages: Messages,
    memory: Memory,
}

impl Member {
    async fn wait(&self, time: Duration) -> Next {
        tokio::select! {
            () = self.over(FOLLOWER_LINGER) => Next::End,
            () = sleep(time) => Next::Try,
        }
    }

    /// Until nobody used the feed for `linger`, or the process ends.
    async fn over(&self, linger: Duration) {
        tokio::select! {
            () = self.shared.closing.cancelled() => {}
            () = self.entry.left(linger) => {}
        }
    }

    /// Until the lock is lost or nobody needs us.
    async fn lead(&mut self, lock: &DistributedLock) -> Next {
        self.hear_the_rest().await;
        let lost = lock.lost();
        let Self { shared, entry, messages, memory } = self;
        let ground = &shared.ground;
        let herald = Herald::new(&ground.redis, entry);
        let mut leader = Leader { ground, entry, herald: &herald, memory, publications: Vec::new() };
        metrics::gauge!("madbase_realtime_feeds_led").increment(1.0);
        let next = tokio::select! {
            biased;
            () = lost.cancelled() => Next::Try,
            () = shared.closing.cancelled() => Next::End,
            () = entry.left(ground.settings.linger) => Next::End,
            never = leader.run() => match never {},
            never = herald.keep_announcing(messages) => match never {},
        };
        metrics::gauge!("madbase_realtime_feeds_led").decrement(1.0);
        if next == Next::End {
            // Somebody came in the last moment, and was told that changes come.
            if !shared.pauses(entry) {
                return Next::Try;
            }
            // Where there are other processes, subscribers may come back to one of them in a moment.
            let is_needed = herald.has_followers() || entry.has_users() && ground.redis.is_configured();
            if !is_needed {
                leader.remove_slot().await;
                // Who comes after that was promised nothing.
                *leader.memory = Memory::default();
            }
        }
        next
    }

    /// Somebody else may lead.
    async fn part(&self) {
        self.say(&wire::bye(self.entry.origin)).await;
    }

    /// What the leader before us told last: then we need not tell it again.
    async fn hear_the_rest(&mut self) {
        if !self.memory.is_promised || !self.shared.ground.redis.is_up() {
            return;
        }
        let mut ear = Ear::default();
        let hearing = async {
            while let Ok(Some(heard)) = timeout(BEAT / 10, self.messages.next()).await {
                if let Notification::Message(text) = heard {
                    ear.hear(text, &self.entry, &mut self.memory).await;
                }
            }
        };
        let _ = timeout(BEAT, hearing).await;
    }

    /// Until the leader is gone, or nobody needs us.
    async fn follow(&mut self, was_silent: bool) -> Next {
        let is_shared = self.shared.ground.redis.is_configured();
        if !is_shared {
            self.entry
                .fails("another process follows this project's changes; processes share them by REDIS_URL");
            return self.wait(SILENCE).await;
        }
        if was_silent {
            self.entry.stumbles("the process that follows this project's changes is not heard");
        }
        let mut ear = Ear { silent_at: Instant::now() + SILENCE, ..Ear::default() };
        let mut hello = interval(HELLO_EVERY);
        hello.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let over = async {
                tokio::select! {
                    () = self.shared.closing.cancelled() => {}
                    () = self.entry.left(FOLLOWER_LINGER) => {}
                }
            };
            tokio::select! {
                () = over => return Next::End,
                () = sleep_until(ear.silent_at) => return Next::Contest,
                _ = hello.tick() => self.greet().await,
                heard = self.messages.next() => match heard {
                    Some(Notification::Message(text)) => {
                        if ear.hear(text, &self.entry, &mut self.memory).await {
                            return Next::Try;
                        }
                        if let Some((leader, count)) = ear.unsaid.take() {
                            self.say(&wire::heard(self.entry.origin, leader, count)).await;
                        }
                    }
                    // We were away, or have just come.
                    Some(Notification::Connected) => {
                        if self.memory.is_promised {
                            self.entry.gap();
                        }
                        ear.last = None;
                        self.greet().await;
                    }
                    None => return Next::End,
                },
            }
        }
    }

    async fn greet(&self) {
        self.say(&wire::hello(self.entry.origin)).await;
    }

    async fn say(&self, message: &str) {
        self.shared.ground.redis.tell(&self.entry.channel, message, ATTEMPT).await;
    }
}

/// What a follower knows of its leader.
struct Ear {
    silent_at: Instant,
    /// The leader's number, and how many portions it has told.
    last: Option<(u64, u64)>,
    /// It waits to hear how far we are: its number, and how many portions we have handed on.
    unsaid: Option<(u64, u64)>,
    behind: Option<Instant>,
}

impl Default for Ear {
    fn default() -> Self {
        Self { silent_at: Instant::now() + SILENCE, last: None, unsaid: None, behind: None }
    }
}

impl Ear {
    /// Whether the leader said good-bye.
    async fn hear(&mut self, text: String, entry: &Entry, memory: &mut Memory) -> bool {
        match wire::read(text) {
            Some(Message::Live { from, count, position, followers }) => {
                if !followers.contains(&entry.origin) {
                    // It has forgotten us, or has not heard of us yet: a portion may have come meanwhile.
                    if std::mem::take(&mut memory.is_promised) {
                        entry.gap();
                    }
                    self.silent_at = Instant::now() + SILENCE;
                    return false;
                }
                self.expect(from, count, entry);
                let is_behind = position < memory.position;
                self.behind = is_behind.then(|| self.behind.unwrap_or_else(Instant::now));
                if self.behind.is_some_and(|it| it.elapsed() > BEHIND) {
                    (memory.position, memory.safe) = (position, position.commit);
                }
                memory.is_promised = true;
                entry.succeeds();
            }
            Some(Message::Portion { from, count, position, safe, portion }) => {
                let is_repeated = self.last.is_some_and(|(leader, heard)| leader == from && heard >= count);
                if !is_repeated {
                    self.expect(from, count.saturating_sub(1), entry);
                    self.last = Some((from, count));
                }
                if !is_repeated && position > memory.position {
                    (memory.position, memory.safe) = (position, memory.safe.max(safe));
                    entry.deliver(portion).await;
                }
                if count.is_multiple_of(HEARD_EVERY) {
                    self.unsaid = Some((from, count));
                }
            }
            Some(Message::Gap) => {
                *memory = Memory { is_promised: memory.is_promised, ..Memory::default() };
                entry.gap();
            }
            Some(Message::Bye) => return true,
            Some(Message::Hello { .. } | Message::Heard { .. }) | None => return false,
        }
        self.silent_at = Instant::now() + SILENCE;
        false
    }

    /// The leader has told `count` portions before.
    fn expect(&mut self, from: u64, count: u64, entry: &Entry) {
        if self.last.is_some_and(|(leader, heard)| leader == from && heard != count) {
            entry.gap();
        }
        self.last = Some((from, count));
    }
}
