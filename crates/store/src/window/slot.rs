//! One key's counter in this process: what Redis last said, what it was not told yet, and the process's own count.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::Standing;

/// What part of a limit may be admitted without being told.
const UNTOLD_PART: u32 = 32;
/// The shortest refusal: who waits as `Retry-After` says (whole seconds) is not asked about meanwhile.
const SHORTEST_REFUSAL: Duration = Duration::from_secs(1);

type Own = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

#[derive(Debug)]
pub(super) struct Slot {
    name: Box<str>,
    /// Whether it may refuse: all cores read that, and it seldom changes.
    strained: Strained,
    state: Mutex<State>,
}

/// By itself in what caches hand over together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Strained(AtomicBool);

#[derive(Debug, Default)]
struct State {
    /// The process's own count, and for which limit.
    own: Option<(u32, Own)>,
    /// How many it has left, when Redis does not say.
    own_left: u32,
    /// What all processes together had used, when Redis was asked last.
    used: Option<(u64, Instant)>,
    /// Admitted and not told.
    untold: u32,
    /// Being told right now.
    telling: u32,
    /// Whether somebody will tell what is untold.
    queued: bool,
    refused_until: Option<Instant>,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Counted, and how it stands now. `first` of those that are untold: somebody must see to it that they are told.
    Taken { first: bool, standing: Standing },
    /// Near the limit: Redis must say.
    Ask,
    /// No room.
    Refused,
}

impl Slot {
    pub(super) fn new(name: String) -> Self {
        Self { name: name.into(), strained: Strained::default(), state: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may refuse without being asked; costs nothing.
    pub(super) fn is_strained(&self) -> bool {
        self.strained.0.load(Relaxed)
    }

    /// For how long it refuses without being asked.
    pub(super) fn refuses(&self, now: Instant) -> Option<Duration> {
        if !self.is_strained() {
            return None;
        }
        let state = self.state();
        let wait = state.refuses(now);
        if wait.is_none() {
            self.strained.0.store(false, Relaxed);
        }
        wait
    }

    /// It refuses until then.
    fn refuse(&self, state: &mut State, until: Instant) {
        state.refused_until = Some(until);
        self.strained.0.store(true, Relaxed);
    }

    /// Count one of at most `max` in `per`, if that can be decided here. `shared` while Redis is there.
    pub(super) fn reserve(&self, max: u32, per: Duration, shared: bool, now: Instant) -> Step {
        let mut state = self.state();
        if let Err(wait) = state.take_own(max, per) {
            self.refuse(&mut state, now + wait.max(SHORTEST_REFUSAL));
            return Step::Refused;
        }
        if !shared {
            state.used = None;
            return Step::Taken { first: false, standing: state.standing(max, now) };
        }
        let slack = max / UNTOLD_PART;
        let unsure = state.untold + state.telling;
        let used = state.used.filter(|(_, at)| now.duration_since(*at) < per).map_or(0, |(it, _)| it);
        if unsure >= slack || used + u64::from(unsure) + u64::from(slack) >= u64::from(max) {
            return Step::Ask;
        }
        state.untold += 1;
        let first = !std::mem::replace(&mut state.queued, true);
        Step::Taken { first, standing: state.standing(max, now) }
    }

    /// What was counted here was refused elsewhere.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        state.untold = state.untold.saturating_sub(1);
    }

    /// What is untold, which the caller tells now and answers for by [`Slot::told`].
    pub(super) fn tell(&self) -> u32 {
        let mut state = self.state();
        let untold = std::mem::take(&mut state.untold);
        state.telling += untold;
        untold
    }

    /// As [`Slot::tell`], by whoever was to see to it.
    pub(super) fn tell_queued(&self) -> u32 {
        self.state().queued = false;
        self.tell()
    }

    /// `count` were told, and what Redis answered: how many are used, and for how long it refuses more.
    pub(super) fn told(&self, count: u32, answer: Option<(u64, Duration)>, now: Instant) {
        let mut state = self.state();
        state.telling = state.telling.saturating_sub(count);
        let Some((used, wait)) = answer else { return };
        state.used = Some((used, now));
        if !wait.is_zero() {
            self.refuse(&mut state, now + wait.max(SHORTEST_REFUSAL));
        }
    }

    pub(super) fn standing(&self, max: u32, now: Instant) -> Standing {
        self.state().standing(max, now)
    }
}

impl State {
    fn refuses(&self, now: Instant) -> Option<Duration> {
        self.refused_until.and_then(|it| it.checked_duration_since(now)).filter(|it| !it.is_zero())
    }

