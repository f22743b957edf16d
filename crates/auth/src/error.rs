//! Why a request is refused: GoTrue's status, code and message for each case (`docs/reference/errors-auth.md`).
//!
//! `Display` is what the client reads. The two wire shapes are written by [`crate::wire`]. Areas with many refusals
//! have an enum of their own in `error/`: one table of all would be longer than anybody reads.

mod account;
mod external;
mod factor;
mod guard;
mod oauth;
mod passkey;
mod phone;
mod sso;

use std::borrow::Cow;

use common::ErrorKind;
use http::StatusCode;

pub use account::AccountError;
pub use external::ExternalError;
pub use factor::FactorError;
pub use guard::GuardError;
pub use oauth::OAuthError;
pub use passkey::PasskeyError;
pub use phone::PhoneError;
pub use sso::SsoError;

/// Why auth refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is no JSON of the expected shape.
    #[error("Could not parse request body as JSON: {0}")]
    BadJson(String),
    /// The body exceeds 1 MiB.
    #[error("Request body too large (max {} bytes)", crate::request::MAX_BODY_BYTES)]
    BodyTooLarge,
    /// A field breaks a rule; the text says which.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// A path names a user by something else than a UUID.
    #[error("user_id must be an UUID")]
    InvalidUserId,
    /// An anonymous user has nothing to sign in with beside the password.
    #[error("Updating password of an anonymous user without an email or phone is not allowed")]
    AnonymousPassword,
    /// A token request that OAuth words itself.
    #[error("{0}")]
    OAuth(&'static str),
    /// No Bearer token.
    #[error("This endpoint requires a valid Bearer token")]
    NoAuthorization,
    /// The Bearer token does not verify.
    #[error("invalid JWT: unable to parse or verify signature, {0}")]
    BadJwt(common::jwt::Error),
    /// The token names no user: an API key, for example.
    #[error("invalid claim: missing sub claim")]
    MissingSub,
    /// `sub` is no UUID.
    #[error("invalid claim: sub claim must be a UUID")]
    BadSub,
    /// `session_id` is no UUID.
    #[error("invalid claim: session_id claim must be a UUID")]
    BadSessionId,
    /// The token's session has ended.
    #[error("Session from session_id claim in JWT does not exist")]
    SessionMissing,
    /// The token's user is gone.
    #[error("User from sub claim in JWT does not exist")]
    UserMissing,
    /// The token's user is banned.
    #[error("User is banned")]
    Banned,
    /// A banned user signs in with the right password.
    #[error("User is banned")]
    BannedSignIn,
    /// A banned user refreshes.
    #[error("Invalid Refresh Token: User Banned")]
    BannedRefresh,
    /// Only the service key may do this.
    #[error("User not allowed")]
    NotAdmin,
    /// Users may not write their own `app_metadata`.
    #[error("Updating app_metadata requires admin privileges")]
    AppMetadata,
    /// Unknown user or wrong password: both look the same and take the same time.
    #[error("Invalid login credentials")]
    InvalidCredentials,
    /// `grant_type` is none of ours.
    #[error("unsupported_grant_type")]
    UnsupportedGrant,
    /// The right password, but the address was never confirmed.
    #[error("Email not confirmed")]
    EmailNotConfirmed,
    /// Another user has that address.
    #[error("A user with this email address has already been registered")]
    EmailExists,
    /// Another user has that phone number.
    #[error("Phone number already registered by another user")]
    PhoneExists,
    /// Sign-up with an address that is taken, where confirmations are off.
    #[error("User already registered")]
    UserAlreadyExists,
    /// The project takes no new users.
    #[error("Signups not allowed for this instance")]
    SignupDisabled,
    /// The project takes no anonymous users.
    #[error("Anonymous sign-ins are disabled")]
    AnonymousDisabled,
    /// A code was asked for an unknown address with `create_user: false`.
    #[error("Signups not allowed for otp")]
    OtpDisabled,
    /// About a phone number or an SMS.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// A rate limit, a captcha or a hook says no.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// About the user's own account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// About a second factor.
    #[error(transparent)]
    Factor(#[from] FactorError),
    /// About an identity provider.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// About sign-in by SAML.
    #[error(transparent)]
    Sso(#[from] SsoError),
    /// About our own OAuth server, or in OAuth's own words.
    #[error(transparent)]
    OAuthServer(#[from] OAuthError),
    /// About a passkey.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// The password is too weak; the reasons are machine-readable.
    #[error("{message}")]
    WeakPassword {
        /// What to change.
        message: String,
        /// `length`, `characters`, `pwned`.
        reasons: &'static [&'static str],
    },
    /// The new password is the old one.
    #[error("New password should be different from the old password.")]
    SamePassword,
    /// A second factor exists and this session did not use it.
    #[error("AAL2 session is required to update email or password when MFA is enabled.")]
    InsufficientAal,
    /// No such refresh token.
    #[error("Invalid Refresh Token: Refresh Token Not Found")]
    RefreshTokenNotFound,
    /// A retired refresh token was presented again: its session has been ended.
    #[error("Invalid Refresh Token: Already Used")]
    RefreshTokenUsed,
    /// The session's time is over.
    #[error("Invalid Refresh Token: Session Expired")]
    SessionExpired,
    /// A refresh token without a session.
    #[error("Invalid Refresh Token: No Valid Session Found")]
    NoValidSession,
    /// A mailed code is wrong, spent or over.
    #[error("Token has expired or is invalid")]
    OtpExpired,
    /// A mailed link is wrong, spent or over.
    #[error("Email link is invalid or has expired")]
    LinkExpired,
    /// A mail to this address was sent a moment ago.
    #[error("For security purposes, you can only request this after {0} seconds.")]
    MailTooSoon(i64),
    /// The project has sent its mails of this hour.
    #[error("email rate limit exceeded")]
    MailBudget,
    /// The admin API was asked for a user that does not exist.
    #[error("User not found")]
    AdminUserMissing,
    /// A link was asked for a user that does not exist.
    #[error("User with this email not found")]
    LinkUserMissing,
    /// No flow with that code.
    #[error("invalid flow state, no valid flow state found")]
    FlowStateMissing,
    /// The code was exchanged too late.
    #[error("invalid flow state, flow state has expired")]
    FlowStateExpired,
    /// A PKCE link whose flow was never begun here.
    #[error("No associated flow state found.")]
    NoFlowState,
    /// The verifier does not belong to the challenge.
    #[error("code challenge does not match previously saved code verifier")]
    BadCodeVerifier,
    /// Another request changed the same user meanwhile, several times over.
    #[error("Too many concurrent changes, try again")]
    Conflict,
    /// No such path.
    #[error("404 page not found")]
    UnknownPath,
    /// The path exists, the method does not.
    #[error("405 method not allowed")]
    UnknownMethod,
    /// The queue of password hashes or mails is full.
    #[error("The server is busy, try again in a moment")]
    Busy,
    /// The database did not answer.
    #[error("The database did not answer, try again in a moment")]
    Store(#[source] store::Error),
    /// A trigger or constraint of the project refused the user's row.
    #[error("Database error saving new user")]
    Refused(#[source] store::PgError),
    /// Our fault.
    #[error("Unexpected failure, please check server logs for more information")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A broken rule in words known at compile time.
    pub(crate) fn invalid(message: &'static str) -> Self {
        Self::Invalid(Cow::Borrowed(message))
    }

    /// A failure that only the log explains.
    pub(crate) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The HTTP status that GoTrue gives this case.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.facts().0
    }

    /// The stable code: `error_code`, and the header `x-sb-error-code`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.facts().1
    }

    /// The kind, for log level and metrics.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.status() {
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
            StatusCode::FORBIDDEN => ErrorKind::Forbidden,
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::CONFLICT => ErrorKind::Conflict,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::Limited,
            StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Unavailable,
            status if status.is_server_error() => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadJson(_) => (S::BAD_REQUEST, "bad_json"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "request_entity_too_large"),
            Self::Invalid(_) => (S::BAD_REQUEST, "validation_failed"),
            Self::InvalidUserId => (S::NOT_FOUND, "validation_failed"),
            Self::AnonymousPassword => (S::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::OAuth(_) => (S::BAD_REQUEST, "invalid_request"),
            Self::NoAuthorization => (S::UNAUTHORIZED, "no_authorization"),
            Self::BadJwt(_) | Self::MissingSub | Self::BadSessionId => (S::FORBIDDEN, "bad_jwt"),
            Self::BadSub => (S::BAD_REQUEST, "bad_jwt"),
            Self::SessionMissing => (S::FORBIDDEN, "session_not_found"),
            Self::UserMissing => (S::FORBIDDEN, "user_not_found"),
            Self::Banned => (S::FORBIDDEN, "user_banned"),
            Self::BannedSignIn | Self::BannedRefresh => (S::BAD_REQUEST, "user_banned"),
            Self::NotAdmin | Self::AppMetadata => (S::FORBIDDEN, "not_admin"),
            Self::InvalidCredentials | Self::UnsupportedGrant => (S::BAD_REQUEST, "invalid_credentials"),
            Self::EmailNotConfirmed => (S::BAD_REQUEST, "email_not_confirmed"),
            Self::EmailExists => (S::UNPROCESSABLE_ENTITY, "email_exists"),
            Self::PhoneExists => (S::UNPROCESSABLE_ENTITY, "phone_exists"),
            Self::UserAlreadyExists => (S::UNPROCESSABLE_ENTITY, "user_already_exists"),
            Self::SignupDisabled => (S::UNPROCESSABLE_ENTITY, "signup_disabled"),
            Self::AnonymousDisabled => (S::UNPROCESSABLE_ENTITY, "anonymous_provider_disabled"),
            Self::OtpDisabled => (S::UNPROCESSABLE_ENTITY, "otp_disabled"),
            Self::Phone(it) => it.facts(),
            Self::Guard(it) => it.facts(),
            Self::Account(it) => it.facts(),
            Self::Factor(it) => it.facts(),
            Self::Passkey(it) => it.facts(),
            Self::External(it) => it.facts(),
            Self::OAuthServer(it) => it.facts(),
            Self::Sso(it) => it.facts(),
            Self::WeakPassword { .. } => (S::UNPROCESSABLE_ENTITY, "weak_password"),
            Self::SamePassword => (S::UNPROCESSABLE_ENTITY, "same_password"),
            Self::InsufficientAal => (S::UNAUTHORIZED, "insufficient_aal"),
            Self::RefreshTokenNotFound => (S::BAD_REQUEST, "refresh_token_not_found"),
            Self::RefreshTokenUsed => (S::BAD_REQUEST, "refresh_token_already_used"),
            Self::SessionExpired => (S::BAD_REQUEST, "session_expired"),
            Self::NoValidSession => (S::BAD_REQUEST, "session_not_found"),
            Self::OtpExpired | Self::LinkExpired => (S::FORBIDDEN, "otp_expired"),
            Self::MailTooSoon(_) | Self::MailBudget => (S::TOO_MANY_REQUESTS, "over_email_send_rate_limit"),
            Self::AdminUserMissing | Self::LinkUserMissing => (S::NOT_FOUND, "user_not_found"),
            Self::FlowStateMissing => (S::NOT_FOUND, "flow_state_not_found"),
            Self::FlowStateExpired => (S::UNPROCESSABLE_ENTITY, "flow_state_expired"),
            Self::NoFlowState => (S::BAD_REQUEST, "flow_state_not_found"),
            Self::BadCodeVerifier => (S::BAD_REQUEST, "bad_code_verifier"),
            Self::Conflict => (S::CONFLICT, "conflict"),
            Self::UnknownPath => (S::NOT_FOUND, "not_found"),
            Self::UnknownMethod => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "server_busy"),
            Self::Store(source) if source.kind() == ErrorKind::Unavailable => {
                (S::SERVICE_UNAVAILABLE, "database_unavailable")
            }
            Self::Store(_) | Self::Refused(_) | Self::Internal(_) => {
                (S::INTERNAL_SERVER_ERROR, "unexpected_failure")
            }
        }
    }
}

impl From<store::Error> for Error {
    fn from(it: store::Error) -> Self {
        Self::Store(it)
    }
}

impl From<store::postgres::Error> for Error {
    fn from(it: store::postgres::Error) -> Self {
        Self::Store(it.into())
    }
}
