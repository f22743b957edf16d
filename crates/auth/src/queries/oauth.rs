//! What the OAuth server keeps: clients, requests for consent, consents.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::ServiceClient;
use store::postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::decode;
use crate::Error;

/// A row of `auth.oauth_clients`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientRow {
    pub(crate) id: Uuid,
    pub(crate) client_secret_hash: Option<String>,
    pub(crate) registration_type: String,
    /// Addresses with commas between.
    pub(crate) redirect_uris: String,
    /// With commas between.
    pub(crate) grant_types: String,
    pub(crate) client_name: Option<String>,
    pub(crate) client_uri: Option<String>,
    pub(crate) logo_uri: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) client_type: String,
    pub(crate) token_endpoint_auth_method: String,
}

/// A row of `auth.oauth_authorizations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AuthorizationRow {
    pub(crate) id: Uuid,
    pub(crate) authorization_id: String,
    pub(crate) client_id: Uuid,
    pub(crate) user_id: Option<Uuid>,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) state: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) code_challenge: Option<String>,
    pub(crate) code_challenge_method: Option<String>,
    pub(crate) status: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) nonce: Option<String>,
}

/// What a user has granted to a client.
#[derive(Deserialize)]
pub(crate) struct Granting {
    pub(crate) client: ClientRow,
    pub(crate) scopes: String,
    pub(crate) granted_at: Timestamp,
}

const WRITE_CLIENT: &str = "insert into auth.oauth_clients (id, client_secret_hash, registration_type, redirect_uris, \
     grant_types, client_name, client_uri, logo_uri, created_at, updated_at, client_type, token_endpoint_auth_method) \
     select r.id, r.client_secret_hash, r.registration_type, r.redirect_uris, r.grant_types, r.client_name, \
     r.client_uri, r.logo_uri, r.created_at, r.updated_at, r.client_type, r.token_endpoint_auth_method \
     from jsonb_populate_record(null::auth.oauth_clients, $1) r \
     on conflict (id) do update set client_secret_hash = excluded.client_secret_hash, \
     redirect_uris = excluded.redirect_uris, grant_types = excluded.grant_types, \
     client_name = excluded.client_name, client_uri = excluded.client_uri, logo_uri = excluded.logo_uri, \
     updated_at = excluded.updated_at, token_endpoint_auth_method = excluded.token_endpoint_auth_method \
     where auth.oauth_clients.deleted_at is null";
const CLIENT: &str = "select to_jsonb(c) from auth.oauth_clients c where c.id = $1 and c.deleted_at is null";
const CLIENTS: &str = "select to_jsonb(c) from auth.oauth_clients c where c.deleted_at is null \
     order by c.created_at desc, c.id limit $1 offset $2";
const COUNT_CLIENTS: &str = "select count(*) from auth.oauth_clients where deleted_at is null";
// A client that is gone acts for nobody any more.
const DELETE_CLIENT: &str = "with gone as (update auth.oauth_clients set deleted_at = $2 \
     where id = $1 and deleted_at is null returning id), \
     ended as (delete from auth.sessions s using gone where s.oauth_client_id = gone.id), \
     asked as (delete from auth.oauth_authorizations a using gone where a.client_id = gone.id), \
     revoked as (update auth.oauth_consents c set revoked_at = greatest($2, c.granted_at) from gone \
     where c.client_id = gone.id and c.revoked_at is null) select count(*) from gone";
// Requests that nobody answered go with new ones: a few each time.
const NEW_AUTHORIZATION: &str = "with old as (delete from auth.oauth_authorizations where id in \
     (select a.id from auth.oauth_authorizations a where a.expires_at < $2::timestamptz - interval '1 day' limit 20)) \
     insert into auth.oauth_authorizations (id, authorization_id, client_id, redirect_uri, scope, state, resource, \
     code_challenge, code_challenge_method, created_at, expires_at, nonce) \
     select r.id, r.authorization_id, r.client_id, r.redirect_uri, r.scope, r.state, r.resource, r.code_challenge, \
     r.code_challenge_method, r.created_at, r.expires_at, r.nonce \
     from jsonb_populate_record(null::auth.oauth_authorizations, $1) r";
