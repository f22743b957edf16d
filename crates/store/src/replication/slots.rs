//! The slots of a server: made, looked at, removed by ordinary statements of the administrator.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::Lsn;
use crate::{Error, Server};

/// Longest wait for an answer; only making a slot may take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// All that is known of a slot. Bytes of log are null on a slot that is lost.
const LOOK: &str = "select slot_name::text, coalesce(database::text, ''), active_pid, \
    coalesce(confirmed_flush_lsn, '0/0'), \
    greatest(coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0), 0)::int8, \
    greatest(coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0), 0)::int8, \
    coalesce(wal_status = 'lost' or restart_lsn is null, true) \
    from pg_catalog.pg_replication_slots where slot_type = 'logical'";

/// A slot as it was a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name, unique on the server.
    pub name: String,
    /// Whose changes it tells.
    pub database: String,
    /// The process of the server that reads it for somebody.
    pub reader: Option<i32>,
    /// What is before this does not come again.
    pub confirmed: Lsn,
    /// Log that the server keeps because of it, in bytes.
    pub held_bytes: u64,
    /// Log that was not confirmed, in bytes.
    pub lag_bytes: u64,
    /// PostgreSQL has removed what it should tell: of no use any more.
    pub is_lost: bool,
}

/// A publication; one that is dropped and made anew has another number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Its number in `pg_publication`.
    pub oid: u32,
}

/// Slots, and a connection to one database of their server.
#[derive(Debug)]
pub struct Slots {
    client: Client,
}

impl Slots {
    /// A connection as the administrator, to a server that can write.
    ///
    /// # Errors
    /// [`Error::Connect`] when PostgreSQL does not answer or refuses the login.
    pub async fn open(server: &Server, database: &str) -> Result<Self, Error> {
        let opening = async {
            let client = server.primary(database).await?;
            // The server gives up soon after us.
            let text = format!("set statement_timeout = '{}ms'", ANSWER_TIMEOUT.as_millis());
            client.batch_execute(&text).await?;
            Ok(Self { client })
        };
        in_time(ANSWER_TIMEOUT, opening).await
    }

    /// The slot called `name`, whatever database it is of.
    ///
    /// # Errors
    /// [`Error::Statement`] on a standby (SQLSTATE 55000), [`Error::Lost`] without an answer.
    pub async fn find(&self, name: &str) -> Result<Option<Slot>, Error> {
        let text = format!("{LOOK} and slot_name = $1");
        let asking = async { Ok(self.client.query_opt(&text, &[&name]).await?) };
        Ok(in_time(ANSWER_TIMEOUT, asking).await?.as_ref().map(slot))
    }

