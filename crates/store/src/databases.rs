//! One [`Database`] per project: opened on demand, at most 100, closed after 300 s without use (REQ H7).

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use common::{Login, Project, ProjectRef};
use foldhash::quality::RandomState;
use futures_util::future::join_all;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::replicas::{ReplicaSettings, Replicas};
use crate::{Database, Recent, Redis, Server, Spool};

/// Bounds of the pools; every field is a setting with this default.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Data-path connections per project.
    pub data_connections: usize,
    /// Service connections per project.
    pub service_connections: usize,
    /// Longest wait for a free connection.
    pub acquire_timeout: Duration,
    /// Prepared statements kept per data-path connection.
    pub statements_per_connection: usize,
    /// Open projects; the least recently used one closes first.
    pub max_projects: u64,
    /// A project without requests for this long closes its connections.
    pub idle_timeout: Duration,
    /// Connections of this process to one server, of all projects together; at least 4. A server has `max_connections` for all
    /// processes, and each needs a few more that are not counted here.
    pub max_connections: usize,
    /// For large answers that their clients take slowly; all projects share it. Default 4 GiB under `/tmp`.
    pub spool: Spool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            data_connections: 10,
            service_connections: 5,
            acquire_timeout: Duration::from_secs(10),
            statements_per_connection: 256,
            max_projects: 100,
            idle_timeout: Duration::from_secs(300),
            max_connections: 150,
            spool: Spool::new("/tmp", Spool::MAX_BYTES),
        }
    }
}

/// The databases of all projects on one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Databases {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Server,
    replicas: Option<Arc<Replicas>>,
    settings: PoolSettings,
    budget: Budget,
    started: Instant,
    cache: Cache<Key, Entry, RandomState>,
    recent: Recent<Entry>,
    lent: Arc<Lent>,
    hasher: RandomState,
    sweeping: AtomicBool,
}

/// A project and a fingerprint of how its database is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reference: ProjectRef,
    fingerprint: u64,
}

/// Databases that the cache let go while they were borrowed. They may need one more connection, and would wait for each
/// other if they kept those that they do not use.
#[derive(Debug, Default)]
struct Lent(Mutex<Vec<Weak<Database>>>);

impl Lent {
    fn add(&self, database: &Arc<Database>) {
        database.end_idle();
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.retain(|it| it.strong_count() > 0);
        lent.push(Arc::downgrade(database));
    }

    fn end_idle(&self) {
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.retain(|it| it.upgrade().inspect(|it| it.end_idle()).is_some());
    }
}

/// What the cache holds. Emptied on eviction, because the cache frees evicted values only some time later: from then
/// on the database lives as long as its borrowers.
#[derive(Debug, Clone)]
struct Entry {
    database: Arc<Mutex<Option<Arc<Database>>>>,
    /// When it was last asked for, in milliseconds of this process.
    used_ms: Arc<AtomicU64>,
}

impl Entry {
    fn new(database: Database) -> Self {
        Self { database: Arc::new(Mutex::new(Some(Arc::new(database)))), used_ms: Arc::default() }
    }

    fn get(&self) -> Option<Arc<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn empty(&self) -> Option<Arc<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Databases {
    /// No connection is made yet.
    #[must_use]
    pub fn new(server: Server, settings: PoolSettings) -> Self {
        Self::over(server, None, settings)
    }

    /// As [`Databases::new`], with replicas of `server` that reads may go to. They are watched from now on, on the
    /// runtime that this is called on.
    #[must_use]
    pub fn with_replicas(server: Server, replicas: ReplicaSettings, settings: PoolSettings) -> Self {
        Self::over(server, Some(replicas), settings)
    }

    fn over(server: Server, replicas: Option<ReplicaSettings>, settings: PoolSettings) -> Self {
        let budget = Budget::new(settings.max_connections);
        let server = server.within(budget.clone());
        let replicas = replicas.filter(|it| !it.servers.is_empty()).map(|mut it| {
            let counted = |replica: Server| replica.within(budget.another(settings.max_connections));
            it.servers = it.servers.into_iter().map(counted).collect();
            Arc::new(Replicas::watch(&server, it))
        });
        let lent = Arc::new(Lent::default());
        let cache = {
            let lent = Arc::clone(&lent);
            Cache::builder()
                .max_capacity(settings.max_projects)
                .time_to_idle(settings.idle_timeout)
                .eviction_policy(EvictionPolicy::lru())
                .eviction_listener(move |_, entry: Entry, _| {
                    entry.empty().into_iter().for_each(|it| lent.add(&it))
                })
                .build_with_hasher(RandomState::default())
        };
        let (recent, hasher) = (Recent::default(), RandomState::default());
        let (started, sweeping) = (Instant::now(), AtomicBool::new(false));
        let shared =
            Shared { server, replicas, settings, budget, started, cache, recent, lent, hasher, sweeping };
        Self { shared: Arc::new(shared) }
    }

    /// Let processes tell each other by `redis` who wrote: with replicas, a caller then sees what it wrote through any of
    /// them. Without replicas, or without Redis, nothing is told.
    pub fn share_writes(&self, redis: &Redis) {
        self.shared.replicas.iter().for_each(|it| it.share(redis));
    }

    /// The server behind, for the administrator's work.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.shared.server
    }

