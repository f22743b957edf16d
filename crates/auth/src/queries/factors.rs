//! Second factors: one statement for each verb. Secrets leave the database for [`attempt`] only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ServiceClient;
use uuid::Uuid;

use super::change::{Applied, Audit, AuditRow};
use super::decode;
use crate::Error;
use crate::session::RefreshToken;

/// A factor about to be added.
#[derive(Serialize)]
pub(crate) struct NewFactor {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) friendly_name: String,
    pub(crate) factor_type: &'static str,
    /// Sealed.
    pub(crate) secret: Option<String>,
    pub(crate) phone: Option<String>,
}

/// Add a factor to a user whose row is as it was read.
#[derive(Serialize)]
pub(crate) struct Enrollment {
    pub(crate) now: Timestamp,
    /// Of the user's row: two enrollments at once must not pass the limits together.
    pub(crate) version: String,
    pub(crate) factor: NewFactor,
    /// Unverified factors that this one stands in for.
    pub(crate) replaces: Vec<Uuid>,
    pub(crate) audit: Vec<AuditRow>,
}

/// A row of `auth.mfa_challenges` to write.
#[derive(Serialize)]
pub(crate) struct NewChallenge {
    pub(crate) id: Uuid,
    pub(crate) factor_id: Uuid,
    pub(crate) ip_address: String,
    /// Digest of the code in the SMS.
    pub(crate) otp_code: Option<String>,
    pub(crate) web_authn_session_data: Option<Value>,
}

/// Challenge a factor.
#[derive(Serialize)]
pub(crate) struct Challenging {
    pub(crate) now: Timestamp,
    pub(crate) challenge: NewChallenge,
    pub(crate) audit: Vec<AuditRow>,
}

/// What it takes to look at an answer; the attempt is counted already.
#[derive(Deserialize)]
pub(crate) struct Attempt {
    pub(crate) factor: SecretFactor,
    pub(crate) challenge: Option<Challenge>,
    /// The digest of the session's current refresh token.
    pub(crate) active: Option<String>,
}

/// A factor with what only the server knows.
#[derive(Deserialize)]
pub(crate) struct SecretFactor {
    pub(crate) id: Uuid,
    pub(crate) secret: Option<String>,
    pub(crate) web_authn_credential: Option<Value>,
    pub(crate) attempts: i32,
    pub(crate) totp_step: Option<i64>,
}

/// A row of `auth.mfa_challenges`.
#[derive(Deserialize)]
pub(crate) struct Challenge {
    pub(crate) id: Uuid,
    pub(crate) created_at: Timestamp,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) ip_address: String,
    pub(crate) otp_code: Option<String>,
    pub(crate) web_authn_session_data: Option<Value>,
}

/// A factor was answered in a session.
#[derive(Serialize)]
pub(crate) struct Verification {
    pub(crate) now: Timestamp,
    pub(crate) user_id: Uuid,
    pub(crate) factor_id: Uuid,
    pub(crate) factor_type: &'static str,
    pub(crate) challenge_id: Uuid,
    /// Guard: no code of this step or a later one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) totp_step: Option<i64>,
    /// The secret of an imported factor, now sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aaguid: Option<Uuid>,
    pub(crate) session_id: Uuid,
    /// For a session that has no key of its own yet.
    pub(crate) session_key: String,
    /// What the session's tokens tell about it.
    pub(crate) method: &'static str,
    /// Guard: retire the session's refresh token stored as this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retire: Option<String>,
    pub(crate) issue: RefreshToken,
    pub(crate) audit: Vec<AuditRow>,
}

/// Remove a factor.
#[derive(Serialize)]
pub(crate) struct Removal {
    pub(crate) now: Timestamp,
    pub(crate) user_id: Uuid,
    pub(crate) factor_id: Uuid,
    /// What sessions that used it no longer tell.
    pub(crate) method: &'static str,
    pub(crate) audit: Vec<AuditRow>,
}

/// Change what people see of a factor.
#[derive(Serialize)]
pub(crate) struct Edit {
    pub(crate) now: Timestamp,
    pub(crate) user_id: Uuid,
    pub(crate) factor_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) friendly_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<String>,
    pub(crate) audit: Vec<AuditRow>,
}

