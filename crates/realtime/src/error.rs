//! Why a request is refused, and how that looks: `{"error", "message"}`, for clients of the socket and of the REST API.

use axum::body::Body;
use common::ErrorKind;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::tokens;

/// A refused request. `Display` is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No WebSocket was asked for, or not by its rules.
    #[error("This path speaks WebSocket, version 13")]
    NoWebSocket,
    /// A `vsn` that nobody speaks.
    #[error("Unsupported serializer version: vsn is 1.0.0 or 2.0.0")]
    Version,
    /// The project's operator has switched realtime off.
    #[error("Realtime is disabled for this project")]
    Suspended,
    /// The token says no role or no expiry, or is over.
    #[error("{0}")]
    Token(String),
    /// The project has as many sockets as it may.
    #[error("Too many connected users")]
    TooManySockets,
    /// Connections come too fast.
    #[error("Too many joins per second")]
    TooManyJoins,
    /// The process has as many sockets as it may, or is about to end.
    #[error("No more sockets are opened here right now, please retry after a moment")]
    Full,
    /// Nobody answers this path.
    #[error("Nothing is served at this path")]
    NoRoute,
    /// The gateway did not say whose request it is.
    #[error("Unexpected failure, please check server logs for more information")]
    NoCaller,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoWebSocket | Self::Version => ErrorKind::Invalid,
            Self::Suspended => ErrorKind::Forbidden,
            Self::Token(_) => ErrorKind::Unauthenticated,
            Self::TooManySockets | Self::TooManyJoins => ErrorKind::Limited,
            Self::Full => ErrorKind::Unavailable,
            Self::NoRoute => ErrorKind::NotFound,
            Self::NoCaller => ErrorKind::Internal,
        }
    }

    /// The stable code, listed in `docs/reference/errors-realtime.md`; also the metric's label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoWebSocket => "websocket_required",
            Self::Version => "unsupported_version",
            Self::Suspended => "realtime_suspended",
            Self::Token(_) => "invalid_token",
            Self::TooManySockets => "too_many_connections",
            Self::TooManyJoins => "too_many_joins",
            Self::Full => "sockets_unavailable",
            Self::NoRoute => "route_not_found",
            Self::NoCaller => "unexpected_failure",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            _ => self.kind().status(),
        }
    }

    pub(crate) fn response(&self) -> Response<Body> {
        crate::events::refused(self.code());
        let text = self.to_string();
        let mut response = answer(self.status(), &json!({ "error": text, "message": text }).to_string());
        let headers = response.headers_mut();
        match self {
            Self::NoWebSocket => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::TooManySockets | Self::TooManyJoins | Self::Full => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<tokens::Error> for Error {
    fn from(it: tokens::Error) -> Self {
        match it {
            tokens::Error::Expired(_) => Self::Token("Token has expired".to_owned()),
            other => Self::Token(other.to_string()),
        }
    }
}

pub(crate) fn answer(status: StatusCode, json: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json.to_owned()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
