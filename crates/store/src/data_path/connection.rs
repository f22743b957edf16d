//! One connection: what was sent, what is in flight, what is prepared. Jobs go in, callers are answered.
//!
//! Every error ends in an idle session: an implicit transaction ends at its Sync, an explicit one by a rollback.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::config::Config;
use tokio::time::{Instant, Sleep, sleep_until};

use super::broken::Broken;
use super::cancel::{Backend, PATIENCE};
use super::feed::CHUNK;
use super::flight::{Flight, Phase};
use super::frames::{self, Failure, Frame};
use super::frontend;
use super::job::{Job, Mode};
use super::measures::Measures;
use super::pace::Pace;
use super::pipeline::{Ending, Pipeline};
use super::startup;
use super::wire::Wire;
use crate::spool::Spool;
use crate::{End, Error};

/// SQLSTATE `query_canceled`.
const CANCELLED: &str = "57014";
/// SQLSTATEs `lock_not_available` and `deadlock_detected`.
const LOCKED: [&str; 2] = ["55P03", "40P01"];
/// Most jobs in one transaction. PostgreSQL sends what it has when the transaction ends, so the first waits for the last.
const MOST_TOGETHER: usize = 32;
/// The transaction status of an idle session.
const IDLE: u8 = b'I';

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    flights: VecDeque<Flight>,
    pipeline: Pipeline,
    measures: Arc<Measures>,
    /// Of no use for further jobs.
    condemned: Option<Broken>,
    backend: Backend,
    /// A cancel request is on its way to the backend.
    cancelled: bool,
    patience: Option<Pin<Box<Sleep>>>,
    /// Since when the front job is the front one.
    front_since: Instant,
    /// Paces of the statements answered since `front_since`.
    answered: Vec<Arc<Pace>>,
    /// Jobs that the cancel request hit by mistake.
    returned: Vec<Job>,
    /// For large answers that their clients take slowly.
    spool: Spool,
}

impl Connection {
    /// Connect as `config` says; keeps at most `statements` prepared.
    pub(super) async fn open(
        config: &Config,
        statements: usize,
        measures: Arc<Measures>,
        spool: Spool,
    ) -> Result<Self, Broken> {
        let session = startup::open(config).await?;
        Ok(Self {
            wire: Wire::new(session.socket, session.input),
            flights: VecDeque::new(),
            pipeline: Pipeline::new(statements, Arc::clone(&measures)),
            measures,
            condemned: None,
            backend: session.backend,
            cancelled: false,
            patience: None,
            front_since: Instant::now(),
            answered: Vec::new(),
            returned: Vec::new(),
            spool,
        })
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.wire.output.is_empty()
    }

    /// Whether more jobs should be sent now. Those that wait for the end of others go together then, in one transaction
    /// if they can. Behind a large answer they do not wait here: it goes on the sooner for them.
    pub(super) fn has_room(&self) -> bool {
        self.flights.front().is_none_or(|it| it.feed.is_some())
    }

    /// Why it must not get further jobs, if so.
    pub(super) fn condemned(&self) -> Option<Broken> {
        self.condemned.clone()
    }

    /// The process to cancel, once its statement has gone on for a while without a caller. At most once.
    pub(super) fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<Backend> {
        let Some(flight) = self.flights.front_mut().filter(|_| !self.cancelled) else { return Poll::Pending };
        let due = flight.sent_at + PATIENCE;
        let Some(job) = flight.job.as_mut().filter(|it| it.is_cancellable()) else { return Poll::Pending };
        ready!(job.poll_abandoned(cx));
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if patience.deadline() != due {
            patience.as_mut().reset(due);
        }
        ready!(patience.as_mut().poll(cx));
        self.cancelled = true;
        Poll::Ready(self.backend.clone())
    }

