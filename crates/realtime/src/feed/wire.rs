//! What processes tell each other about a project's stream, as text for Redis' pub/sub. Pure.
//!
//! A message is a letter and fields: numbers end with a space, texts follow their length and a colon. A portion is told
//! at once, with a description of each table that it names, so that whoever begins to listen understands it. Texts that
//! are read share the message's buffer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use store::replication::{Column, Kind, Lsn, Table, Value};

use super::SqlBroadcast;
use super::assemble::{Portion, Position};
use crate::change::Change;

/// A message; `from` is a number that its sender chose at random.
#[derive(Debug)]
pub(super) enum Message {
    /// A process has subscribers, and hears from now on.
    Hello { from: u64 },
    /// A process has handed on everything up to the `count`th portion of the leader whose number is `leader`.
    Heard { from: u64, leader: u64, count: u64 },
    /// A leader reads the stream; `count` portions were told so far, and what comes will be told to `followers`.
    Live { from: u64, count: u64, position: Position, followers: Vec<u64> },
    /// The leader told something else than `Live` for the `count`th time: rows.
    Portion { from: u64, count: u64, position: Position, safe: Lsn, portion: Portion },
    /// Changes were missed, by all. Positions begin anew.
    Gap,
    /// The leader goes, and somebody else may read on.
    Bye,
}

pub(super) fn hello(from: u64) -> String {
    format!("H{from} ")
}

pub(super) fn heard(from: u64, leader: u64, count: u64) -> String {
    format!("A{from} {leader} {count} ")
}

pub(super) fn live(from: u64, count: u64, position: Position, followers: &[u64]) -> String {
    let mut out = format!("L{from} {count} {} {} ", position.commit.0, position.rows);
    for it in followers {
        let _ = write!(out, "{it} ");
    }
    out
}

pub(super) fn gap(from: u64) -> String {
    format!("G{from} ")
}

pub(super) fn bye(from: u64) -> String {
    format!("E{from} ")
}

/// Where and by whom a portion is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) from: u64,
    pub(super) count: u64,
    pub(super) position: Position,
    pub(super) safe: Lsn,
}

/// `changes` and `broadcasts` as a message.
pub(super) fn portion(head: Head, changes: &[Change], broadcasts: &[SqlBroadcast]) -> String {
    let Head { from, count, position, safe } = head;
    let mut out = String::with_capacity(64 + changes.len() * 96);
    let _ = write!(out, "P{from} {count} {} {} {} ", position.commit.0, position.rows, safe.0);
    let mut tables: Vec<&Arc<Table>> = Vec::new();
    let mut moment = None;
    for change in changes {
        let known = tables.iter().rposition(|it| Arc::ptr_eq(it, &change.table));
        let idx = known.unwrap_or_else(|| {
            put_table(&mut out, &change.table);
            tables.push(&change.table);
            tables.len() - 1
        });
        if moment != Some(change.committed_at) {
            moment = Some(change.committed_at);
            let since = change.committed_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let _ = write!(out, "@{} ", since.as_micros());
        }
        let kind = match change.kind {
            Kind::Insert => 'I',
            Kind::Update => 'U',
            Kind::Delete => 'D',
        };
        let _ = write!(out, "{kind}{idx} ");
        put_row(&mut out, change.new.as_deref());
        put_row(&mut out, change.old.as_deref());
    }
    for it in broadcasts {
        out.push('B');
        for text in [&*it.topic, &*it.event, &it.id, &it.inserted_at] {
            put(&mut out, text.as_bytes());
        }
        out.push(if it.is_private { 'p' } else { '-' });
        if it.is_json {
            out.push('j');
            put(&mut out, &it.body);
        } else {
            let _ = write!(out, "x{}:\\x", it.body.len() * 2 + 2);
            for byte in &it.body {
                let _ = write!(out, "{byte:02x}");
            }
        }
    }
    out
}

fn put_table(out: &mut String, table: &Table) {
    let _ = write!(out, "T{} {}", table.oid, if table.is_full { 'f' } else { 'k' });
    put(out, table.schema.as_bytes());
    put(out, table.name.as_bytes());
    let _ = write!(out, "{} ", table.columns.len());
    for column in &table.columns {
        put(out, column.name.as_bytes());
        let _ = write!(out, "{} {}", column.type_oid, if column.is_key { 'k' } else { '-' });
    }
}

