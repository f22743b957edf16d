//! One connection: what was sent, what is in flight, what is prepared. Jobs go in, callers are answered.
//!
//! Every error ends in an idle session: an implicit transaction ends at its Sync, an explicit one by a rollback.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_postgres::Config;

use super::broken::Broken;
use super::flight::{Flight, Phase};
use super::frames::{self, Failure, Frame};
use super::frontend;
use super::job::{Job, Mode};
use super::measures::Measures;
use super::request::NO_VALUES;
use super::startup;
use super::statements::Statements;
use super::wire::Wire;
use crate::{End, Error};

/// The transaction status of an idle session.
const IDLE: u8 = b'I';

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    flights: VecDeque<Flight>,
    statements: Statements,
    /// Our own texts, so that their cache keys are shared: by number of settings, and fixed ones.
    settings_texts: HashMap<usize, Arc<str>>,
    own_texts: OwnTexts,
    measures: Arc<Measures>,
    /// Of no use for further jobs.
    condemned: Option<Broken>,
}

#[derive(Debug)]
struct OwnTexts {
    begin: Arc<str>,
    commit: Arc<str>,
    rollback: Arc<str>,
    constraints: Arc<str>,
}

impl Connection {
    /// Connect as `config` says; keeps at most `statements` prepared.
    pub(super) async fn open(
        config: &Config,
        statements: usize,
        measures: Arc<Measures>,
    ) -> Result<Self, Broken> {
        let session = startup::open(config).await?;
        let own_texts = OwnTexts {
            begin: "begin".into(),
            commit: "commit".into(),
            rollback: "rollback".into(),
            constraints: "set constraints all immediate".into(),
        };
        Ok(Self {
            wire: Wire::new(session.socket, session.input),
            flights: VecDeque::new(),
            statements: Statements::new(statements),
            settings_texts: HashMap::new(),
            own_texts,
            measures,
            condemned: None,
        })
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.wire.output.is_empty()
    }

    /// Why it must not get further jobs, if so.
    pub(super) fn condemned(&self) -> Option<Broken> {
        self.condemned.clone()
    }

    /// Say goodbye: [`Self::poll_flush`] sends it.
    pub(super) fn terminate(&mut self) {
        frontend::terminate(&mut self.wire.output);
    }

    /// What was not answered: each job, and whether PostgreSQL may have seen it.
    pub(super) fn into_unanswered(self) -> impl Iterator<Item = (Job, bool)> {
        let written = self.wire.written();
        self.flights.into_iter().filter_map(move |it| it.job.map(|job| (job, it.starts_at < written)))
    }

    /// Append `job` to the output: settings, `before`, the statement, one Sync.
    pub(super) fn send(&mut self, job: Job) {
        let mut flight = Flight::new(self.wire.appended());
        self.statements.begin_job();
        let request = &job.request;
        let block = matches!(job.mode, Mode::Write(End::Rollback | End::If(_)));
        if block {
            let begin = Arc::clone(&self.own_texts.begin);
            self.step(&mut flight, "", &begin, NO_VALUES);
            flight.own += 1;
        }
        if request.settings > 0 {
            let text = self.settings_text(request.settings);
            self.step(&mut flight, "", &text, &request.settings_values);
            flight.own += 1;
        }
        if let Some(before) = &request.before {
            self.step(&mut flight, &request.role, before, NO_VALUES);
            flight.own += 1;
        }
        self.step(&mut flight, &request.role, &request.text, &request.values);
        if matches!(job.mode, Mode::Write(End::Rollback)) {
            let texts = [&self.own_texts.constraints, &self.own_texts.rollback].map(Arc::clone);
            for text in texts {
                self.step(&mut flight, "", &text, NO_VALUES);
            }
        }
        frontend::sync(&mut self.wire.output);
        flight.job = Some(job);
        self.flights.push_back(flight);
    }

    /// Append one statement, parsed first unless it is known to be prepared.
    fn step(&mut self, flight: &mut Flight, role: &str, text: &Arc<str>, values: &[u8]) {
        let it = self.statements.take(role, text);
        if it.close {
            frontend::close(it.name, &mut self.wire.output);
        }
        if it.parse {
            frontend::parse(it.name, text, &mut self.wire.output);
            flight.parsing.push_back(it.ticket);
            self.measures.parses.increment(1);
        }
        frontend::bind(it.name, values, &mut self.wire.output);
        frontend::execute(&mut self.wire.output);
    }

