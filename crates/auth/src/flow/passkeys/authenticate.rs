//! `POST /passkeys/authentication/options` and `/verify`: sign in by a passkey, which says whose it is.

use serde_json::Value;
use uuid::Uuid;

use super::register::refused;
use super::{Fields, are_on, audit, expiry, view};
use crate::error::PasskeyError;
use crate::flow::sign_in;
use crate::queries::{self, Change, Touch, passkeys};
use crate::request::Context;
use crate::session::Tokens;
use crate::user::User;
use crate::webauthn::{Answer, RelyingParty};
use crate::{Auth, Error};

const KIND: &str = "authentication";

/// Options for `navigator.credentials.get`.
pub(crate) async fn options(auth: &Auth, ctx: &Context) -> Result<Value, Error> {
    are_on(ctx)?;
    let question = RelyingParty::of(&ctx.project)?.ask_for_proof(&[])?;
    let id = Uuid::new_v4();
    let db = auth.database(&ctx.project).await?;
    passkeys::ask(&db, (id, None, KIND), &question.state, (ctx.now, expiry(ctx))).await?;
    Ok(view(ctx, id, question))
}

/// Sign in whoever answered.
pub(crate) async fn verify(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    are_on(ctx)?;
    let (challenge_id, answer) = fields.parse()?;
    let db = auth.database(&ctx.project).await?;
    let waiting = passkeys::take(&db, (challenge_id, None, KIND)).await?;
    let waiting = waiting.ok_or(PasskeyError::ChallengeMissing)?;
    if waiting.expires_at < ctx.now {
        return Err(PasskeyError::ChallengeExpired.into());
    }
    let answer = Answer::parse(&answer).map_err(refused)?;
    let unknown = |reason: &'static str| PasskeyError::Unverified(reason.into());
    let user_id = answer.user_id().ok_or_else(|| unknown("the answer names no user"))?;
    let found = passkeys::find(&db, answer.key_id(), user_id).await?;
    let (id, mut key) = found.ok_or_else(|| unknown("no such passkey"))?;
    let proof = RelyingParty::of(&ctx.project)?.verify(&waiting.session_data, &answer, &key);
    let before = key.sign_count;
    key.note(&proof.map_err(refused)?);
    let account = queries::by_id(&db, user_id).await?.ok_or_else(|| unknown("no such user"))?;
    may_sign_in(ctx, &account.user)?;
    if !passkeys::note_use(&db, id, (before, &key), ctx.now).await? {
        return Err(unknown("the signature counter did not grow").into());
    }
    let mut change = Change::new(ctx.now);
    change.touch = Some(Touch { user_id, expected: None, encrypted_password: None });
    change.audit(audit(ctx, "login", &account.user, id));
    sign_in(ctx, &db, change, user_id, "passkey").await?.ok_or(Error::Conflict)
}

/// Told only to who holds the key.
fn may_sign_in(ctx: &Context, user: &User) -> Result<(), Error> {
    if !user.address().is_empty() && !user.is_confirmed() {
        return Err(PasskeyError::EmailNotConfirmed.into());
    }
    if !user.number().is_empty() && user.phone_confirmed_at.is_none() {
        return Err(PasskeyError::PhoneNotConfirmed.into());
    }
    if user.is_banned(ctx.now) {
        return Err(Error::Banned);
    }
    if user.deleted_at.is_some() {
        return Err(Error::UserMissing);
    }
    Ok(())
}
