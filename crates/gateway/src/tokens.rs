//! Verified tokens, remembered: a token that comes again costs a hash, not a signature check (REQ C1).
//!
//! Keyed by two secretly keyed hashes of project, its version, its rules and the token, so that what changes them forgets.
//! Refused tokens are not kept: whoever invents them would fill the cache.

mod seen;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Project;
use common::jwt::{self, Claims, RolePath, Rules};
use moka::Expiry;
use moka::sync::Cache;
use serde_json::Value;

use crate::Config;
use crate::events::Measures;
use seen::Seen;

/// Clock skew allowed on dates, as PostgREST does.
const LEEWAY_SECS: i64 = 30;

/// Where the role is unless the project says otherwise.
const ROLE: &str = "$.role";

type Key = [u64; 2];

/// What a token is presented for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// As an API key of ours: it names its role, and is for everybody who has it.
    Key,
    /// To say who is asking: the project's rules on audience and role hold.
    Caller,
}

/// The cache in front of a project's key ring.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Those of the current second, before anything is hashed.
    seen: Seen,
    /// The keys are hashes already.
    verified: Cache<Key, Verified, foldhash::fast::RandomState>,
    ttl: Duration,
    measures: Arc<Measures>,
    hashers: [RandomState; 2],
}

#[derive(Debug, Clone)]
struct Verified {
    claims: Arc<Claims>,
    /// `exp`, seconds since 1970.
    expires_secs: Option<i64>,
    lives: Duration,
}

impl Tokens {
    pub(crate) fn new(config: &Config, measures: Arc<Measures>) -> Self {
        let verified = Cache::builder()
            .max_capacity(config.max_tokens)
            .expire_after(OwnLife)
            .build_with_hasher(foldhash::fast::RandomState::default());
        let hashers = [RandomState::new(), RandomState::new()];
        Self { seen: Seen::new(), verified, ttl: config.token_ttl, measures, hashers }
    }

    /// The claims of `token`, verified by the project's keys; the role is empty when the token names none.
    ///
    /// `now_secs` counts from 1970.
    pub(crate) fn verify(
        &self,
        project: &Project,
        (token, purpose): (&str, Purpose),
        now_secs: i64,
    ) -> Result<Arc<Claims>, jwt::Error> {
        if let Some(claims) = self.seen.get(project, (token, purpose), now_secs) {
            self.measures.token_looked_up(true);
            return Ok(claims);
        }
        let key = self.key_of(project, token, purpose);
        let cached = self.verified.get(&key).filter(|it| it.expires_secs.is_none_or(|exp| now_secs < exp));
        self.measures.token_looked_up(cached.is_some());
        if let Some(verified) = cached {
            self.seen.put(project, (token, purpose), now_secs, &verified.claims);
            return Ok(verified.claims);
        }
        let audience = project.rest.jwt_aud.as_deref().filter(|_| purpose == Purpose::Caller);
        let rules = Rules { now_secs, leeway_secs: LEEWAY_SECS, audience, default_role: "" };
        let mut claims = project.jwt.verify(token, &rules)?;
        if purpose == Purpose::Caller && project.rest.jwt_role_claim_key != ROLE {
            claims = with_role(claims, &project.rest.jwt_role_claim_key);
        }
        let claims = Arc::new(claims);
        let expires_secs = claims.map.get("exp").and_then(whole_seconds);
        let left = expires_secs.map_or(Ok(u64::MAX), |exp| u64::try_from(exp.saturating_sub(now_secs)));
        // An expired token within the leeway is let in, but not remembered.
        let remembers = project.rest.jwt_cache_max_entries > 0;
        if let Some(left) = left.ok().filter(|it| *it > 0 && remembers) {
            let lives = self.ttl.min(Duration::from_secs(left));
            self.verified.insert(key, Verified { claims: Arc::clone(&claims), expires_secs, lives });
        }
        Ok(claims)
    }

    fn key_of(&self, project: &Project, token: &str, purpose: Purpose) -> Key {
        // The project's database may change its rules, at the same version.
        let rules = (project.rest.jwt_aud.as_deref(), project.rest.jwt_role_claim_key.as_str());
        let rules = (purpose == Purpose::Caller).then_some(rules);
        let presented = (project.reference.as_str(), project.version, rules, token);
        self.hashers.each_ref().map(|it| it.hash_one(presented))
    }
}

/// The role that `path` leads to. None, if there is no such path: then the caller is nobody in particular.
fn with_role(claims: Claims, path: &str) -> Claims {
    let role = path.parse::<RolePath>().ok().and_then(|it| it.role_of(&claims.map)).unwrap_or_default();
    Claims::with_role(claims.map, &role)
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and a saturated date compares right")]
fn whole_seconds(date: &Value) -> Option<i64> {
    date.as_i64().or_else(|| date.as_f64().map(|it| it as i64))
}

/// Each entry says by itself how long it lives.
#[derive(Debug)]
struct OwnLife;

impl Expiry<Key, Verified> for OwnLife {
    fn expire_after_create(&self, _: &Key, entry: &Verified, _: Instant) -> Option<Duration> {
        Some(entry.lives)
    }
}
