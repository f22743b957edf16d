//! Why the gateway itself refuses, and how that looks on the wire: each prefix keeps the shape its clients parse.
//!
//! | prefix | body |
//! |---|---|
//! | `/rest/v1` | PostgREST's `{code, details, hint, message}` and `Proxy-Status` |
//! | `/auth/v1` | GoTrue's `{code, error_code, msg}`, or `{code, message}` when the client names an API version |
//! | `/realtime/v1` | Realtime's `{error, message}` |
//! | anything else, and refused keys of the two above | `{message}`, with `hint` when there is one |

use axum::body::Body;
use common::{ErrorKind, ProjectRef, Verbosity, jwt};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::route::Target;

const API_VERSION: HeaderName = HeaderName::from_static("x-supabase-api-version");
const SB_ERROR_CODE: HeaderName = HeaderName::from_static("x-sb-error-code");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// From this date on, GoTrue's clients expect `{code, message}`.
const DATED_ERRORS: &str = "2024-01-01";

/// What the gateway refuses by itself. `Display` is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key is required and there is none.
    #[error("No API key found in request")]
    NoKey,
    /// The key is not this project's.
    #[error("Invalid authentication credentials")]
    WrongKey,
    /// The bearer token of a request to the data API is refused.
    #[error("{0}")]
    Token(#[source] jwt::Error),
    /// The token's session has ended, and the project wants that to count at once.
    #[error("Session from session_id claim in JWT does not exist")]
    SessionEnded,
    /// Nobody could say whether the token's session stands.
    #[error("The session cannot be checked right now")]
    SessionUnknown,
    /// There is a token, and no key to verify it.
    #[error("Server lacks JWT secret")]
    NoSecret,
    /// The project lets nobody in without a token.
    #[error("Anonymous access is disabled")]
    AnonymousDisabled,
    /// The host names a project that does not exist.
    #[error("There is no project at this address")]
    UnknownProject,
    /// The directory of projects did not answer, or does not know the default project yet.
    #[error("The project's configuration is not available right now")]
    NoDirectory {
        /// Whose configuration it is.
        project: ProjectRef,
    },
    /// The project's database, which may hold settings of its data API, did not answer yet.
    #[error("Could not query the database for the schema cache. Retrying.")]
    NoSettings,
    /// Nobody answers this path.
    #[error("Nothing is served at this path")]
    NoRoute,
    /// A path that clients know and this version does not serve.
    #[error("{prefix} is not available in this version of MadBase")]
    NotBuilt {
        /// The path's prefix.
        prefix: &'static str,
    },
    /// The path answers other methods.
    #[error("Method not allowed")]
    Method {
        /// The value of `Allow`.
        allowed: &'static str,
    },
    /// The request body is larger than allowed.
    #[error("Request body too large (max {max_bytes} bytes)")]
    BodyTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The request body did not go on.
    #[error("The request body did not arrive in time, please send it again.")]
    BodyTooSlow,
    /// The request body is not what its framing says.
    #[error("The request body cannot be read: its framing is malformed, or it ended too early")]
    BodyBroken,
    /// Too many requests of an address, a user, a key or a project.
    #[error("Request rate limit reached")]
    RateLimited {
        /// The limit's name, as in `RateLimit-Policy`.
        policy: &'static str,
        /// When it is worth trying again.
        wait: std::time::Duration,
    },
    /// The service did not answer in time.
    #[error("Processing this request timed out, please retry after a moment.")]
    Timeout,
    /// No worker took the request in time; nothing of it was sent.
    #[error("No worker is available right now, please retry after a moment.")]
    NoWorker,
    /// The worker went away with the request. Whether it was done is unknown.
    #[error(
        "The worker was lost before it answered, the request may have been done; please check and retry."
    )]
    WorkerLost,
    /// Metrics are for loopback and trusted peers.
    #[error("Metrics are not served to this address")]
    MetricsHidden,
    /// A panic was caught.
    #[error("Unexpected failure, please check server logs for more information")]
    Panicked,
    /// A service answered with a status that ends no request (1xx).
    #[error("The answer has a status that no answer can have")]
    Broken,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKey | Self::WrongKey | Self::Token(_) | Self::SessionEnded | Self::AnonymousDisabled => {
                ErrorKind::Unauthenticated
            }
            Self::UnknownProject | Self::NoRoute | Self::NotBuilt { .. } => ErrorKind::NotFound,
            Self::NoDirectory { .. }
            | Self::NoSettings
            | Self::Timeout
            | Self::SessionUnknown
            | Self::NoWorker
            | Self::WorkerLost => ErrorKind::Unavailable,
            Self::Method { .. } | Self::BodyTooSlow | Self::BodyBroken => ErrorKind::Invalid,
            Self::BodyTooLarge { .. } | Self::RateLimited { .. } => ErrorKind::Limited,
            Self::MetricsHidden => ErrorKind::Forbidden,
            Self::NoSecret | Self::Panicked | Self::Broken => ErrorKind::Internal,
        }
    }

    /// The stable code, listed in `docs/reference/errors.md`. PostgREST's and GoTrue's own where they have one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "no_api_key",
            Self::WrongKey => "invalid_api_key",
            Self::Token(error) if error.is_about_claims() => "PGRST303",
            Self::Token(_) => "PGRST301",
            Self::SessionEnded => "session_not_found",
            Self::SessionUnknown => "session_unavailable",
            Self::NoSecret => "PGRST300",
            Self::AnonymousDisabled => "PGRST302",
            Self::UnknownProject => "project_not_found",
            Self::NoDirectory { .. } => "project_unavailable",
            Self::NoSettings => "PGRST002",
            Self::NoRoute => "route_not_found",
            Self::NotBuilt { .. } => "service_not_available",
            Self::Method { .. } => "method_not_allowed",
            Self::BodyTooLarge { .. } => "request_entity_too_large",
            Self::BodyTooSlow => "request_body_timeout",
            Self::BodyBroken => "request_body_unreadable",
            Self::RateLimited { .. } => "over_request_rate_limit",
            Self::Timeout => "request_timeout",
            Self::NoWorker => "worker_unavailable",
            Self::WorkerLost => "worker_lost",
            Self::MetricsHidden => "metrics_hidden",
            Self::Panicked | Self::Broken => "unexpected_failure",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::WorkerLost => StatusCode::BAD_GATEWAY,
            Self::NoKey
            | Self::WrongKey
            | Self::Token(_)
            | Self::SessionEnded
            | Self::SessionUnknown
            | Self::NoSecret
            | Self::AnonymousDisabled
            | Self::UnknownProject
            | Self::NoDirectory { .. }
            | Self::NoSettings
            | Self::NoWorker
            | Self::NoRoute
            | Self::NotBuilt { .. }
            | Self::BodyBroken
            | Self::RateLimited { .. }
            | Self::MetricsHidden
            | Self::Panicked
            | Self::Broken => self.kind().status(),
        }
    }

    /// The answer, in the shape that clients of `target` parse; `version` is the API version that they named.
    pub(crate) fn response(
        &self,
        target: Target,
        version: Option<&HeaderValue>,
        verbosity: Verbosity,
    ) -> Response<Body> {
        let mut headers = HeaderMap::new();
        let about_the_key = matches!(self, Self::NoKey | Self::WrongKey);
        let body = match target {
            Target::DataApi if !about_the_key => self.as_postgrest(verbosity, &mut headers),
            Target::Auth if !about_the_key => self.as_gotrue(version, &mut headers),
            Target::Realtime => self.as_realtime(),
            Target::Auth
            | Target::DataApi
            | Target::NotBuilt
            | Target::Health
            | Target::Ready
            | Target::Metrics
            | Target::Challenge
            | Target::Nobody => self.as_message(),
        };
        self.add_headers(&mut headers);
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status();
        *response.headers_mut() = headers;
        response
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey => Some("No `apikey` request header or url param was found."),
            _ => None,
        }
    }

    fn details(&self) -> Option<&'static str> {
        match self {
            Self::Token(error) => error.details(),
            _ => None,
        }
    }

    fn as_postgrest(&self, verbosity: Verbosity, headers: &mut HeaderMap) -> Value {
        insert(headers, PROXY_STATUS, &format!("PostgREST; error={}", self.code()));
        if verbosity == Verbosity::Minimal {
            return json!({ "code": self.code(), "message": self.to_string() });
        }
        json!({ "code": self.code(), "details": self.details(), "hint": self.hint(), "message": self.to_string() })
    }

    fn as_gotrue(&self, version: Option<&HeaderValue>, headers: &mut HeaderMap) -> Value {
        insert(headers, SB_ERROR_CODE, self.code());
        let version = version.and_then(|it| it.to_str().ok());
        // Dates of this form sort as text.
        if version.is_some_and(|it| it >= DATED_ERRORS) {
            insert(headers, API_VERSION, DATED_ERRORS);
            return json!({ "code": self.code(), "message": self.to_string() });
        }
        json!({ "code": self.status().as_u16(), "error_code": self.code(), "msg": self.to_string() })
    }

    /// Sockets are refused with `error`, requests with `message`.
    fn as_realtime(&self) -> Value {
        let text = match self {
            Self::NoKey => "API key is missing".to_owned(),
            Self::Token(error) => jwt_in_realtime_s_words(error).to_owned(),
            other => other.to_string(),
        };
        json!({ "error": text, "message": text })
    }

    fn as_message(&self) -> Value {
        match self.hint() {
            Some(hint) => json!({ "message": self.to_string(), "hint": hint }),
            None => json!({ "message": self.to_string() }),
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        match self {
            Self::Token(error) => {
                let challenge = format!(r#"Bearer error="invalid_token", error_description="{error}""#);
                insert(headers, header::WWW_AUTHENTICATE, &challenge);
            }
            Self::SessionEnded => {
                insert(headers, header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#);
            }
            Self::AnonymousDisabled => insert(headers, header::WWW_AUTHENTICATE, "Bearer"),
            Self::NoDirectory { .. }
            | Self::NoSettings
            | Self::SessionUnknown
            | Self::Timeout
            | Self::NoWorker
            | Self::WorkerLost => {
                insert(headers, header::RETRY_AFTER, "1");
            }
            Self::RateLimited { wait, .. } => {
                insert(headers, header::RETRY_AFTER, &crate::rate_limit::retry_after(*wait));
            }
            Self::Method { allowed } => insert(headers, header::ALLOW, allowed),
            Self::NoKey
            | Self::WrongKey
            | Self::NoSecret
            | Self::UnknownProject
            | Self::NoRoute
            | Self::NotBuilt { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::MetricsHidden
            | Self::Panicked
            | Self::Broken => {}
        }
    }
}

fn jwt_in_realtime_s_words(error: &jwt::Error) -> &'static str {
    match error {
        jwt::Error::Expired => "Token has expired",
        jwt::Error::Key | jwt::Error::Signature | jwt::Error::Algorithm => "Failed to validate JWT signature",
        jwt::Error::NotYetValid | jwt::Error::IssuedInFuture => "The token is not valid yet",
        jwt::Error::Audience | jwt::Error::BadAudience => "The token is for another audience",
        jwt::Error::Empty
        | jwt::Error::Parts(_)
        | jwt::Error::Malformed
        | jwt::Error::Claims
        | jwt::Error::NotANumber(_) => "The token provided is not a valid JWT",
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