    fn settings_text(&mut self, count: usize) -> Arc<str> {
        let text = self.settings_texts.entry(count).or_insert_with(|| {
            let call = |idx| format!("pg_catalog.set_config(${},${},true)", 2 * idx + 1, 2 * idx + 2);
            format!("select {}", (0..count).map(call).collect::<Vec<_>>().join(",")).into()
        });
        Arc::clone(text)
    }

    /// Hand the output to the socket, as much as it takes now.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_flush(cx)
    }

    /// Wait for bytes from PostgreSQL; [`Self::receive`] looks at them.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_read(cx)
    }

    /// Look at what was read and answer callers; returns how many jobs are done.
    pub(super) fn receive(&mut self) -> Result<usize, Broken> {
        let mut done = 0;
        while let Some(frame) = frames::next(&mut self.wire.input)? {
            if let Frame::Error(Failure { error, fatal: true, .. }) = frame {
                return Err(Broken::Refused(error));
            }
            let status = if let Frame::Ready(status) = frame { Some(status) } else { None };
            let Some(flight) = self.flights.front_mut() else {
                return Err(Broken::Protocol("PostgreSQL answered what was not asked"));
            };
            if let Some(ticket) = flight.take(frame) {
                self.statements.confirm(ticket);
            }
            if let Some(status) = status
                && self.ready(status)
            {
                done += 1;
            }
        }
        self.wire.shrink();
        Ok(done)
    }

    /// A Sync was reached: the front job is done (`true`), or goes on.
    fn ready(&mut self, status: u8) -> bool {
        let Some(mut flight) = self.flights.pop_front() else { return false };
        for ticket in flight.parsing.drain(..) {
            self.statements.doubt(ticket);
        }
        let failure = flight.failure.take();
        let job = flight.job.take();
        match (std::mem::replace(&mut flight.phase, Phase::Cleanup), job, failure) {
            (Phase::Work, Some(job), None) => self.worked(flight, job, status),
            (Phase::Work, Some(job), Some(failure)) => self.failed(flight, job, failure, status),
            (Phase::Ending(answer), Some(job), failure) => {
                let outcome = failure.map_or(Ok(answer), |it| Err(Error::Statement(it.error)));
                self.answer(&flight, job, outcome);
                true
            }
            // The rollback is done; what remains is to send the job again, if it is one of those.
            (Phase::Cleanup, job, _) => {
                flight.job = job;
                self.tidy(flight, IDLE)
            }
            (_, None, _) => true,
        }
    }

    /// The statement succeeded: answer, or ask the caller how to end.
    fn worked(&mut self, mut flight: Flight, mut job: Job, status: u8) -> bool {
        let answer = flight.answer();
        let mode = std::mem::replace(&mut job.mode, Mode::Read);
        let Mode::Write(End::If(decide)) = mode else {
            self.answer(&flight, job, Ok(answer));
            return self.tidy(flight, status);
        };
        let commit = !job.is_abandoned() && decide(&answer);
        let texts = &self.own_texts;
        let text = Arc::clone(if commit { &texts.commit } else { &texts.rollback });
        job.mode = Mode::Write(End::Commit);
        self.statements.begin_job();
        self.step(&mut flight, "", &text, NO_VALUES);
        frontend::sync(&mut self.wire.output);
        flight.phase = Phase::Ending(answer);
        flight.job = Some(job);
        self.flights.push_front(flight);
        false
    }

    /// The statement failed: answer, or send it once more when only its preparation was stale.
    fn failed(&mut self, mut flight: Flight, mut job: Job, failure: Failure, status: u8) -> bool {
        let again = failure.stale && !job.reparsed;
        if again {
            job.reparsed = true;
            self.statements.doubt_all();
            flight.job = Some(job);
        } else {
            // A primary became a standby: this connection can never write again.
            if failure.error.code == "25006" && !job.mode.is_read() {
                self.condemned = Some(Broken::ReadOnly);
            }
            self.answer(&flight, job, Err(Error::Statement(failure.error)));
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
        match flight.job.take() {
            Some(job) => {
                self.send(job);
                false
            }
            None => true,
        }
    }

    fn answer(&self, flight: &Flight, job: Job, outcome: Result<crate::Answer, Error>) {
        self.measures.round_trip(flight.sent_at.elapsed());
        job.answer(outcome);
    }
}
