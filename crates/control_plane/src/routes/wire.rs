//! Errors as clients of :8001 see them: `{"error":{"code","message","next"}}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::{Error, events};

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.kind().is_our_fault() {
            events::request_failed(&self);
        }
        let status = match &self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            other => other.kind().status(),
        };
        let body = json!({"error": {"code": self.code(), "message": self.to_string(), "next": self.next()}});
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("2"));
        }
        response
    }
}
