//! One worker: how it stands, what it has to do, and the connections to it that rest.
//!
//! Two things are known about it. Its *standing* comes from its own `/ready`, from the list that names it and from failed
//! connections. Its *suspension* comes from requests: who loses them, or answers several in a row with 502, 503 or 504,
//! gets none for a while, and for twice as long the next time.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use store::{Here, PerCore};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lane::Lane;
use super::measures::Measures;
use super::upload::{Fault, Upload};
use super::{WorkerAddress, WorkerSettings};
use crate::events::{self, Event};

/// How many bad answers in a row suspend a worker.
const MAX_BAD_ANSWERS: u32 = 5;
/// The first suspension; each one after it, without a good answer between them, is twice as long.
const FIRST_SUSPENSION: Duration = Duration::from_millis(500);
const LONGEST_SUSPENSION: Duration = Duration::from_secs(30);
/// Between two times at which an answer alone makes a worker wait for its check.
const DOUBT_EVERY_MS: u64 = 1000;
/// A request that is given up unanswered after this time counts as a bad answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a worker says about itself, or what its silence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// It takes requests.
    Ready,
    /// It answers, and says that it cannot work.
    Unready,
    /// It stops: no new requests.
    Draining,
    /// It cannot be reached.
    Gone,
}

impl Standing {
    fn of(number: u8) -> Self {
        let all = [Self::Ready, Self::Unready, Self::Draining];
        all.into_iter().find(|it| *it as u8 == number).unwrap_or(Self::Gone)
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// How gladly a request is given to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    Good,
    /// Suspended, or not ready by its own words: only when there is no better one.
    Poor,
    None,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) address: WorkerAddress,
    pub(super) measures: Measures,
    /// Cancelled when it leaves the list.
    pub(super) removed: CancellationToken,
    /// Makes the checker look at once.
    pub(super) look: Notify,
    /// Told when a request may find it fit again.
    changed: Arc<Notify>,
    told_draining: AtomicBool,
    standing: AtomicU8,
    outstanding: AtomicUsize,
    bad_answers: AtomicU32,
    suspensions: AtomicU32,
    /// Milliseconds after `began`.
    suspended_until_ms: AtomicU64,
    /// When it was last doubted; 0 for never.
    doubted_ms: AtomicU64,
    began: Instant,
    slots: Semaphore,
    /// By the core whose runtime waits for them: no other one uses them.
    resting: PerCore<Mutex<Vec<Lane>>>,
    /// Requests that it was chosen for.
    picks: PerCore<AtomicU64>,
    /// What the metrics were told: of the picks, and of what was outstanding then.
    told: (AtomicU64, AtomicUsize),
    max_connections: usize,
}

