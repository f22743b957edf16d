//! What a job looks like on the wire: which statements, parsed or not, in which order, under one Sync.
//!
//! `set_config` calls, the statement and one Sync are an implicit transaction: PostgreSQL commits at the Sync, and an
//! error skips to it. BEGIN appears only where the end is not a plain commit.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::flight::Flight;
use super::frontend;
use super::job::{Job, Mode};
use super::measures::Measures;
use super::request::NO_VALUES;
use super::statements::{Statements, Ticket};
use crate::{End, Isolation};

/// How a transaction that was left open ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Rollback,
    Commit,
    /// Commit, and tell the position.
    CommitAndTell,
}

/// What is done together with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Extra {
    Nothing,
    /// Answer with what this replica has replayed.
    Replayed,
    /// Wait for locks only so long: what others in the transaction have locked stays locked meanwhile, so that two
    /// could wait for each other, and their answers wait too. Less than `deadlock_timeout`.
    LockTimeout,
}

impl Extra {
    fn call(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Replayed => Some("pg_catalog.pg_last_wal_replay_lsn()"),
            Self::LockTimeout => Some("pg_catalog.set_config('lock_timeout','50ms',true)"),
        }
    }
}

/// Turns jobs into messages, with the connection's prepared statements.
#[derive(Debug)]
pub(super) struct Pipeline {
    statements: Statements,
    /// The texts that set so many settings.
    settings: HashMap<(usize, Extra), Arc<str>>,
    isolation: [Arc<str>; 3],
    begin: Arc<str>,
    commit: Arc<str>,
    rollback: Arc<str>,
    constraints: Arc<str>,
    position: Arc<str>,
    measures: Arc<Measures>,
}

impl Pipeline {
    /// Keeps at most `statements` prepared.
    pub(super) fn new(statements: usize, measures: Arc<Measures>) -> Self {
        Self {
            statements: Statements::new(statements),
            settings: HashMap::new(),
            isolation: ["read committed", "repeatable read", "serializable"]
                .map(|it| format!("set transaction_isolation = '{it}'").into()),
            begin: "begin".into(),
            commit: "commit".into(),
            rollback: "rollback".into(),
            constraints: "set constraints all immediate".into(),
            position: "select pg_catalog.pg_current_wal_insert_lsn()".into(),
            measures,
        }
    }

    /// Append `group`, reads that run in one transaction: the settings once, each statement, one Sync.
    pub(super) fn append_group(&mut self, group: &[Job], flight: &mut Flight, out: &mut BytesMut) {
        self.statements.begin_job();
        let Some(Job { request, .. }) = group.first() else { return };
        let text = self.settings(request.settings, Extra::LockTimeout);
        self.step(flight, ("", &text, &request.settings_values), out);
        flight.own += 1;
        for Job { request, .. } in group {
            self.step(flight, (&request.role, &request.text, &request.values), out);
        }
        frontend::sync(out);
    }

    /// Append `job`: settings, `before`, its statement, one Sync. Where a write tells its position, an explicit end
    /// stands before the question, so that both still share the Sync.
    pub(super) fn append(&mut self, job: &Job, flight: &mut Flight, out: &mut BytesMut) {
        let request = &job.request;
        self.statements.begin_job();
        let tells = request.position && matches!(job.mode, Mode::Write(End::Commit));
        if tells || matches!(job.mode, Mode::Write(End::Rollback | End::If(_))) {
            let begin = Arc::clone(&self.begin);
            self.step(flight, ("", &begin, NO_VALUES), out);
            flight.own += 1;
        }
        if let Some(isolation) = request.isolation {
            let text = self.isolation(isolation);
            self.step(flight, ("", &text, NO_VALUES), out);
            flight.own += 1;
        }
        if request.settings > 0 {
            let asks = request.position && job.mode.is_read();
            let extra = if asks { Extra::Replayed } else { Extra::Nothing };
            let text = self.settings(request.settings, extra);
            if asks {
                flight.position_at = flight.own;
            }
            self.step(flight, ("", &text, &request.settings_values), out);
            flight.own += 1;
        }
        if let Some(before) = &request.before {
            self.step(flight, (&request.role, before, NO_VALUES), out);
            flight.own += 1;
        }
        self.step(flight, (&request.role, &request.text, &request.values), out);
        if tells {
            self.commit(flight, out);
        } else if matches!(job.mode, Mode::Write(End::Rollback)) {
            for text in [&self.constraints, &self.rollback].map(Arc::clone) {
                self.step(flight, ("", &text, NO_VALUES), out);
            }
        }
        frontend::sync(out);
    }

