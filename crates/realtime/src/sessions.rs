//! Sessions behind the tokens that channels show. In projects with strict sessions a token whose session has ended joins
//! nothing, and channels that were open then are ended within about a second.
//!
//! Who knows which sessions stand is told to us when the services are wired; most answers come from its memory. Each
//! project has one task that looks after the sessions of all its channels, and calls the sockets whose session has ended.

use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use common::{Caller, Project, SessionCheck, SessionCheckError};
use foldhash::quality::RandomState;
use futures_util::task::AtomicWaker;
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;
use uuid::Uuid;

use crate::tenant::Tenant;

/// Said when a session has ended, in Auth's words.
pub(crate) const ENDED: &str = "Session from session_id claim in JWT does not exist";
/// Between two looks at a project's sessions.
const EVERY: Duration = Duration::from_secs(1);
/// Questions under way for one project.
const AT_ONCE: usize = 8;

/// Who knows which sessions stand; set once.
pub(crate) type Check = OnceLock<Arc<dyn SessionCheck>>;

/// The sessions behind a project's channels.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    watched: Mutex<HashMap<Uuid, Vec<Weak<Watched>>, RandomState>>,
}

/// A channel's session, looked after as long as this is held.
#[derive(Debug)]
pub(crate) struct Watched {
    among: Arc<Sessions>,
    session: Uuid,
    ended: AtomicBool,
    bell: Arc<Bell>,
}

/// Calls a socket's task to look at its channels.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.rings.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Whether it rang since this was asked last; `task` is woken when it rings.
    pub(crate) fn rang(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.rings.swap(false, Ordering::AcqRel)
    }
}

/// Whether the session of `caller`'s token stands, as far as that is remembered. Tokens without one always stand, and
/// all do where the project is not strict.
pub(crate) fn remembered(check: &Check, project: &Project, caller: &Caller) -> Option<bool> {
    match caller.session().filter(|_| project.auth.strict_sessions) {
        Some(session) => check.get()?.remembered(project, session),
        None => Some(true),
    }
}

/// Whether the session of `caller`'s token stands.
///
/// # Errors
/// [`SessionCheckError`] when nobody can say.
pub(crate) async fn ask(
    check: &Check,
    project: &Arc<Project>,
    caller: &Caller,
) -> Result<bool, SessionCheckError> {
    let Some(session) = caller.session().filter(|_| project.auth.strict_sessions) else { return Ok(true) };
    match check.get() {
        Some(check) => check.stands(project, session).await,
        None => Err(SessionCheckError("nobody knows the project's sessions".into())),
    }
}

impl Sessions {
    /// Look after the session of `caller`'s token, if it has one, for a channel of the socket that hears `bell`.
    pub(crate) fn watch(self: &Arc<Self>, caller: &Caller, bell: &Arc<Bell>) -> Option<Arc<Watched>> {
        let session = caller.session()?;
        let ended = AtomicBool::new(false);
        let watched = Watched { among: Arc::clone(self), session, ended, bell: Arc::clone(bell) };
        let watched = Arc::new(watched);
        self.watched().entry(session).or_default().push(Arc::downgrade(&watched));
        Some(watched)
    }

    /// Call all sockets of a session that has ended.
    fn end(&self, session: Uuid) {
        let watched: Vec<_> =
            self.watched().get(&session).into_iter().flatten().filter_map(Weak::upgrade).collect();
        for it in watched {
            it.ended.store(true, Ordering::Release);
            it.bell.ring();
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<Weak<Watched>>, RandomState>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Whether the channel must end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watched = self.among.watched();
        if let Some(of_session) = watched.get_mut(&self.session) {
            of_session.retain(|it| it.strong_count() > 0);
            if of_session.is_empty() {
                watched.remove(&self.session);
            }
        }
    }
}

/// Look after the sessions of `tenant`'s channels, as long as it is there.
pub(crate) async fn look_after(tenant: Weak<Tenant>, check: Arc<Check>) {
    loop {
        sleep(EVERY).await;
        let Some(tenant) = tenant.upgrade() else { return };
        let project = tenant.project();
        let Some(check) = check.get().filter(|_| project.auth.strict_sessions) else { continue };
        let sessions: Vec<Uuid> = tenant.sessions.watched().keys().copied().collect();
        let asking = sessions.into_iter().map(|session| {
            let project = &project;
            async move { (session, check.stands(project, session).await) }
        });
        let sessions = &tenant.sessions;
        let telling = stream::iter(asking).buffer_unordered(AT_ONCE).for_each(|(session, stands)| {
            match stands {
                Ok(true) => {}
                Ok(false) => sessions.end(session),
                // Asked again next time.
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a session cannot be checked")
                }
            }
            ready(())
        });
        telling.await;
    }
}
