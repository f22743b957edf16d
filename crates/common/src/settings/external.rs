//! What a project sets about identity providers, and about being one (the OAuth 2.1 server).

use serde::{Deserialize, Serialize};

/// An identity provider of a project, by its name in `AuthSettings::external`: `google`, `github`, … as Supabase calls
/// them, `web3_ethereum` and `web3_solana` for wallets, or `custom:<name>` for any other OpenID Connect issuer.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderSettings {
    /// Whether users may sign in with it.
    pub enabled: bool,
    /// What the provider calls us. The first one is used for redirects; ID tokens for any of them are accepted.
    pub client_ids: Vec<String>,
    /// What proves to the provider that we are that client. Encrypted at rest with the project's secrets.
    pub secret: Option<String>,
    /// Where the provider is when it is not the public one: a GitLab, a Keycloak realm, an Azure tenant. For
    /// `custom:<name>` the issuer.
    pub url: Option<String>,
    /// Accept ID tokens whose nonce the client does not know: some native SDKs make one by themselves.
    pub skip_nonce_check: bool,
    /// Let users in of whom the provider tells no address.
    pub email_optional: bool,
}

impl std::fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("enabled", &self.enabled)
            .field("client_ids", &self.client_ids)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Whether and how a project is an identity provider for others (OAuth 2.1 with OpenID Connect).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuthServerSettings {
    /// Off: every route of it answers 404.
    pub enabled: bool,
    /// Whether anybody may register a client (RFC 7591).
    pub allow_dynamic_registration: bool,
    /// The page of the site that asks the user for consent; gets `?authorization_id=`.
    pub authorization_path: String,
    /// The scope of a request that names none.
    pub default_scope: String,
}

impl Default for OAuthServerSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            allow_dynamic_registration: false,
            authorization_path: "/oauth/consent".into(),
            default_scope: "email".into(),
        }
    }
}