const AUTHORIZATION: &str =
    "select to_jsonb(a) from auth.oauth_authorizations a where a.authorization_id = $1";
const AUTHORIZATION_BY_CODE: &str = "select to_jsonb(a) from auth.oauth_authorizations a \
     where a.authorization_code = $1 and a.status = 'approved'";
const CLAIM: &str = "update auth.oauth_authorizations a set user_id = $2 \
     where a.id = $1 and a.status = 'pending' and (a.user_id is null or a.user_id = $2) returning to_jsonb(a)";
const ANSWER: &str = "with answered as (update auth.oauth_authorizations a set status = $3::text::auth.oauth_authorization_status, \
     authorization_code = $4, approved_at = case when $4::text is null then null else $5::timestamptz end \
     where a.id = $1 and a.user_id = $2 and a.status = 'pending' returning a.user_id, a.client_id), \
     granted as (insert into auth.oauth_consents (id, user_id, client_id, scopes, granted_at) \
     select gen_random_uuid(), user_id, client_id, $6::text, $5 from answered where $6::text is not null \
     on conflict (user_id, client_id) do update set scopes = excluded.scopes, granted_at = excluded.granted_at, \
     revoked_at = null) select count(*) from answered";
const EXPIRE: &str =
    "update auth.oauth_authorizations set status = 'expired' where id = $1 and status = 'pending'";
const CONSENT: &str = "select c.scopes from auth.oauth_consents c where c.user_id = $1 and c.client_id = $2 \
     and c.revoked_at is null";
const GRANTS: &str = "select jsonb_build_object('client', to_jsonb(c), 'scopes', g.scopes, 'granted_at', g.granted_at) \
     from auth.oauth_consents g join auth.oauth_clients c on c.id = g.client_id \
     where g.user_id = $1 and g.revoked_at is null and c.deleted_at is null order by g.granted_at desc limit 1000";
const REVOKE: &str = "with revoked as (update auth.oauth_consents set revoked_at = greatest($3, granted_at) \
     where user_id = $1 and client_id = $2 and revoked_at is null returning user_id, client_id), \
     ended as (delete from auth.sessions s using revoked where s.user_id = revoked.user_id \
     and s.oauth_client_id = revoked.client_id), \
     asked as (delete from auth.oauth_authorizations a using revoked where a.user_id = revoked.user_id \
     and a.client_id = revoked.client_id) select count(*) from revoked";

/// Write a client, new or changed.
pub(crate) async fn write_client(db: &ServiceClient, client: &ClientRow) -> Result<(), Error> {
    let statement = db.prepare_cached(WRITE_CLIENT).await?;
    db.execute(&statement, &[&Json(client)]).await?;
    Ok(())
}

/// The client `id`.
pub(crate) async fn client(db: &ServiceClient, id: Uuid) -> Result<Option<ClientRow>, Error> {
    let statement = db.prepare_cached(CLIENT).await?;
    db.query_opt(&statement, &[&id]).await?.as_ref().map(decode).transpose()
}

/// `limit` clients from `offset` on, newest first, and how many there are.
pub(crate) async fn clients(
    db: &ServiceClient,
    limit: i64,
    offset: i64,
) -> Result<(Vec<ClientRow>, i64), Error> {
    let (rows, count) =
        futures_util::try_join!(db.prepare_cached(CLIENTS), db.prepare_cached(COUNT_CLIENTS))?;
    let window: [&(dyn ToSql + Sync); 2] = [&limit, &offset];
    let (rows, count) = futures_util::try_join!(db.query(&rows, &window), db.query_one(&count, &[]))?;
    Ok((rows.iter().map(decode).collect::<Result<_, _>>()?, count.try_get(0)?))
}

