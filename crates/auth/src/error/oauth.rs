//! Refusals of our own OAuth 2.1 server, and those that OAuth words itself (RFC 6749 §5.2).

use std::borrow::Cow;

use http::StatusCode;

/// Why the OAuth server refuses something.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// The project is no identity provider.
    #[error("OAuth server is disabled")]
    Disabled,
    /// Answered as `{"error", "error_description"}`.
    #[error("{description}")]
    Protocol {
        /// The word that the protocol has for it.
        error: &'static str,
        /// For people.
        description: Cow<'static, str>,
    },
    /// Not everybody may register clients.
    #[error("Dynamic client registration is not enabled")]
    RegistrationDisabled,
    /// The administrator's client does not exist.
    #[error("OAuth client not found")]
    ClientMissing,
    /// An authorization request names a client that does not exist.
    #[error("invalid client_id")]
    ClientUnknown,
    /// An authorization request names a client by something else than a UUID.
    #[error("invalid client_id format")]
    ClientMalformed,
    /// A token request does not prove to come from its client; the text says why.
    #[error("{0}")]
    Credentials(Cow<'static, str>),
    /// No such request for consent, or of somebody else.
    #[error("authorization not found")]
    AuthorizationMissing,
    /// The user has granted nothing to that client.
    #[error("No active grant found for this client")]
    ConsentMissing,
    /// The body is no JSON.
    #[error("{0}")]
    Json(&'static str),
    /// A signed-in user is needed.
    #[error("authentication required")]
    Anonymous,
}

impl OAuthError {
    /// A refusal in OAuth's own words.
    pub(crate) fn protocol(error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self::Protocol { error, description: description.into() }
    }

    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Disabled => (S::NOT_FOUND, "feature_disabled"),
            Self::Protocol { error, .. } => (S::BAD_REQUEST, *error),
            Self::RegistrationDisabled => (S::FORBIDDEN, "oauth_dynamic_client_registration_disabled"),
            Self::ClientMissing => (S::NOT_FOUND, "oauth_client_not_found"),
            Self::ClientUnknown | Self::ClientMalformed => (S::BAD_REQUEST, "oauth_client_not_found"),
            Self::Credentials(_) => (S::BAD_REQUEST, "invalid_credentials"),
            Self::AuthorizationMissing => (S::NOT_FOUND, "oauth_authorization_not_found"),
            Self::ConsentMissing => (S::NOT_FOUND, "oauth_consent_not_found"),
            Self::Json(_) => (S::BAD_REQUEST, "bad_json"),
            Self::Anonymous => (S::FORBIDDEN, "bad_jwt"),
        }
    }
}
