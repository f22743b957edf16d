//! The one table from what went wrong to HTTP status, log level and metric label.
//!
//! Each service's error enum maps its variants to a kind; services write their own wire shape around it.

use http::StatusCode;

/// What went wrong, as far as anyone but the failing service needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be understood or breaks a rule it could have known.
    Invalid,
    /// No proof, or no valid proof, of who is asking.
    Unauthenticated,
    /// Known, but not allowed.
    Forbidden,
    /// Absent, or invisible to this caller: both look the same.
    NotFound,
    /// Another row or request is in the way.
    Conflict,
    /// Too many requests, or too large a one.
    Limited,
    /// Something below does not answer; trying again later may help.
    Unavailable,
    /// Our fault: someone must look.
    Internal,
}

impl ErrorKind {
    /// The HTTP status when the service's protocol does not demand another one.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Limited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The value of the metric label `kind`; also the `error.kind` field of log lines.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether a log line of this kind is an error (someone must look) rather than information.
    #[must_use]
    pub fn is_our_fault(self) -> bool {
        matches!(self, Self::Internal)
    }
}
