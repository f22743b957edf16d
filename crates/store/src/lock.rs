//! A lock that all processes share (REQ C5). PostgreSQL decides who has it; Redis keeps the others from asking.
//!
//! The truth is a session's advisory lock, on a connection of its own: what Redis forgets, brings back or tells to some
//! processes only can never make two holders of one. Redis holds `lock:{name}` with the owner's token, renewed while
//! the lock is held and removed by whoever set it: who finds it there need not ask PostgreSQL. Without Redis, or while it
//! is away, everybody asks.
//!
//! The time to live holds on both sides: PostgreSQL ends a session that it heard nothing of for that long, and before that the
//! holder is told by [`DistributedLock::lost`]. One that was asleep meanwhile (a stopped machine) does not hear it: what
//! it writes elsewhere is refused by whoever compares [`DistributedLock::fence`].
//!
//! What must not run twice takes this lock; what must run once per hour also writes down when it ran.

mod keeper;
mod scripts;

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::migrate::advisory_key;
use crate::{Error, Redis, Server};
use keeper::Keeper;

/// The shortest time to live: below, a busy machine would lose locks that it holds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Where locks are taken: the same for all processes that shall exclude each other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Locks {
    redis: Redis,
    server: Server,
    database: Arc<str>,
}

impl Locks {
    /// Locks in `database` of `server`, which must exist, taken as its administrator.
    #[must_use]
    pub fn new(redis: &Redis, server: &Server, database: &str) -> Self {
        Self { redis: redis.clone(), server: server.clone(), database: database.into() }
    }
}

impl Locks {
    /// Eight hexadecimal digits that tell these locks from those in other databases: a mark for names of objects that all
    /// databases of a server share.
    #[must_use]
    pub fn mark(&self) -> String {
        let key = advisory_key("madbase.place.", &self.database).cast_unsigned();
        format!("{:08x}", (key ^ (key >> 32)) & u64::from(u32::MAX))
    }
}

/// One lock. Dropping it gives it back a moment later, [`DistributedLock::release`] at once.
#[derive(Debug)]
pub struct DistributedLock {
    locks: Locks,
    name: String,
    ttl: Duration,
    held: StdMutex<Option<Held>>,
    /// One attempt at a time.
    taking: Mutex<()>,
}

#[derive(Debug)]
struct Held {
    fence: u64,
    lost: CancellationToken,
    keeper: JoinHandle<()>,
    stop: DropGuard,
}

impl DistributedLock {
    /// The lock `name`, not yet held. A holder that falls silent loses it after `ttl_seconds` (at least 1).
    #[must_use]
    pub fn new(locks: &Locks, name: &str, ttl_seconds: u64) -> Self {
        let ttl = Duration::from_secs(ttl_seconds).max(SHORTEST);
        let (held, taking) = (StdMutex::default(), Mutex::default());
        Self { locks: locks.clone(), name: name.to_owned(), ttl, held, taking }
    }

    /// Take the lock if nobody has it: whether it is ours now. Not reentrant: who holds it already gets `false`.
    ///
    /// Also `false` when PostgreSQL cannot be asked; [`DistributedLock::try_acquire`] tells the difference. A connection
    /// and two round trips, or one round trip to Redis when somebody else has it.
    pub async fn acquire(&self) -> bool {
        match self.try_acquire().await {
            Ok(taken) => taken,
            Err(error) => {
                let source = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(lock = self.name, %error, source, "a lock cannot be taken");
                false
            }
        }
    }

    /// As [`DistributedLock::acquire`].
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Lost`] when PostgreSQL does not answer, [`Error::Statement`] when it is a standby.
    pub async fn try_acquire(&self) -> Result<bool, Error> {
        let _one = self.taking.lock().await;
        if self.is_held() {
            return Ok(count("held", false));
        }
        let occupied = scripts::owner(&self.locks.redis, &self.redis_key()).await.is_some();
        if occupied {
            return Ok(count("held", false));
        }
        self.take(None).await
    }

    /// Take the lock, in the order of asking, when it becomes free within `limit`: whether it is ours now.
    ///
    /// # Errors
    /// As [`DistributedLock::try_acquire`].
    pub async fn acquire_within(&self, limit: Duration) -> Result<bool, Error> {
        let _one = self.taking.lock().await;
        if self.is_held() {
            return Ok(count("held", false));
        }
        self.take(Some(limit)).await
    }

    async fn take(&self, wait: Option<Duration>) -> Result<bool, Error> {
        let session = match keeper::open(&self.locks.server, &self.locks.database, self.ttl).await {
            Ok(session) => session,
            Err(error) => return count("unavailable", Err(error)),
        };
        let (fence, since) = match session.take(advisory_key("madbase.lock.", &self.name), wait).await {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(count("held", false)),
            Err(error) => return count("unavailable", Err(error)),
        };
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let keeper = Keeper {
            session,
            redis: self.locks.redis.clone(),
            key: self.redis_key(),
            token: owner_token(),
            ttl: self.ttl,
            lost: lost.clone(),
            stop: stop.clone(),
        };
        keeper.announce().await;
        let keeper = tokio::spawn(keeper.keep(self.name.clone(), since));
        *self.held() = Some(Held { fence, lost, keeper, stop: stop.drop_guard() });
        Ok(count("acquired", true))
    }

    /// Give the lock back; returns when somebody else can have it. Nothing happens when it is not held.
    pub async fn release(&self) {
        let held = self.held().take();
        if let Some(Held { keeper, stop, .. }) = held {
            drop(stop);
            let _ = keeper.await;
        }
    }

    /// Whether it is ours, as far as anybody knows.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held().as_ref().is_some_and(|it| !it.lost.is_cancelled())
    }

    /// Cancelled as soon as the lock is not ours any more, released or lost; at once when it is not held.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.held().as_ref().map_or_else(cancelled, |it| it.lost.clone())
    }

    /// A number that grows with every acquisition of any lock: a write that carries a smaller one than the last is of a
    /// holder that lost the lock without noticing. `None` while it is not held.
    ///
    /// It is the number of a transaction that was committed with the acquisition, so it survives whatever acknowledged
    /// rows survive.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.held().as_ref().filter(|it| !it.lost.is_cancelled()).map(|it| it.fence)
    }

    /// Do `work` while the lock is held: `None` when it was lost meanwhile (the work is dropped then), or was not held.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let lost = self.lost();
        tokio::select! {
            biased;
            () = lost.cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Take the lock, do `work`, give it back: for jobs that every process schedules and one does. `None` when somebody
    /// else has the lock, or it was lost meanwhile.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if !self.acquire().await {
            return None;
        }
        let done = self.while_held(work).await;
        self.release().await;
        done
    }

    fn redis_key(&self) -> String {
        format!("lock:{}", self.name)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count<T>(outcome: &'static str, it: T) -> T {
    metrics::counter!("madbase_lock_acquisitions_total", "outcome" => outcome).increment(1);
    it
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

/// Whose entry in Redis it is: one of each acquisition.
fn owner_token() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
