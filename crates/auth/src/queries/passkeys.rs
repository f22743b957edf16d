//! Passkeys and the challenges that they answer. A challenge is deleted as it is read: it is answered once or never.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ServiceClient;
use uuid::Uuid;

use super::change::{Applied, AuditRow};
use super::decode;
use crate::Error;
use crate::webauthn::Key;

const ASK: &str = "with expired as (delete from auth.webauthn_challenges where expires_at < $5) \
     insert into auth.webauthn_challenges (id, user_id, challenge_type, session_data, created_at, expires_at) \
     values ($1, $2, $3, $4::text::jsonb, $5, $6)";
const TAKE: &str = "delete from auth.webauthn_challenges c where c.id = $1 and c.challenge_type = $2 \
     and c.user_id is not distinct from $3 returning to_jsonb(c)";
const LIST: &str = "select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'friendly_name', c.friendly_name, \
     'created_at', c.created_at, 'last_used_at', c.last_used_at, 'credential_id', encode(c.credential_id, 'base64')) \
     order by c.created_at, c.id), '[]') from auth.webauthn_credentials c where c.user_id = $1";
const FIND: &str = "select c.id, c.public_key, c.sign_count, c.transports, c.backup_eligible, c.backed_up, c.aaguid \
     from auth.webauthn_credentials c where c.credential_id = $1 and c.user_id = $2";
// Guarded: a counter that another answer has moved on is a copied key, or the same answer twice.
const USE: &str = "update auth.webauthn_credentials set sign_count = $2, backup_eligible = $3, backed_up = $4, \
     last_used_at = $5, updated_at = $5 where id = $1 and sign_count = $6";

/// A passkey as people see it.
#[derive(Deserialize)]
pub(crate) struct Passkey {
    pub(crate) id: Uuid,
    pub(crate) friendly_name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
    /// Base64, in lines.
    pub(crate) credential_id: String,
}

/// A question that waits for its answer.
#[derive(Deserialize)]
pub(crate) struct Waiting {
    pub(crate) session_data: Value,
    pub(crate) expires_at: Timestamp,
}

/// Add a passkey to a user whose row is as it was read.
pub(crate) struct NewPasskey<'a> {
    pub(crate) now: Timestamp,
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    /// Of the user's row: two registrations at once must not pass the limit together.
    pub(crate) version: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) friendly_name: &'a str,
    pub(crate) audit: Vec<AuditRow>,
}

/// Rename or delete a passkey of a user.
#[derive(Serialize)]
pub(crate) struct PasskeyEdit {
    pub(crate) now: Timestamp,
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    /// Nothing deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) friendly_name: Option<String>,
    pub(crate) audit: Vec<AuditRow>,
}

/// Keep the state of a question of `kind` until `expires_at`; whoever asks sweeps what has expired.
pub(crate) async fn ask(
    db: &ServiceClient,
    (id, user_id, kind): (Uuid, Option<Uuid>, &str),
    state: &Value,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<(), Error> {
    let statement = db.prepare_cached(ASK).await?;
    let state = state.to_string();
    db.execute(&statement, &[&id, &user_id, &kind, &state, &now, &expires_at]).await?;
    Ok(())
}

/// Take the question `id` of `kind`: nobody gets it again.
pub(crate) async fn take(
    db: &ServiceClient,
    (id, user_id, kind): (Uuid, Option<Uuid>, &str),
) -> Result<Option<Waiting>, Error> {
    let statement = db.prepare_cached(TAKE).await?;
    db.query_opt(&statement, &[&id, &kind, &user_id]).await?.as_ref().map(decode).transpose()
}

/// The passkeys of a user, oldest first.
pub(crate) async fn list(db: &ServiceClient, user_id: Uuid) -> Result<Vec<Passkey>, Error> {
    let statement = db.prepare_cached(LIST).await?;
    decode(&db.query_one(&statement, &[&user_id]).await?)
}

/// The passkey with `credential_id`, if it is the user's.
pub(crate) async fn find(
    db: &ServiceClient,
    credential_id: &[u8],
    user_id: Uuid,
) -> Result<Option<(Uuid, Key)>, Error> {
    let statement = db.prepare_cached(FIND).await?;
    let Some(row) = db.query_opt(&statement, &[&credential_id, &user_id]).await? else { return Ok(None) };
    let sign_count: i64 = row.try_get(2)?;
    let key = Key {
        credential_id: credential_id.to_vec(),
        public_key: row.try_get(1)?,
        sign_count: u32::try_from(sign_count).unwrap_or(u32::MAX),
        transports: row.try_get(3)?,
        backup_eligible: row.try_get(4)?,
        backed_up: row.try_get(5)?,
        aaguid: row.try_get(6)?,
    };
    Ok(Some((row.try_get(0)?, key)))
}

/// Note that the passkey `id` was used; `false` when its counter is not `before` any more.
pub(crate) async fn note_use(
    db: &ServiceClient,
    id: Uuid,
    (before, key): (u32, &Key),
    now: Timestamp,
) -> Result<bool, Error> {
    let statement = db.prepare_cached(USE).await?;
    let (before, after) = (i64::from(before), i64::from(key.sign_count));
    let parameters: [&(dyn store::postgres::types::ToSql + Sync); 6] =
        [&id, &after, &key.backup_eligible, &key.backed_up, &now, &before];
    Ok(db.execute(&statement, &parameters).await? == 1)
}

/// Write `new`; `Taken` when somebody has that key, `Stale` when the user changed meanwhile.
pub(crate) async fn add(db: &ServiceClient, new: &NewPasskey<'_>) -> Result<Applied, Error> {
    let statement = db.prepare_cached(include_str!("passkeys/add.sql")).await?;
    let audit = serde_json::to_string(&new.audit).map_err(Error::internal)?;
    let (key, sign_count) = (new.key, i64::from(new.key.sign_count));
    let parameters: [&(dyn store::postgres::types::ToSql + Sync); 13] = [
        &new.id,
        &new.user_id,
        &new.version,
        &key.credential_id,
        &key.public_key,
        &key.aaguid,
        &sign_count,
        &key.transports,
        &key.backup_eligible,
        &key.backed_up,
        &new.friendly_name,
        &new.now,
        &audit,
    ];
    match db.query_one(&statement, &parameters).await {
        Ok(row) => Ok(if row.try_get(0)? { Applied::Done } else { Applied::Stale }),
        Err(error) if error.code().is_some_and(|it| it.code() == "23505") => Ok(Applied::Taken),
        Err(error) => Err(error.into()),
    }
}

/// Write `change`; `false` when the user has no such passkey.
pub(crate) async fn edit(db: &ServiceClient, change: &PasskeyEdit) -> Result<bool, Error> {
    let statement = db.prepare_cached(include_str!("passkeys/edit.sql")).await?;
    let change = serde_json::to_string(change).map_err(Error::internal)?;
    Ok(db.query_one(&statement, &[&change]).await?.try_get(0)?)
}
