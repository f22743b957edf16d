//! Identity providers of organisations, the sign-ins that wait for them, and the assertions that were used.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ServiceClient;
use store::postgres::types::Json;
use uuid::Uuid;

use super::decode;
use crate::Error;
use crate::error::SsoError;
use crate::saml::StoredKey;
use crate::saml::mapping::Mapping;

/// A provider with its connection and its domains.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SsoProvider {
    pub(crate) id: Uuid,
    pub(crate) resource_id: Option<String>,
    pub(crate) disabled: Option<bool>,
    pub(crate) saml: SamlProvider,
    pub(crate) domains: Vec<String>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
}

/// A row of `auth.saml_providers`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SamlProvider {
    pub(crate) id: Uuid,
    pub(crate) entity_id: String,
    /// Left out of lists.
    #[serde(default)]
    pub(crate) metadata_xml: String,
    pub(crate) metadata_url: Option<String>,
    pub(crate) attribute_mapping: Option<Mapping>,
    pub(crate) name_id_format: Option<String>,
    pub(crate) updated_at: Option<Timestamp>,
}

/// How a provider is looked for.
pub(crate) enum ProviderKey<'a> {
    Id(Uuid),
    Resource(&'a str),
    Domain(&'a str),
    Entity(&'a str),
}

/// A sign-in that waits for the provider; `id` is made of a digest of what travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RelayState {
    pub(crate) id: Uuid,
    pub(crate) sso_provider_id: Uuid,
    pub(crate) request_id: String,
    pub(crate) redirect_to: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) flow_state_id: Option<Uuid>,
}

macro_rules! providers {
    ($saml:literal, $rest:literal) => {
        concat!(
            "select jsonb_build_object('id', p.id, 'resource_id', p.resource_id, 'disabled', p.disabled, \
             'created_at', p.created_at, 'updated_at', p.updated_at, 'saml', ",
            $saml,
            ", 'domains', (select coalesce(jsonb_agg(d.domain order by d.domain), '[]') from auth.sso_domains d \
             where d.sso_provider_id = p.id)) \
             from auth.sso_providers p join auth.saml_providers s on s.sso_provider_id = p.id ",
            $rest
        )
    };
}

const BY_ID: &str = providers!("to_jsonb(s)", "where p.id = $1");
const BY_RESOURCE: &str = providers!("to_jsonb(s)", "where lower(p.resource_id) = lower($1)");
const BY_DOMAIN: &str = providers!(
    "to_jsonb(s)",
    "where p.id = (select d.sso_provider_id from auth.sso_domains d where lower(d.domain) = lower($1))"
);
const BY_ENTITY: &str = providers!("to_jsonb(s)", "where s.entity_id = $1");
const LIST: &str = providers!(
    "to_jsonb(s) - 'metadata_xml'",
    "where ($1 = '' or p.resource_id = $1) and ($2 = '' or starts_with(p.resource_id, $2)) \
     order by p.created_at, p.id limit 1000"
);
const COUNT: &str = "select count(*) from auth.sso_providers";
// Domains that stay are left alone, so that two requests for different domains do not meet.
const WRITE: &str = "with input as (select $1::jsonb as it), \
     provider as (insert into auth.sso_providers as p (id, resource_id, disabled, created_at, updated_at) \
     select r.id, r.resource_id, r.disabled, r.created_at, r.updated_at \
     from input, jsonb_populate_record(null::auth.sso_providers, it) r \
     on conflict (id) do update set resource_id = excluded.resource_id, disabled = excluded.disabled, \
     updated_at = excluded.updated_at), \
     saml as (insert into auth.saml_providers as s (id, sso_provider_id, entity_id, metadata_xml, metadata_url, \
     attribute_mapping, created_at, updated_at, name_id_format) \
     select r.id, (it ->> 'id')::uuid, r.entity_id, r.metadata_xml, r.metadata_url, r.attribute_mapping, \
     (it ->> 'created_at')::timestamptz, r.updated_at, r.name_id_format \
     from input, jsonb_populate_record(null::auth.saml_providers, it -> 'saml') r \
     on conflict (id) do update set metadata_xml = excluded.metadata_xml, metadata_url = excluded.metadata_url, \
     attribute_mapping = excluded.attribute_mapping, updated_at = excluded.updated_at, \
     name_id_format = excluded.name_id_format), \
     gone as (delete from auth.sso_domains d using input where d.sso_provider_id = (it ->> 'id')::uuid \
     and not it -> 'domains' ? d.domain) \
     insert into auth.sso_domains (id, sso_provider_id, domain, created_at, updated_at) \
     select gen_random_uuid(), (it ->> 'id')::uuid, n.domain, (it ->> 'updated_at')::timestamptz, \
     (it ->> 'updated_at')::timestamptz from input, jsonb_array_elements_text(it -> 'domains') n (domain) \
     where not exists (select from auth.sso_domains d where d.sso_provider_id = (it ->> 'id')::uuid \
     and d.domain = n.domain)";