impl Worker {
    pub(super) fn new(address: WorkerAddress, settings: &WorkerSettings, changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            measures: Measures::new(&address.id),
            removed: CancellationToken::new(),
            look: Notify::new(),
            changed,
            told_draining: AtomicBool::new(address.draining),
            standing: AtomicU8::new(Standing::Ready as u8),
            outstanding: AtomicUsize::new(0),
            bad_answers: AtomicU32::new(0),
            suspensions: AtomicU32::new(0),
            suspended_until_ms: AtomicU64::new(0),
            doubted_ms: AtomicU64::new(0),
            began: Instant::now(),
            slots: Semaphore::new(settings.max_connections),
            resting: PerCore::default(),
            picks: PerCore::default(),
            told: Default::default(),
            max_connections: settings.max_connections,
            address,
        })
    }

    pub(super) fn standing(&self) -> Standing {
        if self.told_draining.load(Relaxed) {
            return Standing::Draining;
        }
        Standing::of(self.standing.load(Relaxed))
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    pub(super) fn fitness(&self) -> Fitness {
        match self.standing() {
            Standing::Ready if !self.is_suspended() => Fitness::Good,
            Standing::Ready | Standing::Unready => Fitness::Poor,
            Standing::Draining | Standing::Gone => Fitness::None,
        }
    }

    fn is_suspended(&self) -> bool {
        let until = self.suspended_until_ms.load(Relaxed);
        until > 0 && self.now_ms() < until
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The list says whether it is about to stop.
    pub(super) fn tell_draining(&self, draining: bool) {
        if self.told_draining.swap(draining, Relaxed) && !draining {
            self.changed.notify_waiters();
        }
    }

    /// What a check, an answer or a failed connection says.
    pub(super) fn stand(&self, standing: Standing) {
        let before = Standing::of(self.standing.swap(standing as u8, Relaxed));
        if before == standing {
            return;
        }
        events::emit(Event::WorkerStands { worker: &self.address.id, standing: standing.label() });
        match standing {
            Standing::Ready | Standing::Unready => self.changed.notify_waiters(),
            Standing::Draining | Standing::Gone => {
                self.look.notify_one();
                if standing == Standing::Gone {
                    self.close();
                }
            }
        }
    }

    /// An answer says that its connection ends, as a worker's answers do once it is told to stop. Until its `/ready` has
    /// been asked it gets nothing; once a second at most, so that no single request can keep it idle.
    pub(super) fn doubt(&self) {
        let (now, last) = (self.now_ms(), self.doubted_ms.load(Relaxed));
        if last == 0 || now.saturating_sub(last) >= DOUBT_EVERY_MS {
            self.doubted_ms.store(now.max(1), Relaxed);
            self.stand(Standing::Draining);
        }
    }

    /// The head of an answer came.
    pub(super) fn answered(&self, status: StatusCode) {
        let bad = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        if bad.contains(&status) {
            self.bad_answer();
        } else if self.bad_answers.load(Relaxed) > 0 || self.suspensions.load(Relaxed) > 0 {
            self.bad_answers.store(0, Relaxed);
            self.suspensions.store(0, Relaxed);
        }
    }

    fn bad_answer(&self) {
        if self.bad_answers.fetch_add(1, Relaxed) + 1 >= MAX_BAD_ANSWERS {
            self.suspend("bad_answers");
        }
    }

    /// Give it no requests for a while.
    pub(super) fn suspend(&self, reason: &'static str) {
        if self.is_suspended() {
            return;
        }
        self.bad_answers.store(0, Relaxed);
        let times = self.suspensions.fetch_add(1, Relaxed).min(16);
        let length = FIRST_SUSPENSION.saturating_mul(1 << times).min(LONGEST_SUSPENSION);
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.suspended_until_ms.store(self.now_ms() + length_ms, Relaxed);
        self.measures.ejections.increment(1);
        events::emit(Event::WorkerSuspended { worker: &self.address.id, reason, length });
        self.look.notify_one();
    }

    /// Count a request as this worker's from `now` on, before it has a connection.
    pub(super) fn take_turn(self: &Arc<Self>, now: Instant) -> Turn {
        self.outstanding.fetch_add(1, Relaxed);
        self.picks.here().fetch_add(1, Relaxed);
        Turn { worker: Arc::clone(self), has_slot: false, since: Some(now), upload: None }
    }

    /// As a turn, without counting as a choice: for checks.
    pub(super) fn visit(self: &Arc<Self>) -> Turn {
        self.outstanding.fetch_add(1, Relaxed);
        Turn { worker: Arc::clone(self), has_slot: false, since: None, upload: None }
    }

    /// Tell the metrics how it stands, by what has changed: others of its name may come before and after it. Now and then,
    /// for all cores would write there with each request.
    pub(super) fn tell(&self) {
        let (told_picks, told_outstanding) = &self.told;
        let picks: u64 = self.picks.all().map(|it| it.load(Relaxed)).sum();
        self.measures.picks.increment(picks.saturating_sub(told_picks.fetch_max(picks, Relaxed)));
        let outstanding = self.outstanding();
        let before = told_outstanding.swap(outstanding, Relaxed);
        let count = |it: usize| f64::from(u32::try_from(it).unwrap_or(u32::MAX));
        self.measures.outstanding.increment(count(outstanding) - count(before));
    }

    /// The connection that rested last here, if there is one.
    pub(super) fn resting(&self) -> Option<Lane> {
        let here = Here::now();
        let mut resting = self.shelf(here);
        // Nearly always the last one: more cores than shelves share some.
        let at = resting.iter().rposition(|it| it.home == here)?;
        Some(resting.swap_remove(at))
    }

    /// Close connections that rest elsewhere, as many as would be too many with a new one.
    pub(super) fn make_room(&self) {
        // First: one that comes to rest meanwhile counts twice, and not never.
        let outstanding = self.outstanding();
        let shelves = || self.resting.all().map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        let rest: usize = shelves().map(|it| it.len()).sum();
        for _ in 0..(outstanding + rest).saturating_sub(self.max_connections) {
            let fullest = self.resting.all().max_by_key(|it| it.lock().map_or(0, |it| it.len()));
            let _closed = fullest.and_then(|it| it.lock().unwrap_or_else(PoisonError::into_inner).pop());
        }
    }

    /// Let a free connection rest.
    pub(super) fn keep(&self, mut lane: Lane) {
        if self.removed.is_cancelled() || self.standing() == Standing::Gone {
            return;
        }
        lane.rest();
        self.shelf(lane.home).push(lane);
    }

    /// Close connections that have rested for `limit`, and those that the worker has closed.
    pub(super) fn tidy(&self, limit: Duration) {
        // A draining worker gets nothing new, and waits for its connections to close.
        if matches!(self.standing(), Standing::Gone | Standing::Draining) || self.removed.is_cancelled() {
            return self.close();
        }
        self.close_all_but(|it| it.rested.elapsed() < limit && !it.is_stale());
    }

    /// Close all resting connections.
    pub(super) fn close(&self) {
        self.close_all_but(|_| false);
    }

    fn close_all_but(&self, mut stays: impl FnMut(&mut Lane) -> bool) {
        for shelf in self.resting.all() {
            let mut resting = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            resting.retain_mut(&mut stays);
        }
    }

    fn shelf(&self, home: Here) -> MutexGuard<'_, Vec<Lane>> {
        self.resting.of(home).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is a worker's to answer; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    worker: Arc<Worker>,
    /// Whether it holds one of the worker's slots.
    has_slot: bool,
    /// None once its answer began.
    since: Option<Instant>,
    /// The request's body, if it is sent while it comes.
    upload: Option<Arc<Upload>>,
}

impl Turn {
    pub(super) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Wait until the worker may have one more connection; at once as a rule.
    pub(super) async fn wait(&mut self, deadline: Instant) -> bool {
        let slots = &self.worker.slots;
        let slot = match slots.try_acquire() {
            Ok(slot) => Some(slot),
            Err(_none_free) => {
                let waiting = Box::pin(tokio::time::timeout_at(deadline, slots.acquire()));
                waiting.await.ok().and_then(Result::ok)
            }
        };
        // Given back with the turn: a permit of its own would count references to all slots.
        self.has_slot = slot.map(SemaphorePermit::forget).is_some();
        self.has_slot
    }

    /// The request's body is `upload`: the worker's silence begins when it has all that came.
    pub(super) fn carry(&mut self, upload: Option<&Arc<Upload>>) {
        self.upload = upload.cloned();
    }

    /// What the client did wrong, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.upload.as_ref()?.fault()
    }

    /// Since when the worker, and not the client, has let the other wait.
    fn silent_since(&self) -> Option<Instant> {
        let since = self.since?;
        match &self.upload {
            Some(upload) => Some(upload.complete_since()?.max(since)),
            None => Some(since),
        }
    }

    /// How long the worker has had it.
    pub(super) fn took(&self) -> Duration {
        self.since.map(|it| it.elapsed()).unwrap_or_default()
    }

    /// The answer began, or nothing was sent: that the request ends now says nothing about the worker.
    pub(super) fn settle(&mut self) {
        self.since = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.has_slot {
            self.worker.slots.add_permits(1);
        }
        self.worker.outstanding.fetch_sub(1, Relaxed);
        if self.worker.removed.is_cancelled() {
            // Nobody else tells it any more.
            self.worker.tell();
        }
        if self.silent_since().is_some_and(|it| it.elapsed() >= PATIENCE) {
            self.worker.bad_answer();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn worker() -> Arc<Worker> {
        let address = "http://10.0.0.1:80".parse().unwrap();
        Worker::new(address, &WorkerSettings::default(), Arc::default())
    }

    #[test]
    fn metrics_go_on_when_a_worker_comes_back() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            for _ in 0..2 {
                let worker = worker();
                let turns: Vec<_> = (0..3).map(|_| worker.take_turn(Instant::now())).collect();
                worker.tell();
                worker.removed.cancel();
                worker.tell();
                assert!(
                    handle.render().contains("madbase_worker_outstanding_requests{worker=\"10.0.0.1:80\"} 3")
                );
                drop(turns);
            }
        });
        let text = handle.render();
        assert!(text.contains("madbase_worker_outstanding_requests{worker=\"10.0.0.1:80\"} 0"), "{text}");
        assert!(text.contains("madbase_worker_picks_total{worker=\"10.0.0.1:80\"} 6"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn suspensions_grow_until_a_good_answer() {
        let worker = worker();
        for secs in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            assert_eq!(worker.fitness(), Fitness::Good);
            worker.suspend("lost");
            worker.suspend("lost");
            assert_eq!(worker.fitness(), Fitness::Poor);
            advance(Duration::from_secs_f64(secs) - Duration::from_millis(1)).await;
            assert_eq!(worker.fitness(), Fitness::Poor, "{secs} s");
            advance(Duration::from_millis(1)).await;
        }
        worker.answered(StatusCode::OK);
        worker.suspend("lost");
        advance(FIRST_SUSPENSION).await;
        assert_eq!(worker.fitness(), Fitness::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn only_bad_answers_in_a_row_suspend() {
        let worker = worker();
        for _ in 0..3 {
            (1..MAX_BAD_ANSWERS).for_each(|_| worker.answered(StatusCode::BAD_GATEWAY));
            assert_eq!(worker.fitness(), Fitness::Good);
            worker.answered(StatusCode::NOT_FOUND);
        }
        (0..MAX_BAD_ANSWERS).for_each(|_| worker.answered(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(worker.fitness(), Fitness::Poor);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_given_up_counts_if_it_had_time() {
        let worker = worker();
        let give_up = async |turn: Turn, after| {
            advance(after).await;
            drop(turn);
        };
        for _ in 0..20 {
            give_up(worker.take_turn(Instant::now()), Duration::from_secs(1)).await;
        }
        let mut begun = worker.take_turn(Instant::now());
        begun.settle();
        give_up(begun, PATIENCE).await;
        assert_eq!((worker.fitness(), worker.outstanding()), (Fitness::Good, 0));
        for _ in 0..MAX_BAD_ANSWERS {
            give_up(worker.take_turn(Instant::now()), PATIENCE).await;
        }
        assert_eq!(worker.fitness(), Fitness::Poor);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_do_not_count_against_a_worker_and_its_own_silence_does() {
        let worker = worker();
        let give_up = async |owed| {
            let (mut turn, upload) = (worker.take_turn(Instant::now()), Upload::new());
            turn.carry(Some(&upload));
            if owed {
                upload.wait();
            }
            advance(PATIENCE).await;
        };
        for _ in 0..20 {
            give_up(true).await;
        }
        assert_eq!(worker.fitness(), Fitness::Good);
        for _ in 0..MAX_BAD_ANSWERS {
            give_up(false).await;
        }
        assert_eq!(worker.fitness(), Fitness::Poor);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_after_the_other_cannot_keep_a_worker_idle() {
        let worker = worker();
        worker.doubt();
        assert_eq!(worker.standing(), Standing::Draining);
        worker.stand(Standing::Ready);
        worker.doubt();
        assert_eq!(worker.standing(), Standing::Ready);
        advance(Duration::from_millis(DOUBT_EVERY_MS + 1)).await;
        worker.doubt();
        assert_eq!(worker.standing(), Standing::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_s_word_stands_above_the_worker_s() {
        let worker = worker();
        worker.tell_draining(true);
        worker.stand(Standing::Ready);
        assert_eq!(worker.fitness(), Fitness::None);
        worker.tell_draining(false);
        assert_eq!(worker.fitness(), Fitness::Good);
        for (standing, fitness) in [
            (Standing::Unready, Fitness::Poor),
            (Standing::Draining, Fitness::None),
            (Standing::Gone, Fitness::None),
        ] {
            worker.stand(standing);
            assert_eq!((worker.standing(), worker.fitness()), (standing, fitness));
        }
    }
}
