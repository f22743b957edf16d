//! The projects' configurations, cached (REQ H8): a minute each, one question at a time for each project.
//!
//! When the directory does not answer, the last known configuration goes on serving: an outage of the control plane must
//! not be one of the traffic. Projects that do not exist are remembered briefly, apart, so that invented names push
//! nobody out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Configured, Dependence, Directory, Project, ProjectRef};
use metrics::{Counter, counter};
use moka::Expiry;
use moka::future::Cache;
use store::Recent;
use tokio::time::timeout;

use crate::events::{self, Event};
use crate::{Config, Error};

/// How many names of projects that do not exist are remembered.
const MAX_MISSING: u64 = 1000;

/// The cache in front of a [`Directory`].
#[derive(Debug)]
pub(crate) struct Projects {
    directory: Arc<dyn Directory>,
    directory_timeout: Duration,
    fresh: Cache<ProjectRef, Entry>,
    recent: Recent<Arc<Project>>,
    last_known: Cache<ProjectRef, Arc<Project>>,
    missing: Cache<ProjectRef, ()>,
    ttl: Duration,
    retry: Duration,
    /// The directory answers from memory.
    direct: bool,
    /// Counts changes that were told: what was being asked meanwhile may be old.
    changes: AtomicU64,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug, Clone)]
struct Entry {
    project: Arc<Project>,
    lives: Duration,
}

/// Why there is no configuration.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Missing,
    Silent,
}

impl Projects {
    pub(crate) fn new(config: &Config, directory: Arc<dyn Directory>) -> Self {
        let lookups = |outcome: &'static str| counter!("cache_lookups_total", "cache" => "project", "tier" => "l1", "outcome" => outcome);
        Self {
            directory,
            directory_timeout: config.directory_timeout,
            fresh: Cache::builder().max_capacity(config.max_projects).expire_after(OwnLife).build(),
            recent: Recent::default(),
            last_known: Cache::builder()
                .max_capacity(config.max_projects)
                .time_to_live(config.project_stale)
                .build(),
            missing: Cache::builder().max_capacity(MAX_MISSING).time_to_live(config.project_retry).build(),
            ttl: config.project_ttl,
            retry: config.project_retry,
            direct: config.direct,
            changes: AtomicU64::new(0),
            hits: lookups("hit"),
            misses: lookups("miss"),
        }
    }

    /// The project called `reference`, if it was found a moment before `now`.
    pub(crate) fn recent(&self, reference: &ProjectRef, now: tokio::time::Instant) -> Option<Arc<Project>> {
        // Nobody knows the version before he has the project.
        let found = self.recent.get(reference, 0, now)?;
        self.hits.increment(1);
        Some(found)
    }

    /// The project called `reference`, at most the cache's TTL old, or older while the directory does not answer.
    pub(crate) async fn find(&self, reference: &ProjectRef) -> Result<Arc<Project>, Error> {
        if self.direct {
            let found = self.directory.find(reference).await.ok().flatten();
            return found.ok_or_else(|| Error::NoDirectory { project: reference.clone() });
        }
        let (now, changes) = (tokio::time::Instant::now(), self.changes.load(Ordering::Acquire));
        // By itself in memory: a request that was preceded a moment ago need not be as large.
        Box::pin(self.look_up(reference, now, changes)).await
    }

    async fn look_up(
        &self,
        reference: &ProjectRef,
        now: tokio::time::Instant,
        changes: u64,
    ) -> Result<Arc<Project>, Error> {
        let known = self.fresh.get(reference).await;
        if known.is_some() { &self.hits } else { &self.misses }.increment(1);
        if let Some(entry) = known {
            self.recent.put(reference, 0, Arc::clone(&entry.project), now);
            if self.changes.load(Ordering::Acquire) != changes {
                self.recent.forget(reference);
            }
            return Ok(entry.project);
        }
        let found = if self.missing.contains_key(reference) {
            Err(Absent::Missing)
        } else {
            let loading = Box::pin(self.load(reference));
            self.fresh.try_get_with_by_ref(reference, loading).await.map_err(|it| *it)
        };
        match found {
            Ok(entry) => Ok(entry.project),
            // The default project is made at the first start: without it we are not ready yet.
            Err(Absent::Missing) if !reference.is_default() => Err(Error::UnknownProject),
            Err(Absent::Missing | Absent::Silent) => Err(Error::NoDirectory { project: reference.clone() }),
        }
    }

    /// Whether [`Self::find`] knows `reference` without asking.
    pub(crate) fn has(&self, reference: &ProjectRef) -> bool {
        self.direct || self.fresh.contains_key(reference)
    }

    /// `project` with the settings that its own database makes for its data API.
    pub(crate) fn configured<'a>(&'a self, project: &'a Arc<Project>) -> Configured<'a> {
        self.directory.configured(project)
    }

    /// What answers of `project`'s data API depend on, if that is known.
    pub(crate) fn dependence(&self, project: &Project) -> Option<Dependence> {
        self.directory.dependence(project)
    }

    /// Whether the directory answers and knows the default project; asks it, past the cache.
    pub(crate) async fn is_ready(&self) -> bool {
        let default = ProjectRef::of_default();
        matches!(timeout(self.directory_timeout, self.directory.find(&default)).await, Ok(Ok(Some(_))))
    }

    /// The configuration of `reference` changed.
    pub(crate) async fn forget(&self, reference: &ProjectRef) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.missing.invalidate(reference).await;
        self.fresh.invalidate(reference).await;
        self.recent.forget(reference);
    }

    /// Any configuration may have changed.
    pub(crate) fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.missing.invalidate_all();
        self.fresh.invalidate_all();
        self.recent.forget_all();
    }

    async fn load(&self, reference: &ProjectRef) -> Result<Entry, Absent> {
        let changes = self.changes.load(Ordering::Acquire);
        let error = match timeout(self.directory_timeout, self.directory.find(reference)).await {
            Ok(Ok(Some(project))) => {
                self.last_known.insert(reference.clone(), Arc::clone(&project)).await;
                let overtaken = self.changes.load(Ordering::Acquire) != changes;
                return Ok(Entry { project, lives: if overtaken { Duration::ZERO } else { self.ttl } });
            }
            Ok(Ok(None)) => {
                self.last_known.invalidate(reference).await;
                self.missing.insert(reference.clone(), ()).await;
                return Err(Absent::Missing);
            }
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => None,
        };
        let last_known = self.last_known.get(reference).await;
        let stale = last_known.is_some();
        events::emit(Event::DirectorySilent { project: reference, error: error.as_ref(), stale });
        last_known.map(|project| Entry { project, lives: self.retry }).ok_or(Absent::Silent)
    }
}

/// Each entry says by itself how long it lives.
#[derive(Debug)]
struct OwnLife;

impl Expiry<ProjectRef, Entry> for OwnLife {
    fn expire_after_create(&self, _: &ProjectRef, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.lives)
    }
}
