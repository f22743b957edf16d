//! Refusals about identity providers: the way to them and back, linking, ID tokens, wallets, providers of one's own.

use http::StatusCode;

/// What a provider did that it should not; for the log only.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a sign-in by an identity provider is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// No such provider, or it is not set up.
    #[error("Unsupported provider: {0}")]
    Unsupported(String),
    /// The provider was there when the flow began.
    #[error("Unsupported provider: {0}")]
    Gone(String),
    /// An invitation's token is wrong at the start of a flow.
    #[error("User identified by token not found")]
    InviteTokenMissing,
    /// An invitation's token was spent meanwhile.
    #[error("Invite not found")]
    InviteMissing,
    /// The provider knows the user by other addresses than the one invited.
    #[error("Invited email does not match emails from external provider")]
    InviteMismatch,
    /// The provider sent nobody's state back.
    #[error("OAuth state parameter missing")]
    StateMissing,
    /// The state is none of ours.
    #[error("OAuth state parameter is invalid")]
    StateMalformed,
    /// The state is unknown or spent.
    #[error("OAuth state not found or expired")]
    StateUnknown,
    /// The user took longer than five minutes.
    #[error("OAuth state has expired")]
    StateExpired,
    /// The state came back a second time.
    #[error("State has already been used")]
    StateUsed,
    /// The provider sent no code.
    #[error("OAuth callback with missing authorization code missing")]
    CodeMissing,
    /// Our half of PKCE is gone: the callback came a second time.
    #[error("OAuth state not found")]
    ClientStateMissing,
    /// Our half of PKCE is too old.
    #[error("OAuth state expired")]
    ClientStateExpired,
    /// Our half of PKCE belongs to another provider.
    #[error("OAuth provider mismatch")]
    ProviderMismatch,
    /// The provider needs PKCE and the flow was begun without.
    #[error("OAuth PKCE code verifier missing")]
    VerifierMissing,
    /// The provider said no: its own words.
    #[error("{description}")]
    Denied {
        /// `access_denied` and the like, as the provider wrote it.
        error: String,
        /// Its explanation.
        description: String,
    },
    /// The provider did not take its own code.
    #[error("Unable to exchange external code: {start}")]
    Exchange {
        /// The first characters of the code.
        start: String,
        /// What happened.
        #[source]
        source: Cause,
    },
    /// The provider did not tell who the user is, or told something forged.
    #[error("Error getting user profile from external provider")]
    Profile(#[source] Cause),
    /// The provider told no address and the project wants one.
    #[error("Error getting user email from external provider")]
    NoEmail,
    /// Several users have addresses of this one.
    #[error("Multiple accounts with the same email address in the same linking domain detected: default")]
    Ambiguous,
    /// The provider did not verify the address; a mail was sent.
    #[error("Unverified email with {0}. A confirmation email has been sent to your {0} email")]
    MailSent(String),
    /// The provider did not verify the address, and another user has it.
    #[error("Unverified email with {0}. Verify the email with {0} in order to sign in")]
    Unverified(String),
    /// The user who wanted to link is gone.
    #[error("Linking target user not found")]
    LinkTargetMissing,
    /// The user has linked it before.
    #[error("Identity is already linked")]
    Linked,
    /// Another user has linked it before.
    #[error("Identity is already linked to another user")]
    LinkedElsewhere,
    /// Linking would give the user an address that another one has.
    #[error("A user with this email address has already been registered")]
    LinkedEmailTaken,
    /// Linking gave the user an address that must be confirmed; a mail was sent.
    #[error("Unverified email with {0}. A confirmation email has been sent to your {0} email")]
    LinkedMailSent(String),
    /// The issuer's provider is off.
    #[error("Provider (issuer {0:?}) is not enabled")]
    IssuerDisabled(String),
    /// The provider of one's own is off.
    #[error("Custom provider {0:?} is disabled")]
    CustomDisabled(String),
    /// Wallets are off: all, or those of one chain.
    #[error("{0}Web3 provider is disabled")]
    Web3Disabled(&'static str),
    /// Neither Ethereum nor Solana.
    #[error("Unsupported chain")]
    Chain,
    /// Providers of one's own are off.
    #[error("Custom OAuth providers are disabled")]
    CustomProvidersDisabled,
    /// No such provider of one's own.
    #[error("Custom OAuth provider not found")]
    CustomMissing,
    /// There is one by that name.
    #[error("A custom OAuth provider with this identifier already exists")]
    CustomExists,
    /// The project has as many as it may have.
    #[error("Maximum number of custom OAuth/OIDC providers reached")]
    CustomQuota,
}

impl ExternalError {
    pub(super) fn facts(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unsupported(_) | Self::InviteMismatch => (S::BAD_REQUEST, "validation_failed"),
            Self::Gone(_) => (S::BAD_REQUEST, "oauth_provider_not_supported"),
            Self::InviteTokenMissing => (S::NOT_FOUND, "user_not_found"),
            Self::InviteMissing => (S::NOT_FOUND, "invite_not_found"),
            Self::StateMissing | Self::CodeMissing => (S::BAD_REQUEST, "bad_oauth_callback"),
            Self::StateMalformed | Self::StateUnknown | Self::StateExpired => {
                (S::BAD_REQUEST, "bad_oauth_state")
            }
            Self::StateUsed => (S::BAD_REQUEST, "flow_state_already_used"),
            Self::ClientStateMissing => (S::UNPROCESSABLE_ENTITY, "oauth_client_state_not_found"),
            Self::ClientStateExpired => (S::UNPROCESSABLE_ENTITY, "oauth_client_state_expired"),
            Self::ProviderMismatch | Self::VerifierMissing => (S::BAD_REQUEST, "oauth_invalid_state"),
            Self::Denied { .. } => (S::BAD_REQUEST, "invalid_request"),
            Self::Exchange { .. } | Self::Profile(_) | Self::NoEmail | Self::Ambiguous => {
                (S::INTERNAL_SERVER_ERROR, "unexpected_failure")
            }
            Self::MailSent(_) | Self::Unverified(_) => {
                (S::UNPROCESSABLE_ENTITY, "provider_email_needs_verification")
            }
            Self::LinkTargetMissing => (S::UNPROCESSABLE_ENTITY, "user_not_found"),
            Self::Linked | Self::LinkedElsewhere => (S::UNPROCESSABLE_ENTITY, "identity_already_exists"),
            Self::LinkedEmailTaken => (S::BAD_REQUEST, "email_exists"),
            Self::LinkedMailSent(_) => (S::UNPROCESSABLE_ENTITY, "email_not_confirmed"),
            Self::IssuerDisabled(_) | Self::CustomDisabled(_) => (S::BAD_REQUEST, "provider_disabled"),
            Self::Web3Disabled(_) => (S::UNPROCESSABLE_ENTITY, "web3_provider_disabled"),
            Self::Chain => (S::BAD_REQUEST, "web3_unsupported_chain"),
            Self::CustomProvidersDisabled => (S::NOT_FOUND, "feature_disabled"),
            Self::CustomMissing => (S::NOT_FOUND, "custom_provider_not_found"),
            Self::CustomExists => (S::BAD_REQUEST, "conflict"),
            Self::CustomQuota => (S::BAD_REQUEST, "over_custom_provider_quota"),
        }
    }
}
