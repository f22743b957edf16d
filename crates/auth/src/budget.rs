//! How many mails or SMS may leave: per project and hour, and per address that belongs to nobody.
//!
//! Known addresses carry their last message in the user's row. Unknown ones are remembered here, so that both are told
//! to wait alike and nobody learns who has an account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{Project, ProjectId};
use jiff::Timestamp;
use moka::sync::Cache;

use crate::secret;

const HOUR_SECS: i64 = 3600;
const MAX_ADDRESSES: u64 = 50_000;

/// Why nothing more may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Wait so many seconds.
    TooSoon(i64),
    /// The hour's messages are gone.
    Spent,
}

/// Limits of one project: the least time between two messages to one address, and the most in an hour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) least_secs: u64,
    pub(crate) per_hour: u32,
}

#[derive(Debug)]
pub(crate) struct Budget {
    sent: Mutex<HashMap<ProjectId, (i64, u32)>>,
    unknown: Cache<[u8; 32], Timestamp>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        let unknown =
            Cache::builder().max_capacity(MAX_ADDRESSES).time_to_live(Duration::from_secs(3600)).build();
        Self { sent: Mutex::default(), unknown }
    }

    /// Take one message of this hour's.
    pub(crate) fn take(&self, project: &Project, limits: Limits, now: Timestamp) -> Result<(), Refusal> {
        let hour = now.as_second().div_euclid(HOUR_SECS);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|_, (since, _)| *since == hour);
        let (_, count) = sent.entry(project.id).or_insert((hour, 0));
        if *count >= limits.per_hour {
            return Err(Refusal::Spent);
        }
        *count += 1;
        Ok(())
    }

    /// A message of a `kind` was asked for an address that gets none. Kinds are told apart as in a user's row, and the
    /// message counts as sent: else the answers to other requests would tell that it was not.
    pub(crate) fn pretend(
        &self,
        project: &Project,
        limits: Limits,
        (kind, address): (&'static str, &str),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let key = secret::fingerprint(&format!("{}\0{kind}\0{address}", project.reference));
        check_frequency(self.unknown.get(&key), limits, now)?;
        self.take(project, limits, now)?;
        self.unknown.insert(key, now);
        Ok(())
    }
}

/// Refuse a message so soon after the last one.
pub(crate) fn check_frequency(
    last: Option<Timestamp>,
    limits: Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(last) = last else { return Ok(()) };
    let least_secs = i64::try_from(limits.least_secs).unwrap_or(i64::MAX);
    let passed = now.as_second().saturating_sub(last.as_second());
    if passed < least_secs { Err(Refusal::TooSoon(least_secs.saturating_sub(passed).max(1))) } else { Ok(()) }
}