const REFRESH: &str = "update auth.saml_providers set metadata_xml = $2, updated_at = $3 \
     where id = $1 and updated_at is not distinct from $4";
const DELETE: &str = "delete from auth.sso_providers where id = $1";
const KEY: &str = "select to_jsonb(k) from auth.saml_keys k";
const NEW_KEY: &str = "insert into auth.saml_keys (id, private_key, certificate, created_at) \
     select r.id, r.private_key, r.certificate, $2 from jsonb_populate_record(null::auth.saml_keys, $1) r \
     on conflict do nothing";
// What nobody came back for goes with what begins: a few each time, so that none waits for it.
const BEGIN: &str = "with old as (delete from auth.saml_relay_states where id in \
     (select s.id from auth.saml_relay_states s where s.created_at < $2::timestamptz - interval '1 day' limit 20)) \
     insert into auth.saml_relay_states (id, sso_provider_id, request_id, redirect_to, created_at, updated_at, \
     flow_state_id) select r.id, r.sso_provider_id, r.request_id, r.redirect_to, r.created_at, r.created_at, \
     r.flow_state_id from jsonb_populate_record(null::auth.saml_relay_states, $1) r";
const TAKE: &str = "delete from auth.saml_relay_states s where s.id = $1 returning to_jsonb(s)";
const USE: &str = "with old as (delete from auth.saml_assertions where digest in \
     (select a.digest from auth.saml_assertions a where a.expires_at < $2 and a.digest <> $1 limit 20)) \
     insert into auth.saml_assertions (digest, expires_at) values ($1, $3) on conflict do nothing";

/// The provider that `key` names.
pub(crate) async fn sso_provider(
    db: &ServiceClient,
    key: &ProviderKey<'_>,
) -> Result<Option<SsoProvider>, Error> {
    let row = match key {
        ProviderKey::Id(id) => db.query_opt(&db.prepare_cached(BY_ID).await?, &[id]).await?,
        ProviderKey::Resource(id) => db.query_opt(&db.prepare_cached(BY_RESOURCE).await?, &[id]).await?,
        ProviderKey::Domain(name) => db.query_opt(&db.prepare_cached(BY_DOMAIN).await?, &[name]).await?,
        ProviderKey::Entity(id) => db.query_opt(&db.prepare_cached(BY_ENTITY).await?, &[id]).await?,
    };
    row.as_ref().map(decode).transpose()
}

/// All providers, or those whose resource id is `resource`, or begins with `prefix`; without their metadata.
pub(crate) async fn sso_providers(
    db: &ServiceClient,
    resource: &str,
    prefix: &str,
) -> Result<Vec<SsoProvider>, Error> {
    let statement = db.prepare_cached(LIST).await?;
    db.query(&statement, &[&resource, &prefix]).await?.iter().map(decode).collect()
}

