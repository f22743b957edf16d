//! Refusals about a user's own account: proving oneself again, and ways of signing in that come and go.

use http::StatusCode;

/// Why a change of one's own account is refused.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The session ended because the user signed in anew, and the project lets one session stand.
    #[error("Invalid Refresh Token: Session Expired (Revoked by Newer Login)")]
    NewerLogin,
    /// The session was not used for too long.
    #[error("Invalid Refresh Token: Session Expired (Inactivity)")]
    Inactive,
    /// The session of an access token is older than the project allows.
    #[error("Session is no longer valid")]
    SessionOver,
    /// A sign-up by e-mail where e-mail is off.
    #[error("Email signups are disabled")]
    EmailSignupsDisabled,
    /// A sign-in by e-mail where e-mail is off.
    #[error("Email logins are disabled")]
    EmailLoginsDisabled,
    /// A recovery or another mail where e-mail is off.
    #[error("Email logins are disabled")]
    EmailMailsDisabled,
    /// A new password without the current one.
    #[error("Current password required when setting new password.")]
    CurrentPasswordRequired,
    /// A new password with a wrong current one.
    #[error("Current password required when setting new password.")]
    CurrentPasswordInvalid,
    /// A new password in an old session, without the mailed nonce.
    #[error("Password update requires reauthentication")]
    ReauthenticationNeeded,
    /// The nonce is wrong, spent or over.
    #[error("Nonce has expired or is invalid")]
    NonceInvalid,
    /// There is nothing to send a nonce to.
    #[error("Reauthentication requires an email or a phone number")]
    NothingToProve,
    /// The address must be confirmed before it can reauthenticate.
    #[error("Please verify your email first.")]
    VerifyEmailFirst,
    /// A code is verified for something that is no address.
    #[error("Invalid email format")]
    EmailFormat,
    /// The account belongs to an organisation's identity provider.
    #[error("Updating email, phone, password of a SSO account only possible via SSO")]
    SsoManaged,
    /// The metadata would make tokens too large.
    #[error("The metadata of a user may hold at most {0} bytes")]
    MetadataTooLarge(usize),
    /// Linking and unlinking is off.
    #[error("Manual linking is disabled")]
    LinkingDisabled,
    /// A path names an identity by something else than a UUID.
    #[error("identity_id must be an UUID")]
    InvalidIdentityId,
    /// The user has no such identity.
    #[error("Identity doesn't exist")]
    IdentityMissing,
    /// The last identity stays.
    #[error("User must have at least 1 identity after unlinking")]
    SingleIdentity,
    /// Another user has the address that would become this user's.
    #[error("Unable to unlink identity due to email conflict")]
    UnlinkConflict,
    /// The token is for somebody else than this service.
    #[error("Token audience doesn't match request audience")]
    Audience,
}

impl AccountError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::NewerLogin | Self::Inactive => (S::BAD_REQUEST, "session_expired"),
            Self::SessionOver => (S::FORBIDDEN, "session_expired"),
            Self::EmailSignupsDisabled | Self::EmailMailsDisabled => {
                (S::BAD_REQUEST, "email_provider_disabled")
            }
            Self::EmailLoginsDisabled => (S::UNPROCESSABLE_ENTITY, "email_provider_disabled"),
            Self::CurrentPasswordRequired => (S::BAD_REQUEST, "current_password_required"),
            Self::CurrentPasswordInvalid => (S::BAD_REQUEST, "current_password_invalid"),
            Self::ReauthenticationNeeded => (S::BAD_REQUEST, "reauthentication_needed"),
            Self::NonceInvalid | Self::NothingToProve => {
                (S::UNPROCESSABLE_ENTITY, "reauthentication_not_valid")
            }
            Self::VerifyEmailFirst => (S::UNPROCESSABLE_ENTITY, "email_not_confirmed"),
            Self::SsoManaged => (S::UNPROCESSABLE_ENTITY, "user_sso_managed"),
            Self::EmailFormat | Self::MetadataTooLarge(_) => (S::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::LinkingDisabled => (S::NOT_FOUND, "manual_linking_disabled"),
            Self::InvalidIdentityId => (S::NOT_FOUND, "validation_failed"),
            Self::IdentityMissing => (S::UNPROCESSABLE_ENTITY, "identity_not_found"),
            Self::SingleIdentity => (S::UNPROCESSABLE_ENTITY, "single_identity_not_deletable"),
            Self::UnlinkConflict => (S::UNPROCESSABLE_ENTITY, "email_conflict_identity_not_deletable"),
            Self::Audience => (S::FORBIDDEN, "unexpected_audience"),
        }
    }
}
