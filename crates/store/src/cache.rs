//! A cache in two tiers: this process (L1, moka) and Redis (L2), the same for all processes (REQ C1, C2, C7).
//!
//! What is invalidated here is gone everywhere at once: a mark in Redis keeps slower loads from writing the old value
//! back, a message empties the other processes' L1. After a gap L1 is emptied and L2 distrusted, by an epoch that each
//! value carries. Times to live are the backstop, spread so that values of one moment do not all end in another.
//! Who asks for what another one is loading waits for that load.
//!
//! Values in Redis: `{epoch}\n{JSON}` under `{name}:{key}`, with `-` for what does not exist; an empty value marks an
//! invalidation of the last seconds.

mod flights;
mod local;
mod measures;
mod recent;
mod registry;
mod versions;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Redis;
pub use flights::{Flight, Flights, Follow, Lead};
use local::{Local, Ticket};
pub use recent::Recent;
pub(crate) use registry::{CHANNEL, Registry, keep_hearing};
pub use versions::{Version, Versions};

/// What stands in Redis for a value that does not exist.
const ABSENT: &str = "-";

/// How long an invalidation keeps slower loads from filling in what they read before.
const MARK: Duration = Duration::from_secs(30);

/// What keys are: text that can be read back, because invalidations travel as text.
pub trait Key: Clone + Eq + Hash + Debug + Display + FromStr + Send + Sync + 'static {}

impl<K: Clone + Eq + Hash + Debug + Display + FromStr + Send + Sync + 'static> Key for K {}

/// What values are.
pub trait Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Value for V {}

/// Name and bounds of a cache.
#[derive(Debug, Clone)]
pub struct CacheSpec {
    /// Prefix of its keys in Redis: `session` gives `session:{key}`.
    pub name: String,
    /// The value of the metric label `cache`: few of them in a process.
    pub label: &'static str,
    /// The longest that Redis keeps a value.
    pub ttl: Duration,
    /// The longest that this process keeps a value.
    pub local_ttl: Duration,
    /// Values kept in this process; the least used go first.
    pub local_entries: u64,
    /// The longest that it is remembered, here and in Redis, that there is no value; zero remembers no such thing.
    pub absent_ttl: Duration,
}

/// A cache of `V` by `K`. Cheap to clone.
#[derive(Debug)]
pub struct Cache<K: Key, V: Value> {
    redis: Redis,
    local: Arc<Local<K, V>>,
}

impl<K: Key, V: Value> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { redis: self.redis.clone(), local: Arc::clone(&self.local) }
    }
}

/// Where a cache's epoch stands.
fn epoch_key(name: &str) -> String {
    format!("epoch:{name}")
}

/// An epoch that never was: also when Redis forgot the one before, nothing older is believed.
fn new_epoch() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// Have `pipe` begin a new epoch of the cache `name`: what Redis holds of it is not believed any more.
pub(crate) fn begin_epoch(pipe: &mut redis::Pipeline, name: &str) {
    pipe.set(epoch_key(name), new_epoch()).ignore();
}

impl<K: Key, V: Value> Cache<K, V> {
    /// A cache as `spec` says, in front of `redis`.
    #[must_use]
    pub fn new(redis: &Redis, spec: CacheSpec) -> Self {
        let [ttl, local_ttl, absent_ttl] =
            [spec.ttl, spec.local_ttl, spec.absent_ttl].map(|it| it.min(redis.cache_ttl()));
        let spec = CacheSpec { ttl, local_ttl, absent_ttl, ..spec };
        let local = Arc::new(Local::new(spec));
        redis.caches().add(&local.spec.name, &local);
        Self { redis: redis.clone(), local }
    }

    /// The value of `key` in this process: no round trip, under a microsecond.
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<V> {
        let found = self.local.get(key).flatten();
        if found.is_some() {
            self.local.measures.here.count(true);
        }
        found
    }

    /// The value of `key`, here or in Redis.
    pub async fn get(&self, key: &K) -> Option<V> {
        if let Some(known) = self.look(key) {
            return known;
        }
        let ticket = self.local.ticket(key);
        let (found, _) = self.fetch(key).await;
        if let Some(known) = &found {
            self.local.fill(ticket, key, known.clone());
        }
        found.flatten()
    }

