//! Reads: one statement, one row, one JSON value each.

use jiff::Timestamp;
use serde::Deserialize;
use store::ServiceClient;
use uuid::Uuid;

use super::decode;
use crate::Error;
use crate::user::Account;

/// `select` of an [`Account`] named `u`, with further fields and where to find it.
macro_rules! account {
    ($more:literal, $rest:literal) => {
        concat!(
            "select jsonb_build_object('user', to_jsonb(u), 'version', u.xmin::text, 'identities', ",
            "(select coalesce(jsonb_agg(to_jsonb(i) order by i.created_at, i.id), '[]') ",
            "from auth.identities i where i.user_id = u.id), 'factors', ",
            "(select coalesce(jsonb_agg(to_jsonb(f) - '{secret,web_authn_credential,last_webauthn_challenge_data}'::text[] ",
            "order by f.created_at, f.id), '[]') ",
            "from auth.mfa_factors f where f.user_id = u.id)",
            $more,
            ") ",
            $rest
        )
    };
}

const BY_ID: &str = account!("", "from auth.users u where u.id = $1");
const BY_EMAIL: &str = account!(
    "",
    "from auth.users u where u.email = $1 and not u.is_sso_user and u.deleted_at is null limit 1"
);
const BY_PHONE: &str = account!(
    "",
    "from auth.users u where u.phone = $1 and not u.is_sso_user and u.deleted_at is null limit 1"
);
const SIGNED_IN: &str = account!(
    ", 'session', (select to_jsonb(s) || jsonb_build_object('amr', (select coalesce(jsonb_agg(\
     jsonb_build_object('method', c.authentication_method, 'timestamp', extract(epoch from c.updated_at)::bigint) \
     order by c.updated_at desc), '[]') from auth.mfa_amr_claims c where c.session_id = s.id)) \
     from auth.sessions s where s.id = $2 and s.user_id = u.id)",
    "from auth.users u where u.id = $1"
);
const REFRESHING: &str = account!(
    ", 'newer', exists (select from auth.sessions n join auth.sessions o on o.id = t.session_id \
     where n.user_id = u.id and n.created_at > o.created_at), \
     'revoked', coalesce(t.revoked, false), 'updated_at', t.updated_at, \
     'active', (select a.token from auth.refresh_tokens a where a.session_id = t.session_id \
     and not coalesce(a.revoked, false) order by a.id desc limit 1), \
     'session', (select to_jsonb(s) || jsonb_build_object('amr', (select coalesce(jsonb_agg(\
     jsonb_build_object('method', c.authentication_method, 'timestamp', extract(epoch from c.updated_at)::bigint) \
     order by c.updated_at desc), '[]') from auth.mfa_amr_claims c where c.session_id = s.id)) \
     from auth.sessions s where s.id = t.session_id)",
    "from auth.refresh_tokens t join auth.users u on u.id = t.user_id::uuid where t.token = $1"
);
const MAILED_BY_LINK: &str = account!(
    ", 'tokens', jsonb_build_array(to_jsonb(t))",
    "from auth.one_time_tokens t join auth.users u on u.id = t.user_id where t.token_hash = $1 limit 1"
);
const MAILED_BY_ADDRESS: &str = account!(
    ", 'tokens', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from auth.one_time_tokens t \
     where t.user_id = u.id and t.relates_to = $1)",
    "from auth.users u where not u.is_sso_user and (u.email = $1 or (u.email_change = $1 and exists \
     (select from auth.one_time_tokens o where o.user_id = u.id and o.relates_to = $1))) \
     order by exists (select from auth.one_time_tokens o where o.user_id = u.id and o.token_hash = any($2)) desc, \
     (u.email = $1) desc limit 1"
);
// Several users may be changing to one number: the one whose code it is comes first.
const SENT_TO_PHONE: &str = account!(
    ", 'tokens', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from auth.one_time_tokens t \
     where t.user_id = u.id and t.relates_to = $1)",
    "from auth.one_time_tokens o join auth.users u on u.id = o.user_id \
     where o.relates_to = $1 and o.token_type::text = $3 and not u.is_sso_user \
     and (u.phone = $1 or u.phone_change = $1) order by (o.token_hash = any($2)) desc limit 1"
);
const OWN_TOKEN: &str = "select to_jsonb(t) from auth.one_time_tokens t where t.user_id = $1 \
     and t.token_type::text = $2";
