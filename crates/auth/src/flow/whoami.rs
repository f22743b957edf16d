//! The user behind a Bearer token, with a session that still stands.

use store::ServiceClient;
use uuid::Uuid;

use crate::error::AccountError;
use crate::queries;
use crate::request::Context;
use crate::session::Session;
use crate::user::Account;
use crate::{Auth, Error, OAuthError};

/// The user behind a Bearer token.
pub(crate) struct SignedIn {
    pub(crate) account: Account,
    /// The token's session; a token without `session_id` has none.
    pub(crate) session: Option<Session>,
    pub(crate) db: ServiceClient,
}

/// Verify the Bearer token, then look whether its user and session still exist: a sign-out counts at once.
pub(crate) async fn signed_in(auth: &Auth, ctx: &Context) -> Result<SignedIn, Error> {
    let claims = ctx.claims()?;
    let subject = claims.text("sub").filter(|it| !it.is_empty()).ok_or(Error::MissingSub)?;
    let user_id = subject.parse::<Uuid>().map_err(|_| Error::BadSub)?;
    let session_id = match claims.text("session_id").filter(|it| !it.is_empty()) {
        Some(text) => Some(text.parse::<Uuid>().map_err(|_| Error::BadSessionId)?),
        None => None,
    };
    // An ID token tells a client of ours who the user is; the same key signs it, but it opens nothing.
    if session_id.is_none() && claims.map.contains_key("client_id") {
        return Err(Error::BadSessionId);
    }
    let db = auth.database(&ctx.project).await?;
    let mut account = queries::signed_in(&db, user_id, session_id).await?.ok_or(Error::UserMissing)?;
    if account.user.deleted_at.is_some() {
        return Err(Error::UserMissing);
    }
    if account.user.is_banned(ctx.now) {
        return Err(Error::Banned);
    }
    let session = account.session.take().filter(|it| it.is_alive(ctx.now));
    if session_id.is_some() && session.is_none() {
        return Err(Error::SessionMissing);
    }
    if session.as_ref().is_some_and(|it| it.is_over(ctx.now, ctx.project.auth.sessions_timebox)) {
        return Err(AccountError::SessionOver.into());
    }
    Ok(SignedIn { account, session, db })
}

/// The same, unless a client of our OAuth server acts for the user: how somebody signs in, and what clients may do, is
/// the user's own business.
pub(crate) async fn in_person(auth: &Auth, ctx: &Context) -> Result<SignedIn, Error> {
    let who = signed_in(auth, ctx).await?;
    if who.session.as_ref().is_some_and(Session::is_of_client) {
        return Err(OAuthError::Anonymous.into());
    }
    Ok(who)
}
