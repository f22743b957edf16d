//! Mails that wait to be sent: taken when nobody else is sending them, deleted when they have left.

use jiff::Timestamp;
use store::ServiceClient;
use uuid::Uuid;

use crate::Error;

const CLAIM: &str = "update auth.mail_outbox o set due_at = $1::timestamptz + interval '10 minutes', \
     attempts = o.attempts + 1 from (select d.id from auth.mail_outbox d where d.due_at <= $1 order by d.due_at \
     limit $2 for update skip locked) d where o.id = d.id returning o.id, o.mail, o.created_at, o.attempts";
const FORGET: &str = "delete from auth.mail_outbox where id = $1";

/// A mail whose sender is gone.
pub(crate) struct Orphan {
    pub(crate) id: Uuid,
    /// Sealed.
    pub(crate) mail: String,
    pub(crate) created_at: Timestamp,
    /// How many processes have tried.
    pub(crate) attempts: i32,
}

/// Take up to `limit` mails whose senders are gone; they are ours for ten minutes.
pub(crate) async fn claim(db: &ServiceClient, now: Timestamp, limit: i64) -> Result<Vec<Orphan>, Error> {
    let statement = db.prepare_cached(CLAIM).await?;
    let rows = db.query(&statement, &[&now, &limit]).await?;
    let orphan = |row: &store::postgres::Row| -> Result<Orphan, Error> {
        Ok(Orphan {
            id: row.try_get(0)?,
            mail: row.try_get(1)?,
            created_at: row.try_get(2)?,
            attempts: row.try_get(3)?,
        })
    };
    rows.iter().map(orphan).collect()
}

/// The mail `id` has left, or is given up.
pub(crate) async fn forget(db: &ServiceClient, id: Uuid) -> Result<(), Error> {
    let statement = db.prepare_cached(FORGET).await?;
    db.execute(&statement, &[&id]).await?;
    Ok(())
}