/// Remove a client with its sessions and consents; whether there was one.
pub(crate) async fn delete_client(db: &ServiceClient, id: Uuid, now: Timestamp) -> Result<bool, Error> {
    changed(db, DELETE_CLIENT, &[&id, &now]).await
}

/// Keep a new request for consent.
pub(crate) async fn new_authorization(db: &ServiceClient, row: &AuthorizationRow) -> Result<(), Error> {
    let statement = db.prepare_cached(NEW_AUTHORIZATION).await?;
    db.execute(&statement, &[&Json(row), &row.created_at]).await?;
    Ok(())
}

/// The request `authorization_id`.
pub(crate) async fn authorization(
    db: &ServiceClient,
    authorization_id: &str,
) -> Result<Option<AuthorizationRow>, Error> {
    let statement = db.prepare_cached(AUTHORIZATION).await?;
    db.query_opt(&statement, &[&authorization_id]).await?.as_ref().map(decode).transpose()
}

/// The approved request whose code is stored as `code`.
pub(crate) async fn authorization_by_code(
    db: &ServiceClient,
    code: &str,
) -> Result<Option<AuthorizationRow>, Error> {
    let statement = db.prepare_cached(AUTHORIZATION_BY_CODE).await?;
    db.query_opt(&statement, &[&code]).await?.as_ref().map(decode).transpose()
}

/// Make a pending request that of `user_id`; `None` when it is somebody else's or answered.
pub(crate) async fn claim_authorization(
    db: &ServiceClient,
    id: Uuid,
    user_id: Uuid,
) -> Result<Option<AuthorizationRow>, Error> {
    let statement = db.prepare_cached(CLAIM).await?;
    db.query_opt(&statement, &[&id, &user_id]).await?.as_ref().map(decode).transpose()
}

/// How a request is answered.
pub(crate) struct Reply<'a> {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) now: Timestamp,
    /// Digest of the code; `None` denies.
    pub(crate) code: Option<&'a str>,
    /// The scopes to remember as granted.
    pub(crate) scopes: Option<&'a str>,
}

/// Answer a pending request of a user; whether it was still pending.
pub(crate) async fn answer_authorization(db: &ServiceClient, reply: &Reply<'_>) -> Result<bool, Error> {
    let status = if reply.code.is_some() { "approved" } else { "denied" };
    changed(db, ANSWER, &[&reply.id, &reply.user_id, &status, &reply.code, &reply.now, &reply.scopes]).await
}

/// A request whose time is over.
pub(crate) async fn expire_authorization(db: &ServiceClient, id: Uuid) -> Result<(), Error> {
    let statement = db.prepare_cached(EXPIRE).await?;
    db.execute(&statement, &[&id]).await?;
    Ok(())
}

/// The scopes that a user has granted to a client.
pub(crate) async fn consent(
    db: &ServiceClient,
    user_id: Uuid,
    client_id: Uuid,
) -> Result<Option<String>, Error> {
    let statement = db.prepare_cached(CONSENT).await?;
    let row = db.query_opt(&statement, &[&user_id, &client_id]).await?;
    Ok(row.map(|it| it.try_get(0)).transpose()?)
}

/// What a user has granted, newest first.
pub(crate) async fn grants(db: &ServiceClient, user_id: Uuid) -> Result<Vec<Granting>, Error> {
    let statement = db.prepare_cached(GRANTS).await?;
    db.query(&statement, &[&user_id]).await?.iter().map(decode).collect()
}

/// Take back what a user has granted to a client, with its sessions; whether there was anything.
pub(crate) async fn revoke(
    db: &ServiceClient,
    user_id: Uuid,
    client_id: Uuid,
    now: Timestamp,
) -> Result<bool, Error> {
    changed(db, REVOKE, &[&user_id, &client_id, &now]).await
}

async fn changed(
    db: &ServiceClient,
    text: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<bool, Error> {
    let statement = db.prepare_cached(text).await?;
    let count: i64 = db.query_one(&statement, parameters).await?.try_get(0)?;
    Ok(count > 0)
}
