//! Providers that a project's people define.

use serde::Deserialize;
use serde_json::Value;
use store::ServiceClient;
use store::postgres::types::Json;

use super::decode;
use crate::Error;
use crate::providers::Custom;

/// A row with its secret as it is stored.
#[derive(Deserialize)]
pub(crate) struct StoredCustom {
    #[serde(flatten)]
    pub(crate) custom: Custom,
    pub(crate) client_secret: String,
}

const FIND: &str = "select to_jsonb(c) from auth.custom_oauth_providers c where c.identifier = $1";
const LIST: &str = "select to_jsonb(c) from auth.custom_oauth_providers c where $1 = '' or c.provider_type = $1 \
     order by c.created_at desc, c.id limit $2";
const COUNT: &str = "select count(*) from auth.custom_oauth_providers";
const WRITE: &str = "insert into auth.custom_oauth_providers as c (id, provider_type, identifier, name, client_id, \
     client_secret, acceptable_client_ids, scopes, pkce_enabled, attribute_mapping, authorization_params, enabled, \
     email_optional, issuer, discovery_url, skip_nonce_check, cached_discovery, authorization_url, token_url, \
     userinfo_url, jwks_uri, created_at, updated_at, custom_claims_allowlist, discovery_cached_at) \
     select r.id, r.provider_type, r.identifier, r.name, r.client_id, r.client_secret, r.acceptable_client_ids, \
     r.scopes, r.pkce_enabled, r.attribute_mapping, r.authorization_params, r.enabled, r.email_optional, r.issuer, \
     r.discovery_url, r.skip_nonce_check, r.cached_discovery, r.authorization_url, r.token_url, r.userinfo_url, \
     r.jwks_uri, r.created_at, r.updated_at, r.custom_claims_allowlist, \
     case when r.cached_discovery is not null then r.updated_at end \
     from jsonb_populate_record(null::auth.custom_oauth_providers, $1) r \
     on conflict (id) do update set name = excluded.name, client_id = excluded.client_id, \
     client_secret = excluded.client_secret, acceptable_client_ids = excluded.acceptable_client_ids, \
     scopes = excluded.scopes, pkce_enabled = excluded.pkce_enabled, \
     attribute_mapping = excluded.attribute_mapping, authorization_params = excluded.authorization_params, \
     enabled = excluded.enabled, email_optional = excluded.email_optional, issuer = excluded.issuer, \
     discovery_url = excluded.discovery_url, skip_nonce_check = excluded.skip_nonce_check, \
     cached_discovery = excluded.cached_discovery, discovery_cached_at = excluded.discovery_cached_at, \
     authorization_url = excluded.authorization_url, token_url = excluded.token_url, \
     userinfo_url = excluded.userinfo_url, jwks_uri = excluded.jwks_uri, updated_at = excluded.updated_at, \
     custom_claims_allowlist = excluded.custom_claims_allowlist returning to_jsonb(c)";
const DELETE: &str =
    "delete from auth.custom_oauth_providers c where c.identifier = $1 returning to_jsonb(c)";

/// The provider `identifier`.
pub(crate) async fn custom(db: &ServiceClient, identifier: &str) -> Result<Option<StoredCustom>, Error> {
    let statement = db.prepare_cached(FIND).await?;
    db.query_opt(&statement, &[&identifier]).await?.as_ref().map(decode).transpose()
}

/// At most `limit` providers of `kind` (empty: all), newest first.
pub(crate) async fn customs(db: &ServiceClient, kind: &str, limit: i64) -> Result<Vec<Custom>, Error> {
    let statement = db.prepare_cached(LIST).await?;
    db.query(&statement, &[&kind, &limit]).await?.iter().map(decode).collect()
}

/// How many there are.
pub(crate) async fn count_customs(db: &ServiceClient) -> Result<i64, Error> {
    let statement = db.prepare_cached(COUNT).await?;
    Ok(db.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Write a row, new or changed; `None` when another one has the identifier.
pub(crate) async fn write_custom(db: &ServiceClient, row: &Value) -> Result<Option<Custom>, Error> {
    let statement = db.prepare_cached(WRITE).await?;
    match db.query_one(&statement, &[&Json(row)]).await {
        Ok(row) => decode(&row).map(Some),
        Err(it) if it.as_db_error().is_some_and(|it| it.code().code() == "23505") => Ok(None),
        Err(it) => Err(it.into()),
    }
}

/// Delete a provider; what it was.
pub(crate) async fn delete_custom(db: &ServiceClient, identifier: &str) -> Result<Option<Custom>, Error> {
    let statement = db.prepare_cached(DELETE).await?;
    db.query_opt(&statement, &[&identifier]).await?.as_ref().map(decode).transpose()
}
