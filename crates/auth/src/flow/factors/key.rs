//! Security keys as a second factor: the question for the browser, and the judgement of its answer.
//!
//! A factor is verified by its own key only, not by any key of the user.

use serde_json::{Value, json};

use super::verify::{Proved, Reply};
use crate::error::FactorError;
use crate::queries::factors::{self, Challenge, SecretFactor};
use crate::request::Context;
use crate::user::{Account, Factor};
use crate::webauthn::{Answer, Fault, Key, RelyingParty};
use crate::{Auth, Error};

/// A question: the state that stays here, and what the browser gets.
pub(super) async fn ask(
    auth: &Auth,
    ctx: &Context,
    account: &Account,
    factor: &Factor,
) -> Result<(Value, Value), Error> {
    let site = RelyingParty::of(&ctx.project)?;
    let db = auth.database(&ctx.project).await?;
    let keys = factors::keys(&db, account.user.id).await?;
    let known = |it: &factors::StoredKey| Key::from_factor(&it.credential);
    let (kind, question) = if factor.is_verified() {
        let own: Vec<Key> = keys.iter().filter(|it| it.id == factor.id).filter_map(known).collect();
        if own.is_empty() {
            return Err(Error::internal("a verified security key has no credential"));
        }
        ("request", site.ask_for_proof(&own)?)
    } else {
        let ids = keys.iter().filter_map(known).map(|it| it.credential_id).collect();
        ("create", site.ask_for_new(&account.user, ids, false)?)
    };
    let state = json!({"type": kind, "state": question.state});
    Ok((state, json!({"type": kind, "credential_options": question.options})))
}

/// Whether the browser's answer proves the key of `factor`.
pub(super) fn judge(
    ctx: &Context,
    reply: &Reply,
    (factor, challenge): (&SecretFactor, &Challenge),
) -> Result<Proved, Error> {
    let Reply::Key { is_new, response } = reply else {
        return Err(Error::invalid("WebAuthn config required"));
    };
    let asked = challenge.web_authn_session_data.as_ref().unwrap_or(&Value::Null);
    let state = asked.get("state").unwrap_or(&Value::Null);
    let expected = if *is_new { "create" } else { "request" };
    if asked.get("type").and_then(Value::as_str) != Some(expected) {
        return Err(FactorError::WrongKey("the challenge asked for something else".into()).into());
    }
    let site = RelyingParty::of(&ctx.project)?;
    let key = if *is_new {
        site.new_key(state, response).map_err(refused)?
    } else {
        let stored = factor.web_authn_credential.as_ref().and_then(Key::from_factor);
        let mut key = stored.ok_or_else(|| Error::internal("a security key has no credential"))?;
        let proof = site.verify(state, &Answer::parse(response).map_err(refused)?, &key).map_err(refused)?;
        key.note(&proof);
        key
    };
    let aaguid = key.aaguid;
    Ok(Proved { credential: Some(key.to_factor()), aaguid, ..Proved::default() })
}

fn refused(fault: Fault) -> Error {
    match fault {
        Fault::Malformed(_) => Error::invalid("Invalid credential_response"),
        Fault::Unverified(source) => FactorError::WrongKey(source).into(),
    }
}