/// How many there are.
pub(crate) async fn count_sso_providers(db: &ServiceClient) -> Result<i64, Error> {
    let statement = db.prepare_cached(COUNT).await?;
    Ok(db.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Write a provider, new or changed.
///
/// # Errors
/// [`SsoError::Conflict`] when another request took its entity id, resource id or a domain meanwhile.
pub(crate) async fn write_sso_provider(db: &ServiceClient, provider: &SsoProvider) -> Result<(), Error> {
    let statement = db.prepare_cached(WRITE).await?;
    match db.execute(&statement, &[&Json(provider)]).await {
        Ok(_) => Ok(()),
        Err(it) if it.as_db_error().is_some_and(|it| it.code().code() == "23505") => {
            Err(SsoError::Conflict.into())
        }
        Err(it) => Err(it.into()),
    }
}

/// Keep what a provider publishes now, unless somebody changed its connection since it was read.
pub(crate) async fn refresh_metadata(
    db: &ServiceClient,
    connection: &SamlProvider,
    text: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let statement = db.prepare_cached(REFRESH).await?;
    db.execute(&statement, &[&connection.id, &text, &now, &connection.updated_at]).await?;
    Ok(())
}

/// Remove a provider; its users stay.
pub(crate) async fn delete_sso_provider(db: &ServiceClient, id: Uuid) -> Result<bool, Error> {
    let statement = db.prepare_cached(DELETE).await?;
    Ok(db.execute(&statement, &[&id]).await? > 0)
}

/// The project's key, if it was made.
pub(crate) async fn saml_key(db: &ServiceClient) -> Result<Option<StoredKey>, Error> {
    let statement = db.prepare_cached(KEY).await?;
    db.query_opt(&statement, &[]).await?.as_ref().map(decode).transpose()
}

/// Keep a key unless another request was faster.
pub(crate) async fn new_saml_key(db: &ServiceClient, key: &StoredKey, now: Timestamp) -> Result<(), Error> {
    let statement = db.prepare_cached(NEW_KEY).await?;
    db.execute(&statement, &[&Json(key), &now]).await?;
    Ok(())
}

/// Begin a sign-in.
pub(crate) async fn begin_relay(db: &ServiceClient, state: &RelayState) -> Result<(), Error> {
    let statement = db.prepare_cached(BEGIN).await?;
    db.execute(&statement, &[&Json(state), &state.created_at]).await?;
    Ok(())
}

/// The sign-in `id`; it can be taken once.
pub(crate) async fn take_relay(db: &ServiceClient, id: Uuid) -> Result<Option<RelayState>, Error> {
    let statement = db.prepare_cached(TAKE).await?;
    db.query_opt(&statement, &[&id]).await?.as_ref().map(decode).transpose()
}

/// Note that an assertion was used; `false` when it was used before.
pub(crate) async fn use_assertion(
    db: &ServiceClient,
    digest: &str,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    let statement = db.prepare_cached(USE).await?;
    Ok(db.execute(&statement, &[&digest, &now, &expires_at]).await? == 1)
}

impl SsoProvider {
    /// As clients read it.
    pub(crate) fn view(&self) -> Value {
        let mut saml = serde_json::json!({
            "entity_id": self.saml.entity_id,
            "attribute_mapping": self.saml.attribute_mapping.clone().unwrap_or_default(),
        });
        let optional = [
            ("metadata_xml", Some(&self.saml.metadata_xml).filter(|it| !it.is_empty())),
            ("metadata_url", self.saml.metadata_url.as_ref()),
            ("name_id_format", self.saml.name_id_format.as_ref()),
        ];
        let mut view = serde_json::json!({
            "id": self.id,
            "disabled": self.disabled.unwrap_or_default(),
            "domains": self.domains.iter().map(|it| serde_json::json!({"domain": it})).collect::<Vec<_>>(),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        });
        if let (Some(saml), Some(view)) = (saml.as_object_mut(), view.as_object_mut()) {
            for (name, value) in optional {
                value.map(|it| saml.insert(name.into(), it.clone().into()));
            }
            view.insert("saml".into(), saml.clone().into());
            self.resource_id.as_ref().map(|it| view.insert("resource_id".into(), it.clone().into()));
        }
        view
    }
}
