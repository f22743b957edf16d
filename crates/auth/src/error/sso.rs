//! Refusals about sign-in by SAML 2.0 and the providers behind it.

use http::StatusCode;

/// Why single sign-on is refused.
#[derive(Debug, thiserror::Error)]
pub enum SsoError {
    /// SAML is off.
    #[error("SAML 2.0 is disabled")]
    Disabled,
    /// The domain belongs to no provider.
    #[error("No SSO provider assigned for this domain")]
    NoProviderOfDomain,
    /// No provider of that id.
    #[error("No such SSO provider")]
    NoSuchProvider,
    /// The same, told to an administrator.
    #[error("SSO Identity Provider not found")]
    ProviderMissing,
    /// A response came from a provider that the project does not know.
    #[error("A SAML connection has not been established with this Identity Provider")]
    IdpMissing,
    /// A new provider is known already.
    #[error("SAML Identity Provider with this EntityID ({0}) already exists")]
    IdpExists(String),
    /// New metadata is of another provider.
    #[error(
        "SAML Metadata can be updated only if the EntityID matches for the provider; expected '{expected}' but got '{got}'"
    )]
    EntityMismatch {
        /// The provider's.
        expected: String,
        /// The document's.
        got: String,
    },
    /// Metadata was not answered with 200.
    #[error("HTTP {status} error fetching SAML Metadata from URL '{url}'")]
    FetchStatus {
        /// What was answered.
        status: u16,
        /// Where.
        url: String,
    },
    /// Metadata could not be asked for.
    #[error("Error fetching SAML Metadata from URL '{url}'")]
    Fetch {
        /// Where.
        url: String,
        /// What happened.
        #[source]
        source: super::external::Cause,
    },
    /// A domain belongs to another provider.
    #[error("SSO Domain '{domain}' is already assigned to an SSO identity provider ({provider})")]
    DomainTaken {
        /// The domain.
        domain: String,
        /// The other one's id.
        provider: uuid::Uuid,
    },
    /// Another request changed the provider meanwhile.
    #[error("Updating SSO provider failed, likely due to a conflict. Try again?")]
    Conflict,
    /// The relay state is unknown, or was used.
    #[error("SAML RelayState does not exist, try logging in again?")]
    RelayStateMissing,
    /// The user took too long.
    #[error("SAML RelayState has expired. Try logging in again?")]
    RelayStateExpired,
    /// The response is forged, for somebody else, over, or was used; the log says which.
    #[error("SAML Assertion is not valid")]
    Assertion,
    /// The assertion has only a passing name for the user.
    #[error(
        "SAML Assertion did not contain a persistent Subject Identifier attribute or Subject NameID uniquely identifying this user"
    )]
    NoUserId,
    /// The assertion has no address.
    #[error("SAML Assertion does not contain an email address")]
    NoEmail,
}

impl SsoError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Disabled => (S::NOT_FOUND, "saml_provider_disabled"),
            Self::NoProviderOfDomain | Self::NoSuchProvider | Self::ProviderMissing => {
                (S::NOT_FOUND, "sso_provider_not_found")
            }
            Self::IdpMissing => (S::NOT_FOUND, "saml_idp_not_found"),
            Self::IdpExists(_) => (S::UNPROCESSABLE_ENTITY, "saml_idp_already_exists"),
            Self::EntityMismatch { .. } => (S::BAD_REQUEST, "saml_entity_id_mismatch"),
            Self::FetchStatus { .. } | Self::Fetch { .. } => (S::BAD_REQUEST, "saml_metadata_fetch_failed"),
            Self::DomainTaken { .. } => (S::BAD_REQUEST, "sso_domain_already_exists"),
            Self::Conflict => (S::UNPROCESSABLE_ENTITY, "conflict"),
            Self::RelayStateMissing => (S::NOT_FOUND, "saml_relay_state_not_found"),
            Self::RelayStateExpired => (S::UNPROCESSABLE_ENTITY, "saml_relay_state_expired"),
            Self::Assertion => (S::BAD_REQUEST, "validation_failed"),
            Self::NoUserId => (S::BAD_REQUEST, "saml_assertion_no_user_id"),
            Self::NoEmail => (S::BAD_REQUEST, "saml_assertion_no_email"),
        }
    }
}
