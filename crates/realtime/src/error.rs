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
    /// A request shows no token, or one that is over.
    #[error("Unauthorized")]
    Unauthorized,
    /// The caller may not write to the topic.
    #[error("You do not have permissions to write to this Channel topic")]
    Forbidden,
    /// Nobody can say what the caller may.
    #[error("{0}")]
    RightsUnknown(String),
    /// A broadcast is neither JSON nor bytes.
    #[error("Unsupported Media Type: send application/json or application/octet-stream")]
    MediaType,
    /// What is wrong with which field, as JSON.
    #[error("The broadcast cannot be read")]
    Unprocessable(String),
    /// Broadcasts come too fast.
    #[error("Too many messages per second")]
    TooManyMessages,
    /// The broadcast is larger than the project allows.
    #[error("Payload size exceeds the project's limit")]
    TooLarge,
    /// The request's body did not arrive.
    #[error("The request body cannot be read")]
    BadBody,
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
            Self::NoWebSocket | Self::Version | Self::MediaType | Self::Unprocessable(_) | Self::BadBody => {
                ErrorKind::Invalid
            }
            Self::Suspended | Self::Forbidden => ErrorKind::Forbidden,
            Self::Token(_) | Self::Unauthorized => ErrorKind::Unauthenticated,
            Self::TooManySockets | Self::TooManyJoins | Self::TooManyMessages | Self::TooLarge => {
                ErrorKind::Limited
            }
            Self::Full | Self::RightsUnknown(_) => ErrorKind::Unavailable,
            Self::NoRoute => ErrorKind::NotFound,
            Self::NoCaller => ErrorKind::Internal,
        }
    }

    /// The metric's label; what clients read stands in `docs/reference/realtime.md`.
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
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RightsUnknown(_) => "rights_unavailable",
            Self::MediaType => "unsupported_media_type",
            Self::Unprocessable(_) => "unprocessable_broadcast",
            Self::TooManyMessages => "too_many_messages",
            Self::TooLarge => "payload_too_large",
            Self::BadBody => "request_body_unreadable",
            Self::NoRoute => "route_not_found",
            Self::NoCaller => "unexpected_failure",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => self.kind().status(),
        }
    }

    pub(crate) fn response(&self) -> Response<Body> {
        crate::events::refused(self.code());
        let text = self.to_string();
        let body = match self {
            Self::Unprocessable(errors) => format!(r#"{{"errors":{errors}}}"#),
            _ => json!({ "error": text, "message": text }).to_string(),
        };
        let mut response = answer(self.status(), &body);
        let headers = response.headers_mut();
        match self {
            Self::NoWebSocket => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::TooManySockets | Self::TooManyJoins | Self::TooManyMessages | Self::Full => {
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
