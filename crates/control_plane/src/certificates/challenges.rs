//! The answers to open challenges, for strangers who ask as often as they like: from memory, read anew at most every
//! [`FRESH`], and what is not found is looked for once more after it was read anew, so that no answer comes too late.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use common::{Certified, Challenged, Challenges};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::ChallengeKind;
use super::queries::{self, Challenge};
use crate::control_db::ControlDb;
use crate::events;

/// The database is asked at most that often.
const FRESH: Duration = Duration::from_millis(50);
/// How long what is known may be used. Closed challenges give nothing away.
const USABLE: Duration = Duration::from_secs(5);
/// The longest wait for the database.
const LIMIT: Duration = Duration::from_secs(5);

/// What is open now.
#[derive(Debug)]
pub(super) struct Open {
    db: ControlDb,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    read_at: Option<Instant>,
    challenges: Vec<Challenge>,
}

impl Open {
    pub(super) fn new(db: ControlDb) -> Self {
        Self { db, known: Mutex::default() }
    }

    /// The challenge that `is_it` knows, among those open now.
    async fn find(&self, is_it: impl Fn(&Challenge) -> bool) -> Option<Challenge> {
        timeout(LIMIT, self.look(is_it)).await.ok().flatten()
    }

    async fn look(&self, is_it: impl Fn(&Challenge) -> bool) -> Option<Challenge> {
        let asked_at = Instant::now();
        let mut known = self.known.lock().await;
        // Who waited for another's reading takes part in it.
        let found = known.challenges.iter().find(|it| is_it(it)).cloned();
        let usable = known.read_at.is_some_and(|it| it.elapsed() < USABLE);
        if usable && (found.is_some() || known.read_at.is_some_and(|it| it > asked_at)) {
            return found;
        }
        if let Some(read_at) = known.read_at {
            sleep_until(read_at + FRESH).await;
        }
        let now = Instant::now();
        match queries::challenges(&self.db).await {
            Ok(challenges) => *known = Known { read_at: Some(now), challenges },
            Err(error) => {
                known.read_at = Some(now);
                events::certificates_not_looked_at(&error);
            }
        }
        known.challenges.iter().find(|it| is_it(it)).cloned()
    }
}

impl Challenges for Open {
    fn key_authorization<'a>(&'a self, token: &'a str) -> Challenged<'a, String> {
        let kind = ChallengeKind::Http.as_str();
        Box::pin(async move {
            self.find(|it| it.token == token && it.kind == kind).await.map(|it| it.key_authorization)
        })
    }

    fn certificate<'a>(&'a self, domain: &'a str) -> Challenged<'a, Certified> {
        let kind = ChallengeKind::TlsAlpn.as_str();
        Box::pin(async move {
            let found = self.find(|it| it.domain.eq_ignore_ascii_case(domain) && it.kind == kind).await?;
            answer(&found).ok()
        })
    }
}

/// The certificate of RFC 8737 §3: self-signed, for the domain, with the hash of the key authorization.
fn answer(challenge: &Challenge) -> Result<Certified, rcgen::Error> {
    let hash = digest(&SHA256, challenge.key_authorization.as_bytes());
    let mut params = CertificateParams::new(vec![challenge.domain.clone()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(hash.as_ref())];
    let key = KeyPair::generate()?;
    let chain = params.self_signed(&key)?.pem();
    Ok(Certified { chain, key: key.serialize_pem().into() })
}
