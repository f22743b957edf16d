//! Certificates for the public door, got and renewed by ACME (RFC 8555) and shared by all proxies (REQ H9).
//!
//! What is wanted, under way and there lies in the control database, keys sealed under the master key. Any process may
//! do the work: it holds a lock of the domain's own meanwhile ([`DistributedLock`], REQ C5), so that each is done once, and
//! another one goes on when it dies; and any proxy can answer what the authority asks. `order.rs` is one attempt,
//! `challenges.rs` the answers.

mod challenges;
mod order;
mod queries;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Certified, Challenges};
use jiff::Timestamp;
use store::postgres::Row;
use store::{DistributedLock, Locks, Notifications};
use tokio::time::{sleep, timeout};

use crate::{ControlPlane, Error, events, random};
use order::Issued;
pub(crate) use queries::listed;

/// Between looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// The longest that one attempt takes.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(300);
/// A process that falls silent in an attempt leaves it to others after that.
const LOCK_TTL_SECS: u64 = 30;
/// The wait after the first failure; doubles with each further one. Authorities count failures per hour.
const FIRST_RETRY: Duration = Duration::from_secs(120);
/// The longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 3600);

/// Where certificates come from, and for which domains.
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    /// Each gets a certificate of its own.
    pub domains: Vec<String>,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// Address of the authority's directory (https).
    pub directory: String,
    /// Who signs for the directory's own TLS, in a PEM file; the system's authorities otherwise.
    pub root: Option<PathBuf>,
    /// How control of the domains is shown; `None` tries one kind after the other.
    pub challenge: Option<ChallengeKind>,
}

/// How control of a domain is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a certificate on port 443 (RFC 8737).
    TlsAlpn,
    /// By a file on port 80 (RFC 8555 §8.3).
    Http,
}

impl ChallengeKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn => "tls-alpn-01",
            Self::Http => "http-01",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::TlsAlpn => Self::Http,
            Self::Http => Self::TlsAlpn,
        }
    }
}

impl ControlPlane {
    /// The certificates that there are, by domain.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Timeout`]; [`Error::MasterKey`] when a key does not open.
    pub async fn certificates(&self) -> Result<Vec<(String, Certified)>, Error> {
        let vault = self.inner.seal.cluster_vault()?;
        let open = |row: &Row| {
            let (domain, chain, key): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let key = open_text(&vault, &key_context(&domain), &key)?;
            Ok((domain, Certified { chain, key: key.into() }))
        };
        queries::shown(&self.inner.db).await?.iter().map(open).collect()
    }

    /// Hears of changed certificates; after [`store::Notification::Connected`] some may have been missed.
    #[must_use]
    pub fn certificate_changes(&self) -> Notifications {
        self.inner.provisioner.server.listen(&self.inner.config.control_database, "madbase_certificates")
    }

    /// The answers to what authorities ask.
    #[must_use]
    pub fn challenges(&self) -> Arc<dyn Challenges> {
        Arc::new(challenges::Open::new(self.inner.db.clone()))
    }

    /// Get certificates for the domains and renew them in time, for as long as this is polled. Failures are told, and
    /// tried again later and later; other processes may do the same, with the same `locks`.
    pub async fn keep_certificates(&self, settings: AcmeSettings, locks: Locks) {
        loop {
            if let Err(error) = self.renew_due(&settings, &locks).await {
                events::certificates_not_looked_at(&error);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn renew_due(&self, settings: &AcmeSettings, locks: &Locks) -> Result<(), Error> {
        let db = &self.inner.db;
        queries::want(db, &settings.domains).await?;
        for domain in queries::due(db, &settings.domains).await? {
            let lock = DistributedLock::new(locks, &format!("certificate:{domain}"), LOCK_TTL_SECS);
            // Without an answer somebody else is at it, or will be.
            lock.run(Box::pin(self.renew(settings, &domain))).await.transpose()?;
        }
        Ok(())
    }

    /// One attempt for `domain`, whose lock is held; nothing when another process was faster.
    async fn renew(&self, settings: &AcmeSettings, domain: &str) -> Result<(), Error> {
        let db = &self.inner.db;
        let Some(claim) = queries::begin(db, domain, FIRST_RETRY).await? else { return Ok(()) };
        let attempt = Box::pin(self.attempt(settings, &claim));
        let outcome = timeout(ATTEMPT_LIMIT, attempt).await.unwrap_or(Err("it took too long".into()));
        queries::close_challenges(db, &claim.domain).await?;
        match outcome {
            Ok(issued) => self.keep(&claim.domain, &issued).await?,
            Err(error) => {
                let text = order::told(&*error);
                let wait = retry_after(claim.failures)?;
                queries::fail(db, &claim.domain, &text, wait).await?;
                events::certificate_failed(&claim.domain, &text, wait);
            }
        }
        Ok(())
    }

    async fn keep(&self, domain: &str, issued: &Issued) -> Result<(), Error> {
        let (from, until) = store::mtls::validity_of(&issued.chain).map_err(|it| Error::Stored(it.into()))?;
        let key = seal_text(&self.inner.seal.cluster_vault()?, &key_context(domain), &issued.key)?;
        let times = [from, until, due(from, until)?].map(moment);
        queries::keep(&self.inner.db, (domain, &issued.chain, &key), times).await?;
        events::certificate_issued(domain, until);
        Ok(())
    }
}

/// After two thirds of its life, a little earlier for each one differently: not all at once.
fn due(from: SystemTime, until: SystemTime) -> Result<SystemTime, Error> {
    let life = until.duration_since(from).unwrap_or_default();
    Ok(from + life * 2 / 3 - (life / 20).mul_f64(share()?))
}

fn retry_after(failures: u32) -> Result<Duration, Error> {
    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(LONGEST_RETRY);
    Ok(wait + (wait / 10).mul_f64(share()?))
}

/// A random number from 0 to 1.
fn share() -> Result<f64, Error> {
    let mut byte = [0];
    random::fill(&mut byte)?;
    Ok(f64::from(byte[0]) / 255.0)
}

fn moment(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}

fn key_context(domain: &str) -> String {
    format!("certificates.key:{domain}")
}

fn open_text(vault: &common::Vault, context: &str, sealed: &str) -> Result<String, Error> {
    let plain = vault.open(context, sealed).map_err(|_| Error::MasterKey)?;
    String::from_utf8(plain).map_err(|it| Error::Stored(it.utf8_error().into()))
}

fn seal_text(vault: &common::Vault, context: &str, plain: &str) -> Result<String, Error> {
    vault.seal(context, plain.as_bytes()).map_err(|_| Error::Randomness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_after_about_two_thirds() {
        let (from, life) = (SystemTime::UNIX_EPOCH, Duration::from_secs(90 * 86_400));
        let wait = due(from, from + life).unwrap().duration_since(from).unwrap();
        assert!(wait >= life * 61 / 100 && wait <= life * 2 / 3, "{wait:?}");
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let waits: Vec<u64> = (0..20).map(|it| retry_after(it).unwrap().as_secs()).collect();
        assert!((120..=132).contains(&waits[0]) && (240..=264).contains(&waits[1]), "{waits:?}");
        assert!(waits[4..].iter().all(|it| *it >= 1920 && *it <= 95_040), "{waits:?}");
        // Let's Encrypt allows five failures an hour.
        assert!(waits[..5].iter().sum::<u64>() > 3600, "{waits:?}");
    }
}