    /// The database of `project`; opened on first use, connections are made when first needed.
    ///
    /// A project with another `version` opens anew when its login, password or database changed.
    pub async fn of(&self, project: &Project) -> Arc<Database> {
        let now = Instant::now();
        let recent = self.shared.recent.get(&project.reference, project.version, now);
        if let Some((entry, database)) = recent.and_then(|it| it.get().map(|database| (it, database))) {
            entry.used_ms.store(self.shared.ms(now), Ordering::Relaxed);
            return database;
        }
        // By itself in memory, for most requests are not as large.
        Box::pin(self.find(project)).await
    }

    async fn find(&self, project: &Project) -> Arc<Database> {
        let shared = &*self.shared;
        let key = shared.key(project);
        loop {
            let open = async { Entry::new(shared.open(project)) };
            let entry = shared.cache.entry_by_ref(&key).or_insert_with(open).await;
            if entry.is_fresh() {
                self.sweep();
                shared.cache.run_pending_tasks().await;
            }
            // Empty: evicted between finding and looking.
            let entry = entry.into_value();
            if let Some(database) = entry.get() {
                let now = Instant::now();
                entry.used_ms.store(shared.ms(now), Ordering::Relaxed);
                shared.recent.put(&project.reference, project.version, entry, now);
                return database;
            }
        }
    }

    /// Close all connections; borrowers finish first, at most `limit` long.
    pub async fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let open: Vec<_> = self.shared.cache.iter().filter_map(|(_, entry)| entry.get()).collect();
        self.shared.cache.invalidate_all();
        self.shared.cache.run_pending_tasks().await;
        join_all(open.iter().map(|it| it.close(deadline))).await;
        self.shared.replicas.iter().for_each(|it| it.close());
    }

    /// Look for idle databases now and then: the cache itself only looks when it is used. Let the least recently used one
    /// go when somebody lacks a connection.
    fn sweep(&self) {
        if self.shared.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle = self.shared.settings.idle_timeout;
        let every = (idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(10));
        let (shared, budget) = (Arc::downgrade(&self.shared), self.shared.budget.clone());
        tokio::spawn(async move {
            loop {
                let lacking = tokio::time::timeout(every, budget.wanted()).await.is_ok();
                let Some(shared) = Weak::upgrade(&shared) else { return };
                if lacking {
                    shared.let_one_go().await;
                }
                shared.cache.run_pending_tasks().await;
            }
        });
    }
}

impl Shared {
    fn open(&self, project: &Project) -> Database {
        Database::open(&self.server, self.replicas.as_ref(), &self.settings, project)
    }

    /// `now` in milliseconds of this process.
    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Let the least recently used project with connections close them, if there is another one. Those that were let go
    /// before close what their borrowers do not use.
    async fn let_one_go(&self) {
        self.lent.end_idle();
        let used = |(key, entry): (Arc<Key>, Entry)| {
            let open = entry.get().is_some_and(|it| it.connections() > 0);
            open.then(|| (entry.used_ms.load(Ordering::Relaxed), key))
        };
        let mut all: Vec<_> = self.cache.iter().filter_map(used).collect();
        all.sort_unstable_by_key(|(used_ms, _)| *used_ms);
        if let [(_, key), _, ..] = all.as_slice() {
            metrics::counter!("madbase_connections_reclaims_total").increment(1);
            self.cache.invalidate(&**key).await;
        }
    }

    fn key(&self, project: &Project) -> Key {
        let login = |it: &Login| self.hasher.hash_one((&it.user, it.password.expose_secret()));
        let parts =
            (&project.database, login(&project.logins.authenticator), login(&project.logins.services));
        Key { reference: project.reference.clone(), fingerprint: self.hasher.hash_one(parts) }
    }
}
