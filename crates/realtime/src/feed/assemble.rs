//! Events of the stream into portions that are handed on: changes, and rows of `realtime.messages` as broadcasts. Pure.
//!
//! A portion may end within a transaction, so memory is bounded however large one is: everything in the stream is
//! committed. What was handed on before (a stream begins anew with whole transactions) is left out by counting.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use store::replication::{Event, Kind, Lsn, Row, Value};

use super::SqlBroadcast;
use crate::change::{Change, MAX_ROW_BYTES};

/// A portion that holds this much is handed on.
const MAX_ROWS: usize = 2048;
const MAX_BYTES: usize = 128 * 1024;
/// A value that is not longer is never cut.
const SHORT: usize = 64;
/// A broadcast whose row is larger is not sent: no client could have sent it either.
const MAX_BROADCAST: usize = 4 * 1024 * 1024;

/// How far a stream was handed on: rows of the transaction whose commit stands there, and all transactions before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) commit: Lsn,
    pub(super) rows: u64,
}

/// What is handed on at once.
#[derive(Debug, Default)]
pub(super) struct Portion {
    pub(super) changes: Vec<Change>,
    pub(super) broadcasts: Vec<SqlBroadcast>,
    /// Tables were emptied, which nobody is told but caches.
    pub(super) truncated: bool,
}

impl Portion {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.broadcasts.is_empty() && !self.truncated
    }
}

/// Collects events.
#[derive(Debug)]
pub(super) struct Assembler {
    /// Handed on before, by us or by another leader.
    before: Position,
    /// What was committed earlier is nobody's business any more.
    oldest: Option<SystemTime>,
    now: Option<Transaction>,
    position: Position,
    safe: Lsn,
    portion: Portion,
    bytes: usize,
    /// The transactions of the portion.
    xids: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Transaction {
    xid: u32,
    committed_at: SystemTime,
    is_stale: bool,
}

impl Assembler {
    /// Leaves out what is not after `before`, or was committed before `oldest`.
    pub(super) fn new(before: Position, oldest: Option<SystemTime>) -> Self {
        let (portion, bytes, xids) = (Portion::default(), 0, Vec::new());
        Self { before, oldest, now: None, position: before, safe: Lsn::ZERO, portion, bytes, xids }
    }

    /// How far everything is handed on once the current portion is.
    pub(super) fn position(&self) -> Position {
        self.position.max(self.before)
    }

    /// What need not come again once the current portion is handed on.
    pub(super) fn safe(&self) -> Lsn {
        self.safe
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.portion.changes.len() + self.portion.broadcasts.len() >= MAX_ROWS
    }

    /// What was collected, and nothing from now on.
    pub(super) fn take(&mut self) -> Portion {
        self.bytes = 0;
        std::mem::take(&mut self.portion)
    }

    /// The transactions of what was collected, and none from now on.
    pub(super) fn transactions(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.xids)
    }

    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::Begin { commit, committed_at, xid } => {
                let is_stale = self.oldest.is_some_and(|it| committed_at < it);
                self.now = Some(Transaction { xid, committed_at, is_stale });
                self.position = Position { commit, rows: 0 };
            }
            Event::Commit { end } => {
                self.now = None;
                self.safe = end;
            }
            Event::Reached { end } if self.now.is_none() => self.safe = self.safe.max(end),
            Event::Reached { .. } => {}
            Event::Truncate(_) => {
                if self.is_wanted().is_some() {
                    self.portion.truncated = true;
                }
            }
            Event::Row(row) => {
                if let Some(committed_at) = self.is_wanted() {
                    self.add_row(row, committed_at);
                }
            }
        }
    }

    /// Counts a row or the like; when it was committed if it is to be handed on.
    fn is_wanted(&mut self) -> Option<SystemTime> {
        self.position.rows += 1;
        let now = self.now?;
        let is_wanted = !now.is_stale && self.position > self.before;
        if is_wanted && self.xids.last() != Some(&now.xid) {
            self.xids.push(now.xid);
        }
        is_wanted.then_some(now.committed_at)
    }

    fn add_row(&mut self, row: Row, committed_at: SystemTime) {
        let size = row.new.as_deref().map_or(0, size) + row.old.as_deref().map_or(0, size);
        if row.table.schema == "realtime" && row.table.name == "messages" {
            if let Some(broadcast) = broadcast(&row, size) {
                self.portion.broadcasts.push(broadcast);
                self.bytes += size;
            }
            return;
        }
        let Row { table, kind, new, old } = row;
        let (new, old) = (new.map(bounded), old.map(bounded));
        self.portion.changes.push(Change { table, kind, committed_at, new, old });
        self.bytes += size.min(2 * MAX_ROW_BYTES);
    }
}

fn size(values: &[Value]) -> usize {
    values.iter().map(length).sum()
}

fn length(value: &Value) -> usize {
    if let Value::Text(it) = value { it.len() } else { 0 }
}

/// Cut to [`MAX_ROW_BYTES`] and one when it is longer; values that are short stay as they are.
fn bounded(mut values: Vec<Value>) -> Vec<Value> {
    if size(&values) <= MAX_ROW_BYTES {
        return values;
    }
    let is_long = |it: &Value| length(it) > SHORT;
    let short: usize = values.iter().filter(|it| !is_long(it)).map(length).sum();
    let mut room = (MAX_ROW_BYTES + 1).saturating_sub(short);
    for value in &mut values {
        if let Value::Text(text) = value
            && text.len() > SHORT
        {
            // A copy: else the long one would be kept for it.
            *text = Bytes::copy_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
            room -= text.len();
        }
    }
    values
}

/// What is to be sent because of a row of `realtime.messages`; nothing for what is no broadcast.
fn broadcast(row: &Row, size: usize) -> Option<SqlBroadcast> {
    let values = row.new.as_ref().filter(|_| row.kind == Kind::Insert)?;
    let column = |name: &str| {
        let idx = row.table.columns.iter().position(|it| it.name == name)?;
        if let Some(Value::Text(text)) = values.get(idx) { Some(text) } else { None }
    };
    let text = |name: &str| column(name).map(|it| String::from_utf8_lossy(it).into_owned());
    if text("extension")? != "broadcast" {
        return None;
    }
    let topic: Arc<str> = text("topic")?.into();
    if size > MAX_BROADCAST {
        tracing::warn!(size_bytes = size, "a message sent by SQL is too large");
        return None;
    }
    let (body, is_json) = match (column("payload"), column("binary_payload")) {
        (Some(json), _) => (json.clone(), true),
        (None, Some(hex)) => (unhex(hex)?, false),
        (None, None) => (Bytes::from_static(b"null"), true),
    };
    Some(SqlBroadcast {
        topic,
        event: text("event").unwrap_or_default().into(),
        body,
        is_json,
        is_private: column("private").is_some_and(|it| **it == *b"t"),
        id: text("id").unwrap_or_default(),
        inserted_at: text("inserted_at").unwrap_or_default(),
    })
}

/// `\x` and two digits for each byte.
pub(super) fn unhex(text: &[u8]) -> Option<Bytes> {
    let digit = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = text.strip_prefix(b"\\x")?.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

#[cfg(test)]
mod tests;
