//! Refusals about second factors.

use http::StatusCode;
use uuid::Uuid;

/// Why something about a second factor is refused.
#[derive(Debug, thiserror::Error)]
pub enum FactorError {
    /// Anonymous users have no second factor.
    #[error("Anonymous user not allowed to perform these actions")]
    Anonymous,
    /// A path names a factor by something else than a UUID.
    #[error("factor_id must be an UUID")]
    InvalidId,
    /// The user has no such factor.
    #[error("Factor not found")]
    Missing,
    /// The factor has no such challenge.
    #[error("MFA factor with the provided challenge ID not found")]
    ChallengeMissing,
    /// The challenge was answered before, or asked for from another address.
    #[error("Challenge and verify IP addresses mismatch.")]
    AddressMismatch,
    /// The challenge's time is over.
    #[error("MFA challenge {0} has expired, verify against another challenge or create a new challenge.")]
    ChallengeExpired(Uuid),
    /// No new authenticator apps.
    #[error("MFA enroll is disabled for TOTP")]
    TotpEnrollDisabled,
    /// No authenticator apps at all.
    #[error("MFA verification is disabled for TOTP")]
    TotpVerifyDisabled,
    /// No new phone numbers.
    #[error("MFA enroll is disabled for Phone")]
    PhoneEnrollDisabled,
    /// No phone numbers at all.
    #[error("MFA verification is disabled for Phone")]
    PhoneVerifyDisabled,
    /// No new security keys.
    #[error("MFA enroll is disabled for WebAuthn")]
    WebauthnEnrollDisabled,
    /// No challenge of a security key.
    #[error("MFA verification is disabled for WebAuthn")]
    WebauthnVerifyDisabled,
    /// No answer of a security key either; GoTrue gives it another code than the challenge.
    #[error("MFA verification is disabled for WebAuthn")]
    WebauthnAnswerDisabled,
    /// Another factor of the user has that name.
    #[error("A factor with the friendly name {0:?} for this user already exists")]
    NameTaken(String),
    /// That number is a factor already.
    #[error("A verified phone factor already exists, unenroll the existing factor to continue")]
    PhoneTaken,
    /// The user has as many factors as the project allows.
    #[error("Maximum number of verified factors reached, unenroll to continue")]
    TooMany,
    /// Only a session that used a factor may add another one.
    #[error("AAL2 required to enroll a new factor")]
    EnrollNeedsAal2,
    /// Only a session that used a factor may remove one.
    #[error("AAL2 required to unenroll verified factor")]
    UnenrollNeedsAal2,
    /// The app shows another code, or this one was used before.
    #[error("Invalid TOTP code entered")]
    WrongTotp,
    /// The SMS said another code.
    #[error("Invalid MFA Phone code entered")]
    WrongPhoneCode,
    /// The security key's answer does not verify.
    #[error("Invalid WebAuthn response entered")]
    WrongKey(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many wrong codes on one factor within five minutes.
    #[error("Request rate limit reached")]
    TooManyAttempts,
}

impl FactorError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Anonymous => (S::FORBIDDEN, "no_authorization"),
            Self::InvalidId => (S::NOT_FOUND, "validation_failed"),
            Self::Missing => (S::NOT_FOUND, "mfa_factor_not_found"),
            Self::ChallengeMissing => (S::UNPROCESSABLE_ENTITY, "mfa_factor_not_found"),
            Self::AddressMismatch => (S::UNPROCESSABLE_ENTITY, "mfa_ip_address_mismatch"),
            Self::ChallengeExpired(_) => (S::UNPROCESSABLE_ENTITY, "mfa_challenge_expired"),
            Self::TotpEnrollDisabled => (S::UNPROCESSABLE_ENTITY, "mfa_totp_enroll_not_enabled"),
            Self::TotpVerifyDisabled => (S::UNPROCESSABLE_ENTITY, "mfa_totp_verify_not_enabled"),
            Self::PhoneEnrollDisabled => (S::UNPROCESSABLE_ENTITY, "mfa_phone_enroll_not_enabled"),
            Self::PhoneVerifyDisabled => (S::UNPROCESSABLE_ENTITY, "mfa_phone_verify_not_enabled"),
            Self::WebauthnEnrollDisabled | Self::WebauthnAnswerDisabled => {
                (S::UNPROCESSABLE_ENTITY, "mfa_webauthn_enroll_not_enabled")
            }
            Self::WebauthnVerifyDisabled => (S::UNPROCESSABLE_ENTITY, "mfa_webauthn_verify_not_enabled"),
            Self::NameTaken(_) => (S::UNPROCESSABLE_ENTITY, "mfa_factor_name_conflict"),
            Self::PhoneTaken => (S::UNPROCESSABLE_ENTITY, "mfa_verified_factor_exists"),
            Self::TooMany => (S::UNPROCESSABLE_ENTITY, "too_many_enrolled_mfa_factors"),
            Self::EnrollNeedsAal2 => (S::FORBIDDEN, "insufficient_aal"),
            Self::UnenrollNeedsAal2 => (S::UNPROCESSABLE_ENTITY, "insufficient_aal"),
            Self::WrongTotp | Self::WrongPhoneCode | Self::WrongKey(_) => {
                (S::UNPROCESSABLE_ENTITY, "mfa_verification_failed")
            }
            Self::TooManyAttempts => (S::TOO_MANY_REQUESTS, "over_request_rate_limit"),
        }
    }
}
