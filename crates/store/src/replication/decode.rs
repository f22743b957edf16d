//! Bytes of `pgoutput` (protocol version 1) into [`Event`]s. Pure but for the tables that it remembers: PostgreSQL describes
//! a table once per connection, and again when it has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};

use super::{Column, Event, Kind, Lsn, Row, Table, Value};
use crate::data_path::broken::Broken;

const MALFORMED: Broken = Broken::Protocol("PostgreSQL sent a malformed change");
const UNKNOWN: Broken = Broken::Protocol("PostgreSQL sent a change of a table that it did not describe");
/// Seconds from 1970 to 2000, from which PostgreSQL counts.
const EPOCH_SECS: u64 = 946_684_800;
/// Tables that are remembered; a stream that tells of more is begun anew.
const MAX_TABLES: usize = 100_000;

/// What a message between client and server inside the stream says.
#[derive(Debug)]
pub(super) enum Message {
    Event(Event),
    /// Nothing that anybody wants to know.
    Other,
    /// How far the server has read; whether it waits for an answer.
    Alive(Lsn, bool),
}

/// The tables of a stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    tables: HashMap<u32, Arc<Table>, foldhash::fast::RandomState>,
}

impl Decoder {
    /// What the body of a `CopyData` says.
    pub(super) fn message(&mut self, mut body: Bytes) -> Result<Message, Broken> {
        match body.try_get_u8().map_err(|_| MALFORMED)? {
            b'w' if body.len() >= 24 => {
                body.advance(24);
                Ok(self.event(body)?.map_or(Message::Other, Message::Event))
            }
            b'k' => {
                let (end, _clock) = (lsn(&mut body)?, u64(&mut body)?);
                Ok(Message::Alive(end, u8(&mut body)? != 0))
            }
            _ => Err(MALFORMED),
        }
    }

    fn event(&mut self, mut body: Bytes) -> Result<Option<Event>, Broken> {
        let event = match u8(&mut body)? {
            b'B' => {
                let commit = lsn(&mut body)?;
                Event::Begin { commit, committed_at: moment(u64(&mut body)?), xid: u32(&mut body)? }
            }
            b'C' => {
                let (_flags, _commit) = (u8(&mut body)?, lsn(&mut body)?);
                Event::Commit { end: lsn(&mut body)? }
            }
            b'R' => {
                let table = table(&mut body)?;
                if self.tables.len() >= MAX_TABLES && !self.tables.contains_key(&table.oid) {
                    return Err(Broken::Protocol("a stream told of too many tables"));
                }
                self.tables.insert(table.oid, Arc::new(table));
                return Ok(None);
            }
            b'I' => self.row(&mut body, Kind::Insert)?,
            b'U' => self.row(&mut body, Kind::Update)?,
            b'D' => self.row(&mut body, Kind::Delete)?,
            b'T' => {
                let (count, _options) = (u32(&mut body)?, u8(&mut body)?);
                let tables = (0..count).map(|_| self.table(u32(&mut body)?));
                Event::Truncate(tables.collect::<Result<_, _>>()?)
            }
            // Types, origins, messages: nobody asked for them.
            _ => return Ok(None),
        };
        Ok(Some(event))
    }

    fn table(&self, oid: u32) -> Result<Arc<Table>, Broken> {
        self.tables.get(&oid).cloned().ok_or(UNKNOWN)
    }

    fn row(&self, body: &mut Bytes, kind: Kind) -> Result<Event, Broken> {
        let table = self.table(u32(body)?)?;
        let (mut new, mut old) = (None, None);
        while body.has_remaining() {
            match u8(body)? {
                b'N' => new = Some(tuple(body)?),
                b'O' => old = Some(tuple(body)?),
                b'K' => old = Some(key(&table, tuple(body)?)),
                _ => return Err(MALFORMED),
            }
        }
        let complete = if kind == Kind::Delete { old.is_some() } else { new.is_some() };
        if complete { Ok(Event::Row(Row { table, kind, new, old })) } else { Err(MALFORMED) }
    }
}

/// The key of an old row; PostgreSQL says null of everything else.
fn key(table: &Table, mut values: Vec<Value>) -> Vec<Value> {
    for (value, column) in values.iter_mut().zip(&table.columns) {
        if !column.is_key {
            *value = Value::Unchanged;
        }
    }
    values
}

fn tuple(body: &mut Bytes) -> Result<Vec<Value>, Broken> {
    let count = usize::from(body.try_get_u16().map_err(|_| MALFORMED)?);
    // Each takes a byte at least.
    let mut values = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        values.push(match u8(body)? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let length = usize::try_from(u32(body)?).map_err(|_| MALFORMED)?;
                if body.len() < length {
                    return Err(MALFORMED);
                }
                Value::Text(body.split_to(length))
            }
            _ => return Err(MALFORMED),
        });
    }
    Ok(values)
}

fn table(body: &mut Bytes) -> Result<Table, Broken> {
    let (oid, schema, name) = (u32(body)?, text(body)?, text(body)?);
    let is_full = u8(body)? == b'f';
    let count = usize::from(body.try_get_u16().map_err(|_| MALFORMED)?);
    let mut columns = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        let is_key = u8(body)? & 1 == 1;
        let (name, type_oid, _modifier) = (text(body)?, u32(body)?, u32(body)?);
        columns.push(Column { name, type_oid, is_key });
    }
    // An empty schema's name stands for PostgreSQL's own.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    Ok(Table { oid, schema, name, is_full, columns })
}

fn text(body: &mut Bytes) -> Result<String, Broken> {
    let length = body.iter().position(|it| *it == 0).ok_or(MALFORMED)?;
    let text = String::from_utf8_lossy(&body.split_to(length)).into_owned();
    body.advance(1);
    Ok(text)
}

fn moment(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECS) + Duration::from_micros(micros)
}

fn u8(body: &mut Bytes) -> Result<u8, Broken> {
    body.try_get_u8().map_err(|_| MALFORMED)
}

fn u32(body: &mut Bytes) -> Result<u32, Broken> {
    body.try_get_u32().map_err(|_| MALFORMED)
}

fn u64(body: &mut Bytes) -> Result<u64, Broken> {
    body.try_get_u64().map_err(|_| MALFORMED)
}

fn lsn(body: &mut Bytes) -> Result<Lsn, Broken> {
    Ok(Lsn(u64(body)?))
}

#[cfg(test)]
mod tests;
