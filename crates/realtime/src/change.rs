//! Rows that changed, as the replication stream tells them: what the feed makes and what subscriptions are matched with.
//!
//! Tables and values are the stream's own ([`store::replication`]), so that nothing is copied on the way. A row whose values
//! are longer than [`MAX_ROW_BYTES`] together comes with its long values cut, to that length and a byte: whoever renders
//! rows refuses those that are longer than this, and never shows a value that was cut.

use std::sync::Arc;
use std::time::SystemTime;

#[cfg(test)]
pub(crate) use store::replication::Column;
pub(crate) use store::replication::{Kind, Table, Value};

/// The most that the values of a row may have together, old and new ones counted apart.
pub(crate) const MAX_ROW_BYTES: usize = 1024 * 1024;

/// Changes in the order of their commits, as every process of the project gets them: never empty, a few thousand at most.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
}

/// One row that changed.
#[derive(Debug)]
pub(crate) struct Change {
    /// One `Arc` for all changes of a batch to the same table; another one once the table was altered.
    pub(crate) table: Arc<Table>,
    pub(crate) kind: Kind,
    pub(crate) committed_at: SystemTime,
    /// The row as it is now; absent after a deletion.
    pub(crate) new: Option<Vec<Value>>,
    /// The row as it was: whole with `REPLICA IDENTITY FULL`; else its key, everything beside it [`Value::Unchanged`]. An
    /// update tells it only when the key changed, or with `REPLICA IDENTITY FULL`.
    pub(crate) old: Option<Vec<Value>>,
}
