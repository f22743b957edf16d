//! Strict sessions: an access token of a session that has ended opens nothing, though it has not expired.
//!
//! Asked for projects that want it, for tokens that name a session. The answer is usually remembered, so the hot path
//! costs one look into memory.

use std::sync::{Arc, OnceLock};

use common::{Caller, Project, SessionCheck};

use crate::Error;
use crate::events::{self, Event};

/// Who knows which sessions stand; set once, when the services are wired.
pub(crate) type Check = OnceLock<Arc<dyn SessionCheck>>;

/// Refuse a caller whose session has ended.
pub(crate) async fn check(check: &Check, project: &Arc<Project>, caller: &Caller) -> Result<(), Error> {
    if !project.auth.strict_sessions {
        return Ok(());
    }
    let Some(session) = caller.session() else { return Ok(()) };
    // Nobody to ask: rather no answer than one to a session that has ended.
    let Some(sessions) = check.get() else { return Err(Error::SessionUnknown) };
    let stands = sessions.stands(project, session).await.map_err(|error| {
        events::emit(Event::SessionsSilent { error: &error });
        Error::SessionUnknown
    })?;
    if stands { Ok(()) } else { Err(Error::SessionEnded) }
}
