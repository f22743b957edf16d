//! Rate limits over a sliding window, counted by all processes together (REQ C6): so many of each key in the last minute.
//!
//! All counters of a request are asked in one round trip to Redis, and most requests need none: while a key is far from
//! its limit, a process admits by itself and tells Redis a moment later. It keeps at most a thirty-second of the limit
//! untold, so that `n` processes admit at most `limit · (1 + n/32)`, and those of limits below 32 exactly the limit. Who was
//! refused is refused by the process alone until there is room again.
//!
//! Without Redis, or while it is away, each process counts for itself (`governor`). It counts so all the time: an outage
//! hands out no second burst.
//!
//! In Redis: a hash `{key}`, count by step of a thirtieth of the window. The oldest step counts whole until it has left.

mod places;
mod script;
mod slot;
mod teller;

use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use moka::sync::Cache;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::Redis;
use places::Places;
use slot::{Slot, Step};
use teller::Untold;

/// Counters of many keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Windows {
    redis: Redis,
    per: Duration,
    /// The keys are hashes already.
    slots: Cache<[u64; 2], Arc<Slot>, RandomState>,
    /// In front of `slots`.
    places: Arc<Places>,
    hashers: [RandomState; 2],
    untold: Arc<Untold>,
    _ends: Arc<DropGuard>,
}

/// The counter of one key. Cheap to clone: the outer count is one core's, which found it, the inner one is that of all.
#[derive(Debug, Clone)]
pub struct Window(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    slot: Arc<Slot>,
}

impl Window {
    fn of(slot: Arc<Slot>) -> Self {
        Self(Arc::new(Counter { slot }))
    }

    fn slot(&self) -> &Arc<Slot> {
        &self.0.slot
    }
}

/// How a counter stands after it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The most in a window.
    pub max: u32,
    /// How many are left now, as far as this process knows.
    pub left: u32,
    /// When it is worth asking again; zero unless this counter refused.
    pub wait: Duration,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all counters had room; if not, none of them counted it.
    pub allowed: bool,
    /// Each counter, in the order of asking.
    pub standings: Vec<Standing>,
}

impl Windows {
    /// Windows of the length `per`; remembers at most `max_keys` keys in this process, the least used are forgotten first.
    #[must_use]
    pub fn new(redis: &Redis, per: Duration, max_keys: u64) -> Self {
        let untold = Arc::<Untold>::default();
        let ends = teller::tell(redis.clone(), per, Arc::clone(&untold));
        Self {
            redis: redis.clone(),
            per,
            slots: Cache::builder()
                .max_capacity(max_keys)
                .time_to_idle(per * 2)
                .build_with_hasher(RandomState::default()),
            places: Arc::default(),
            hashers: [RandomState::default(), RandomState::default()],
            untold,
            _ends: Arc::new(ends.drop_guard()),
        }
    }

    /// How long a window is.
    #[must_use]
    pub fn per(&self) -> Duration {
        self.per
    }

    /// The counter of `key`; `name` is its key in Redis: start it with `ratelimit:`. `now` may be a moment ago.
    pub fn window(&self, key: impl Hash, now: Instant, name: impl FnOnce() -> String) -> Window {
        let hash = self.hashers.each_ref().map(|it| it.hash_one(&key));
        if let Some(window) = self.places.get(hash, now) {
            return window;
        }
        let window = Window::of(self.slots.get_with(hash, || Arc::new(Slot::new(name()))));
        self.places.put(hash, &window, now);
        window
    }

    /// Whether `window` refused a moment ago, and for how long still. Costs no round trip and counts nothing.
    #[must_use]
    pub fn refuses(&self, window: &Window) -> Option<Duration> {
        let slot = window.slot();
        if slot.is_strained() { slot.refuses(Instant::now()) } else { None }
    }

    /// Count one of each, if all have room: `max` is the most of a window.
    ///
    /// Waits for Redis only for counters that are near their limits, once, and at most as long as Redis may take to answer.
    pub async fn take(&self, wanted: &[(Window, u32)]) -> Verdict {
        let now = Instant::now();
        if wanted.iter().any(|(window, _)| window.slot().refuses(now).is_some()) {
            return refused(wanted, now);
        }
        let shared = self.redis.is_up();
        let (mut asked, mut standings) = (Vec::new(), Vec::with_capacity(wanted.len()));
        for (idx, (window, max)) in wanted.iter().enumerate() {
            match window.slot().reserve(*max, self.per, shared, now) {
                Step::Taken { first, standing } => {
                    standings.push(standing);
                    if first {
                        self.untold.add(Arc::clone(window.slot()));
                    }
                }
                Step::Ask => asked.push(idx),
                Step::Refused => {
                    give_back(wanted, &asked, idx);
                    return refused(wanted, now);
                }
            }
        }
        if asked.is_empty() {
            return Verdict { allowed: true, standings };
        }
        // On the heap: most requests ask nobody.
        if !Box::pin(self.ask(wanted, &asked)).await {
            give_back(wanted, &asked, wanted.len());
            return refused(wanted, Instant::now());
        }
        Verdict { allowed: true, standings: standings_of(wanted, now) }
    }

    /// Ask Redis for one of each of `asked`: false when one of them has no room. Without an answer there is room.
    async fn ask(&self, wanted: &[(Window, u32)], asked: &[usize]) -> bool {
        let those = || asked.iter().filter_map(|idx| wanted.get(*idx));
        let mut call = script::Call::new(self.per);
        for (window, max) in those() {
            call.add(window.slot(), 1, *max);
        }
        metrics::counter!("madbase_rate_limit_questions_total").increment(1);
        call.run(&self.redis).await
    }
}

/// The first `count` that did not ask have counted what is refused now.
fn give_back(wanted: &[(Window, u32)], asked: &[usize], count: usize) {
    for (idx, (window, _)) in wanted.iter().enumerate().take(count) {
        if !asked.contains(&idx) {
            window.slot().give_back();
        }
    }
}

fn refused(wanted: &[(Window, u32)], now: Instant) -> Verdict {
    Verdict { allowed: false, standings: standings_of(wanted, now) }
}

fn standings_of(wanted: &[(Window, u32)], now: Instant) -> Vec<Standing> {
    wanted.iter().map(|(window, max)| window.slot().standing(*max, now)).collect()
}
