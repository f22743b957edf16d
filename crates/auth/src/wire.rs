//! Errors on the wire: two shapes, chosen by the client's `X-Supabase-Api-Version`.
//!
//! A handler answers with an [`Error`]; it rides on the response as an extension until [`shape`], the outermost layer,
//! knows which shape the client reads. Every error carries `x-sb-error-code`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::{Project, RequestId};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use crate::Error;
use crate::error::{FactorError, GuardError, OAuthError, PhoneError};
use crate::events::{self, Event};

const VERSION: &str = "x-supabase-api-version";
/// The first version that answers `{code, message}`.
const CODES_SINCE: &str = "2024-01-01";

#[derive(Clone)]
struct Refusal(Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Refusal(Arc::new(self)));
        response
    }
}

/// The error that `response` is, before it is shaped.
pub(crate) fn refusal(response: &Response) -> Option<&Error> {
    response.extensions().get().map(|Refusal(error)| &**error)
}

/// The outermost layer: log what failed, and write it in the client's shape.
pub(crate) async fn shape(request: Request, next: Next) -> Response {
    let version = api_version(request.headers());
    let request_id = request.extensions().get::<RequestId>().cloned();
    let project = request.extensions().get::<Arc<Project>>().map(|it| it.reference.clone());
    if let Some(matched) = request.extensions().get::<MatchedPath>() {
        trace::matched(request.method(), || format!("/auth/v1{}", matched.as_str()));
    }
    let mut response = next.run(request).await;
    let Some(Refusal(error)) = response.extensions_mut().remove::<Refusal>() else { return response };
    events::tell(&Event::Refused { project, request_id: request_id.clone(), error: &error });
    let body = match (&*error, &version) {
        (Error::OAuthServer(OAuthError::Protocol { error, description }), _) => {
            json!({"error": error, "error_description": description})
        }
        (Error::OAuth(description), _) => json!({"error": error.code(), "error_description": description}),
        (_, Some(_)) => with_reasons(&error, json!({"code": error.code(), "message": error.to_string()})),
        (_, None) => with_reasons(&error, old_body(&error, request_id)),
    };
    let mut shaped = (error.status(), Json(body)).into_response();
    let headers = shaped.headers_mut();
    headers.insert("x-sb-error-code", HeaderValue::from_static(error.code()));
    if let Some(version) = version {
        headers.insert(VERSION, version);
    }
    if let Some(secs) = retry_after(&error) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    shaped
}

fn old_body(error: &Error, request_id: Option<RequestId>) -> Value {
    let mut body =
        json!({"code": error.status().as_u16(), "error_code": error.code(), "msg": error.to_string()});
    if let (true, Some(RequestId(id)), Some(map)) =
        (error.status().is_server_error(), request_id, body.as_object_mut())
    {
        map.insert("error_id".into(), Value::from(&*id));
    }
    body
}

fn with_reasons(error: &Error, mut body: Value) -> Value {
    if let (Error::WeakPassword { reasons, .. }, Some(map)) = (error, body.as_object_mut()) {
        map.insert("weak_password".into(), json!({ "reasons": reasons }));
    }
    body
}

fn retry_after(error: &Error) -> Option<i64> {
    match error {
        Error::MailTooSoon(secs) | Error::Phone(PhoneError::TooSoon(secs)) => Some(*secs),
        Error::Guard(GuardError::OverLimit(secs)) => Some(*secs),
        Error::MailBudget | Error::Phone(PhoneError::Budget) => Some(3600),
        Error::Factor(FactorError::TooManyAttempts) => Some(300),
        Error::Busy | Error::Store(_) => (error.status().as_u16() == 503).then_some(1),
        _ => None,
    }
}

/// The header when it names [`CODES_SINCE`] or later; anything else reads the old shape.
fn api_version(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(VERSION)?;
    let text = value.to_str().ok()?;
    let is_date = text.len() == 10 && text.bytes().all(|it| it.is_ascii_digit() || it == b'-');
    (is_date && text >= CODES_SINCE).then(|| value.clone())
}
