//! Flows by way of an identity provider: begun here, found again when the provider sends the user back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::ServiceClient;
use store::postgres::types::Json;
use uuid::Uuid;

use super::decode;
use crate::Error;

/// A flow about to begin.
#[derive(Debug, Serialize)]
pub(crate) struct NewFlow {
    pub(crate) id: Uuid,
    pub(crate) provider_type: String,
    pub(crate) authentication_method: &'static str,
    pub(crate) code_challenge: Option<String>,
    pub(crate) code_challenge_method: Option<String>,
    pub(crate) invite_token: Option<String>,
    pub(crate) referrer: String,
    pub(crate) oauth_client_state_id: Option<Uuid>,
    pub(crate) linking_target_id: Option<Uuid>,
    pub(crate) email_optional: bool,
    pub(crate) created_at: Timestamp,
    /// Our half of PKCE, sealed; kept in a row of its own.
    pub(crate) code_verifier: Option<String>,
}

/// A flow that waits for the provider.
#[derive(Deserialize)]
pub(crate) struct Flow {
    pub(crate) id: Uuid,
    /// Set when it was claimed.
    pub(crate) user_id: Option<Uuid>,
    pub(crate) provider_type: String,
    pub(crate) code_challenge: Option<String>,
    pub(crate) invite_token: Option<String>,
    pub(crate) referrer: Option<String>,
    pub(crate) oauth_client_state_id: Option<Uuid>,
    pub(crate) linking_target_id: Option<Uuid>,
    pub(crate) email_optional: bool,
    pub(crate) created_at: Option<Timestamp>,
}

impl Flow {
    /// Whether it ends in a code rather than in a session.
    pub(crate) fn is_pkce(&self) -> bool {
        self.code_challenge.as_ref().is_some_and(|it| !it.is_empty())
    }
}

/// Our half of PKCE.
#[derive(Deserialize)]
pub(crate) struct ClientState {
    pub(crate) provider_type: String,
    pub(crate) code_verifier: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// Who might be the user that a provider tells about.
#[derive(Deserialize)]
pub(crate) struct Candidates {
    /// Who has signed in with this very identity before.
    pub(crate) known: Option<Uuid>,
    /// Who has signed in with one of the verified addresses, verified then too: by any provider but an organisation's,
    /// or by this very organisation.
    pub(crate) by_identity: Vec<Uuid>,
    /// Whose address is one of the verified ones. Never for an organisation: its users are apart from all others.
    pub(crate) by_address: Vec<Uuid>,
    /// Whether somebody has the address that a new user would get.
    pub(crate) taken: bool,
}

// Flows that nobody finished go with those that begin: a few each time, so that none waits for it.
const BEGIN: &str = "with input as (select $1::jsonb as it), \
     old_flows as (delete from auth.flow_state where id in (select f.id from auth.flow_state f \
     where f.created_at < (select (it ->> 'created_at')::timestamptz from input) - interval '1 day' limit 20)), \
     old_states as (delete from auth.oauth_client_states where id in (select s.id from auth.oauth_client_states s \
     where s.created_at < (select (it ->> 'created_at')::timestamptz from input) - interval '1 day' limit 20)), \
     state as (insert into auth.oauth_client_states (id, provider_type, code_verifier, created_at) \
     select (it ->> 'oauth_client_state_id')::uuid, it ->> 'provider_type', it ->> 'code_verifier', \
     (it ->> 'created_at')::timestamptz from input where it ->> 'oauth_client_state_id' is not null) \
     insert into auth.flow_state (id, provider_type, authentication_method, code_challenge, code_challenge_method, \
     invite_token, referrer, oauth_client_state_id, linking_target_id, email_optional, created_at, updated_at) \
     select r.id, r.provider_type, r.authentication_method, r.code_challenge, r.code_challenge_method, \
     r.invite_token, r.referrer, r.oauth_client_state_id, r.linking_target_id, r.email_optional, r.created_at, \
     r.created_at from input, jsonb_populate_record(null::auth.flow_state, it) r";
const FLOW: &str =
    "select to_jsonb(f) from auth.flow_state f where f.id = $1 and f.authentication_method = $2";
const TAKE_STATE: &str = "delete from auth.oauth_client_states s where s.id = $1 returning to_jsonb(s)";
const CANDIDATES: &str = "select jsonb_build_object(\
     'known', (select i.user_id from auth.identities i where i.provider = $1 and i.provider_id = $2), \
     'by_identity', (select coalesce(jsonb_agg(distinct i.user_id), '[]') from auth.identities i \
     where i.email = any($3) \
     and case when $1 like 'sso:%' then i.provider = $1 else i.provider not like 'sso:%' end \
     and i.identity_data ->> 'email_verified' = 'true'), \
     'by_address', (select coalesce(jsonb_agg(u.id), '[]') from auth.users u \
     where $1 not like 'sso:%' and u.email = any($3) and not u.is_sso_user and u.deleted_at is null), \
     'taken', exists (select from auth.users u where $1 not like 'sso:%' and u.email = $4 and not u.is_sso_user))";

/// Begin a flow.
pub(crate) async fn begin_flow(db: &ServiceClient, flow: &NewFlow) -> Result<(), Error> {
    let statement = db.prepare_cached(BEGIN).await?;
    db.execute(&statement, &[&Json(flow)]).await?;
    Ok(())
}

/// The flow `id`, if it was begun with `method`.
pub(crate) async fn flow(db: &ServiceClient, id: Uuid, method: &str) -> Result<Option<Flow>, Error> {
    let statement = db.prepare_cached(FLOW).await?;
    db.query_opt(&statement, &[&id, &method]).await?.as_ref().map(decode).transpose()
}

/// Our half of PKCE; it can be taken once.
pub(crate) async fn take_client_state(db: &ServiceClient, id: Uuid) -> Result<Option<ClientState>, Error> {
    let statement = db.prepare_cached(TAKE_STATE).await?;
    db.query_opt(&statement, &[&id]).await?.as_ref().map(decode).transpose()
}

/// Who the user `subject` of `provider` might be; `verified` are its verified addresses, `wanted` the one that a new
/// user would get.
pub(crate) async fn candidates(
    db: &ServiceClient,
    (provider, subject): (&str, &str),
    verified: &[&str],
    wanted: &str,
) -> Result<Candidates, Error> {
    let statement = db.prepare_cached(CANDIDATES).await?;
    decode(&db.query_one(&statement, &[&provider, &subject, &verified, &wanted]).await?)
}
