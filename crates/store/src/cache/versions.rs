//! Versions of what projects hold: what was read at one version holds until the version changes.
//!
//! Every process counts by itself. A write makes the count of its project go up here before the writer is answered, and
//! tells the other processes by a notification of PostgreSQL: who could write can tell, with Redis or without. A process
//! that cannot hear relies on nothing: its lease, which every answer of PostgreSQL renews, runs out within [`LEASE`].

mod teller;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use common::ProjectRef;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Server;

/// How long what was heard is relied upon.
const LEASE: Duration = Duration::from_secs(1);
/// How long nothing of a project is relied upon after a write of which nobody knows how it ended: PostgreSQL has
/// cancelled it by then, or finished it. Longer than `client_connection_check_interval`, by which PostgreSQL notices that
/// nobody waits for a statement any more.
const DOUBT: Duration = Duration::from_secs(15);
/// The longest that a writer waits for others to be told; they are told in any case.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// Writers that wait at once; more are answered before the others are told.
const MAX_WAITING: usize = 4 * FEW_WAITING;
/// So many more waiting, and those that have left are looked for.
const FEW_WAITING: usize = 1024;
/// Projects that are counted; beyond it everything starts anew.
const MAX_PROJECTS: usize = 10_000;
/// The lease of a process that has nobody to hear.
const FOREVER: u64 = u64::MAX;

/// The versions of all projects, as this process knows them. Cheap to clone; the last one dropped ends the connection.
#[derive(Debug, Clone)]
pub struct Versions {
    inner: Arc<Inner>,
    _ends: Option<Arc<DropGuard>>,
}

/// What a project held at a moment: equal versions, equal rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    epoch: u64,
    count: u64,
}

impl Version {
    /// As a mark of [`crate::Flights`]: different versions of one project seldom have the same.
    #[must_use]
    pub fn mark(self) -> u64 {
        self.epoch.rotate_left(40) ^ self.count
    }
}

#[derive(Debug)]
struct Inner {
    /// Tells one's own notifications from others'.
    origin: u64,
    started: Instant,
    /// Grows whenever something may have been missed.
    epoch: AtomicU64,
    /// Until when what was heard holds, in milliseconds since `started`.
    lease_ms: AtomicU64,
    projects: RwLock<HashMap<ProjectRef, Arc<Count>>>,
    untold: Mutex<Untold>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Count {
    writes: AtomicU64,
    /// Until when nothing is relied upon, in milliseconds since the start.
    doubt_ms: AtomicU64,
}

/// What others have to hear.
#[derive(Debug, Default)]
struct Untold {
    /// Projects, and whether a write of theirs is in doubt.
    projects: HashMap<ProjectRef, bool>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Untold {
    /// Ends when what is untold now is told, and at once when too many wait already.
    fn wait(&mut self) -> Option<oneshot::Receiver<()>> {
        // While nobody can be told, writers come and go.
        if self.waiting.len() >= FEW_WAITING && self.waiting.len().is_multiple_of(FEW_WAITING) {
            self.waiting.retain(|it| !it.is_closed());
        }
        (self.waiting.len() < MAX_WAITING).then(|| {
            let (sender, told) = oneshot::channel();
            self.waiting.push(sender);
            told
        })
    }
}

impl Versions {
    /// Of the only process there is.
    #[must_use]
    pub fn alone() -> Self {
        Self { inner: Arc::new(Inner::new(FOREVER)), _ends: None }
    }

    /// Of one process of several, which tell each other through `database` of `server`. Must be called on a runtime.
    #[must_use]
    pub fn shared(server: &Server, database: &str) -> Self {
        let inner = Arc::new(Inner::new(0));
        let ends = CancellationToken::new();
        tokio::spawn({
            let (inner, config, ends) = (Arc::clone(&inner), server.config(database, None), ends.clone());
            async move {
                tokio::select! {
                    () = ends.cancelled() => {}
                    () = teller::keep_telling(&inner, &config) => {}
                }
            }
        });
        Self { inner, _ends: Some(Arc::new(ends.drop_guard())) }
    }

    /// The version of `project` now; `None` while nothing may be relied upon. Under a microsecond.
    #[must_use]
    pub fn of(&self, project: &ProjectRef) -> Option<Version> {
        let now_ms = self.inner.now_ms();
        if now_ms >= self.inner.lease_ms.load(Ordering::Acquire) {
            return None;
        }
        let epoch = self.inner.epoch.load(Ordering::Acquire);
        let count = self.inner.count(project);
        let writes = count.writes.load(Ordering::Acquire);
        (count.doubt_ms.load(Ordering::Acquire) <= now_ms).then_some(Version { epoch, count: writes })
    }

