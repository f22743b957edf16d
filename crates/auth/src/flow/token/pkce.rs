//! `grant_type=pkce`: a code from a mailed link, and the verifier that only the asking client has.

use serde::Deserialize;
use uuid::Uuid;

use crate::flow::external::token_context;
use crate::flow::{audit, sign_in};
use crate::queries::{self, Change, FlowState, Touch};
use crate::request::pkce::{Challenge, fits};
use crate::request::{Context, text};
use crate::session::Tokens;
use crate::{Auth, Error, secret};

/// For how long a code may be exchanged.
const LIFETIME_SECS: i64 = 300;

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    auth_code: Option<String>,
    code_verifier: Option<String>,
}

/// The row that begins a flow; the code comes when the mailed link is opened.
pub(crate) fn begin(challenge: Option<&Challenge>, user_id: Uuid, method: &str) -> Option<FlowState> {
    let challenge = challenge?;
    Some(FlowState {
        id: Uuid::new_v4(),
        user_id,
        auth_code: None,
        code_challenge_method: challenge.method.clone(),
        code_challenge: challenge.challenge.clone(),
        provider_type: "email".into(),
        authentication_method: method.to_owned(),
        auth_code_issued_at: None,
    })
}

/// Exchange a code for a session.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let (Some(code), Some(verifier)) = (text(fields.auth_code), text(fields.code_verifier)) else {
        return Err(Error::invalid("invalid request: both auth code and code verifier should be non-empty"));
    };
    let db = auth.database(&ctx.project).await?;
    let flow = queries::flow_by_code(&db, &secret::stored(&code)).await?.ok_or(Error::FlowStateMissing)?;
    let issued = flow.auth_code_issued_at.ok_or(Error::FlowStateMissing)?;
    if ctx.now.as_second() - issued.as_second() > LIFETIME_SECS {
        return Err(Error::FlowStateExpired);
    }
    let (Some(challenge), Some(method), Some(user_id)) =
        (&flow.code_challenge, &flow.code_challenge_method, flow.user_id)
    else {
        return Err(Error::FlowStateMissing);
    };
    if !fits(challenge, method, &verifier) {
        return Err(Error::BadCodeVerifier);
    }
    let account = queries::by_id(&db, user_id).await?.ok_or(Error::FlowStateMissing)?;
    if account.user.is_banned(ctx.now) {
        return Err(Error::Banned);
    }
    let mut change = Change::new(ctx.now);
    change.finish_flow = Some(flow.id);
    change.touch = Some(Touch { user_id, expected: None, encrypted_password: None });
    change.audit(audit(ctx, "login", &account.user));
    change.session_ends = flow.session_not_after;
    let signed_in = sign_in(ctx, &db, change, user_id, &flow.authentication_method).await?;
    let mut tokens = signed_in.ok_or(Error::FlowStateMissing)?;
    tokens.provider_token = opened(ctx, flow.id, flow.provider_access_token.as_deref())?;
    tokens.provider_refresh_token = opened(ctx, flow.id, flow.provider_refresh_token.as_deref())?;
    Ok(tokens)
}

/// A token of an identity provider, as the client may use it.
fn opened(ctx: &Context, flow: Uuid, sealed: Option<&str>) -> Result<Option<String>, Error> {
    let Some(sealed) = sealed else { return Ok(None) };
    let plain = ctx.project.vault.open(&token_context(flow), sealed).map_err(Error::internal)?;
    String::from_utf8(plain).map(Some).map_err(Error::internal)
}