    fn standing(&self, max: u32, now: Instant) -> Standing {
        let wait = self.refuses(now).unwrap_or_default();
        let left = match self.used {
            _ if !wait.is_zero() => 0,
            Some((used, _)) => {
                let used = used + u64::from(self.untold + self.telling);
                u32::try_from(u64::from(max).saturating_sub(used)).unwrap_or(u32::MAX)
            }
            None => self.own_left,
        };
        Standing { max, left, wait }
    }

    /// Count for this process alone; the time to wait when it has used its limit up.
    fn take_own(&mut self, max: u32, per: Duration) -> Result<(), Duration> {
        let Some(most) = NonZeroU32::new(max) else { return Err(per) };
        if self.own.as_ref().is_none_or(|(it, _)| *it != max) {
            let quota = Quota::with_period((per / max).max(Duration::from_nanos(1)));
            let Some(quota) = quota else { return Ok(()) };
            let own = RateLimiter::direct(quota.allow_burst(most));
            self.own = Some((max, own.with_middleware::<StateInformationMiddleware>()));
        }
        let Some((_, own)) = &self.own else { return Ok(()) };
        match own.check() {
            Ok(snapshot) => {
                self.own_left = snapshot.remaining_burst_capacity();
                Ok(())
            }
            Err(refused) => Err(refused.wait_time_from(own.clock().now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER: Duration = Duration::from_secs(60);

    fn taken(slot: &Slot, max: u32, shared: bool) -> u32 {
        let now = Instant::now();
        let attempts = if shared { 20 } else { 1000 };
        let taken =
            (0..attempts).filter(|_| matches!(slot.reserve(max, PER, shared, now), Step::Taken { .. }));
        u32::try_from(taken.count()).unwrap()
    }

    #[test]
    fn a_thirty_second_of_the_limit_stays_untold_and_less_near_it() {
        let slot = Slot::new("x".into());
        assert_eq!(taken(&slot, 320, true), 10);
        assert_eq!(slot.tell(), 10);
        assert_eq!(taken(&slot, 320, true), 0, "what is being told is not known yet");
        slot.told(10, Some((10, Duration::ZERO)), Instant::now());
        assert_eq!(taken(&slot, 320, true), 10);
        let told = slot.tell();
        slot.told(told, Some((310, Duration::ZERO)), Instant::now());
        assert_eq!(taken(&slot, 320, true), 0, "near the limit Redis must say");
        assert_eq!(taken(&Slot::new("y".into()), 31, true), 0, "small limits are exact");
    }

    #[test]
    fn alone_it_counts_for_itself_and_goes_on_with_what_was_counted_before() {
        assert_eq!(taken(&Slot::new("x".into()), 100, false), 100);
        let slot = Slot::new("y".into());
        for _ in 0..100 {
            let _ = slot.reserve(100, PER, true, Instant::now());
        }
        assert_eq!(taken(&slot, 100, false), 0, "an outage hands out no second burst");
        assert!(slot.refuses(Instant::now()).is_some());
        assert_eq!(taken(&Slot::new("z".into()), 0, false), 0);
    }

    #[test]
    fn the_first_untold_one_is_queued_once() {
        let slot = Slot::new("x".into());
        let now = Instant::now();
        let is_first = || matches!(slot.reserve(320, PER, true, now), Step::Taken { first: true, .. });
        assert_eq!((is_first(), is_first()), (true, false));
        slot.give_back();
        assert_eq!(slot.tell_queued(), 1);
        slot.told(1, None, now);
        assert!(is_first());
    }
}