    /// The value of `key`, else what `load` gives: once for all who ask meanwhile. That there is no value is remembered
    /// for [`CacheSpec::absent_ttl`].
    ///
    /// # Errors
    /// Those of `load`; who waited for a load that failed loads by himself.
    pub async fn get_or_load<E, F>(&self, key: &K, load: F) -> Result<Option<V>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        if let Some(known) = self.look(key) {
            return Ok(known);
        }
        let ticket = self.local.ticket(key);
        match self.local.flights.board(key, ticket.0) {
            Flight::Lead(flight) => {
                let found = self.find(key, ticket, load).await?;
                flight.land(found.clone());
                Ok(found)
            }
            Flight::Follow(flight) => {
                self.local.measures.joined.increment(1);
                match flight.landed().await {
                    Some(found) => Ok(found),
                    None => self.find(key, ticket, load).await,
                }
            }
        }
    }

    /// What this process knows of `key`: a value, or that there is none.
    fn look(&self, key: &K) -> Option<Option<V>> {
        let known = self.local.get(key);
        self.local.measures.here.count(known.is_some());
        known
    }

    /// From Redis, else by `load`; kept in both unless `key` was invalidated meanwhile.
    async fn find<E, F>(&self, key: &K, ticket: Ticket, load: F) -> Result<Option<V>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        let (found, epoch) = self.fetch(key).await;
        if let Some(known) = found {
            self.local.fill(ticket, key, known.clone());
            return Ok(known);
        }
        self.local.measures.loads.increment(1);
        let loaded = load.await?;
        if loaded.is_some() || !self.local.spec.absent_ttl.is_zero() {
            self.local.fill(ticket, key, loaded.clone());
            if let Some(epoch) = epoch {
                self.store(key, loaded.as_ref(), &epoch, true).await;
            }
        }
        Ok(loaded)
    }

    /// Keep `value` under `key`, here and in Redis, in place of what other processes may have.
    pub async fn put(&self, key: &K, value: V) {
        self.local.forget(key);
        let epoch = self.epoch().await;
        if let Some(epoch) = epoch {
            self.store(key, Some(&value), &epoch, false).await;
            self.tell(&key.to_string()).await;
        }
        self.local.fill(self.local.ticket(key), key, Some(value));
    }

    /// Forget `key`, in all processes. The caller has changed the truth before.
    pub async fn invalidate(&self, key: &K) {
        self.local.forget(key);
        let mut pipe = redis::pipe();
        let mark_ms = u64::try_from(MARK.as_millis()).unwrap_or(u64::MAX);
        pipe.cmd("SET").arg(self.redis_key(key)).arg("").arg("PX").arg(mark_ms).arg("GET");
        let before: Option<(Option<String>,)> = self.redis.link().insist(&pipe).await;
        // Several processes may hear of one change: the first one tells.
        if before.is_some_and(|(it,)| it.as_deref() != Some("")) {
            self.tell(&key.to_string()).await;
        }
    }

    /// Forget everything in this process and in Redis: something may have been missed. Other processes keep their L1.
    pub async fn distrust(&self) {
        self.local.forget_all();
        let mut pipe = redis::pipe();
        begin_epoch(&mut pipe, &self.local.spec.name);
        self.redis.link().insist::<()>(&pipe).await;
    }

    /// What Redis knows, and the cache's epoch; no epoch when Redis is away.
    async fn fetch(&self, key: &K) -> (Option<Option<V>>, Option<String>) {
        let mut pipe = redis::pipe();
        pipe.mget(&[epoch_key(&self.local.spec.name), self.redis_key(key)]);
        let Some(((epoch, found),)) =
            self.redis.link().ask::<((Option<String>, Option<String>),)>(&pipe).await
        else {
            return (None, None);
        };
        let Some(epoch) = epoch else { return (None, self.epoch().await) };
        let value =
            found.as_deref().and_then(|it| it.split_once('\n')).filter(|(of, _)| *of == epoch).and_then(
                |(_, json)| match json {
                    ABSENT => Some(None),
                    json => serde_json::from_str(json).ok().map(Some),
                },
            );
        self.local.measures.redis.count(value.is_some());
        (value, Some(epoch))
    }

    /// The epoch; one is begun when there is none.
    async fn epoch(&self) -> Option<String> {
        let own = new_epoch();
        let mut pipe = redis::pipe();
        pipe.cmd("SET").arg(epoch_key(&self.local.spec.name)).arg(&own).arg("NX").arg("GET");
        let (epoch,): (Option<String>,) = self.redis.link().ask(&pipe).await?;
        Some(epoch.unwrap_or(own))
    }

    /// `only_new` leaves alone what stands there: a fresh mark, above all.
    async fn store(&self, key: &K, value: Option<&V>, epoch: &str, only_new: bool) {
        let json = value.map_or_else(|| Ok(ABSENT.to_owned()), serde_json::to_string);
        let Ok(json) = json else { return };
        let ttl_ms = self.local.ttl_ms(value.is_none());
        let mut pipe = redis::pipe();
        if only_new {
            // A value of an older epoch is nobody's any more, but would be in the way: a mark is shorter.
            pipe.cmd("EVAL").arg(FILL).arg(1).arg(self.redis_key(key));
            pipe.arg(epoch).arg(json).arg(ttl_ms).ignore();
        } else {
            pipe.cmd("SET").arg(self.redis_key(key)).arg(format!("{epoch}\n{json}"));
            pipe.arg("PX").arg(ttl_ms).ignore();
        }
        self.redis.link().ask::<()>(&pipe).await;
    }

    async fn tell(&self, key: &str) {
        self.redis.publish(CHANNEL, &format!("{}\n{key}", self.local.spec.name)).await;
    }

    fn redis_key(&self, key: &K) -> String {
        format!("{}:{key}", self.local.spec.name)
    }
}

/// Fill in a value unless a mark or a value of this epoch stands there.
const FILL: &str = "\
    local found = redis.call('GET', KEYS[1]) \
    if found and (found == '' or string.sub(found, 1, #ARGV[1] + 1) == ARGV[1] .. '\\n') then return 0 end \
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2], 'PX', ARGV[3]) \
    return 1";
