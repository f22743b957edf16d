//! Rows that changed, as the replication stream tells them: what the feed makes and what subscriptions are matched with.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

/// Changes in the order of their commits, as every process of the project gets them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
}

/// One row that changed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) table: Arc<Table>,
    pub(crate) kind: Kind,
    pub(crate) committed_at: SystemTime,
    /// The row as it is now; absent after a deletion.
    pub(crate) new: Option<Vec<Value>>,
    /// The row as it was: whole with `REPLICA IDENTITY FULL`, else its key (an update tells it only when the key changed).
    pub(crate) old: Option<Vec<Value>>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Insert,
    Update,
    Delete,
}

/// A table as the stream described it before the change.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `REPLICA IDENTITY FULL`.
    pub(crate) is_full: bool,
    pub(crate) columns: Vec<Column>,
}

/// A column of a [`Table`].
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    /// Part of the replica identity.
    pub(crate) is_key: bool,
}

/// A column's value, in PostgreSQL's text format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// Stored out of line and not changed: the stream does not tell it.
    Unchanged,
    Text(Bytes),
}