const PAGE: &str = account!(
    "",
    "from auth.users u where $3 = '' or u.email ilike $3 or u.raw_user_meta_data ->> 'full_name' ilike $3 \
     order by u.created_at desc, u.id limit $1 offset $2"
);
const COUNT: &str = "select count(*) from auth.users u where $1 = '' or u.email ilike $1 \
     or u.raw_user_meta_data ->> 'full_name' ilike $1";
const LATEST_FLOW: &str = "select to_jsonb(f) from auth.flow_state f where f.user_id = $1 \
     and f.authentication_method = $2 and f.auth_code_issued_at is null order by f.created_at desc limit 1";
const FLOW_BY_CODE: &str = "select to_jsonb(f) from auth.flow_state f where f.auth_code = $1";
const DELETE_USER: &str = "delete from auth.users where id = $1";

/// The account with `id`.
pub(crate) async fn by_id(db: &ServiceClient, id: Uuid) -> Result<Option<Account>, Error> {
    let statement = db.prepare_cached(BY_ID).await?;
    db.query_opt(&statement, &[&id]).await?.as_ref().map(decode).transpose()
}

/// The statement behind [`by_id`], for pipelining.
pub(super) const ACCOUNT_BY_ID: &str = BY_ID;

/// The account with the lower-case address `email`.
pub(crate) async fn by_email(db: &ServiceClient, email: &str) -> Result<Option<Account>, Error> {
    let statement = db.prepare_cached(BY_EMAIL).await?;
    db.query_opt(&statement, &[&email]).await?.as_ref().map(decode).transpose()
}

/// The account with the phone number `phone`: digits only.
pub(crate) async fn by_phone(db: &ServiceClient, phone: &str) -> Result<Option<Account>, Error> {
    let statement = db.prepare_cached(BY_PHONE).await?;
    db.query_opt(&statement, &[&phone]).await?.as_ref().map(decode).transpose()
}

/// The account with `id`, and its session `session_id` if there is one.
pub(crate) async fn signed_in(
    db: &ServiceClient,
    id: Uuid,
    session_id: Option<Uuid>,
) -> Result<Option<Account>, Error> {
    let statement = db.prepare_cached(SIGNED_IN).await?;
    db.query_opt(&statement, &[&id, &session_id]).await?.as_ref().map(decode).transpose()
}

/// A refresh token as the database knows it.
#[derive(Deserialize)]
pub(crate) struct Refreshing {
    /// The user, and the session that the token belongs to.
    #[serde(flatten)]
    pub(crate) account: Account,
    pub(crate) revoked: bool,
    /// The user has begun another session since.
    pub(crate) newer: bool,
    pub(crate) updated_at: Option<Timestamp>,
    /// The digest of the session's token that is not retired.
    pub(crate) active: Option<String>,
}

/// The refresh token stored as `stored`.
pub(crate) async fn refreshing(db: &ServiceClient, stored: &str) -> Result<Option<Refreshing>, Error> {
    let statement = db.prepare_cached(REFRESHING).await?;
    db.query_opt(&statement, &[&stored]).await?.as_ref().map(decode).transpose()
}

/// An account with mailed tokens of it.
#[derive(Deserialize)]
pub(crate) struct Mailed {
    #[serde(flatten)]
    pub(crate) account: Account,
    pub(crate) tokens: Vec<MailedToken>,
}

/// A row of `auth.one_time_tokens`.
#[derive(Clone, Deserialize)]
pub(crate) struct MailedToken {
    pub(crate) id: Uuid,
    pub(crate) token_type: String,
    pub(crate) token_hash: String,
    /// UTC, without a zone.
    pub(crate) created_at: jiff::civil::DateTime,
    pub(crate) attempts: i32,
}

