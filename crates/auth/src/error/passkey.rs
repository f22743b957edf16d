//! Refusals about passkeys.

use http::StatusCode;

/// Why something about a passkey is refused.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// Passkeys are off.
    #[error("Passkeys are disabled")]
    Disabled,
    /// The account belongs to an organisation's identity provider.
    #[error("SSO users cannot register passkeys")]
    SsoUser,
    /// The user has a second factor and this session did not use it.
    #[error("AAL2 session is required to manage passkeys when MFA is enabled")]
    NeedsAal2,
    /// The user has as many passkeys as the project allows.
    #[error("Maximum number of passkeys reached")]
    TooMany,
    /// Unknown, or answered before.
    #[error("Challenge not found or already used")]
    ChallengeMissing,
    /// The challenge's time is over.
    #[error("Challenge has expired")]
    ChallengeExpired,
    /// What the browser sent is no credential.
    #[error("Invalid credential response")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It does not verify: another challenge, origin, domain or key.
    #[error("Credential verification failed")]
    Unverified(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody has registered that key.
    #[error("This credential is already registered")]
    Exists,
    /// The user has no such passkey.
    #[error("Passkey not found")]
    Missing,
    /// Sign-in by a passkey, but the address was never confirmed.
    #[error("Email not confirmed")]
    EmailNotConfirmed,
    /// Sign-in by a passkey, but the number was never confirmed.
    #[error("Phone not confirmed")]
    PhoneNotConfirmed,
}

impl PasskeyError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Disabled => (S::NOT_FOUND, "passkey_disabled"),
            Self::SsoUser => (S::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::NeedsAal2 => (S::FORBIDDEN, "insufficient_aal"),
            Self::TooMany => (S::UNPROCESSABLE_ENTITY, "too_many_passkeys"),
            Self::ChallengeMissing => (S::BAD_REQUEST, "webauthn_challenge_not_found"),
            Self::ChallengeExpired => (S::BAD_REQUEST, "webauthn_challenge_expired"),
            Self::Malformed(_) | Self::Unverified(_) => (S::BAD_REQUEST, "webauthn_verification_failed"),
            Self::Exists => (S::UNPROCESSABLE_ENTITY, "webauthn_credential_exists"),
            Self::Missing => (S::NOT_FOUND, "validation_failed"),
            Self::EmailNotConfirmed => (S::FORBIDDEN, "email_not_confirmed"),
            Self::PhoneNotConfirmed => (S::FORBIDDEN, "phone_not_confirmed"),
        }
    }
}