    /// A write to `project` has ended: a new version here at once. Returns when the others are told, or late.
    pub async fn changed(&self, project: &ProjectRef) {
        self.inner.rise(project, false);
        if let Some(told) = self.inner.tell(project, false, true) {
            let _ = timeout(TELL_LIMIT, told).await;
        }
    }

    /// A write to `project` by somebody else has been heard of: a new version here at once, elsewhere within moments. Never
    /// waits.
    pub fn observed(&self, project: &ProjectRef) {
        self.inner.rise(project, false);
        drop(self.inner.tell(project, false, false));
    }

    /// A write to `project` was given up while it ran: nobody relies on anything of it for a while.
    pub fn doubt(&self, project: &ProjectRef) {
        self.inner.rise(project, true);
        drop(self.inner.tell(project, true, false));
    }
}

impl Inner {
    fn new(lease_ms: u64) -> Self {
        Self {
            origin: RandomState::new().build_hasher().finish(),
            started: Instant::now(),
            epoch: AtomicU64::new(0),
            lease_ms: AtomicU64::new(lease_ms),
            projects: RwLock::default(),
            untold: Mutex::default(),
            wake: Notify::new(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.ms_of(Instant::now())
    }

    fn ms_of(&self, moment: Instant) -> u64 {
        u64::try_from(moment.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn count(&self, project: &ProjectRef) -> Arc<Count> {
        if let Some(count) = self.projects.read().unwrap_or_else(PoisonError::into_inner).get(project) {
            return Arc::clone(count);
        }
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        if projects.len() >= MAX_PROJECTS {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            projects.clear();
        }
        Arc::clone(projects.entry(project.clone()).or_default())
    }

    fn rise(&self, project: &ProjectRef, is_in_doubt: bool) {
        let count = self.count(project);
        if is_in_doubt {
            let until = self.ms_of(Instant::now() + DOUBT);
            count.doubt_ms.fetch_max(until, Ordering::AcqRel);
        }
        count.writes.fetch_add(1, Ordering::AcqRel);
    }

    /// Have the others told, when there are any.
    fn tell(&self, project: &ProjectRef, is_in_doubt: bool, waits: bool) -> Option<oneshot::Receiver<()>> {
        if self.lease_ms.load(Ordering::Relaxed) == FOREVER {
            return None;
        }
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold.projects.entry(project.clone()).or_default() |= is_in_doubt;
        let told = waits.then(|| untold.wait()).flatten();
        drop(untold);
        self.wake.notify_one();
        told
    }

    /// Something may have been missed.
    fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Nothing is heard any more.
    fn end_lease(&self) {
        self.lease_ms.store(0, Ordering::Release);
    }

    /// What PostgreSQL had told by `moment` is heard.
    fn renew_lease(&self, moment: Instant) {
        self.lease_ms.store(self.ms_of(moment + LEASE), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> ProjectRef {
        "board".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_changes_the_version_of_its_project_alone() {
        let (versions, other) = (Versions::alone(), "other".parse().unwrap());
        let before = (versions.of(&board()), versions.of(&other));
        versions.changed(&board()).await;
        assert!(before.0.is_some() && versions.of(&board()) != before.0);
        assert_eq!(versions.of(&other), before.1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_write_in_doubt_nothing_is_relied_upon_for_a_while() {
        let versions = Versions::alone();
        let before = versions.of(&board());
        versions.doubt(&board());
        assert_eq!(versions.of(&board()), None);
        tokio::time::advance(DOUBT - Duration::from_millis(1)).await;
        assert_eq!(versions.of(&board()), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(versions.of(&board()).is_some_and(|it| Some(it) != before));
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_can_be_told_no_more_wait_than_are_there() {
        let project = board();
        let versions = Versions { inner: Arc::new(Inner::new(0)), _ends: None };
        let waiting = || versions.inner.untold.lock().unwrap().waiting.len();
        for _ in 0..3000 {
            versions.doubt(&project);
        }
        assert_eq!(waiting(), 0, "nobody waits for a doubt");
        for _ in 0..20 {
            futures_util::future::join_all((0..1000).map(|_| versions.changed(&project))).await;
        }
        assert!(waiting() <= 2 * FEW_WAITING, "{}", waiting());
        futures_util::future::join_all((0..6000).map(|_| versions.changed(&project))).await;
        assert!(waiting() <= MAX_WAITING, "{}", waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_holds_for_the_lease_alone() {
        let inner = Arc::new(Inner::new(0));
        let versions = Versions { inner: Arc::clone(&inner), _ends: None };
        assert_eq!(versions.of(&board()), None, "nothing was heard yet");
        inner.renew_lease(Instant::now());
        assert!(versions.of(&board()).is_some());
        tokio::time::advance(LEASE).await;
        assert_eq!(versions.of(&board()), None);
    }
}