    /// The slots whose names begin with `prefix`, of all databases.
    ///
    /// # Errors
    /// As [`Slots::find`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Slot>, Error> {
        let text = format!("{LOOK} and starts_with(slot_name::text, $1) order by 1");
        let asking = async { Ok(self.client.query(&text, &[&prefix]).await?) };
        Ok(in_time(ANSWER_TIMEOUT, asking).await?.iter().map(slot).collect())
    }

    /// Make the slot `name` (of `a-z`, `0-9` and `_`, at most 63) in this database: it tells what is committed from now on.
    ///
    /// PostgreSQL waits until all transactions of the server that write and have begun before are over; at most `limit`.
    ///
    /// # Errors
    /// [`Error::Statement`]: SQLSTATE 42710 when there is one, 55000 without `wal_level=logical`, 53400 when the server has no
    /// room for another slot, 42501 without the right to replicate, 57014 after `limit`.
    pub async fn create(&self, name: &str, limit: Duration) -> Result<Lsn, Error> {
        let creating = async {
            let text = format!("set statement_timeout = '{}ms'", limit.as_millis().max(1));
            self.client.batch_execute(&text).await?;
            let text = "select lsn from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')";
            let created = self.client.query_one(text, &[&name]).await;
            let text = format!("set statement_timeout = '{}ms'", ANSWER_TIMEOUT.as_millis());
            self.client.batch_execute(&text).await?;
            Ok(Lsn::from(created?.get::<_, PgLsn>(0)))
        };
        in_time(limit + ANSWER_TIMEOUT, creating).await
    }

    /// Remove the slot `name` if there is one and nobody reads it; whether it was there.
    ///
    /// # Errors
    /// [`Error::Statement`] with SQLSTATE 55006 while somebody reads it.
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        let text = "select pg_catalog.pg_drop_replication_slot(slot_name) \
            from pg_catalog.pg_replication_slots where slot_name = $1";
        let removing = async { Ok(self.client.query(text, &[&name]).await?) };
        Ok(!in_time(ANSWER_TIMEOUT, removing).await?.is_empty())
    }

    /// End the session that reads the slot `name`, if there is one: for whoever knows that its client is gone.
    ///
    /// # Errors
    /// As [`Slots::find`].
    pub async fn free(&self, name: &str) -> Result<(), Error> {
        let text = "select pg_catalog.pg_terminate_backend(active_pid) \
            from pg_catalog.pg_replication_slots where slot_name = $1 and active_pid is not null";
        let ending = async { Ok(self.client.query(text, &[&name]).await?) };
        in_time(ANSWER_TIMEOUT, ending).await.map(drop)
    }

    /// Whether others can see what the transactions `xids` committed: the stream tells of a commit a moment before that.
    ///
    /// # Errors
    /// As [`Slots::find`].
    pub async fn are_visible(&self, xids: &[u32]) -> Result<bool, Error> {
        let asking = async { Ok(self.client.simple_query("select pg_catalog.pg_current_snapshot()").await?) };
        let answer = in_time(ANSWER_TIMEOUT, asking).await?;
        let text = answer.iter().find_map(|it| match it {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(text.and_then(|it| contains(it, xids)).unwrap_or(true))
    }

    /// Those of `names` that are publications of this database, in their order.
    ///
    /// # Errors
    /// As [`Slots::find`].
    pub async fn publications(&self, names: &[&str]) -> Result<Vec<Publication>, Error> {
        let text = "select p.pubname::text, p.oid from unnest($1::text[]) with ordinality as it (name, idx) \
            join pg_catalog.pg_publication as p on p.pubname = it.name order by it.idx";
        let asking = async { Ok(self.client.query(text, &[&names]).await?) };
        let found = in_time(ANSWER_TIMEOUT, asking).await?;
        Ok(found.iter().map(|it| Publication { name: it.get(0), oid: it.get(1) }).collect())
    }

    /// From now on the publication `name`, if there is one, tells rows of partitions as rows of the topmost partitioned table
    /// that is published; whether that was otherwise before.
    ///
    /// # Errors
    /// [`Error::Statement`] when the login may not alter it (SQLSTATE 42501), and as [`Slots::find`].
    pub async fn publish_via_root(&self, name: &str) -> Result<bool, Error> {
        let text = "select from pg_catalog.pg_publication where pubname = $1 and not pubviaroot";
        let altering = async {
            let is_other = self.client.query_opt(text, &[&name]).await?.is_some();
            if is_other {
                let name = format!("\"{}\"", name.replace('"', "\"\""));
                let text = format!("alter publication {name} set (publish_via_partition_root = true)");
                self.client.batch_execute(&text).await?;
            }
            Ok(is_other)
        };
        in_time(ANSWER_TIMEOUT, altering).await
    }
}

/// Whether a snapshot, as PostgreSQL writes it (`xmin:xmax:xip,xip`), contains all of `xids`, which were committed.
fn contains(snapshot: &str, xids: &[u32]) -> Option<bool> {
    // Numbers of a snapshot have an epoch in front, and those of a stream wrap around.
    let number = |it: &str| u32::try_from(it.parse::<u64>().ok()? & u64::from(u32::MAX)).ok();
    let mut parts = snapshot.split(':').skip(1);
    let end = number(parts.next()?)?;
    let open: Vec<u32> =
        parts.next()?.split(',').filter(|it| !it.is_empty()).map(number).collect::<Option<_>>()?;
    let is_before = |xid: u32| xid.wrapping_sub(end) > u32::MAX / 2;
    Some(xids.iter().all(|xid| is_before(*xid) && !open.contains(xid)))
}

fn slot(row: &Row) -> Slot {
    let bytes = |idx| u64::try_from(row.get::<_, i64>(idx)).unwrap_or_default();
    Slot {
        name: row.get(0),
        database: row.get(1),
        reader: row.get(2),
        confirmed: row.get::<_, PgLsn>(3).into(),
        held_bytes: bytes(4),
        lag_bytes: bytes(5),
        is_lost: row.get(6),
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|late| Err(Error::Lost(late.into())))
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_snapshot_contains_what_was_over_when_it_was_taken() {
        let snapshot = "100:105:101,103";
        for (xids, seen) in
            [(&[99, 100, 102][..], true), (&[101], false), (&[102, 103], false), (&[105], false), (&[], true)]
        {
            assert_eq!(contains(snapshot, xids), Some(seen), "{xids:?}");
        }
        assert_eq!(contains("7:7:", &[6]), Some(true));
        // Behind the first epoch, and around its end.
        assert_eq!(contains("4294967301:4294967303:4294967301", &[6, u32::MAX]), Some(true));
        assert_eq!(contains("4294967301:4294967303:4294967301", &[5]), Some(false));
        assert_eq!(contains("no snapshot", &[5]), None);
    }
}
