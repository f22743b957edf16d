//! A project's replication stream, followed while anybody in the cluster has joined a channel of the project.
//!
//! Among the processes that follow a project one **leads**: it holds the project's lock, reads the slot, and hands what
//! comes to its own subscribers and, by Redis, to the other processes' ([`wire`]). The others **follow**, and one of them
//! leads when the leader says good-bye, falls silent or is killed. It reads on at the confirmed position, but for what it
//! heard itself as a follower, so that little comes twice: what the dead leader had read and told nobody but Redis.
//!
//! Without Redis one process leads, and others tell their subscribers that changes are not available until it ends.
//!
//! The slot exists while the project is followed and [`FeedSettings::linger`] longer. A process that ends leaves it to the
//! others where there is Redis, and removes it where it is alone; what killed processes leave the [`janitor`] removes.
//! A slot that holds more than [`FeedSettings::max_held_bytes`] while nobody reads it is removed and made anew, and
//! subscribers are told of the gap.

mod assemble;
mod herald;
mod janitor;
mod lead;
mod run;
mod slot;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::{Project, ProjectRef};
use futures_util::future::BoxFuture;
use store::{Locks, Redis, Server, Versions};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::change::Batch;

/// Failures that last longer are told to subscribers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bounds of feeds; every field is a setting with this default.
#[derive(Debug, Clone)]
pub struct FeedSettings {
    /// How long the stream goes on after the last subscriber has left; also how long a slot may be left alone before it
    /// is taken for a killed process's.
    pub linger: Duration,
    /// Log that a slot may hold while nobody reads it, in bytes.
    pub max_held_bytes: u64,
    /// Between looks at slots and publications.
    pub check_every: Duration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(60),
            max_held_bytes: 1024 * 1024 * 1024,
            check_every: Duration::from_secs(15),
        }
    }
}

/// What feeds stand on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Where all projects' databases are, reached as the administrator.
    pub(crate) server: Server,
    pub(crate) redis: Redis,
    pub(crate) locks: Locks,
    /// Told of every change, so that kept answers are not older than what the stream has told.
    pub(crate) versions: Option<Versions>,
    pub(crate) settings: FeedSettings,
}

/// A row that was inserted into `realtime.messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlBroadcast {
    /// Without `realtime:`.
    pub(crate) topic: Arc<str>,
    pub(crate) event: Arc<str>,
    /// JSON text, or bytes.
    pub(crate) body: Bytes,
    pub(crate) is_json: bool,
    pub(crate) is_private: bool,
    pub(crate) id: String,
    /// As PostgreSQL writes a timestamp without zone, of UTC.
    pub(crate) inserted_at: String,
}

/// What takes changes: awaited before the next ones come, so a slow one slows the stream and not memory.
pub(crate) type Apply = Arc<dyn Fn(Arc<Batch>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Where what the stream tells goes, in each process.
#[derive(Clone)]
pub(crate) struct Sinks {
    pub(crate) changes: Apply,
    pub(crate) broadcast: Arc<dyn Fn(SqlBroadcast) + Send + Sync>,
    /// Something may have been missed.
    pub(crate) gap: Arc<dyn Fn() + Send + Sync>,
}

/// Whether changes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not yet.
    Starting,
    /// Everything that is committed from now on comes, or a gap is told.
    Live,
    /// Not now, and why, for subscribers; tried again all the time.
    Unavailable(Arc<str>),
}

/// The feeds of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Feeds {
    shared: Arc<Shared>,
}

