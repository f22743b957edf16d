//! Refusals by what guards sign-ins: rate limits, captchas, hooks.

use http::StatusCode;

/// Why a request was not let through, or somebody outside said no.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Too many requests from this address: try again after so many seconds.
    #[error("Request rate limit reached")]
    OverLimit(i64),
    /// The project asks for a captcha and there is none.
    #[error("captcha protection: request disallowed (no captcha_token found)")]
    NoCaptcha,
    /// The captcha's provider says no, and why.
    #[error("captcha protection: request disallowed ({0})")]
    Captcha(String),
    /// The captcha's provider, or the list of breached passwords, did not answer.
    #[error("{0}")]
    Silent(&'static str),
    /// A hook did not answer in time.
    #[error("Failed to reach hook within maximum time of {0} seconds")]
    HookTimeout(u64),
    /// A hook asked to come back later, again and again.
    #[error("Failed to reach hook after maximum retries")]
    HookRetries,
    /// A hook's answer is too long.
    #[error("Payload size exceeded size limit of {0} bytes")]
    HookAnswerTooLarge(usize),
    /// A hook's answer is no JSON.
    #[error("Invalid JSON response. Received content-type: {0}")]
    HookContentType(String),
    /// A hook failed; the text says how, without what it was sent.
    #[error("{0}")]
    HookFailed(String),
    /// A hook refused, with a status and words of its own.
    #[error("{message}")]
    HookRefused {
        /// 400 to 599.
        status: StatusCode,
        /// What the client reads.
        message: String,
    },
    /// The hook on passwords refused.
    #[error("{0}")]
    PasswordRejected(String),
    /// The hook on second factors refused.
    #[error("{0}")]
    FactorRejected(String),
}

impl GuardError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::OverLimit(_) => (S::TOO_MANY_REQUESTS, "over_request_rate_limit"),
            Self::NoCaptcha | Self::Captcha(_) => (S::BAD_REQUEST, "captcha_failed"),
            Self::Silent(_) | Self::HookFailed(_) => (S::INTERNAL_SERVER_ERROR, "unexpected_failure"),
            Self::HookTimeout(_) => (S::UNPROCESSABLE_ENTITY, "hook_timeout"),
            Self::HookRetries => (S::UNPROCESSABLE_ENTITY, "hook_timeout_after_retry"),
            Self::HookAnswerTooLarge(_) => (S::UNPROCESSABLE_ENTITY, "hook_payload_over_size_limit"),
            Self::HookContentType(_) => (S::BAD_REQUEST, "hook_payload_invalid_content_type"),
            Self::HookRefused { status, .. } if status.is_server_error() => (*status, "unexpected_failure"),
            Self::HookRefused { status, .. } => (*status, "unknown"),
            Self::PasswordRejected(_) => (S::BAD_REQUEST, "invalid_credentials"),
            Self::FactorRejected(_) => (S::FORBIDDEN, "mfa_verification_rejected"),
        }
    }
}
