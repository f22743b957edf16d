//! Answers of the data API that are kept, and given again to the same caller until something is written (REQ C1).
//!
//! Which requests: `GET` and `HEAD` of projects that want it. What is a different request: everything that the answer
//! may depend on ([`key`]). For how long: until the next write to the project, by whomever and on whichever node
//! ([`store::Versions`]), or until its time is over. A read that began before a write fills nothing in after it, because
//! an answer belongs to the version of before the read. Whoever comes while the same is being read waits for it.
//!
//! Stands between admission and the service: nobody gets here with a bad token or beyond a limit.

mod answer;
mod directives;
mod key;
mod turn;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use common::{Project, ProjectRef};
use metrics::{Counter, Gauge, counter, gauge};
use moka::Expiry;
use moka::sync::Cache;
use store::{Flights, Version, Versions};

use answer::Answer;
use directives::Directives;
use key::Key;
pub(crate) use turn::{Approach, Caching, Telling, Turn, through};

/// Bounds of the answers that are kept.
#[derive(Debug, Clone, Copy)]
pub struct ResponseCacheSettings {
    /// Bytes of all answers together with what they are found by; those that are not asked for go first.
    pub max_bytes: u64,
    /// The largest body that is kept.
    pub max_body_bytes: usize,
    /// The longest that an answer is given, whatever a project says.
    pub max_ttl: Duration,
}

impl Default for ResponseCacheSettings {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, max_body_bytes: 128 * 1024, max_ttl: Duration::from_secs(3600) }
    }
}

/// For how long it is remembered that an answer cannot be kept: meanwhile nobody waits for another one's.
const HOPELESS: Duration = Duration::from_secs(10);

/// The answers that are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: ResponseCacheSettings,
    teller: Teller,
    kept: Cache<Key, Kept>,
    flights: Flights<Key, Arc<Answer>>,
    measures: Measures,
}

/// What is known of a request.
#[derive(Debug, Clone)]
enum Kept {
    Answer(Arc<Answer>),
    /// Its answers cannot be kept.
    Hopeless,
}

#[derive(Debug)]
struct Measures {
    hits: Counter,
    misses: Counter,
    joined: Counter,
    entries: Gauge,
    bytes: Gauge,
}

impl Measures {
    fn new() -> Self {
        let lookups = |outcome: &'static str| counter!("cache_lookups_total", "cache" => "response", "tier" => "l1", "outcome" => outcome);
        Self {
            hits: lookups("hit"),
            misses: lookups("miss"),
            joined: counter!("cache_joined_loads_total", "cache" => "response"),
            entries: gauge!("cache_entries", "cache" => "response"),
            bytes: gauge!("cache_bytes", "cache" => "response"),
        }
    }
}

/// Tells all who keep answers of writes, whether this process keeps any or not. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    versions: Versions,
    writes: Counter,
}

impl Teller {
    pub(crate) fn new(versions: Versions) -> Self {
        Self { versions, writes: counter!("cache_invalidations_total", "cache" => "response") }
    }

    /// A write has ended.
    async fn changed(&self, project: &ProjectRef) {
        self.writes.increment(1);
        self.versions.changed(project).await;
    }

    /// Nobody knows how a write ended, or when it will.
    fn doubt(&self, project: &ProjectRef) {
        self.writes.increment(1);
        self.versions.doubt(project);
    }
}

impl ResponseCache {
    /// Nothing is kept yet; `versions` knows of writes.
    #[must_use]
    pub fn new(settings: ResponseCacheSettings, versions: Versions) -> Self {
        let kept = Cache::builder()
            .max_capacity(settings.max_bytes)
            .weigher(|key: &Key, kept: &Kept| {
                let bytes = match kept {
                    Kept::Answer(answer) => answer.size_bytes(),
                    Kept::Hopeless => 0,
                };
                u32::try_from(key.size_bytes() + bytes).unwrap_or(u32::MAX)
            })
            .expire_after(OwnLife(RandomState::new()))
            .build();
        let (teller, measures) = (Teller::new(versions), Measures::new());
        Self { inner: Arc::new(Inner { settings, teller, kept, flights: Flights::default(), measures }) }
    }

    /// Something of `project` changed: what was read before is not given any more, on any node. For who learns of
    /// changes that did not pass the gateway.
    pub async fn invalidate(&self, project: &ProjectRef) {
        self.inner.teller.changed(project).await;
    }

    fn look(&self, key: &Key, version: Version, directives: &Directives) -> Option<Kept> {
        let kept = self.inner.kept.get(key)?;
        match &kept {
            Kept::Answer(answer) if answer.version != version || !directives.take(answer.age()) => None,
            Kept::Answer(_) | Kept::Hopeless => Some(kept),
        }
    }

    /// Keep `answer`.
    fn keep(&self, key: Key, answer: &Arc<Answer>) {
        self.inner.kept.insert(key, Kept::Answer(Arc::clone(answer)));
        self.tell_size();
    }

    fn tell_size(&self) {
        let Inner { kept, measures, .. } = &*self.inner;
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        let (entries, bytes) = (kept.entry_count() as f64, kept.weighted_size() as f64);
        measures.entries.set(entries);
        measures.bytes.set(bytes);
    }
}

/// How long answers of `project` may be given to a token that ends at `expires_secs`, seconds since 1970; `None` when not
/// at all.
fn ttl_of(
    settings: &ResponseCacheSettings,
    project: &Project,
    expires_secs: Option<i64>,
) -> Option<Duration> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now_secs = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    let own = Duration::from_secs(project.rest.response_cache_max_age).min(settings.max_ttl);
    let left = match expires_secs {
        // The gateway lets a token in for some seconds more.
        Some(expires) => Duration::from_secs(u64::try_from(expires.saturating_sub(now_secs)).ok()?),
        None => own,
    };
    Some(own.min(left)).filter(|it| !it.is_zero())
}

/// Each answer says by itself how long it lives, those of one moment a little differently.
#[derive(Debug)]
struct OwnLife(RandomState);

impl Expiry<Key, Kept> for OwnLife {
    fn expire_after_create(&self, key: &Key, kept: &Kept, _: StdInstant) -> Option<Duration> {
        Some(self.life(key, kept))
    }

    fn expire_after_update(
        &self,
        key: &Key,
        kept: &Kept,
        _: StdInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.life(key, kept))
    }
}

impl OwnLife {
    fn life(&self, key: &Key, kept: &Kept) -> Duration {
        match kept {
            Kept::Answer(answer) => {
                let thousandths = u32::try_from(self.0.hash_one(key) % 101).unwrap_or_default();
                answer.ttl - answer.ttl / 1000 * thousandths
            }
            Kept::Hopeless => HOPELESS,
        }
    }
}
