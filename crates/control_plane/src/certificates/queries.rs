//! The statements about certificates. Every one is complete in itself.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use store::postgres::Row;

use super::ChallengeKind;
use crate::Error;
use crate::control_db::ControlDb;

const WANT: &str =
    "insert into madbase.certificates (domain) select unnest($1::text[]) on conflict do nothing";

const DUE: &str = "\
    select domain from madbase.certificates where domain = any($1) and due_at <= now() order by due_at limit 1000";

const BEGIN: &str = "\
    update madbase.certificates set tried_at = now(), due_at = now() + make_interval(secs => $2) \
    where domain = $1 and due_at <= now() returning domain, failures, order_url, order_key";

const NOTE_ORDER: &str = "update madbase.certificates set order_url = $2, order_key = $3 where domain = $1";

const KEEP: &str = "\
    update madbase.certificates set chain = $2, key = $3, not_before = $4, not_after = $5, due_at = $6, \
    order_url = null, order_key = null, failures = 0, last_error = null where domain = $1";

const FAIL: &str = "\
    update madbase.certificates set failures = failures + 1, last_error = $2, \
    due_at = now() + make_interval(secs => $3) where domain = $1";

const SHOWN: &str = "\
    select domain, chain, key from madbase.certificates where chain is not null and not_after > now() \
    order by domain limit 1000";

const LIST: &str = "\
    select domain, not_before, not_after, due_at, failures, last_error, tried_at from madbase.certificates \
    order by domain limit 1000";

const ACCOUNT: &str = "select credentials from madbase.acme_accounts where directory = $1";

const KEEP_ACCOUNT: &str =
    "insert into madbase.acme_accounts (directory, credentials) values ($1, $2) on conflict do nothing";

const FORGET_ACCOUNT: &str = "delete from madbase.acme_accounts where directory = $1";

const OPEN: &str = "\
    insert into madbase.acme_challenges (token, domain, kind, key_authorization) values ($1, $2, $3, $4) \
    on conflict (token) do update set kind = excluded.kind, key_authorization = excluded.key_authorization, \
    expires_at = excluded.expires_at";

const CLOSE: &str = "delete from madbase.acme_challenges where domain = $1 or expires_at < now()";

const CHALLENGES: &str = "\
    select token, domain, kind, key_authorization from madbase.acme_challenges where expires_at > now() limit 1000";

/// Make rows for domains that have none.
pub(super) async fn want(db: &ControlDb, domains: &[String]) -> Result<(), Error> {
    db.query(WANT, &[&domains]).await.map(drop)
}

/// The domains whose certificates are due, the longest due first.
pub(super) async fn due(db: &ControlDb, domains: &[String]) -> Result<Vec<String>, Error> {
    db.query(DUE, &[&domains]).await?.iter().map(|it| Ok(it.try_get(0)?)).collect()
}

/// A domain whose certificate is due, and what was done about it before.
pub(super) struct Claim {
    pub(super) domain: String,
    pub(super) failures: u32,
    pub(super) order_url: Option<String>,
    /// Sealed.
    pub(super) order_key: Option<String>,
}

/// Begin with `domain`, if it is still due. An attempt that tells nothing of its end is made again after `pause`.
pub(super) async fn begin(db: &ControlDb, domain: &str, pause: Duration) -> Result<Option<Claim>, Error> {
    let rows = db.query(BEGIN, &[&domain, &pause.as_secs_f64()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Claim {
        domain: row.try_get(0)?,
        failures: u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or(0),
        order_url: row.try_get(2)?,
        order_key: row.try_get(3)?,
    }))
}

/// Remember the order under way, and the sealed key that its certificate will have.
pub(super) async fn note_order(
    db: &ControlDb,
    domain: &str,
    url: Option<&str>,
    key: Option<&str>,
) -> Result<(), Error> {
    db.query(NOTE_ORDER, &[&domain, &url, &key]).await.map(drop)
}

/// The certificate is there: chain, sealed key; its beginning, its end, and when the next one is due.
pub(super) async fn keep(
    db: &ControlDb,
    (domain, chain, key): (&str, &str, &str),
    [from, until, due]: [Timestamp; 3],
) -> Result<(), Error> {
    db.query(KEEP, &[&domain, &chain, &key, &from, &until, &due]).await.map(drop)
}

pub(super) async fn fail(db: &ControlDb, domain: &str, why: &str, wait: Duration) -> Result<(), Error> {
    db.query(FAIL, &[&domain, &why, &wait.as_secs_f64()]).await.map(drop)
}

/// Domain, chain and sealed key of all that hold now.
pub(super) async fn shown(db: &ControlDb) -> Result<Vec<Row>, Error> {
    db.query(SHOWN, &[]).await
}

/// A certificate as operators see it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    domain: String,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    next_attempt_at: Timestamp,
    failures: i32,
    last_error: Option<String>,
    tried_at: Option<Timestamp>,
}

/// All of them.
pub(crate) async fn listed(db: &ControlDb) -> Result<Vec<Listed>, Error> {
    let read = |row: &Row| {
        Ok(Listed {
            domain: row.try_get(0)?,
            not_before: row.try_get(1)?,
            not_after: row.try_get(2)?,
            next_attempt_at: row.try_get(3)?,
            failures: row.try_get(4)?,
            last_error: row.try_get(5)?,
            tried_at: row.try_get(6)?,
        })
    };
    db.query(LIST, &[]).await?.iter().map(read).collect()
}

/// The sealed credentials of our account at `directory`.
pub(super) async fn account(db: &ControlDb, directory: &str) -> Result<Option<String>, Error> {
    let rows = db.query(ACCOUNT, &[&directory]).await?;
    Ok(rows.first().map(|it| it.try_get(0)).transpose()?)
}

pub(super) async fn keep_account(db: &ControlDb, directory: &str, sealed: &str) -> Result<(), Error> {
    db.query(KEEP_ACCOUNT, &[&directory, &sealed]).await.map(drop)
}

pub(super) async fn forget_account(db: &ControlDb, directory: &str) -> Result<(), Error> {
    db.query(FORGET_ACCOUNT, &[&directory]).await.map(drop)
}

/// An open challenge.
#[derive(Debug, Clone)]
pub(super) struct Challenge {
    pub(super) token: String,
    pub(super) domain: String,
    pub(super) kind: String,
    pub(super) key_authorization: String,
}

pub(super) async fn open_challenge(
    db: &ControlDb,
    (domain, token): (&str, &str),
    kind: ChallengeKind,
    key_authorization: &str,
) -> Result<(), Error> {
    db.query(OPEN, &[&token, &domain, &kind.as_str(), &key_authorization]).await.map(drop)
}

/// Forget those of `domain`, and whatever was left behind.
pub(super) async fn close_challenges(db: &ControlDb, domain: &str) -> Result<(), Error> {
    db.query(CLOSE, &[&domain]).await.map(drop)
}

pub(super) async fn challenges(db: &ControlDb) -> Result<Vec<Challenge>, Error> {
    let read = |row: &Row| {
        Ok(Challenge {
            token: row.try_get(0)?,
            domain: row.try_get(1)?,
            kind: row.try_get(2)?,
            key_authorization: row.try_get(3)?,
        })
    };
    db.query(CHALLENGES, &[]).await?.iter().map(read).collect()
}
