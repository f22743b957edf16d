//! Requests that other processes answer: a set of workers, the choice among them, and what happens when one fails.
//!
//! A request goes to the worker with the fewest unanswered requests. It moves on to another one when nothing of it was
//! sent yet, or when it is safe to repeat and the answer never began; else the client hears 502. While no worker takes
//! requests it waits, for [`WorkerSettings::wait`] at most, and hears 503 then. Bodies pass as they come, both ways, but for
//! small ones of requests: those are complete before a worker is asked (`upload.rs`).
//!
//! Who the workers are is told by [`Workers::set`] or [`Workers::follow`]; how they are is found out by asking their
//! `/ready` and from what becomes of requests (`worker.rs`).

mod address;
mod answer;
mod check;
mod head;
mod lane;
mod measures;
mod outgoing;
mod transport;
mod tunnel;
mod upload;
mod wire;
mod worker;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use futures_util::{Stream, StreamExt as _};
use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use store::PerCore;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::ClientConfig;

use self::lane::{Exchange, Lane};
use self::outgoing::Outgoing;
use self::upload::Fault;
use self::wire::AnswerHead;
use self::worker::{Fitness, Standing, Turn, Worker};
use crate::Error;
use crate::events::{self, Event};
use crate::traced;

pub use self::address::{WorkerAddress, WorkerUrlError};
pub(crate) use self::head::{Passage, drop_named};
pub(crate) use self::tunnel::Tunnel;

/// A connection that was closed before a request came to it says so at once. What closes later was lost with the request.
const SOON: Duration = Duration::from_secs(1);

/// How workers are used.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Connections to one worker, and so requests at once; more wait. Websockets do not count. Default 256, a quarter of what a worker accepts.
    pub max_connections: usize,
    /// From the first packet to a connection that can be used, TLS included. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a request waits for a worker that takes it. Default 5 s.
    pub wait: Duration,
    /// How long a client may let us wait for its next bytes (4 KiB, or the rest). Default 10 s.
    pub body_timeout: Duration,
    /// How often a request that is safe to repeat is sent again after its worker, or the connection to it, was lost.
    /// Default 2.
    pub max_repeats: usize,
    /// Between two checks of a worker that is well; one that is not is asked more often. Default 1 s.
    pub check_every: Duration,
    /// How long a check may take. Default 1 s.
    pub check_timeout: Duration,
    /// How long an unused connection is kept; less than the worker's own idle timeout. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a websocket may be silent in both directions. Default 2 min.
    pub tunnel_idle_timeout: Duration,
    /// How encrypted workers are reached; without it they are not.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            max_connections: 256,
            connect_timeout: Duration::from_secs(1),
            wait: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            max_repeats: 2,
            check_every: Duration::from_secs(1),
            check_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(120),
            tls: None,
        }
    }
}

/// The workers behind a gateway. Cheap to clone; the last one dropped ends the checks.
#[derive(Debug, Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<WorkerSettings>,
    /// Replaced as a whole.
    set: ArcSwap<Vec<Arc<Worker>>>,
    /// Held by who replaces it.
    setting: Mutex<()>,
    /// A worker may be fit that was not, or is new.
    changed: Arc<Notify>,
    picks: PerCore<AtomicU64>,
    /// Proxies of one cluster begin with different workers.
    first: u64,
}

/// How one worker stands, for status pages and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStanding {
    /// Its id.
    pub id: String,
    /// `ready`, `unready`, `draining` or `gone`.
    pub standing: &'static str,
    /// Requests that it has not answered to their end.
    pub outstanding: usize,
}

/// Why an attempt brought no answer.
enum Setback {
    /// Nothing was sent.
    Unsent,
    /// Sent by a connection that was closed, perhaps before it came.
    Stale,
    /// The worker was busy all the time.
    Busy,
    /// Sent, and no answer.
    Lost(Arc<Worker>),
    /// The client's own body failed, or the answer cannot be passed on.
    Abandoned(Error),
}