fn put_row(out: &mut String, values: Option<&[Value]>) {
    let Some(values) = values else {
        out.push('-');
        return;
    };
    let _ = write!(out, "+{} ", values.len());
    for value in values {
        match value {
            Value::Null => out.push('n'),
            Value::Unchanged => out.push('u'),
            Value::Text(text) => {
                out.push('t');
                put(out, text);
            }
        }
    }
}

/// PostgreSQL's texts are UTF-8, but for databases that leave it open, and values that were cut.
fn put(out: &mut String, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let _ = write!(out, "{}:{text}", text.len());
}

/// `None` for what another version of ours may say and we do not understand.
pub(super) fn read(text: String) -> Option<Message> {
    let mut reader = Reader(Bytes::from(text));
    let (letter, from) = (reader.letter()?, reader.number()?);
    match letter {
        b'H' => Some(Message::Hello { from }),
        b'A' => Some(Message::Heard { from, leader: reader.number()?, count: reader.number()? }),
        b'G' => Some(Message::Gap),
        b'E' => Some(Message::Bye),
        b'L' => {
            let count = reader.number()?;
            let position = Position { commit: Lsn(reader.number()?), rows: reader.number()? };
            let mut followers = Vec::new();
            while !reader.0.is_empty() {
                followers.push(reader.number()?);
            }
            Some(Message::Live { from, count, position, followers })
        }
        b'P' => {
            let count = reader.number()?;
            let position = Position { commit: Lsn(reader.number()?), rows: reader.number()? };
            let (safe, portion) = (Lsn(reader.number()?), reader.portion()?);
            Some(Message::Portion { from, count, position, safe, portion })
        }
        _ => None,
    }
}

struct Reader(Bytes);