    /// Append the end of a transaction that was left open, and a Sync.
    pub(super) fn append_end(&mut self, end: Ending, flight: &mut Flight, out: &mut BytesMut) {
        self.statements.begin_job();
        match end {
            Ending::CommitAndTell => self.commit(flight, out),
            Ending::Commit | Ending::Rollback => {
                let text = Arc::clone(if end == Ending::Commit { &self.commit } else { &self.rollback });
                self.step(flight, ("", &text, NO_VALUES), out);
            }
        }
        frontend::sync(out);
    }

    /// Commit, then ask how far replicas must have come to show it.
    fn commit(&mut self, flight: &mut Flight, out: &mut BytesMut) {
        flight.position_at = flight.own + 2;
        for text in [&self.commit, &self.position].map(Arc::clone) {
            self.step(flight, ("", &text, NO_VALUES), out);
        }
    }

    /// One statement (role, text, values), parsed first unless it is known to be prepared.
    fn step(&mut self, flight: &mut Flight, step: (&str, &Arc<str>, &[u8]), out: &mut BytesMut) {
        let (role, text, values) = step;
        let it = self.statements.take(role, text);
        if it.close {
            frontend::close(it.name, out);
        }
        if it.parse {
            frontend::parse(it.name, text, out);
            flight.parsing.push_back(it.ticket);
            self.measures.parses.increment(1);
        }
        frontend::bind(it.name, values, out);
        frontend::execute(out);
    }

    /// Before anything takes a snapshot. As a plain setting, because `set transaction` and `set local` warn outside of
    /// BEGIN; the next transaction starts with the default again all the same.
    fn isolation(&self, isolation: Isolation) -> Arc<str> {
        let [read_committed, repeatable_read, serializable] = &self.isolation;
        Arc::clone(match isolation {
            Isolation::ReadCommitted => read_committed,
            Isolation::RepeatableRead => repeatable_read,
            Isolation::Serializable => serializable,
        })
    }

    /// What sets `count` settings and does `extra`: before the statement takes its snapshot, so that the statement sees
    /// no less than was replayed.
    fn settings(&mut self, count: usize, extra: Extra) -> Arc<str> {
        let text = self.settings.entry((count, extra)).or_insert_with(|| {
            let call = |idx| format!("pg_catalog.set_config(${},${},true)", 2 * idx + 1, 2 * idx + 2);
            let calls: Vec<_> = (0..count).map(call).collect();
            // Counted, so that PostgreSQL does not send all values back; a function takes at most 100 arguments.
            let counts = calls.chunks(50).map(|it| format!("pg_catalog.num_nulls({})", it.join(",")));
            let extra = extra.call().map(str::to_owned);
            format!("select {}", counts.chain(extra).collect::<Vec<_>>().join(",")).into()
        });
        Arc::clone(text)
    }

    /// `ParseComplete` arrived.
    pub(super) fn confirm(&mut self, ticket: Ticket) {
        self.statements.confirm(ticket);
    }

    /// A Parse was skipped or failed.
    pub(super) fn doubt(&mut self, ticket: Ticket) {
        self.statements.doubt(ticket);
    }

    /// A prepared statement turned out to be stale; others may be too.
    pub(super) fn doubt_all(&mut self) {
        self.statements.doubt_all();
    }
}
