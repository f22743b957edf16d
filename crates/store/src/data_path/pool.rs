//! The pool of one project: takes jobs, opens connections when jobs wait, answers jobs that waited too long.
//!
//! What goes where is [`Roster`]'s decision; this file adds the lock, the tasks and the time.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Part;
use super::broken::Broken;
use super::cancel::{Backend, cancel};
use super::connection::Connection;
use super::job::Job;
use super::link;
use super::measures::Measures;
use super::opening;
use super::roster::{DEPTH, Roster};
use crate::socket::{self, Address};
use crate::{Error, PoolSettings};

/// Longest time to make a connection, all hosts tried.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// The data-path connections of one project.
#[derive(Debug)]
pub(super) struct Pool {
    config: Config,
    settings: PoolSettings,
    /// Jobs wait while connecting fails; else they are told at once, for they have somewhere else to go.
    patient: bool,
    state: Mutex<State>,
    /// Cancelled: everything ends now.
    closing: CancellationToken,
    measures: Arc<Measures>,
    /// A job has come while connecting fails.
    hurry: Notify,
    /// Connection tasks that have not ended.
    alive: AtomicUsize,
    /// Whether a task looks after jobs that wait too long.
    watching: AtomicBool,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    /// Why the last attempt to connect failed; `None` after one that succeeded.
    failure: Option<Broken>,
}