impl Workers {
    /// A set without workers.
    #[must_use]
    pub fn new(settings: WorkerSettings) -> Self {
        let shared = Shared {
            settings: Arc::new(settings),
            set: ArcSwap::default(),
            setting: Mutex::default(),
            changed: Arc::default(),
            picks: PerCore::default(),
            first: RandomState::new().hash_one(()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// These are the workers from now on. Those that stay keep their connections; those that go get no new requests and
    /// finish what they have. Must be called on a runtime, which the checks run on.
    pub fn set(&self, list: Vec<WorkerAddress>) {
        let _one_by_one = self.shared.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.shared.set.load();
        let mut next = Vec::with_capacity(list.len());
        for address in list {
            if next.iter().any(|it: &Arc<Worker>| it.address.is_same(&address)) {
                continue;
            }
            let known = set.iter().find(|it| it.address.is_same(&address));
            next.push(match known {
                Some(known) => {
                    known.tell_draining(address.draining);
                    Arc::clone(known)
                }
                None => self.begin(address),
            });
        }
        for gone in set.iter().filter(|it| !next.iter().any(|kept| Arc::ptr_eq(kept, it))) {
            events::emit(Event::WorkerRemoved { worker: &gone.address.id });
            gone.removed.cancel();
        }
        self.shared.set.store(Arc::new(next));
        self.shared.changed.notify_waiters();
    }

    /// Replace the set by each of `lists`, as they come, until their end.
    pub async fn follow(self, lists: impl Stream<Item = Vec<WorkerAddress>> + Send) {
        let mut lists = std::pin::pin!(lists);
        while let Some(list) = lists.next().await {
            self.set(list);
        }
    }

    /// How the workers stand now.
    #[must_use]
    pub fn standings(&self) -> Vec<WorkerStanding> {
        let told = |it: &Arc<Worker>| WorkerStanding {
            id: it.address.id.clone(),
            standing: it.standing().label(),
            outstanding: it.outstanding(),
        };
        self.shared.set.load().iter().map(told).collect()
    }

    fn begin(&self, address: WorkerAddress) -> Arc<Worker> {
        events::emit(Event::WorkerAdded { worker: &address.id });
        let worker = Worker::new(address, &self.shared.settings, Arc::clone(&self.shared.changed));
        tokio::spawn(check::watch(Arc::clone(&worker), Arc::clone(&self.shared.settings)));
        worker
    }

    /// The answer of a worker to `request`.
    pub(crate) async fn forward(
        &self,
        mut request: Request<Body>,
        passage: &Passage<'_>,
    ) -> Result<Response<Body>, Error> {
        let Some(span) = traced::forward(&mut request) else { return self.carry(request, passage).await };
        // Rare and large: not part of every request's memory.
        let outcome = Box::pin(trace::within(Some(span.clone()), self.carry(request, passage))).await;
        traced::came_back(span, &outcome);
        outcome
    }

    async fn carry(&self, request: Request<Body>, passage: &Passage<'_>) -> Result<Response<Body>, Error> {
        let settings = &*self.shared.settings;
        let (mut parts, body) = request.into_parts();
        let body = upload::receive(body, settings.body_timeout).await?;
        let upload = body.upload();
        let (mut request, upgrade) = Outgoing::new(&mut parts, body, passage);
        let mut now = Instant::now();
        let mut deadline = now + settings.wait;
        let mut lost: Vec<Arc<Worker>> = Vec::new();
        let (mut dares, mut repeats) = (request.is_repeatable && settings.max_repeats > 0, 0);
        loop {
            let mut turn = self.pick(&lost, (now, deadline)).await?;
            turn.carry(upload.as_ref());
            let setback = match self.attempt(turn, (&mut request, dares), deadline).await {
                Ok((head, lane, turn)) => {
                    trace::tell("madbase.worker", || turn.worker().address.id.clone());
                    return self.pass_on(head, (lane, turn), upgrade);
                }
                Err(setback) => setback,
            };
            now = Instant::now();
            match setback {
                Setback::Unsent if now > deadline => return Err(Error::NoWorker),
                Setback::Unsent => {}
                // Once: a worker that closes its connections whenever it gets this request loses it.
                Setback::Stale if repeats < settings.max_repeats => {
                    (dares, repeats) = (false, repeats + 1);
                    deadline = now + settings.wait;
                }
                Setback::Stale => return Err(Error::WorkerLost),
                Setback::Busy => return Err(Error::NoWorker),
                Setback::Abandoned(error) => return Err(error),
                Setback::Lost(worker) => {
                    if !request.is_repeatable || repeats >= settings.max_repeats {
                        return Err(Error::WorkerLost);
                    }
                    repeats += 1;
                    worker.measures.retries.increment(1);
                    trace::note("a worker was lost with the request");
                    lost.push(worker);
                    deadline = now + settings.wait;
                }
            }
        }
    }

    /// The turn of a worker that takes requests, as soon as there is one.
    async fn pick(&self, lost: &[Arc<Worker>], (now, deadline): (Instant, Instant)) -> Result<Turn, Error> {
        if let Some(turn) = self.choose(lost, now) {
            return Ok(turn);
        }
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if let Some(turn) = self.choose(lost, Instant::now()) {
                return Ok(turn);
            }
            timeout_at(deadline, changed).await.map_err(|_elapsed| Error::NoWorker)?;
        }
    }

    /// The fittest worker, one that has not lost the request already, with the fewest unanswered requests; in turns if
    /// there are several.
    fn choose(&self, lost: &[Arc<Worker>], now: Instant) -> Option<Turn> {
        let set = self.shared.set.load();
        let turn = self.shared.picks.here().fetch_add(1, Ordering::Relaxed).wrapping_add(self.shared.first);
        let from = usize::try_from(turn % (set.len().max(1) as u64)).unwrap_or_default();
        let rank = |it: &Arc<Worker>| {
            (it.fitness(), lost.iter().any(|other| Arc::ptr_eq(other, it)), it.outstanding())
        };
        let round = set.iter().cycle().skip(from).take(set.len());
        let best = round.map(|it| (rank(it), it)).min_by_key(|(rank, _)| *rank)?;
        let ((fitness, ..), worker) = best;
        (fitness != Fitness::None).then(|| worker.take_turn(now))
    }

    async fn attempt(
        &self,
        mut turn: Turn,
        (request, dares): (&mut Outgoing, bool),
        deadline: Instant,
    ) -> Result<(AnswerHead, Lane, Turn), Setback> {
        if !turn.wait(deadline).await {
            turn.settle();
            return Err(Setback::Busy);
        }
        let mut lane = match turn.worker().resting() {
            Some(lane) => lane,
            // Rare and large: not part of every request's memory.
            None => match Box::pin(self.open(&turn)).await {
                Ok(lane) => lane,
                Err(error) => {
                    turn.settle();
                    let worker = turn.worker();
                    events::emit(Event::WorkerUnreachable { worker: &worker.address.id, error: &error });
                    worker.stand(Standing::Gone);
                    worker.measures.retries.increment(1);
                    return Err(Setback::Unsent);
                }
            },
        };
        let exchange = lane.exchange(request, dares).await;
        let soon = matches!(exchange, Exchange::Stale(_)) && turn.took() < SOON;
        turn.settle();
        let worker = turn.worker();
        match exchange {
            Exchange::Answered(head) => {
                worker.answered(head.status);
                if head.says_close {
                    worker.doubt();
                }
                Ok((head, lane, turn))
            }
            Exchange::Unsent => {
                worker.measures.retries.increment(1);
                Err(Setback::Unsent)
            }
            Exchange::Stale(_) if soon => {
                worker.measures.retries.increment(1);
                worker.look.notify_one();
                Err(Setback::Stale)
            }
            Exchange::Broken => Err(Setback::Abandoned(turn.fault().unwrap_or(Fault::Broken).into())),
            // What a project made of its answer says nothing about the worker. It was done, and is not done again.
            Exchange::Malformed(error) => {
                let error = std::io::Error::other(error);
                events::emit(Event::WorkerLost { worker: &worker.address.id, error: &error });
                Err(Setback::Abandoned(Error::WorkerLost))
            }
            Exchange::Lost(error) | Exchange::Stale(error) => {
                if let Some(fault) = turn.fault() {
                    return Err(Setback::Abandoned(fault.into()));
                }
                events::emit(Event::WorkerLost { worker: &worker.address.id, error: &error });
                worker.suspend("lost");
                Err(Setback::Lost(Arc::clone(worker)))
            }
        }
    }

    async fn open(&self, turn: &Turn) -> std::io::Result<Lane> {
        let (worker, settings) = (turn.worker(), &self.shared.settings);
        worker.make_room();
        match timeout(settings.connect_timeout, Lane::open(&worker.address, settings)).await {
            Ok(opened) => opened,
            Err(elapsed) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)),
        }
    }

    fn pass_on(
        &self,
        head: AnswerHead,
        (lane, turn): (Lane, Turn),
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Error> {
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer::pass_on(head, lane, turn));
        }
        let Some((client, ends)) = upgrade.zip(lane.into_transport()) else { return Err(Error::WorkerLost) };
        // It is answered: websockets, which may stay for days, leave the worker's connections to requests.
        drop(turn);
        let tunnel = Tunnel::new(client, ends, self.shared.settings.tunnel_idle_timeout);
        let mut response = head.with(Body::empty());
        response.extensions_mut().insert(tunnel);
        Ok(response)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for worker in self.set.load().iter() {
            worker.removed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout<F: Future>(
        _ask: impl Fn(&'static Workers, Request<Body>, &'static Passage<'static>) -> F,
    ) -> (usize, usize) {
        (size_of::<F>(), align_of::<F>())
    }

    #[test]
    fn a_request_on_its_way_lies_in_ordinary_memory() {
        let (size, align) = layout(Workers::carry);
        // A timer of the runtime in it would ask for 128, which allocators serve by a detour.
        assert!(align <= 16, "{align}");
        assert!(size <= 2 * 1024, "{size}");
    }
}
