//! `grant_type=refresh_token`: rotation, and what happens when a retired token comes back.
//!
//! Each token's successor is computed from it and a key of the session (`secret::next_refresh_token`), so only digests
//! are stored and a client that lost an answer gets the same successor again. Two requests with the same token both
//! succeed and get the same one.

use common::Project;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::error::AccountError;
use crate::events::{self, Event};
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, EndSessions, Refreshing};
use crate::request::{Context, text};
use crate::session::{RefreshToken, Session, Tokens};
use crate::{Auth, Error, OAuthError, again, secret};

/// Length of the tokens of sessions imported from Supabase, which are stored as they are.
const IMPORTED_LENGTH: usize = 12;
/// Length of ours.
const LENGTH: usize = 43;
/// How far a token may lie behind the session's current one within the reuse interval.
const MAX_STEPS: usize = 8;

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    refresh_token: Option<String>,
}

/// What to do with a presented token.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Retire it, issue its successor.
    Rotate,
    /// Rotation is off: it stays.
    Keep,
    /// It was retired a moment ago, or its successor was never used: that one again.
    Repeat(String),
    /// It was retired for good: somebody else may have it. The session ends.
    End,
}

/// Exchange a refresh token for new tokens.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let Some(token) = text(fields.refresh_token) else {
        return Err(Error::OAuth("refresh_token required"));
    };
    run_for(auth, ctx, &token, None).await
}

/// The same for a client of our OAuth server, or for none: a session's tokens are for the one who opened it.
pub(crate) async fn run_for(
    auth: &Auth,
    ctx: &Context,
    token: &str,
    client: Option<Uuid>,
) -> Result<Tokens, Error> {
    let stored = &stored(token)?;
    for _ in 0..ATTEMPTS {
        // Who finds the token rotated already gets the same successor: so a lost answer may be asked for again.
        let attempt = || Box::pin(attempt(auth, ctx, (token, stored), client));
        if let Some(tokens) = again::while_lost(attempt).await? {
            return Ok(tokens);
        }
    }
    Err(Error::Conflict)
}

/// `None` when another request with the same token was faster: read what it left.
async fn attempt(
    auth: &Auth,
    ctx: &Context,
    (token, stored): (&str, &str),
    client: Option<Uuid>,
) -> Result<Option<Tokens>, Error> {
    let db = auth.database(&ctx.project).await?;
    let mut found = queries::refreshing(&db, stored).await?.ok_or(Error::RefreshTokenNotFound)?;
    if found.account.user.is_banned(ctx.now) {
        return Err(Error::BannedRefresh);
    }
    let mut session = found.account.session.take().ok_or(Error::NoValidSession)?;
    check_client(session.oauth_client_id, client)?;
    check_limits(ctx, &found, &session)?;
    let (change, next) = match decide(&found, &session, token, (&ctx.project, ctx.now)) {
        Decision::Repeat(next) => return Tokens::new(ctx, &found.account, &session, next).await.map(Some),
        Decision::End => return end(ctx, &db, &found, &session).await.map(Some),
        Decision::Keep => (keep(ctx, &found, &mut session), token.to_owned()),
        Decision::Rotate => rotate(ctx, &found, &mut session, token)?,
    };
    match queries::apply(&db, &change).await? {
        Applied::Done => Tokens::new(ctx, &found.account, &session, next).await.map(Some),
        Applied::Stale | Applied::Taken => Ok(None),
    }
}

/// Refuse a session whose time is over, in the words for each way.
fn check_limits(ctx: &Context, found: &Refreshing, session: &Session) -> Result<(), Error> {
    let settings = &ctx.project.auth;
    if settings.sessions_single_per_user && found.newer {
        return Err(AccountError::NewerLogin.into());
    }
    if !session.is_alive(ctx.now) || session.is_over(ctx.now, settings.sessions_timebox) {
        return Err(Error::SessionExpired);
    }
    if session.is_idle(ctx.now, settings.sessions_inactivity_timeout) {
        return Err(AccountError::Inactive.into());
    }
    Ok(())
}

