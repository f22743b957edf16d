//! Hooks: somebody outside of auth decides or delivers. Over HTTP (signed as Standard Webhooks says) or as functions of
//! the project's own database; payloads, answers and errors are Supabase's.
//!
//! A hook that is off costs nothing. A hook that fails refuses what it was asked about: nobody is let past it.

mod function;
mod http;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use ::http::StatusCode;
use common::{HookSettings, Project};

pub(crate) use function::Functions;

use crate::error::GuardError;
use crate::request::Context;
use crate::user::{Account, Object, User, UserView};
use crate::{Auth, Error};

/// Claims that every access token has; a hook that drops one breaks whoever reads the token.
const REQUIRED: [&str; 10] =
    ["aud", "exp", "iat", "sub", "email", "phone", "role", "aal", "session_id", "is_anonymous"];

/// The refusal that any hook may answer.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    http_code: u16,
    #[serde(default)]
    message: String,
}

/// The answer of hooks on attempts.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    decision: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    should_logout_user: bool,
}

/// Ask `hook` about `payload`; its answer, `null` when it had nothing to say.
async fn ask(auth: &Auth, project: &Project, hook: &HookSettings, payload: &Value) -> Result<Value, Error> {
    let answer = match hook.uri.strip_prefix("pg-functions://") {
        Some(path) => function::call(auth, project, path, payload).await?,
        None => http::call(auth, hook, payload).await?,
    };
    match answer.get("error").map(Refusal::deserialize) {
        None => Ok(answer),
        Some(Ok(refusal)) if !refusal.message.is_empty() || refusal.http_code != 0 => {
            let status = StatusCode::from_u16(refusal.http_code).ok();
            let status = status.filter(|it| it.is_client_error() || it.is_server_error());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Err(GuardError::HookRefused { status, message: refusal.message }.into())
        }
        Some(_) => Ok(answer),
    }
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Error> {
    serde_json::from_value(answer)
        .map_err(|_| GuardError::HookFailed("Error unmarshaling JSON output.".to_owned()).into())
}

fn metadata(ctx: &Context, name: &str) -> Value {
    json!({"uuid": Uuid::new_v4(), "time": ctx.now, "name": name, "ip_address": ctx.ip_text().unwrap_or_default()})
}

/// The claims of an access token, as the project wants them.
pub(crate) async fn claims(
    ctx: &Context,
    claims: Object,
    user_id: Uuid,
    method: &str,
) -> Result<Object, Error> {
    let hook = &ctx.project.auth.hook_custom_access_token;
    if !hook.enabled {
        return Ok(claims);
    }
    let payload = json!({
        "metadata": metadata(ctx, "custom-access-token"),
        "user_id": user_id, "claims": claims, "authentication_method": method,
    });
    let mut answer = ask(&ctx.auth, &ctx.project, hook, &payload).await?;
    let Some(Value::Object(claims)) = answer.get_mut("claims").map(Value::take) else {
        let message = "output claims do not conform to the expected schema: claims is missing";
        return Err(GuardError::HookFailed(message.to_owned()).into());
    };
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|it| !claims.contains_key(*it)).collect();
    if missing.is_empty() {
        return Ok(claims);
    }
    let missing = missing.join(", ");
    let message = format!("output claims do not conform to the expected schema: {missing} required");
    Err(GuardError::HookFailed(message).into())
}

/// Ask about users who are about to be made.
pub(crate) async fn before_created(ctx: &Context, users: &[User]) -> Result<(), Error> {
    let hook = &ctx.project.auth.hook_before_user_created;
    if !hook.enabled {
        return Ok(());
    }
    for user in users {
        let payload = json!({
            "metadata": metadata(ctx, "before-user-created"),
            "user": UserView::new(user, &[], &[]),
        });
        ask(&ctx.auth, &ctx.project, hook, &payload).await?;
    }
    Ok(())
}

/// Tell whether a password was right, and hear whether that shall count.
pub(crate) async fn password_attempt(ctx: &Context, account: &Account, valid: bool) -> Result<(), Error> {
    let hook = &ctx.project.auth.hook_password_verification_attempt;
    if !hook.enabled {
        return Ok(());
    }
    let user_id = account.user.id;
    let payload = json!({"user_id": user_id, "valid": valid});
    let verdict: Verdict = read(ask(&ctx.auth, &ctx.project, hook, &payload).await?)?;
    match verdict.decision.as_str() {
        "continue" => Ok(()),
        "reject" => {
            if verdict.should_logout_user {
                ctx.auth.sessions(ctx.project.clone()).revoke_all(common::UserId(user_id)).await?;
            }
            let message = or(verdict.message, "Further login attempts will be rejected.");
            Err(GuardError::PasswordRejected(message).into())
        }
        _ => {
            Err(GuardError::HookFailed("The hook decided neither to continue nor to reject.".to_owned())
                .into())
        }
    }
}

/// Tell whether the answer to a second factor's challenge was right, and hear whether that shall count; a rejection ends
/// the user's sessions.
pub(crate) async fn factor_attempt(
    ctx: &Context,
    (factor_id, factor_type): (Uuid, &str),
    user_id: Uuid,
    valid: bool,
) -> Result<(), Error> {
    let hook = &ctx.project.auth.hook_mfa_verification_attempt;
    if !hook.enabled {
        return Ok(());
    }
    let payload =
        json!({"factor_id": factor_id, "factor_type": factor_type, "user_id": user_id, "valid": valid});
    let verdict: Verdict = read(ask(&ctx.auth, &ctx.project, hook, &payload).await?)?;
    match verdict.decision.as_str() {
        "continue" => Ok(()),
        "reject" => {
            ctx.auth.sessions(ctx.project.clone()).revoke_all(common::UserId(user_id)).await?;
            let message = or(verdict.message, "Further MFA verification attempts will be rejected.");
            Err(GuardError::FactorRejected(message).into())
        }
        _ => {
            Err(GuardError::HookFailed("The hook decided neither to continue nor to reject.".to_owned())
                .into())
        }
    }
}

/// Hand a mail over instead of sending it: `event` is the payload.
pub(crate) async fn send_email(auth: &Auth, project: &Project, event: &Value) -> Result<(), Error> {
    ask(auth, project, &project.auth.hook_send_email, event).await.map(drop)
}

/// Hand an SMS over instead of sending it.
pub(crate) async fn send_sms(
    auth: &Auth,
    project: &Project,
    (user, phone): (&Value, &str),
    otp: &str,
) -> Result<(), Error> {
    let payload = json!({"user": user, "sms": {"otp": otp, "phone": phone}});
    ask(auth, project, &project.auth.hook_send_sms, &payload).await.map(drop)
}

fn or(message: String, default: &str) -> String {
    if message.is_empty() { default.to_owned() } else { message }
}
