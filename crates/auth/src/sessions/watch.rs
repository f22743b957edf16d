//! What this process remembers of sessions, project by project, and the listener that makes it forget.
//!
//! Nothing is remembered before the listener stands. Whenever it stands (again), what was remembered before is
//! distrusted, here and in Redis: an end may have been missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Project, ProjectRef};
use moka::sync::Cache as Moka;
use store::{Cache, CacheSpec, Database, Databases, Notification, Notifications, Redis};
use tokio::sync::Notify;
use uuid::Uuid;

use super::live::{self, LiveSession};
use crate::{Error, again};

/// How long Redis keeps a session (REQ C8).
const TTL: Duration = Duration::from_secs(3600);
/// How long this process does: the backstop when a notification got lost.
const LOCAL_TTL: Duration = Duration::from_secs(10);
/// Sessions of one project in this process; about 300 bytes each.
const LOCAL_ENTRIES: u64 = 20_000;
/// Projects whose sessions are remembered.
const MAX_PROJECTS: u64 = 100;
/// The channel of the triggers.
const CHANNEL: &str = "madbase_sessions";
/// Longest wait for a project's listener; then PostgreSQL is asked.
const LISTEN_LIMIT: Duration = Duration::from_secs(1);

/// A session, or that it has ended: ends are remembered too, because no session comes back.
type Known = Option<LiveSession>;

/// The sessions of all projects.
#[derive(Debug)]
pub(crate) struct Sessions {
    redis: Redis,
    projects: Moka<ProjectRef, Arc<Watched>>,
}

/// The sessions of one project.
#[derive(Debug)]
struct Watched {
    cache: Cache<Uuid, Known>,
    listening: AtomicBool,
    begun: Notify,
    /// Pushed out by other projects: the listener ends.
    gone: Notify,
}

impl Sessions {
    pub(crate) fn new(redis: Redis) -> Self {
        let projects = Moka::builder()
            .max_capacity(MAX_PROJECTS)
            .eviction_listener(|_, it: Arc<Watched>, _| it.gone.notify_one())
            .build();
        Self { redis, projects }
    }

    /// Listen to the ends of `project`'s sessions, if that is not so already.
    pub(crate) fn watch(&self, project: &Project, database: &Arc<Database>) {
        if !self.projects.contains_key(&project.reference) {
            self.watched(project, database);
        }
    }

    /// The session `id` as this process remembers it; the outer `None` when it does not.
    pub(crate) fn peek(&self, project: &Project, id: Uuid) -> Option<Known> {
        let watched = self.projects.get(&project.reference).filter(|it| it.is_listening())?;
        watched.cache.peek(&id)
    }

    /// The session `id`: remembered, in Redis, or in the database.
    pub(crate) async fn find(
        &self,
        databases: &Databases,
        project: &Project,
        id: Uuid,
    ) -> Result<Known, Error> {
        let database = databases.of(project).await;
        let watched = self.watched(project, &database);
        let load = again::while_lost(|| async {
            let db = database.services().await.map_err(Error::Store)?;
            live::find(&db, id).await.map(Some)
        });
        if watched.stands().await {
            watched.cache.get_or_load(&id, load).await.map(Option::flatten)
        } else {
            load.await.map(Option::flatten)
        }
    }

    /// Remember a session that was made just now.
    pub(crate) async fn remember(&self, project: &Project, session: LiveSession) {
        if let Some(watched) = self.projects.get(&project.reference).filter(|it| it.is_listening()) {
            watched.cache.put(&session.id.clone(), Some(session)).await;
        }
    }

    /// A session ended here: do not wait to hear of it.
    pub(crate) async fn forget(&self, project: &Project, id: Uuid) {
        if let Some(watched) = self.projects.get(&project.reference) {
            watched.cache.invalidate(&id).await;
        }
    }

    fn watched(&self, project: &Project, database: &Arc<Database>) -> Arc<Watched> {
        self.projects.get_with_by_ref(&project.reference, || {
            let spec = CacheSpec {
                name: format!("session:{}", project.reference),
                label: "session",
                ttl: TTL,
                local_ttl: LOCAL_TTL,
                local_entries: LOCAL_ENTRIES,
                absent_ttl: Duration::ZERO,
            };
            let watched = Arc::new(Watched {
                cache: Cache::new(&self.redis, spec),
                listening: AtomicBool::new(false),
                begun: Notify::new(),
                gone: Notify::new(),
            });
            let heard = database.listen(CHANNEL);
            let (of, projects) = (Arc::clone(&watched), self.projects.clone());
            tokio::spawn(hear(of, heard, projects, project.reference.clone()));
            watched
        })
    }
}

impl Watched {
    fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }

    /// Whether the listener stands; waits a little for one that was begun just now.
    async fn stands(&self) -> bool {
        let begun = self.begun.notified();
        if self.is_listening() {
            return true;
        }
        let _ = tokio::time::timeout(LISTEN_LIMIT, begun).await;
        self.is_listening()
    }

    async fn forget(&self, payload: &str) {
        let ids: Option<Vec<Uuid>> = payload.split(',').map(|it| it.parse().ok()).collect();
        match ids {
            Some(ids) => {
                for id in ids {
                    self.cache.invalidate(&id).await;
                }
            }
            None => self.cache.distrust().await,
        }
    }
}

/// Until the database is closed, because nobody used it or its login changed; then the next use begins anew.
async fn hear(
    watched: Arc<Watched>,
    mut heard: Notifications,
    projects: Moka<ProjectRef, Arc<Watched>>,
    reference: ProjectRef,
) {
    loop {
        let notification = tokio::select! {
            it = heard.next() => it,
            () = watched.gone.notified() => None,
        };
        match notification {
            Some(Notification::Connected) => {
                watched.cache.distrust().await;
                watched.listening.store(true, Ordering::Release);
                watched.begun.notify_waiters();
            }
            Some(Notification::Message(payload)) => watched.forget(&payload).await,
            None => break,
        }
    }
    watched.listening.store(false, Ordering::Release);
    watched.cache.distrust().await;
    if projects.get(&reference).is_some_and(|it| Arc::ptr_eq(&it, &watched)) {
        projects.invalidate(&reference);
    }
}
