//! `POST /passkeys/registration/options` and `/verify`: a new passkey of the caller.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fields, are_on, audit, expiry, keeper, view};
use crate::error::{FactorError, PasskeyError};
use crate::flow::ATTEMPTS;
use crate::flow::whoami::SignedIn;
use crate::queries::factors::told;
use crate::queries::passkeys::{self, NewPasskey, Passkey};
use crate::queries::{self, Applied};
use crate::request::Context;
use crate::user::User;
use crate::webauthn::{Fault, RelyingParty, provider_name};
use crate::{Auth, Error};

const KIND: &str = "registration";

/// Options for `navigator.credentials.create`.
pub(crate) async fn options(auth: &Auth, ctx: &Context) -> Result<Value, Error> {
    are_on(ctx)?;
    let SignedIn { account, db, .. } = registrar(auth, ctx).await?;
    let user = &account.user;
    let known = passkeys::list(&db, user.id).await?;
    has_room(ctx, &known)?;
    let known = known.iter().filter_map(|it| bytes(&it.credential_id)).collect();
    let question = RelyingParty::of(&ctx.project)?.ask_for_new(user, known, true)?;
    let id = Uuid::new_v4();
    let times = (ctx.now, expiry(ctx));
    passkeys::ask(&db, (id, Some(user.id), KIND), &question.state, times).await?;
    Ok(view(ctx, id, question))
}

/// Keep the key that the browser made.
pub(crate) async fn verify(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Value, Error> {
    are_on(ctx)?;
    let SignedIn { mut account, db, .. } = registrar(auth, ctx).await?;
    let (challenge_id, answer) = fields.parse()?;
    let waiting = passkeys::take(&db, (challenge_id, Some(account.user.id), KIND)).await?;
    let waiting = waiting.ok_or(PasskeyError::ChallengeMissing)?;
    if waiting.expires_at < ctx.now {
        return Err(PasskeyError::ChallengeExpired.into());
    }
    let key = RelyingParty::of(&ctx.project)?.new_key(&waiting.session_data, &answer).map_err(refused)?;
    let (id, name) = (Uuid::new_v4(), provider_name(key.aaguid));
    for _ in 0..ATTEMPTS {
        has_room(ctx, &passkeys::list(&db, account.user.id).await?)?;
        let new = NewPasskey {
            now: ctx.now,
            id,
            user_id: account.user.id,
            version: &account.version,
            key: &key,
            friendly_name: name,
            audit: told(audit(ctx, "passkey_created", &account.user, id)),
        };
        match passkeys::add(&db, &new).await? {
            Applied::Done => return Ok(json!({"id": id, "friendly_name": name, "created_at": ctx.now})),
            Applied::Taken => return Err(PasskeyError::Exists.into()),
            Applied::Stale => {}
        }
        account = queries::by_id(&db, account.user.id).await?.ok_or(Error::UserMissing)?;
    }
    Err(Error::Conflict)
}

/// The caller, who may register passkeys.
async fn registrar(auth: &Auth, ctx: &Context) -> Result<SignedIn, Error> {
    let who = keeper(auth, ctx).await?;
    let User { is_anonymous, is_sso_user, .. } = who.account.user;
    if is_anonymous {
        return Err(FactorError::Anonymous.into());
    }
    if is_sso_user {
        return Err(PasskeyError::SsoUser.into());
    }
    Ok(who)
}

fn has_room(ctx: &Context, known: &[Passkey]) -> Result<(), Error> {
    let room = known.len() < ctx.project.auth.passkey_max_per_user;
    if room { Ok(()) } else { Err(PasskeyError::TooMany.into()) }
}

/// PostgreSQL writes base64 in lines.
fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text.replace('\n', "")).ok()
}

pub(super) fn refused(fault: Fault) -> Error {
    Error::Passkey(match fault {
        Fault::Malformed(source) => PasskeyError::Malformed(source),
        Fault::Unverified(source) => PasskeyError::Unverified(source),
    })
}