struct Shared {
    ground: Ground,
    entries: Mutex<HashMap<ProjectRef, Arc<Entry>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// One project's feed in this process.
struct Entry {
    project: ProjectRef,
    database: String,
    /// Tells this process from others.
    origin: u64,
    /// Of Redis.
    channel: String,
    since: SystemTime,
    sinks: Mutex<Sinks>,
    users: watch::Sender<usize>,
    status: watch::Sender<Status>,
    failing: Mutex<Option<Instant>>,
}

/// Keeps a project's feed going; the feed ends some time after the last of these is dropped.
pub(crate) struct Feed {
    entry: Arc<Entry>,
}

impl Feeds {
    /// No feed yet; slots that killed processes left are removed from now on. Must be called on a runtime.
    pub(crate) fn new(ground: Ground) -> Self {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let cleaning = janitor::keep_clean(ground.clone());
        let until = closing.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = cleaning => {}
            }
        });
        Self { shared: Arc::new(Shared { ground, entries: Mutex::default(), tasks, closing }) }
    }

    /// Follow the changes of `project`; the last `sinks` given for it are used. Returns at once.
    pub(crate) fn follow(&self, project: &Project, sinks: Sinks) -> Feed {
        let mut entries = self.shared.entries();
        if let Some(entry) = entries.get(&project.reference) {
            *entry.sinks.lock().unwrap_or_else(PoisonError::into_inner) = sinks;
            return Feed::of(entry);
        }
        let entry = Arc::new(Entry {
            project: project.reference.clone(),
            database: project.database.clone(),
            origin: Uuid::new_v4().as_u64_pair().0,
            channel: format!("madbase:realtime:feed:{}", project.reference),
            since: SystemTime::now(),
            sinks: Mutex::new(sinks),
            users: watch::Sender::new(0),
            status: watch::Sender::new(Status::Starting),
            failing: Mutex::default(),
        });
        entries.insert(project.reference.clone(), Arc::clone(&entry));
        let feed = Feed::of(&entry);
        self.shared.tasks.spawn(run::run(Arc::clone(&self.shared), entry));
        feed
    }

    /// End all feeds; others take over. At most `limit` long.
    pub(crate) async fn close(&self, limit: Duration) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        let _ = timeout(limit, self.shared.tasks.wait()).await;
    }
}

impl Feed {
    fn of(entry: &Arc<Entry>) -> Self {
        entry.users.send_modify(|it| *it += 1);
        Self { entry: Arc::clone(entry) }
    }

    /// Whether changes come, from now on.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.entry.status.subscribe()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.entry.users.send_modify(|it| *it = it.saturating_sub(1));
    }
}

impl Shared {
    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<ProjectRef, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody follows `entry` right now; then whoever comes waits until the stream is read again.
    fn pauses(&self, entry: &Entry) -> bool {
        // Nobody comes meanwhile.
        let _entries = self.entries();
        let pauses = !entry.has_users() || self.closing.is_cancelled();
        if pauses {
            entry.status.send_replace(Status::Starting);
        }
        pauses
    }

    /// Whether `entry` is not needed any more; then it is forgotten.
    fn forget(&self, entry: &Entry) -> bool {
        let mut entries = self.entries();
        let is_over = *entry.users.borrow() == 0 || self.closing.is_cancelled();
        if is_over {
            entries.remove(&entry.project);
        }
        is_over
    }
}

impl Entry {
    fn sinks(&self) -> Sinks {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until nobody used it for `linger`.
    async fn left(&self, linger: Duration) {
        let mut users = self.users.subscribe();
        // The sender lives as long as we do.
        while users.wait_for(|it| *it == 0).await.is_ok() {
            if timeout(linger, users.wait_for(|it| *it > 0)).await.is_err() {
                return;
            }
        }
    }

    fn has_users(&self) -> bool {
        *self.users.borrow() > 0
    }

    /// Changes come.
    fn succeeds(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.status.send_if_modified(|it| std::mem::replace(it, Status::Live) != Status::Live);
    }

    /// Changes do not come; `why` is told when that lasts.
    fn stumbles(&self, why: &str) {
        let since =
            *self.failing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            self.fails(why);
        }
    }

    /// Changes do not come, and it will not get better by itself.
    fn fails(&self, why: &str) {
        let new = Status::Unavailable(why.into());
        self.status.send_if_modified(|it| std::mem::replace(it, new.clone()) != new);
    }

    fn gap(&self) {
        metrics::counter!("madbase_realtime_feed_gaps_total").increment(1);
        tracing::warn!(project.id = %self.project, "changes may have been missed");
        (self.sinks().gap)();
    }

    /// Give `portion` to this process's subscribers.
    async fn deliver(&self, portion: assemble::Portion) {
        let sinks = self.sinks();
        portion.broadcasts.into_iter().for_each(|it| (sinks.broadcast)(it));
        if !portion.changes.is_empty() {
            (sinks.changes)(Arc::new(Batch { changes: portion.changes })).await;
        }
    }
}

#[cfg(test)]
mod tests;
