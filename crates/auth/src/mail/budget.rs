//! How many mails may leave: per project and hour, and per address that belongs to nobody.
//!
//! Known addresses carry their last mail in the user's row. Unknown ones are remembered here, so that both are told to
//! wait alike and nobody learns who has an account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{Project, ProjectId};
use jiff::Timestamp;
use moka::sync::Cache;

use crate::{Error, secret};

const HOUR_SECS: i64 = 3600;
const MAX_ADDRESSES: u64 = 50_000;

#[derive(Debug)]
pub(super) struct Budget {
    sent: Mutex<HashMap<ProjectId, (i64, u32)>>,
    unknown: Cache<[u8; 32], Timestamp>,
}

impl Budget {
    pub(super) fn new() -> Self {
        let unknown =
            Cache::builder().max_capacity(MAX_ADDRESSES).time_to_live(Duration::from_secs(3600)).build();
        Self { sent: Mutex::default(), unknown }
    }

    /// Take one mail of this hour's.
    pub(super) fn take(&self, project: &Project, now: Timestamp) -> Result<(), Error> {
        let hour = now.as_second().div_euclid(HOUR_SECS);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|_, (since, _)| *since == hour);
        let (_, count) = sent.entry(project.id).or_insert((hour, 0));
        if *count >= project.auth.mail_max_per_hour {
            return Err(Error::MailBudget);
        }
        *count += 1;
        Ok(())
    }

    /// A mail of a `kind` was asked for an address that gets none. Kinds are told apart as in a user's row, and the
    /// mail counts as sent: else the answers to other requests would tell that it was not.
    pub(super) fn pretend(
        &self,
        project: &Project,
        (kind, address): (&'static str, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        let key = secret::fingerprint(&format!("{}\0{kind}\0{address}", project.reference));
        check_frequency(self.unknown.get(&key), project.auth.mail_max_frequency_secs, now)?;
        self.take(project, now)?;
        self.unknown.insert(key, now);
        Ok(())
    }
}

/// Refuse a mail so soon after the last one.
pub(super) fn check_frequency(last: Option<Timestamp>, least_secs: u64, now: Timestamp) -> Result<(), Error> {
    let Some(last) = last else { return Ok(()) };
    let least_secs = i64::try_from(least_secs).unwrap_or(i64::MAX);
    let passed = now.as_second().saturating_sub(last.as_second());
    if passed < least_secs {
        Err(Error::MailTooSoon(least_secs.saturating_sub(passed).max(1)))
    } else {
        Ok(())
    }
}
