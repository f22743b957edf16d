//! What all sockets of a process share.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use common::{Caller, Project, ProjectRef, SessionCheck};
use http::{Request, Response};
use store::{Databases, Locks, Redis, Versions};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Measures;
use crate::feed::{self, Feeds};
use crate::outbox::Outbox;
use crate::rights::RightsSettings;
use crate::tenant::{Ground, Tenant};
use crate::{Config, Error, PresenceManager, api, connect};

/// The realtime service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Realtime {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) ground: Ground,
    pub(crate) measures: Measures,
    /// Places for sockets.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) next_id: AtomicU64,
    /// Bytes of unfinished messages.
    pub(crate) unread: AtomicUsize,
    /// One of each socket.
    pub(crate) tasks: TaskTracker,
    /// No socket is opened any more.
    pub(crate) draining: CancellationToken,
    tenants: Mutex<HashMap<ProjectRef, Arc<Tenant>>>,
    sockets: Mutex<HashMap<u64, Outbox>>,
    hasher: RandomState,
}

impl Realtime {
    /// Sockets of the projects in `databases`; `redis` carries messages between processes, `locks` choose among them, and
    /// `versions` hears of every change that the projects' streams tell. Must be called on a runtime.
    #[must_use]
    pub fn new(
        config: Config,
        databases: Databases,
        redis: &Redis,
        locks: Locks,
        versions: Option<Versions>,
    ) -> Self {
        let feeds = Feeds::new(feed::Ground {
            server: databases.server().clone(),
            redis: redis.clone(),
            locks: locks.clone(),
            versions,
            settings: config.feed.clone(),
        });
        // An answer that is older than that is none to go on with.
        let rights = RightsSettings::default();
        let rights = RightsSettings { kept: rights.kept.min(config.check_every), ..rights };
        let check = Arc::default();
        let ground = Ground { databases, redis: redis.clone(), locks, feeds, check, rights };
        let slots = Arc::new(Semaphore::new(config.max_sockets));
        let inner = Inner {
            config,
            ground,
            measures: Measures::new(),
            slots,
            next_id: AtomicU64::new(1),
            unread: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            tenants: Mutex::default(),
            sockets: Mutex::default(),
            hasher: RandomState::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The answer to a request that the gateway has admitted.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        match self.route(request).await {
            Ok(response) => response,
            Err(error) => error.response(),
        }
    }

    /// Ask `sessions` whether a token's session stands, for projects with strict sessions. Only the first call counts.
    pub fn check_sessions(&self, sessions: Arc<dyn SessionCheck>) {
        let _ = self.inner.ground.check.set(sessions);
    }

    /// Who is in the channels of `project`: users who join by it are members beside those of the sockets (REQ C4). Must be
    /// called on a runtime.
    ///
    /// ```no_run
    /// # fn f(realtime: &realtime::Realtime, project: &std::sync::Arc<common::Project>) -> Result<(), realtime::PresenceRefusal> {
    /// let members = realtime.presence(project);
    /// members.join_channel("ada", "lobby", &serde_json::json!({"mood": "good"}))?;
    /// assert_eq!(members.get_channel_online_count("lobby"), 1);
    /// // Again and again, or she leaves after a minute.
    /// let _is_there = members.heartbeat("ada", "lobby");
    /// members.leave_channel("ada", "lobby");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn presence(&self, project: &Arc<Project>) -> PresenceManager {
        PresenceManager::of(self.inner.tenant(project))
    }

    async fn route(self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let extensions = request.extensions();
        let project = extensions.get::<Arc<Project>>().cloned().ok_or(Error::NoCaller)?;
        let caller = extensions.get::<Caller>().cloned().ok_or(Error::NoCaller)?;
        match request.uri().path() {
            "/websocket" => connect::connect(&self.inner, request, (project, caller)),
            path if path.starts_with("/api/") => api::answer(&self.inner, request, (project, caller)).await,
            _ => Err(Error::NoRoute),
        }
    }
}

impl Inner {
    /// The project's part of this process; those that nobody uses are given up.
    pub(crate) fn tenant(&self, project: &Arc<Project>) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(&project.reference) {
            tenant.meet(project);
            return Arc::clone(tenant);
        }
        tenants.retain(|_, it| Arc::strong_count(it) > 1);
        let tenant = Tenant::new(Arc::clone(project), &self.ground);
        tenants.insert(project.reference.clone(), Arc::clone(&tenant));
        tenant
    }

    /// All projects that are here.
    pub(crate) fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn sockets(&self) -> MutexGuard<'_, HashMap<u64, Outbox>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number to know `token` by, without keeping it.
    pub(crate) fn number_of(&self, token: &str) -> u64 {
        self.hasher.hash_one(token).max(1)
    }
}