    /// Jobs that must be sent again, on another connection.
    pub(super) fn take_returned(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.returned)
    }

    /// Say goodbye: [`Self::poll_flush`] sends it.
    pub(super) fn terminate(&mut self) {
        frontend::terminate(&mut self.wire.output);
    }

    /// What was not answered: each job, and whether PostgreSQL may have seen it.
    pub(super) fn into_unanswered(self) -> impl Iterator<Item = (Job, bool)> {
        let written = self.wire.written();
        let sent = self.flights.into_iter().flat_map(move |it| {
            let sent = it.starts_at < written;
            let held = it.held.into_iter().map(|(job, _)| job);
            held.chain(it.job).chain(it.rest).map(move |job| (job, sent))
        });
        sent.chain(self.returned.into_iter().map(|it| (it, false)))
    }

    /// Append `job` to the output.
    pub(super) fn send(&mut self, job: Job) {
        let mut flight = Flight::new(self.wire.appended());
        self.pipeline.append(&job, &mut flight, &mut self.wire.output);
        flight.job = Some(job);
        self.push(flight);
    }

    /// Append `jobs`, which may share a transaction.
    fn send_group(&mut self, mut jobs: VecDeque<Job>) {
        if jobs.len() > 1 {
            let mut flight = Flight::new(self.wire.appended());
            self.pipeline.append_group(jobs.make_contiguous(), &mut flight, &mut self.wire.output);
            flight.is_shared = true;
            flight.job = jobs.pop_front();
            flight.rest = jobs;
            self.push(flight);
        } else if let Some(job) = jobs.pop_front() {
            self.send(job);
        }
    }

    /// Append `jobs` in their order; quick ones of one caller that come together share a transaction if they may.
    pub(super) fn send_all(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut group = VecDeque::new();
        for job in jobs {
            if !group.back().is_some_and(|it| job.follows(it)) || group.len() >= MOST_TOGETHER {
                self.send_group(std::mem::take(&mut group));
            }
            group.push_back(job);
        }
        self.send_group(group);
    }

    fn push(&mut self, flight: Flight) {
        if self.flights.is_empty() {
            self.front_since = flight.sent_at;
        }
        self.flights.push_back(flight);
    }

    /// Hand the output to the socket, as much as it takes now.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_flush(cx)
    }

    /// Wait for bytes from PostgreSQL, of a large answer only while there is room; [`Self::receive`] looks at them.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let others_wait =
            self.flights.len() > 1 || self.flights.front().is_some_and(|it| !it.rest.is_empty());
        let feed = self.flights.front_mut().and_then(|it| it.feed.as_mut()).filter(|it| it.is_hungry());
        let Some(feed) = feed else { return self.wire.poll_read(cx) };
        ready!(feed.poll_room(cx, others_wait));
        if feed.has_piece(&self.wire.input) {
            return Poll::Ready(Ok(()));
        }
        self.wire.poll_fill(cx, CHUNK)
    }

    /// Look at what was read and answer callers; returns how many jobs are done.
    pub(super) fn receive(&mut self) -> Result<usize, Broken> {
        let mut done = 0;
        while self.take_piece() {
            let streams = self.flights.front().is_some_and(|it| it.streams(self.cancelled));
            let Some(frame) = frames::next(&mut self.wire.input, streams)? else { break };
            if let Frame::Error(Failure { error, fatal: true, .. }) = frame {
                return Err(Broken::Refused(error));
            }
            let status = if let Frame::Ready(status) = frame { Some(status) } else { None };
            let Some(flight) = self.flights.front_mut() else {
                return Err(Broken::Protocol("PostgreSQL answered what was not asked"));
            };
            if let Frame::Large(row, length) = frame {
                let sent_at = flight.sent_at;
                if let Some((job, answer)) = flight.begin_large(row, length, &self.spool) {
                    self.answer(sent_at, job, Ok(answer));
                }
                continue;
            }
            if let Some(ticket) = flight.take(frame) {
                self.pipeline.confirm(ticket);
            }
            let sent_at = flight.sent_at;
            if let Some((job, answer)) = flight.advance() {
                done += 1;
                if let Some(job) = job {
                    self.answer(sent_at, job, Ok(answer));
                }
            }
            if let Some(status) = status {
                done += self.ready(status);
            }
        }
        self.wire.shrink();
        self.learn();
        Ok(done)
    }

    /// Tell the answered statements' paces how long they took: what came together took equally long.
    fn learn(&mut self) {
        let Ok(count @ 1..) = u32::try_from(self.answered.len()) else { return };
        let now = Instant::now();
        let each = now.duration_since(self.front_since) / count;
        self.front_since = now;
        self.answered.drain(..).for_each(|it| it.record(each));
    }

    /// Pass on what came of a large answer; whether frames come next.
    fn take_piece(&mut self) -> bool {
        let feed = self.flights.front_mut().and_then(|it| it.feed.as_mut()).filter(|it| it.is_hungry());
        let Some(feed) = feed else { return true };
        if feed.has_piece(&self.wire.input) {
            feed.take(&mut self.wire.input);
        }
        !feed.is_hungry()
    }

    /// A Sync was reached: how many jobs are done; the front one may go on.
    fn ready(&mut self, status: u8) -> usize {
        let Some(mut flight) = self.flights.pop_front() else { return 0 };
        for ticket in flight.parsing.drain(..) {
            self.pipeline.doubt(ticket);
        }
        let failure = flight.failure.take();
        if let Some(feed) = flight.feed.take() {
            feed.finish(failure.as_ref().map(|it| &it.error));
        }
        let job = flight.job.take();
        match (std::mem::replace(&mut flight.phase, Phase::Cleanup), job, failure) {
            (Phase::Work, Some(job), None) => {
                let held = std::mem::take(&mut flight.held);
                let count = held.len();
                held.into_iter().for_each(|(job, answer)| self.answer(flight.sent_at, job, Ok(answer)));
                count + usize::from(self.worked(flight, job, status))
            }
            (Phase::Work, Some(job), Some(failure)) if flight.is_shared && !job.mode.is_read() => {
                if failure.stale {
                    self.pipeline.doubt_all();
                }
                self.undone(flight, job, status)
            }
            (Phase::Work, Some(job), Some(failure)) => self.failed(flight, job, failure, status).into(),
            (Phase::Ending(mut answer), Some(job), failure) => {
                answer.position = flight.position;
                let outcome = failure.map_or(Ok(answer), |it| Err(Error::Statement(it.error)));
                self.answer(flight.sent_at, job, outcome);
                1
            }
            // The rollback is done; what remains is to send the job again, if it is one of those.
            (Phase::Cleanup, job, _) => {
                flight.job = job;
                self.tidy(flight, IDLE).into()
            }
            // A read with a large answer: its caller has got that, or knows that the end does not come.
            (Phase::Work, None, _) => self.tidy(flight, status).into(),
            (Phase::Ending(_), None, _) => 1,
        }
    }

    /// The statement succeeded: answer, or ask the caller how to end.
    fn worked(&mut self, mut flight: Flight, mut job: Job, status: u8) -> bool {
        let answer = flight.answer();
        let mode = std::mem::replace(&mut job.mode, Mode::Read);
        let Mode::Write(End::If(decide)) = mode else {
            self.answer(flight.sent_at, job, Ok(answer));
            return self.tidy(flight, status);
        };
        let commit = !job.is_abandoned() && decide(&answer);
        job.mode = Mode::Write(End::Commit);
        let end = match (commit, job.request.position) {
            (false, _) => Ending::Rollback,
            (true, false) => Ending::Commit,
            (true, true) => Ending::CommitAndTell,
        };
        self.pipeline.append_end(end, &mut flight, &mut self.wire.output);
        flight.phase = Phase::Ending(answer);
        flight.job = Some(job);
        self.flights.push_front(flight);
        false
    }

    /// A transaction of several writes failed, and nothing of it is left: each goes again, alone. That tells which fail
    /// and why; the others never learn of it.
    fn undone(&mut self, mut flight: Flight, job: Job, status: u8) -> usize {
        if let Some(pace) = &job.pace {
            pace.hold_up();
        }
        let held = std::mem::take(&mut flight.held).into_iter().map(|(job, _)| job);
        let rest = std::mem::take(&mut flight.rest);
        flight.rest = held.chain(rest).collect();
        flight.job = Some(job);
        self.tidy(flight, status).into()
    }

    /// The statement failed: answer, or send it once more when only its preparation was stale, or when it would have
    /// kept others waiting, and what they have locked, for a lock.
    fn failed(&mut self, mut flight: Flight, mut job: Job, failure: Failure, status: u8) -> bool {
        let is_locked = LOCKED.contains(&failure.error.code.as_str());
        if flight.is_shared && is_locked && !job.is_abandoned() {
            flight.job = Some(job);
        } else if failure.stale && !job.reparsed {
            job.reparsed = true;
            self.pipeline.doubt_all();
            flight.job = Some(job);
        } else if self.cancelled && failure.error.code == CANCELLED && !job.is_abandoned() && job.repeat() {
            self.returned.push(job);
        } else {
            // A primary became a standby: this connection can never write again.
            if failure.error.code == "25006" && !job.mode.is_read() {
                self.condemned = Some(Broken::ReadOnly);
            }
            self.answer(flight.sent_at, job, Err(Error::Statement(failure.error)));
        }
        self.tidy(flight, status)
    }

    /// Leave no transaction open; then send again what is to be sent again. Whether the job is done.
    fn tidy(&mut self, mut flight: Flight, status: u8) -> bool {
        if status != IDLE {
            frontend::query("rollback", &mut self.wire.output);
            flight.phase = Phase::Cleanup;
            self.flights.push_front(flight);
            return false;
        }
        // After a failure these were skipped. Each goes alone now, for it may fail as well; last what waits for a lock.
        let skipped = std::mem::take(&mut flight.rest);
        let again = flight.job.take();
        let is_done = again.is_none();
        skipped.into_iter().chain(again).for_each(|it| self.send(it));
        is_done
    }

    fn answer(&mut self, sent_at: Instant, mut job: Job, outcome: Result<crate::Answer, Error>) {
        self.answered.extend(job.pace.take());
        self.measures.round_trip(sent_at.elapsed());
        job.answer(outcome);
    }
}
