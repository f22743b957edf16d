//! A hook over HTTP: signed, repeated when it asks for that, read when it answers JSON.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::HookSettings;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::GuardError;
use crate::web::{Call, Failure, MAX_BYTES, Reply};
use crate::{Auth, Error};

/// Attempts in all.
const ATTEMPTS: u32 = 3;
/// Between them, when the hook names no time.
const PAUSE: Duration = Duration::from_secs(1);

/// Ask the hook; all attempts together take no longer than one may.
pub(super) async fn call(auth: &Auth, hook: &HookSettings, payload: &Value) -> Result<Value, Error> {
    let body = payload.to_string();
    let deadline = Instant::now() + auth.web().limit();
    let id = Uuid::new_v4();
    for attempt in 1..=ATTEMPTS {
        let headers = headers(hook, id, auth.now().as_second(), &body)?;
        let call = Call { method: Method::POST, url: &hook.uri, headers, body: body.clone() };
        let reply = match tokio::time::timeout_at(deadline, auth.web().call(call)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(Failure::Late)) | Err(_) => {
                return Err(GuardError::HookTimeout(auth.web().limit().as_secs()).into());
            }
            Ok(Err(Failure::TooLarge)) => return Err(GuardError::HookAnswerTooLarge(MAX_BYTES).into()),
            Ok(Err(Failure::Broken)) => return Err(GuardError::HookRetries.into()),
        };
        let Some(pause) = repeats(&reply) else { return read(&reply).map_err(Error::from) };
        if attempt == ATTEMPTS || Instant::now() + pause >= deadline {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Err(GuardError::HookRetries.into())
}

/// How long to wait before asking again, when the hook wants that.
fn repeats(reply: &Reply) -> Option<Duration> {
    let busy = matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let after = reply.headers.get(header::RETRY_AFTER).filter(|_| busy)?;
    let secs = after.to_str().ok().and_then(|it| it.parse().ok());
    Some(secs.map_or(PAUSE, Duration::from_secs))
}

fn read(reply: &Reply) -> Result<Value, GuardError> {
    match reply.status {
        StatusCode::NO_CONTENT => return Ok(Value::Null),
        StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {}
        StatusCode::UNAUTHORIZED => {
            return Err(GuardError::HookFailed("Hook requires authorization token".to_owned()));
        }
        // A refusal in the hook's own words, else a failure.
        status => {
            let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
            return match value.filter(|it| it.pointer("/error/message").is_some_and(Value::is_string)) {
                Some(refusal) => Ok(refusal),
                None if status == StatusCode::BAD_REQUEST => {
                    Err(GuardError::HookFailed("Invalid payload sent to hook".to_owned()))
                }
                None => Err(GuardError::HookFailed(format!(
                    "Unexpected status code returned from hook: {}",
                    status.as_u16()
                ))),
            };
        }
    }
    let media_type = reply.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = media_type.unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(GuardError::HookContentType(media_type.chars().take(100).collect()));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|_| GuardError::HookFailed("Error unmarshaling JSON output.".to_owned()))
}

/// Headers of Standard Webhooks: who receives them can tell that we sent this body now.
fn headers(hook: &HookSettings, id: Uuid, now_secs: i64, body: &str) -> Result<HeaderMap, Error> {
    let mut signatures = Vec::new();
    for secret in hook.secrets.as_deref().unwrap_or_default().split('|') {
        let key = secret.strip_prefix("v1,whsec_").and_then(|it| BASE64_STANDARD.decode(it).ok());
        let key =
            key.ok_or_else(|| GuardError::HookFailed("A secret of the hook cannot be read".to_owned()))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let tag = hmac::sign(&key, format!("{id}.{now_secs}.{body}").as_bytes());
        signatures.push(format!("v1,{}", BASE64_STANDARD.encode(tag)));
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", now_secs.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).map_err(Error::internal)?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the Standard Webhooks specification's own libraries.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let content = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let tag = BASE64_STANDARD.encode(hmac::sign(&key, content.as_bytes()));
        assert_eq!(tag, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let hook = HookSettings {
            enabled: true,
            uri: String::new(),
            secrets: Some("v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|v1,whsec_b3RoZXIgb3RoZXIgb3Q=".into()),
        };
        let headers = headers(&hook, Uuid::nil(), 1, "{}").unwrap();
        let signatures = headers["webhook-signature"].to_str().unwrap();
        assert_eq!(signatures.split(' ').count(), 2);
    }
}