/// A session that a client opened is that client's, and any other is nobody's but the user's.
fn check_client(session: Option<Uuid>, client: Option<Uuid>) -> Result<(), OAuthError> {
    let why = match (session, client) {
        (Some(_), None) => "Client authentication required for OAuth session",
        (Some(session), Some(client)) if session != client => {
            "Client does not match the session's OAuth client"
        }
        (None, Some(_)) => "Client authentication not allowed for non-OAuth session",
        _ => return Ok(()),
    };
    Err(OAuthError::protocol("invalid_client", why))
}

/// The form in which a token is stored.
fn stored(token: &str) -> Result<String, Error> {
    match token.len() {
        IMPORTED_LENGTH => Ok(token.to_owned()),
        LENGTH => Ok(secret::stored(token)),
        _ => Err(Error::invalid("Refresh token is not valid")),
    }
}

fn decide(
    found: &Refreshing,
    session: &Session,
    token: &str,
    (project, now): (&Project, Timestamp),
) -> Decision {
    let settings = &project.auth;
    if !found.revoked {
        return if settings.refresh_token_rotation { Decision::Rotate } else { Decision::Keep };
    }
    let (Some(active), Some(key)) = (&found.active, &session.refresh_token_hmac_key) else {
        return Decision::End;
    };
    let age_secs = found.updated_at.map_or(i64::MAX, |it| now.as_second() - it.as_second());
    let fresh =
        u64::try_from(age_secs.max(0)).is_ok_and(|it| it <= settings.refresh_token_reuse_interval_secs);
    // What followed the token: a refresh, or the verification of a second factor.
    let refreshed = secret::next_refresh_token(key, token);
    let upgraded = secret::upgraded_refresh_token(project, key, &stored(token).unwrap_or_default());
    for mut next in [refreshed, upgraded] {
        for step in 1..=MAX_STEPS {
            // The parent of the current token is fine at any time: the client never got the answer.
            if secret::stored(&next) == *active && (step == 1 || fresh) {
                return Decision::Repeat(next);
            }
            next = secret::next_refresh_token(key, &next);
        }
    }
    Decision::End
}

fn rotate(
    ctx: &Context,
    found: &Refreshing,
    session: &mut Session,
    token: &str,
) -> Result<(Change, String), Error> {
    let mut change = keep(ctx, found, session);
    let key = match &session.refresh_token_hmac_key {
        Some(key) => key.clone(),
        None => secret::token()?,
    };
    session.refresh_token_hmac_key = Some(key.clone());
    change.refresh = Some(session.clone());
    let next = secret::next_refresh_token(&key, token);
    let parent = stored(token)?;
    change.retire = Some(parent.clone());
    change.issue.push(RefreshToken {
        token: secret::stored(&next),
        user_id: found.account.user.id,
        session_id: session.id,
        parent: Some(parent),
        created_at: ctx.now,
    });
    Ok((change, next))
}

fn keep(ctx: &Context, found: &Refreshing, session: &mut Session) -> Change {
    session.user_agent.clone_from(&ctx.user_agent);
    session.ip = ctx.ip_text();
    let mut change = Change::new(ctx.now);
    change.refresh = Some(session.clone());
    change.audit(audit(ctx, "token_refreshed", &found.account.user));
    change
}

async fn end(
    ctx: &Context,
    db: &store::ServiceClient,
    found: &Refreshing,
    session: &Session,
) -> Result<Tokens, Error> {
    let mut change = Change::new(ctx.now);
    change.end = Some(EndSessions { user_id: found.account.user.id, only: Some(session.id), except: None });
    change.audit(audit(ctx, "token_revoked", &found.account.user));
    queries::apply(db, &change).await?;
    events::tell(&Event::RefreshTokenReused { project: &ctx.project.reference });
    Err(Error::RefreshTokenUsed)
}
