//! Passkeys: registered by signed-in users, used to sign in without saying who one is, listed, renamed, deleted.

pub(crate) mod authenticate;
pub(crate) mod manage;
pub(crate) mod register;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::whoami::{self, SignedIn};
use crate::error::PasskeyError;
use crate::queries::Audit;
use crate::request::{Context, text};
use crate::user::{User, object};
use crate::webauthn::{Question, TIMEOUT_SECS};
use crate::{Auth, Error};

/// The body of an answer.
#[derive(Deserialize)]
pub(crate) struct Fields {
    challenge_id: Option<String>,
    credential: Option<Value>,
}

impl Fields {
    /// The challenge and the answer to it.
    fn parse(self) -> Result<(Uuid, Value), Error> {
        let id = text(self.challenge_id).ok_or(Error::invalid("challenge_id is required"))?;
        let credential = self.credential.ok_or(Error::invalid("credential is required"))?;
        let id = id.parse().map_err(|_| Error::invalid("challenge_id must be a valid UUID"))?;
        Ok((id, credential))
    }
}

/// Refuse where passkeys are off.
fn are_on(ctx: &Context) -> Result<(), Error> {
    if ctx.project.auth.passkeys { Ok(()) } else { Err(PasskeyError::Disabled.into()) }
}

/// The caller, who may add and remove keys: with a second factor, only in a session that used it.
async fn keeper(auth: &Auth, ctx: &Context) -> Result<SignedIn, Error> {
    let who = whoami::in_person(auth, ctx).await?;
    let strong = who.session.as_ref().is_some_and(crate::session::Session::is_aal2);
    if who.account.has_verified_factor() && !strong {
        return Err(PasskeyError::NeedsAal2.into());
    }
    Ok(who)
}

/// When a question asked now expires.
fn expiry(ctx: &Context) -> Timestamp {
    ctx.now.checked_add(SignedDuration::from_secs(TIMEOUT_SECS.into())).unwrap_or(ctx.now)
}

/// A question as clients read it: the options without the `publicKey` around them.
fn view(ctx: &Context, id: Uuid, question: Question) -> Value {
    let mut options = question.options;
    let options = options.get_mut("publicKey").map(Value::take).unwrap_or_default();
    json!({"challenge_id": id, "options": options, "expires_at": expiry(ctx).as_second()})
}

/// An entry of the audit log about a passkey.
fn audit<'a>(ctx: &Context, action: &'static str, actor: &'a User, id: Uuid) -> Audit<'a> {
    let traits = object(json!({"passkey_id": id}));
    Audit { action, log_type: "user", actor: Some(actor), traits, ip: ctx.ip_text() }
}
