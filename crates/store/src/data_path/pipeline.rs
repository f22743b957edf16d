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

/// Turns jobs into messages, with the connection's prepared statements.
#[derive(Debug)]
pub(super) struct Pipeline {
    statements: Statements,
    /// The texts that set so many settings.
    settings: HashMap<usize, Arc<str>>,
    isolation: [Arc<str>; 3],
    begin: Arc<str>,
    commit: Arc<str>,
    rollback: Arc<str>,
    constraints: Arc<str>,
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
            measures,
        }
    }

    /// Append `job`: settings, `before`, its statement, one Sync.
    pub(super) fn append(&mut self, job: &Job, flight: &mut Flight, out: &mut BytesMut) {
        let request = &job.request;
        self.statements.begin_job();
        if matches!(job.mode, Mode::Write(End::Rollback | End::If(_))) {
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
            let text = self.settings(request.settings);
            self.step(flight, ("", &text, &request.settings_values), out);
            flight.own += 1;
        }
        if let Some(before) = &request.before {
            self.step(flight, (&request.role, before, NO_VALUES), out);
            flight.own += 1;
        }
        self.step(flight, (&request.role, &request.text, &request.values), out);
        if matches!(job.mode, Mode::Write(End::Rollback)) {
            for text in [&self.constraints, &self.rollback].map(Arc::clone) {
                self.step(flight, ("", &text, NO_VALUES), out);
            }
        }
        frontend::sync(out);
    }

    /// Append the end of a transaction that was left open, and a Sync.
    pub(super) fn append_end(&mut self, commit: bool, flight: &mut Flight, out: &mut BytesMut) {
        self.statements.begin_job();
        let text = Arc::clone(if commit { &self.commit } else { &self.rollback });
        self.step(flight, ("", &text, NO_VALUES), out);
        frontend::sync(out);
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

    fn settings(&mut self, count: usize) -> Arc<str> {
        let text = self.settings.entry(count).or_insert_with(|| {
            let call = |idx| format!("pg_catalog.set_config(${},${},true)", 2 * idx + 1, 2 * idx + 2);
            let calls: Vec<_> = (0..count).map(call).collect();
            // Counted, so that PostgreSQL does not send all values back; a function takes at most 100 arguments.
            let counts = calls.chunks(50).map(|it| format!("pg_catalog.num_nulls({})", it.join(",")));
            format!("select {}", counts.collect::<Vec<_>>().join(",")).into()
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
