//! `SessionManager`: sessions by opaque tokens, for whoever is no client of `/auth/v1` (REQ C3).
//!
//! A token is `{session id}.{secret}`. Caches are keyed by the id; the secret is compared with a digest.

use std::sync::Arc;

use common::{Project, UserId};
use uuid::Uuid;

use super::{LiveSession, live};
use crate::{Auth, Error, secret};

/// The sessions of one project.
///
/// ```no_run
/// # async fn example(auth: auth::Auth, project: std::sync::Arc<common::Project>, user: common::UserId)
/// # -> Result<(), auth::Error> {
/// let sessions = auth.sessions(project);
/// let token = sessions.create_session(user, "ada@example.com", "authenticated").await?;
/// assert_eq!(sessions.validate_session(&token).await?.user_id, user);
/// sessions.revoke_session(&token).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SessionManager {
    auth: Auth,
    project: Arc<Project>,
}

const CREATE: &str = "\
    with made as (\
      insert into auth.sessions (id, user_id, created_at, updated_at, aal) values ($1, $2, $3, $3, 'aal1') returning id\
    ) insert into auth.session_tokens (session_id, token_hash, email, role) select id, $4, $5, $6 from made";

const REVOKE: &str = "delete from auth.sessions where id = $1";

const REVOKE_ALL: &str = "delete from auth.sessions where user_id = $1";

impl SessionManager {
    pub(crate) fn new(auth: Auth, project: Arc<Project>) -> Self {
        Self { auth, project }
    }

    /// Open a session of `user_id`; the token is told once and stored nowhere.
    ///
    /// # Errors
    /// [`Error::UserMissing`] when there is no such user, [`Error::Store`] when PostgreSQL does not answer.
    pub async fn create_session(&self, user_id: UserId, email: &str, role: &str) -> Result<String, Error> {
        let (id, secret, now) = (Uuid::new_v4(), secret::token()?, self.auth.now());
        let token_hash = secret::stored(&secret);
        let db = self.auth.database(&self.project).await?;
        let statement = db.prepare_cached(CREATE).await?;
        let made = db.execute(&statement, &[&id, &user_id.0, &now, &token_hash, &email, &role]).await;
        if let Err(error) = made {
            let missing = error.code() == Some(&store::postgres::error::SqlState::FOREIGN_KEY_VIOLATION);
            return Err(if missing { Error::UserMissing } else { error.into() });
        }
        // As everybody else will read it: the user may be banned.
        let session = live::find(&db, id).await?;
        drop(db);
        if let Some(session) = session {
            self.auth.standing().remember(&self.project, session).await;
        }
        Ok(format!("{id}.{secret}"))
    }

    /// The session that `token` opens, on whichever proxy it was made.
    ///
    /// # Errors
    /// [`Error::SessionMissing`] when it has ended, expired or never was, or its user is gone or banned;
    /// [`Error::Store`] when nobody remembers it and PostgreSQL does not answer.
    pub async fn validate_session(&self, token: &str) -> Result<LiveSession, Error> {
        let (id, secret) = parse(token).ok_or(Error::SessionMissing)?;
        let session = match self.auth.standing().peek(&self.project, id) {
            Some(known) => known,
            None => self.auth.standing().find(self.auth.databases(), &self.project, id).await?,
        };
        let session = session.ok_or(Error::SessionMissing)?;
        let opens = session.token_hash.as_deref().is_some_and(|it| secret::same(it, &secret::stored(secret)));
        let stands = session.stands(self.auth.now(), self.project.auth.sessions_timebox);
        if opens && stands { Ok(session) } else { Err(Error::SessionMissing) }
    }

    /// End the session of `token`. An unknown token is no error: there is nothing to end.
    ///
    /// # Errors
    /// [`Error::Store`] when PostgreSQL does not answer.
    pub async fn revoke_session(&self, token: &str) -> Result<(), Error> {
        match self.validate_session(token).await {
            Ok(session) => {
                self.end(REVOKE, session.id).await?;
                // The trigger tells everybody; here it counts before this returns.
                self.auth.standing().forget(&self.project, session.id).await;
                Ok(())
            }
            Err(Error::SessionMissing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// End all sessions of `user_id`, those of `/auth/v1` too.
    ///
    /// # Errors
    /// [`Error::Store`] when PostgreSQL does not answer.
    pub async fn revoke_all(&self, user_id: UserId) -> Result<(), Error> {
        self.end(REVOKE_ALL, user_id.0).await
    }

    async fn end(&self, statement: &'static str, id: Uuid) -> Result<(), Error> {
        let db = self.auth.database(&self.project).await?;
        let statement = db.prepare_cached(statement).await?;
        db.execute(&statement, &[&id]).await?;
        Ok(())
    }
}

fn parse(token: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = token.split_once('.')?;
    Some((id.parse().ok()?, secret)).filter(|(_, it)| it.len() == 43)
}