impl Reader {
    fn letter(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    /// Digits, up to what ends them.
    fn until(&mut self, end: u8) -> Option<u64> {
        let mut number: u64 = 0;
        loop {
            match self.letter()? {
                it if it == end => return Some(number),
                it @ b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u64::from(it - b'0'))?,
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.until(b' ')
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.until(b':')?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn portion(&mut self) -> Option<Portion> {
        let mut portion = Portion::default();
        let (mut tables, mut committed_at) = (Vec::new(), SystemTime::UNIX_EPOCH);
        while !self.0.is_empty() {
            let kind = match self.letter()? {
                b'T' => {
                    tables.push(Arc::new(self.table()?));
                    continue;
                }
                b'@' => {
                    let since = Duration::from_micros(self.number()?);
                    committed_at = SystemTime::UNIX_EPOCH.checked_add(since)?;
                    continue;
                }
                b'B' => {
                    portion.broadcasts.push(self.broadcast()?);
                    continue;
                }
                b'I' => Kind::Insert,
                b'U' => Kind::Update,
                b'D' => Kind::Delete,
                _ => return None,
            };
            let table = Arc::clone(tables.get(usize::try_from(self.number()?).ok()?)?);
            let (new, old) = (self.row()?, self.row()?);
            portion.changes.push(Change { table, kind, committed_at, new, old });
        }
        Some(portion)
    }

    fn table(&mut self) -> Option<Table> {
        let oid = u32::try_from(self.number()?).ok()?;
        let is_full = self.letter()? == b'f';
        let (schema, name, count) = (self.text()?, self.text()?, self.number()?);
        let mut columns = Vec::new();
        for _ in 0..count {
            let (name, type_oid) = (self.text()?, u32::try_from(self.number()?).ok()?);
            columns.push(Column { name, type_oid, is_key: self.letter()? == b'k' });
        }
        Some(Table { oid, schema, name, is_full, columns })
    }

    /// The outer `None` for what is malformed.
    #[expect(clippy::option_option, reason = "a row may be absent, and it may be malformed")]
    fn row(&mut self) -> Option<Option<Vec<Value>>> {
        if self.letter()? == b'-' {
            return Some(None);
        }
        let count = usize::try_from(self.number()?).ok()?;
        let mut values = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            values.push(match self.letter()? {
                b'n' => Value::Null,
                b'u' => Value::Unchanged,
                b't' => Value::Text(self.bytes()?),
                _ => return None,
            });
        }
        Some(Some(values))
    }

    fn broadcast(&mut self) -> Option<SqlBroadcast> {
        let (topic, event) = (self.text()?.into(), self.text()?.into());
        let (id, inserted_at) = (self.text()?, self.text()?);
        let is_private = self.letter()? == b'p';
        let is_json = self.letter()? == b'j';
        let body = self.bytes()?;
        let body = if is_json { body } else { super::assemble::unhex(&body)? };
        Some(SqlBroadcast { topic, event, body, is_json, is_private, id, inserted_at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Portion {
        let column = |name: &str, is_key| Column { name: name.to_owned(), type_oid: 25, is_key };
        let table = |name: &str| {
            let columns = vec![column("id", true), column("a:b 3", false)];
            Arc::new(Table {
                oid: 7,
                schema: "public".to_owned(),
                name: name.to_owned(),
                is_full: true,
                columns,
            })
        };
        let (one, other) = (table("one"), table("ö 2"));
        let text = |it: &'static str| Value::Text(Bytes::from_static(it.as_bytes()));
        let change = |table: &Arc<Table>, kind, secs, new, old| Change {
            table: Arc::clone(table),
            kind,
            committed_at: SystemTime::UNIX_EPOCH + Duration::from_micros(secs),
            new,
            old,
        };
        let broadcast = |is_json| SqlBroadcast {
            topic: "room:1".into(),
            event: "héllo".into(),
            body: Bytes::from_static(if is_json { b"{\"a\":[1]}" } else { b"\x00\xff9:" }),
            is_json,
            is_private: !is_json,
            id: "1-2".to_owned(),
            inserted_at: "2026-11-21 15:00:00".to_owned(),
        };
        Portion {
            changes: vec![
                change(&one, Kind::Insert, 5, Some(vec![text("1"), Value::Null]), None),
                change(
                    &other,
                    Kind::Update,
                    5,
                    Some(vec![text("2:3 "), Value::Unchanged]),
                    Some(vec![text(""), text("ä\n")]),
                ),
                change(&one, Kind::Delete, 6, None, Some(vec![text("1"), Value::Unchanged])),
            ],
            broadcasts: vec![broadcast(true), broadcast(false)],
            truncated: false,
        }
    }

    fn told() -> String {
        let position = Position { commit: Lsn(1 << 40), rows: 3 };
        let Portion { changes, broadcasts, .. } = example();
        portion(Head { from: 9, count: 4, position, safe: Lsn(77) }, &changes, &broadcasts)
    }

    #[test]
    fn what_is_told_is_understood() {
        let Some(Message::Portion { from, count, position, safe, portion }) = read(told()) else {
            panic!("{}", told())
        };
        assert_eq!((from, count, position.rows, position.commit, safe), (9, 4, 3, Lsn(1 << 40), Lsn(77)));
        assert_eq!(format!("{portion:?}"), format!("{:?}", example()));
        let [first, _, last] = portion.changes.as_slice() else { panic!("three changes") };
        assert!(Arc::ptr_eq(&first.table, &last.table), "one description for both");
        assert!(matches!(read(hello(1)), Some(Message::Hello { from: 1 })));
        assert!(matches!(read(heard(1, 2, 3)), Some(Message::Heard { from: 1, leader: 2, count: 3 })));
        let Some(Message::Live { from: 1, count: 2, position: it, followers }) =
            read(live(1, 2, position, &[5, 6]))
        else {
            panic!("a sign of life")
        };
        assert_eq!((it, followers), (position, vec![5, 6]));
        assert!(matches!(read(gap(3)), Some(Message::Gap)));
        assert!(matches!(read(bye(4)), Some(Message::Bye)));
    }

    #[test]
    fn what_is_cut_short_is_not_believed() {
        let whole = told();
        let complete = |it: &str| match read(it.to_owned()) {
            Some(Message::Portion { portion, .. }) => portion.changes.len() + portion.broadcasts.len(),
            _ => 0,
        };
        assert_eq!(complete(&whole), 5);
        for (end, _) in whole.char_indices() {
            let cut = whole.split_at(end).0;
            assert!(complete(cut) < 5, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[HALPGE]?[0-9 ]{0,20}[T@BIUD+ntuxj:0-9 -]{0,60}") {
            let _ = read(text);
        }
    }
}