impl Pool {
    pub(super) fn new(
        config: Config,
        settings: &PoolSettings,
        part: &Part,
        closing: CancellationToken,
    ) -> Self {
        let replica = part.replica();
        let measures = Arc::new(Measures::new(config.get_dbname().unwrap_or_default(), replica));
        let patient = replica.is_none();
        let state = Mutex::new(State {
            roster: Roster::new(settings.data_connections, spread(&config)),
            failure: None,
        });
        let (alive, watching) = (AtomicUsize::new(0), AtomicBool::new(false));
        let hurry = Notify::new();
        let settings = settings.clone();
        Self { config, settings, patient, state, closing, measures, hurry, alive, watching }
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub(super) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// How long a connection may have nothing to do.
    pub(super) fn idle_limit(&self) -> Duration {
        self.settings.idle_timeout
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take `job`: its caller is answered in any case, and in bounded time as long as it waits.
    pub(super) fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        if state.roster.is_draining() {
            drop(state);
            return job.answer(Err(closed()));
        }
        let Some(job) = state.roster.place(job, Instant::now()) else {
            // At the end its connection refuses it.
            return self.tell(&state.roster);
        };
        if self.closing.is_cancelled() {
            drop(state);
            return job.answer(Err(closed()));
        }
        self.measures.waits.increment(1);
        if let Some(job) = state.roster.wait(job) {
            drop(state);
            self.measures.timeouts.increment(1);
            return job.answer(Err(Error::PoolTimeout));
        }
        self.open_more(&mut state);
        if state.failure.is_some() {
            self.hurry.notify_waiters();
        }
        drop(state);
        self.watch();
    }

    /// A job that its connection could not answer: it may go to another one.
    pub(super) fn submit_again(self: &Arc<Self>, mut job: Job) {
        if self.closing.is_cancelled() {
            return job.answer(Err(closed()));
        }
        let now = Instant::now();
        job.waiting_since = now;
        let mut state = self.state();
        if let Some(job) = state.roster.place(job, now) {
            state.roster.wait_first(job);
            self.open_more(&mut state);
            drop(state);
            self.watch();
        }
    }

    /// Connection `id` has done `done` jobs: its next ones into `jobs`.
    pub(super) fn settle(&self, id: u64, done: usize, jobs: &mut Vec<Job>) {
        let now = Instant::now();
        let mut state = self.state();
        state.roster.settle(id, done, now, jobs);
        self.tell(&state.roster);
        drop(state);
        self.count_waits(jobs, now);
    }

    fn count_waits(&self, jobs: &[Job], now: Instant) {
        jobs.iter().for_each(|it| self.measures.waited(now.duration_since(it.waiting_since)));
    }

    /// Connection `id` takes no more jobs.
    pub(super) fn remove(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        state.roster.remove(id);
        if !self.closing.is_cancelled() {
            self.open_more(&mut state);
        }
        self.tell(&state.roster);
    }

    /// Cancel what `backend` does, in the background.
    pub(super) fn cancel(self: &Arc<Self>, backend: Backend) {
        self.measures.cancels.increment(1);
        let pool = Arc::clone(self);
        tokio::spawn(async move { cancel(&backend, &pool.config).await });
    }

    /// End connection `id` if it had nothing to do for long.
    pub(super) fn retire(&self, id: u64) {
        self.state().roster.retire(id, self.idle_limit(), Instant::now());
    }

    /// End connections that have nothing to do: when one breaks, for the others may be dead as well without having said so,
    /// and making them anew costs less than sending a job into nowhere; and when another project lacks one.
    pub(super) fn end_idle(&self) {
        self.state().roster.end_idle();
    }

    /// Refuse new jobs; connections end when they have nothing to do.
    pub(super) fn drain(&self) {
        self.state().roster.drain();
    }

    /// Connections open or being opened.
    pub(super) fn open_count(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    fn tell(&self, roster: &Roster) {
        let number = |it: usize| f64::from(u32::try_from(it).unwrap_or(u32::MAX));
        self.measures.connections.set(number(roster.open_count()));
        self.measures.in_use.set(number(roster.busy_count()));
    }

    /// Start as many connections as waiting jobs ask for.
    fn open_more(self: &Arc<Self>, state: &mut State) {
        for _ in 0..state.roster.openings(state.failure.is_some()) {
            let alive = Alive::new(Arc::clone(self));
            tokio::spawn(async move {
                if let Some(connection) = opening::open(&alive.0).await {
                    alive.0.work(connection).await;
                }
            });
        }
    }

    /// One attempt to connect.
    pub(super) async fn connect(&self) -> Result<Connection, Broken> {
        let statements = self.settings.statements_per_connection;
        let spool = self.settings.spool.clone();
        let opening = Connection::open(&self.config, statements, Arc::clone(&self.measures), spool);
        tokio::select! {
            () = self.closing.cancelled() => Err(Broken::Closed),
            it = tokio::time::timeout(OPEN_TIMEOUT, opening) => it.unwrap_or(Err(Broken::TimedOut)),
        }
    }

    /// A job has come while connecting fails.
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// An attempt failed: whether it was this task's last one. One task at a time keeps trying.
    pub(super) fn gives_up(&self, broken: &Broken) -> bool {
        let mut state = self.state();
        let first = state.failure.replace(broken.clone()).is_none();
        let permanent = broken.is_permanent() || !self.patient;
        let hopeless = permanent && state.roster.open_count() == 0;
        let given_up = if hopeless { state.roster.take_waiting() } else { Vec::new() };
        let last = permanent || state.roster.opening > 1 || state.roster.waiting_count() == 0;
        if last {
            state.roster.opening = state.roster.opening.saturating_sub(1);
        }
        drop(state);
        if first {
            tracing::warn!(database = self.config.get_dbname(), error = %broken, "cannot connect");
        }
        for job in given_up {
            job.answer(Err(Error::Connect(broken.clone().into())));
        }
        last
    }

    /// Serve jobs on `connection` until it ends.
    async fn work(self: &Arc<Self>, connection: Connection) {
        let (sender, receiver) = mpsc::channel(DEPTH);
        let mut jobs = Vec::with_capacity(DEPTH);
        let now = Instant::now();
        let id = {
            let mut state = self.state();
            state.failure = None;
            let id = state.roster.admit(sender, now, &mut jobs);
            self.open_more(&mut state);
            self.tell(&state.roster);
            id
        };
        self.count_waits(&jobs, now);
        link::run(self, id, connection, receiver, jobs).await;
    }

    /// See to it that waiting jobs are answered in time.
    fn watch(self: &Arc<Self>) {
        if self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(next) = pool.expire() {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = pool.closing.cancelled() => return pool.refuse_waiting(),
                }
            }
        });
    }

    /// Answer jobs that waited too long; when to look again.
    fn expire(&self) -> Option<Instant> {
        let mut state = self.state();
        let (late, next) = state.roster.expire(self.settings.acquire_timeout, Instant::now());
        let failure = state.failure.clone().filter(|_| state.roster.open_count() == 0);
        if next.is_none() {
            // Under the lock: a job that comes to wait from now on starts another watch.
            self.watching.store(false, Ordering::Release);
        }
        drop(state);
        for job in late {
            self.measures.timeouts.increment(1);
            let error = failure.clone().map_or(Error::PoolTimeout, |it| Error::Connect(it.into()));
            job.answer(Err(error));
        }
        next
    }

    fn refuse_waiting(&self) {
        let waiting = self.state().roster.take_waiting();
        waiting.into_iter().for_each(|it| it.answer(Err(closed())));
    }
}

/// How many connections keep the server's processors busy: known where they are also ours.
fn spread(config: &Config) -> usize {
    let is_local = |it: &Address| match it {
        Address::Unix(_) => true,
        Address::Tcp(host, _) => host == "localhost" || host.parse().is_ok_and(|it: IpAddr| it.is_loopback()),
    };
    if socket::addresses(config).iter().all(is_local) {
        std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
    } else {
        usize::MAX
    }
}

/// Counts a connection's task, however it ends.
struct Alive(Arc<Pool>);

impl Alive {
    fn new(pool: Arc<Pool>) -> Self {
        pool.alive.fetch_add(1, Ordering::AcqRel);
        Self(pool)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

fn closed() -> Error {
    Error::Connect(Broken::Closed.into())
}
