//! The changes of a database, as PostgreSQL streams them: logical replication by its own plugin `pgoutput`.
//!
//! A **slot** ([`Slots`]) is a place in the write-ahead log that PostgreSQL remembers; what was written behind it is kept
//! until it is confirmed. A [`Stream`] reads on from there: [`Event`]s of committed transactions, in the order of their
//! commits, until it is dropped. What is not confirmed comes again.
//!
//! The socket, TLS, hosts and the proof of who we are, are the data path's; the stream is read and confirmed on one task,
//! so a slow reader slows PostgreSQL's sender instead of filling memory. Values are slices of what was received.

mod decode;
mod slots;
mod stream;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

pub use slots::{Publication, Slot, Slots};
pub use stream::{Start, Stream};

pub use crate::replicas::Lsn;

/// What a stream tells.
#[derive(Debug)]
pub enum Event {
    /// A transaction begins, whose commit stands at `commit`; its rows follow.
    Begin {
        /// Of its commit's record.
        commit: Lsn,
        /// When it was committed, by the server's clock.
        committed_at: SystemTime,
        /// Its number, for [`Slots::are_visible`].
        xid: u32,
    },
    /// A row changed.
    Row(Row),
    /// All rows of a table were removed at once; tells the tables.
    Truncate(Vec<Arc<Table>>),
    /// The transaction is complete. Confirming `end` says that it need not come again.
    Commit {
        /// Behind its commit's record.
        end: Lsn,
    },
    /// Nothing before `end` is still to come, except of a transaction that has begun and is not complete.
    Reached {
        /// How far the server has read.
        end: Lsn,
    },
}

/// One row that changed.
#[derive(Debug)]
pub struct Row {
    /// The table, or with `publish_via_partition_root` the root of its partitions.
    pub table: Arc<Table>,
    /// What happened.
    pub kind: Kind,
    /// The row as it is now; absent after a deletion.
    pub new: Option<Vec<Value>>,
    /// The row as it was: whole with `REPLICA IDENTITY FULL`; else its key, everything beside it [`Value::Unchanged`]. An
    /// update tells it only when the key changed, or with `REPLICA IDENTITY FULL`.
    pub old: Option<Vec<Value>>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is new.
    Insert,
    /// It has other values.
    Update,
    /// It is gone.
    Delete,
}

/// A table as the stream described it before the change.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number in `pg_class`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `REPLICA IDENTITY FULL`.
    pub is_full: bool,
    /// Those that are published, in their order.
    pub columns: Vec<Column>,
}

/// A column of a [`Table`].
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type's number in `pg_type`.
    pub type_oid: u32,
    /// Part of the replica identity: with `REPLICA IDENTITY FULL` every column is, else those of the primary key as a rule.
    pub is_key: bool,
}

/// A column's value, in PostgreSQL's text format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL's null.
    Null,
    /// The stream does not tell it: stored out of line and not changed, or no part of the key of an old row.
    Unchanged,
    /// UTF-8; shares the buffer that it was read into.
    Text(Bytes),
}
