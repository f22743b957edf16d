//! What a new password needs: the mailed nonce, the current password, and to be another one.

use store::ServiceClient;

use super::Wanted;
use crate::error::AccountError;
use crate::flow::letter::REAUTHENTICATION;
use crate::flow::verify::{count_guess, is_alive};
use crate::password::{Verdict, breach};
use crate::queries::{self, Spend};
use crate::request::Context;
use crate::session::Session;
use crate::user::User;
use crate::{Auth, Error, secret};

/// A session this young needs no nonce.
const FRESH_SECS: i64 = 24 * 3600;
/// How sessions begin in which the user may have forgotten the password.
const RECOVERY: [&str; 3] = ["otp", "magiclink", "recovery"];

/// The nonce to spend, where the project wants one.
///
/// # Errors
/// [`AccountError::ReauthenticationNeeded`], [`AccountError::NonceInvalid`].
pub(super) async fn nonce(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    (user, session, wanted): (&User, Option<&Session>, &Wanted),
) -> Result<Option<Spend>, Error> {
    let settings = &ctx.project.auth;
    let begun = session.and_then(|it| it.created_at);
    let fresh = begun.is_some_and(|it| ctx.now.as_second() - it.as_second() <= FRESH_SECS);
    if wanted.password.is_none() || !settings.password_require_reauthentication || fresh {
        return Ok(None);
    }
    let nonce = wanted.nonce.as_ref().ok_or(AccountError::ReauthenticationNeeded)?;
    let (address, lifetime_secs) = match (user.address(), user.number()) {
        ("", "") => return Err(AccountError::NothingToProve.into()),
        ("", number) => (number, settings.sms_otp_expiry_secs),
        (address, _) => (address, settings.mailer_otp_expiry_secs),
    };
    let token = queries::own_token(db, user.id, REAUTHENTICATION.token_type).await?;
    let token = token.filter(|it| is_alive(ctx, it, lifetime_secs)).ok_or(AccountError::NonceInvalid)?;
    // By user, not by address: whoever guesses at codes for signing in must not keep the user from a new password.
    count_guess(auth, ctx, &format!("nonce {}", user.id)).await?;
    if queries::take_attempt(db, &[token.id], auth.config().otp_max_attempts).await?.is_empty() {
        return Err(AccountError::NonceInvalid.into());
    }
    let wanted = secret::stored(&secret::link_token(&ctx.project, address, nonce));
    if secret::same(&wanted, &token.token_hash) {
        return Ok(Some(Spend { id: token.id, token_hash: token.token_hash }));
    }
    Err(AccountError::NonceInvalid.into())
}

/// The hash of the new password, if there is one and it may be set.
///
/// # Errors
/// [`AccountError::CurrentPasswordRequired`], [`AccountError::CurrentPasswordInvalid`], [`Error::SamePassword`].
pub(super) async fn new_hash(
    auth: &Auth,
    ctx: &Context,
    (user, session, wanted): (&User, Option<&Session>, &Wanted),
) -> Result<Option<String>, Error> {
    let Some(password) = &wanted.password else { return Ok(None) };
    breach::check(ctx, password).await?;
    let stored = user.encrypted_password.as_deref().filter(|it| !it.is_empty());
    let Some(stored) = stored else { return auth.passwords().hash(password).await.map(Some) };
    let recovering = session.is_some_and(|it| it.amr.iter().any(|it| RECOVERY.contains(&it.method.as_str())));
    if ctx.project.auth.password_require_current && !recovering {
        let current = wanted.current_password.as_ref().ok_or(AccountError::CurrentPasswordRequired)?;
        if auth.passwords().compare(current, Some(stored)).await? == Verdict::Wrong {
            return Err(AccountError::CurrentPasswordInvalid.into());
        }
    }
    if auth.passwords().compare(password, Some(stored)).await? != Verdict::Wrong {
        return Err(Error::SamePassword);
    }
    auth.passwords().hash(password).await.map(Some)
}
