//! Refusals about phone numbers and SMS.

use http::StatusCode;

/// Why something about a phone number is refused.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// Sign-up by phone is off.
    #[error("Phone signups are disabled")]
    SignupsDisabled,
    /// Sign-in by phone and password is off.
    #[error("Phone logins are disabled")]
    LoginsDisabled,
    /// Another code by SMS, and phone numbers are off.
    #[error("Phone logins are disabled")]
    ResendDisabled,
    /// Codes by SMS are off.
    #[error("Unsupported phone provider")]
    Unsupported,
    /// The right password, but the number was never confirmed.
    #[error("Phone not confirmed")]
    NotConfirmed,
    /// The number must be confirmed before it can reauthenticate.
    #[error("Please verify your phone first.")]
    VerifyFirst,
    /// Another user has that number.
    #[error("A user with this phone number has already been registered")]
    Taken,
    /// An SMS to this number was sent a moment ago.
    #[error("For security purposes, you can only request this after {0} seconds.")]
    TooSoon(i64),
    /// The project has sent its SMS of this hour.
    #[error("SMS rate limit exceeded")]
    Budget,
    /// The provider did not take the SMS.
    #[error("Error sending {purpose} OTP to provider: {reason}")]
    NotSent {
        /// What the code was for.
        purpose: &'static str,
        /// What the provider said; never holds the number or the code.
        reason: String,
    },
}

impl PhoneError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::SignupsDisabled | Self::ResendDisabled | Self::Unsupported => {
                (S::BAD_REQUEST, "phone_provider_disabled")
            }
            Self::LoginsDisabled => (S::UNPROCESSABLE_ENTITY, "phone_provider_disabled"),
            Self::NotConfirmed => (S::BAD_REQUEST, "phone_not_confirmed"),
            Self::VerifyFirst => (S::UNPROCESSABLE_ENTITY, "phone_not_confirmed"),
            Self::Taken => (S::UNPROCESSABLE_ENTITY, "phone_exists"),
            Self::TooSoon(_) | Self::Budget => (S::TOO_MANY_REQUESTS, "over_sms_send_rate_limit"),
            Self::NotSent { .. } => (S::UNPROCESSABLE_ENTITY, "sms_send_failed"),
        }
    }
}
