//! Who is asking: built and verified once, by the gateway, and passed to everything below a handler.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::jwt::Claims;

/// A verified caller of one project.
///
/// Cloning is cheap (reference counts): the gateway caches callers by token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The verified claims; `claims.role` is the PostgreSQL role that the request runs as.
    pub claims: Arc<Claims>,
    /// Whether this is more than the project's anonymous role: a user's token or the service key.
    /// Decides between 401 and 403 when PostgreSQL refuses (SQLSTATE 42501).
    pub authenticated: bool,
}

impl Caller {
    /// The PostgreSQL role that the request runs as.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.claims.role
    }

    /// The session that the token belongs to (claim `session_id`); keys and tokens from elsewhere name none.
    #[must_use]
    pub fn session(&self) -> Option<Uuid> {
        self.claims.text("session_id")?.parse().ok()
    }
}

/// The id of one request, as sent back in `x-request-id` and written to every log line of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(pub Arc<str>);

/// The public address of the project's API as this request reached it: `https://host[:port]`, no slash at the end.
///
/// Made by the gateway (from `X-Forwarded-*` of trusted proxies only); links in mails and `iss` start with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(pub Arc<str>);

/// The address of the client, for rate limits and session lists; never for the log.
///
/// Made by the gateway. Services take it from here: `X-Forwarded-For` is believed from trusted proxies only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// How long the stages of the data API took; a response extension, from which the gateway makes `Server-Timing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes {
    /// Reading the request.
    pub parse: Duration,
    /// Finding its names and writing the statement; none where nothing is planned (OPTIONS).
    pub plan: Option<Duration>,
    /// In the database; none where it is not asked.
    pub transaction: Option<Duration>,
    /// Making the answer.
    pub response: Duration,
}
