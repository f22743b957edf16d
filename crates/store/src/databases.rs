//! One [`Database`] per project: opened on demand, at most 100, closed after 300 s without use (REQ H7).

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use common::{Login, Project, ProjectRef};
use foldhash::quality::RandomState;
use futures_util::future::join_all;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use crate::replicas::{ReplicaSettings, Replicas};
use crate::{Database, Server, Spool};

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
    cache: Cache<Key, Entry, RandomState>,
    hasher: RandomState,
    sweeping: AtomicBool,
}

/// A project and a fingerprint of how its database is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reference: ProjectRef,
    fingerprint: u64,
}

/// What the cache holds. Emptied on eviction, because the cache frees evicted values only some time later: from then
/// on the database lives as long as its borrowers.
#[derive(Debug, Clone)]
struct Entry(Arc<Mutex<Option<Arc<Database>>>>);

impl Entry {
    fn new(database: Database) -> Self {
        Self(Arc::new(Mutex::new(Some(Arc::new(database)))))
    }

    fn get(&self) -> Option<Arc<Database>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn empty(&self) -> Option<Arc<Database>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        let watched = (!replicas.servers.is_empty()).then(|| Arc::new(Replicas::watch(&server, replicas)));
        Self::over(server, watched, settings)
    }

    fn over(server: Server, replicas: Option<Arc<Replicas>>, settings: PoolSettings) -> Self {
        let cache = Cache::builder()
            .max_capacity(settings.max_projects)
            .time_to_idle(settings.idle_timeout)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Entry, _| drop(entry.empty()))
            .build_with_hasher(RandomState::default());
        let hasher = RandomState::default();
        let sweeping = AtomicBool::new(false);
        Self { shared: Arc::new(Shared { server, replicas, settings, cache, hasher, sweeping }) }
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
            if let Some(database) = entry.into_value().get() {
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

    /// Look for idle databases now and then: the cache itself only looks when it is used.
    fn sweep(&self) {
        if self.shared.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle = self.shared.settings.idle_timeout;
        let every = (idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(10));
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(shared) = Weak::upgrade(&shared) else { return };
                shared.cache.run_pending_tasks().await;
            }
        });
    }
}

impl Shared {
    fn open(&self, project: &Project) -> Database {
        Database::open(&self.server, self.replicas.as_ref(), &self.settings, project)
    }

    fn key(&self, project: &Project) -> Key {
        let login = |it: &Login| self.hasher.hash_one((&it.user, it.password.expose_secret()));
        let parts =
            (&project.database, login(&project.logins.authenticator), login(&project.logins.services));
        Key { reference: project.reference.clone(), fingerprint: self.hasher.hash_one(parts) }
    }
}
