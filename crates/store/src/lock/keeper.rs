//! Keeps a lock that was taken: a session of PostgreSQL that says often enough that it lives, and says so in Redis too.
//!
//! The holder counts from when it asked, PostgreSQL from when it answered, and the holder's time is a tenth shorter: it
//! knows of the loss before anybody else can have the lock, whatever the network does.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::scripts;
use crate::{Error, Redis, Server};

/// Longest wait to connect, all hosts tried.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// What comes on top of the time that PostgreSQL itself waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that holds at most one lock.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// Cancelled when the connection ends.
    gone: CancellationToken,
    /// Ends the connection, and with it the lock.
    _end: DropGuard,
}

/// A session that PostgreSQL ends when it hears nothing of it for `ttl`.
pub(super) async fn open(server: &Server, database: &str, ttl: Duration) -> Result<Session, Error> {
    let end = CancellationToken::new();
    let opening = async {
        let (client, gone) = server.admin_until(database, end.clone()).await?;
        let session = Session { client, gone, _end: end.clone().drop_guard() };
        let settings = format!(
            "set application_name = 'madbase lock'; set idle_session_timeout = '{}ms'; set statement_timeout = 0",
            ttl.as_millis()
        );
        session.client.batch_execute(&settings).await?;
        Ok(session)
    };
    timeout(OPEN_TIMEOUT, opening).await.unwrap_or_else(|late| Err(Error::Connect(late.into())))
}

impl Session {
    /// Take the lock `key`, waiting for it at most `wait`: the fencing number, and since when PostgreSQL may count; `None`
    /// when another session has it.
    pub(super) async fn take(
        &self,
        key: i64,
        wait: Option<Duration>,
    ) -> Result<Option<(u64, Instant)>, Error> {
        let limit = wait.unwrap_or_default() + ANSWER_TIMEOUT;
        let taking = async {
            let taken = match wait {
                None => self.try_take(key).await?,
                Some(wait) => self.wait_for(key, wait).await?,
            };
            if !taken {
                return Ok(None);
            }
            // A message of its own lets the transaction be written, flushed and replicated as any other.
            let since = Instant::now();
            let text = "select pg_current_xact_id()::text, pg_logical_emit_message(true, 'madbase.lock', '')";
            let number: String = self.client.query_one(text, &[]).await?.get(0);
            let fence = number.parse().map_err(|it: std::num::ParseIntError| Error::Connect(it.into()))?;
            Ok(Some((fence, since)))
        };
        timeout(limit, taking).await.unwrap_or_else(|late| Err(Error::Connect(late.into())))
    }

    async fn try_take(&self, key: i64) -> Result<bool, Error> {
        Ok(self.client.query_one("select pg_try_advisory_lock($1)", &[&key]).await?.get(0))
    }

    async fn wait_for(&self, key: i64, wait: Duration) -> Result<bool, Error> {
        let limit = format!("set lock_timeout = '{}ms'", wait.as_millis().max(1));
        self.client.batch_execute(&limit).await?;
        match self.client.execute("select pg_advisory_lock($1)", &[&key]).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_alive(&self, until: Instant) -> bool {
        matches!(timeout_at(until, self.client.batch_execute("select 1")).await, Ok(Ok(())))
    }

    /// The lock is free when this returns, or with the end of the connection.
    async fn give_back(&self) {
        let _ = timeout(ANSWER_TIMEOUT, self.client.batch_execute("select pg_advisory_unlock_all()")).await;
    }
}

/// The task of a lock that is held.
pub(super) struct Keeper {
    pub(super) session: Session,
    pub(super) redis: Redis,
    pub(super) key: String,
    pub(super) token: String,
    pub(super) ttl: Duration,
    /// Cancelled when the lock is not ours any more.
    pub(super) lost: CancellationToken,
    /// Cancelled when the holder wants it no more.
    pub(super) stop: CancellationToken,
}

impl Keeper {
    /// Tell the others in Redis.
    pub(super) async fn announce(&self) {
        scripts::set(&self.redis, &self.key, &self.token, self.ttl).await;
    }

    /// Hold the lock, last heard of by PostgreSQL `since` then, until it is given back or lost.
    pub(super) async fn keep(self, name: String, since: Instant) {
        metrics::gauge!("madbase_locks_held").increment(1.0);
        if !self.hold(since).await {
            metrics::counter!("madbase_lock_losses_total").increment(1);
            tracing::warn!(lock = name, "a lock was lost");
        }
        self.lost.cancel();
        metrics::gauge!("madbase_locks_held").decrement(1.0);
        scripts::remove(&self.redis, &self.key, &self.token).await;
        if !self.session.gone.is_cancelled() {
            self.session.give_back().await;
        }
    }

    /// Whether the holder gave it back, rather than losing it.
    async fn hold(&self, since: Instant) -> bool {
        let safe = self.ttl * 9 / 10;
        let mut until = since + safe;
        loop {
            let next = Instant::now() + self.ttl / 3;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return true,
                () = self.session.gone.cancelled() => return false,
                () = sleep_until(next.min(until)) => {}
            }
            let asked = Instant::now();
            if !self.session.is_alive(until).await {
                return self.stop.is_cancelled();
            }
            until = asked + safe;
            scripts::renew(&self.redis, &self.key, &self.token, self.ttl).await;
        }
    }
}
