//! The gateway's question: does the session of this access token still stand?

use std::sync::Arc;

use common::{Asking, Project, SessionCheck, SessionCheckError};
use uuid::Uuid;

use crate::Auth;

impl SessionCheck for Auth {
    fn remembered(&self, project: &Project, session: Uuid) -> Option<bool> {
        let known = self.standing().peek(project, session)?;
        Some(known.is_some_and(|it| it.stands(self.now(), project.auth.sessions_timebox)))
    }

    fn ask<'a>(&'a self, project: &'a Arc<Project>, session: Uuid) -> Asking<'a> {
        Box::pin(async move {
            let found = self.standing().find(self.databases(), project, session).await;
            let found = found.map_err(|it| SessionCheckError(it.into()))?;
            Ok(found.is_some_and(|it| it.stands(self.now(), project.auth.sessions_timebox)))
        })
    }
}