/// Delete the factors and passkeys of a user who is gone.
pub(crate) async fn forget(db: &ServiceClient, user_id: Uuid) -> Result<(), Error> {
    let sql = "with factors as (delete from auth.mfa_factors where user_id = $1) \
               delete from auth.webauthn_credentials where user_id = $1";
    let statement = db.prepare_cached(sql).await?;
    db.execute(&statement, &[&user_id]).await?;
    Ok(())
}

/// The credential of a security key.
#[derive(Deserialize)]
pub(crate) struct StoredKey {
    pub(crate) id: Uuid,
    pub(crate) credential: Value,
}

/// The credentials of a user's security keys.
pub(crate) async fn keys(db: &ServiceClient, user_id: Uuid) -> Result<Vec<StoredKey>, Error> {
    let sql = "select coalesce(jsonb_agg(jsonb_build_object('id', f.id, 'credential', f.web_authn_credential)), '[]') \
               from auth.mfa_factors f where f.user_id = $1 and f.web_authn_credential is not null";
    let statement = db.prepare_cached(sql).await?;
    decode(&db.query_one(&statement, &[&user_id]).await?)
}

/// Write `change`; `Taken` when the name or number belongs to another factor of the user.
pub(crate) async fn enroll(db: &ServiceClient, change: &Enrollment) -> Result<Applied, Error> {
    apply(db, include_str!("factors/enroll.sql"), change).await
}

/// Write `change`; `Stale` when the factor is gone.
pub(crate) async fn challenge(db: &ServiceClient, change: &Challenging) -> Result<Applied, Error> {
    apply(db, include_str!("factors/challenge.sql"), change).await
}

/// Write `change`; `Stale` when the challenge, the step or the refresh token was used meanwhile.
pub(crate) async fn verify(db: &ServiceClient, change: &Verification) -> Result<Applied, Error> {
    apply(db, include_str!("factors/verify.sql"), change).await
}

/// Write `change`; `Stale` when the factor is gone.
pub(crate) async fn remove(db: &ServiceClient, change: &Removal) -> Result<Applied, Error> {
    apply(db, include_str!("factors/remove.sql"), change).await
}

/// Write `change`; `Taken` when the name or number belongs to another factor of the user.
pub(crate) async fn edit(db: &ServiceClient, change: &Edit) -> Result<Applied, Error> {
    apply(db, include_str!("factors/edit.sql"), change).await
}

/// Count an attempt on the factor of a user, and read what it takes to look at the answer.
pub(crate) async fn attempt(
    db: &ServiceClient,
    (factor_id, user_id): (Uuid, Uuid),
    (challenge_id, session_id): (Uuid, Uuid),
    now: Timestamp,
) -> Result<Option<Attempt>, Error> {
    let statement = db.prepare_cached(include_str!("factors/attempt.sql")).await?;
    let parameters: [&(dyn store::postgres::types::ToSql + Sync); 5] =
        [&factor_id, &user_id, &challenge_id, &session_id, &now];
    db.query_opt(&statement, &parameters).await?.as_ref().map(decode).transpose()
}

/// The row that `audit` becomes.
pub(crate) fn told(audit: Audit<'_>) -> Vec<AuditRow> {
    vec![AuditRow::from(audit)]
}

async fn apply(db: &ServiceClient, sql: &'static str, change: &impl Serialize) -> Result<Applied, Error> {
    let statement = db.prepare_cached(sql).await?;
    let change = serde_json::to_string(change).map_err(Error::internal)?;
    let error = match db.query_one(&statement, &[&change]).await {
        Ok(row) => {
            let done: bool = row.try_get(0)?;
            return Ok(if done { Applied::Done } else { Applied::Stale });
        }
        Err(error) => error,
    };
    match error.as_db_error().map(|it| (it.code().code(), it.table())) {
        Some(("23505", Some("mfa_factors"))) => Ok(Applied::Taken),
        // One guard wrote and another one failed, or the session ended meanwhile.
        Some(("22012", _) | ("23503", _)) => Ok(Applied::Stale),
        _ => Err(error.into()),
    }
}
