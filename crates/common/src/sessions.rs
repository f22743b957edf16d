//! Whether the session of an access token still stands: implemented by auth, asked by the gateway and by realtime for
//! projects with strict sessions.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use uuid::Uuid;

use crate::Project;

/// The answer of [`SessionCheck::ask`], to be awaited.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<bool, SessionCheckError>> + Send + 'a>>;

/// Knows which sessions stand.
pub trait SessionCheck: fmt::Debug + Send + Sync {
    /// Whether `session` stands, from memory: under a microsecond. `None` when it must be asked for.
    fn remembered(&self, project: &Project, session: Uuid) -> Option<bool>;

    /// Whether `session` stands; what is found out is remembered.
    ///
    /// # Errors
    /// [`SessionCheckError`] when the project's database does not answer.
    fn ask<'a>(&'a self, project: &'a Arc<Project>, session: Uuid) -> Asking<'a>;
}

impl dyn SessionCheck {
    /// Whether `session` stands: from memory, or else by asking.
    ///
    /// # Errors
    /// As [`SessionCheck::ask`].
    pub async fn stands(&self, project: &Arc<Project>, session: Uuid) -> Result<bool, SessionCheckError> {
        match self.remembered(project, session) {
            Some(stands) => Ok(stands),
            None => self.ask(project, session).await,
        }
    }
}

/// Nobody could say whether the session stands; the source is for the log only.
#[derive(Debug, thiserror::Error)]
#[error("the session cannot be checked")]
pub struct SessionCheckError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