/// The account whose mailed link is stored as `token_hash`.
pub(crate) async fn mailed_by_link(db: &ServiceClient, token_hash: &str) -> Result<Option<Mailed>, Error> {
    let statement = db.prepare_cached(MAILED_BY_LINK).await?;
    db.query_opt(&statement, &[&token_hash]).await?.as_ref().map(decode).transpose()
}

/// The account that got codes at `address`, with those codes; rather one that has a code stored as one of `wanted`.
pub(crate) async fn mailed_by_address(
    db: &ServiceClient,
    address: &str,
    wanted: &[String],
) -> Result<Option<Mailed>, Error> {
    let statement = db.prepare_cached(MAILED_BY_ADDRESS).await?;
    db.query_opt(&statement, &[&address, &wanted]).await?.as_ref().map(decode).transpose()
}

/// The account that got a code of `token_type` at the number `phone`; rather one whose code is stored as one of
/// `wanted`.
pub(crate) async fn sent_to_phone(
    db: &ServiceClient,
    phone: &str,
    token_type: &str,
    wanted: &[String],
) -> Result<Option<Mailed>, Error> {
    let statement = db.prepare_cached(SENT_TO_PHONE).await?;
    db.query_opt(&statement, &[&phone, &wanted, &token_type]).await?.as_ref().map(decode).transpose()
}

/// The token of `token_type` that was sent to a user.
pub(crate) async fn own_token(
    db: &ServiceClient,
    user_id: Uuid,
    token_type: &str,
) -> Result<Option<MailedToken>, Error> {
    let statement = db.prepare_cached(OWN_TOKEN).await?;
    db.query_opt(&statement, &[&user_id, &token_type]).await?.as_ref().map(decode).transpose()
}

/// `limit` accounts from `offset` on, newest first, and how many there are; `filter` is a `like` pattern or empty.
pub(crate) async fn page(
    db: &ServiceClient,
    limit: i64,
    offset: i64,
    filter: &str,
) -> Result<(Vec<Account>, i64), Error> {
    let (rows, count) = futures_util::try_join!(db.prepare_cached(PAGE), db.prepare_cached(COUNT))?;
    let window: [&(dyn store::postgres::types::ToSql + Sync); 3] = [&limit, &offset, &filter];
    let all: [&(dyn store::postgres::types::ToSql + Sync); 1] = [&filter];
    let (rows, count) = futures_util::try_join!(db.query(&rows, &window), db.query_one(&count, &all))?;
    let accounts = rows.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((accounts, count.try_get(0)?))
}

/// A PKCE flow that waits for its code or its verifier.
#[derive(Deserialize)]
pub(crate) struct PendingFlow {
    pub(crate) id: Uuid,
    pub(crate) user_id: Option<Uuid>,
    pub(crate) code_challenge: Option<String>,
    pub(crate) code_challenge_method: Option<String>,
    pub(crate) provider_type: String,
    pub(crate) authentication_method: String,
    pub(crate) auth_code_issued_at: Option<Timestamp>,
    /// What an identity provider gave, sealed.
    pub(crate) provider_access_token: Option<String>,
    pub(crate) provider_refresh_token: Option<String>,
    pub(crate) session_not_after: Option<Timestamp>,
}

/// The user's newest flow of `method` that has no code yet.
pub(crate) async fn latest_flow(
    db: &ServiceClient,
    user_id: Uuid,
    method: &str,
) -> Result<Option<PendingFlow>, Error> {
    let statement = db.prepare_cached(LATEST_FLOW).await?;
    db.query_opt(&statement, &[&user_id, &method]).await?.as_ref().map(decode).transpose()
}

/// The flow whose code is stored as `code`.
pub(crate) async fn flow_by_code(db: &ServiceClient, code: &str) -> Result<Option<PendingFlow>, Error> {
    let statement = db.prepare_cached(FLOW_BY_CODE).await?;
    db.query_opt(&statement, &[&code]).await?.as_ref().map(decode).transpose()
}

/// Delete a user with everything that hangs on it.
pub(crate) async fn delete_user(db: &ServiceClient, id: Uuid) -> Result<(), Error> {
    let statement = db.prepare_cached(DELETE_USER).await?;
    db.execute(&statement, &[&id]).await?;
    Ok(())
}
