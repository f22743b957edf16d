//! Providers that a project's own people define (`/admin/custom-providers`): a row of `auth.custom_oauth_providers`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::user::Object;

/// The row, without the secret; as clients read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Custom {
    pub(crate) id: Uuid,
    /// `oauth2` or `oidc`.
    pub(crate) provider_type: String,
    pub(crate) identifier: String,
    pub(crate) name: String,
    pub(crate) client_id: String,
    pub(crate) acceptable_client_ids: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) pkce_enabled: bool,
    pub(crate) attribute_mapping: Object,
    pub(crate) custom_claims_allowlist: Vec<String>,
    pub(crate) authorization_params: Object,
    pub(crate) enabled: bool,
    pub(crate) email_optional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) discovery_url: Option<String>,
    pub(crate) skip_nonce_check: bool,
    #[serde(rename(serialize = "discovery_document"), skip_serializing_if = "Option::is_none")]
    pub(crate) cached_discovery: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authorization_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) userinfo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_uri: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Custom {
    pub(crate) fn is_oidc(&self) -> bool {
        self.provider_type == "oidc"
    }

    /// What the secret of row `id` is bound to.
    pub(crate) fn context(id: Uuid) -> String {
        format!("custom_oauth_providers.client_secret:{id}")
    }
}
