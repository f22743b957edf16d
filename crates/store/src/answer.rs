//! What PostgreSQL answered: rows as it sent them, shared, not copied.

use bytes::Bytes;

use crate::Tail;
use crate::replicas::Lsn;

/// The rows of a statement and its command tag.
#[derive(Debug, Default)]
pub struct Answer {
    /// The rows, in the order they came.
    pub rows: Vec<Row>,
    /// Rows affected or returned, from the command tag.
    ///
    /// 0 with a `tail` of a read: the tag comes after it.
    pub affected: u64,
    /// With [`crate::Delivery::Streamed`]: the last column of the only row, when it is large. The row ends before it.
    pub tail: Option<Tail>,
    /// Where replicas are: after a write, what they must have replayed to show it; of a replica's answer, what it had
    /// replayed before it began.
    pub(crate) position: Option<Lsn>,
}

/// One row; columns in PostgreSQL's text format.
#[derive(Debug, Clone, Default)]
pub struct Row {
    columns: Vec<Option<Bytes>>,
}

impl Row {
    /// A row of `columns`; `None` is null.
    #[must_use]
    pub fn new(columns: Vec<Option<Bytes>>) -> Self {
        Self { columns }
    }

    /// Column `idx` (0-based) as PostgreSQL sent it; `None` when it is null or there is no such column.
    #[must_use]
    pub fn bytes(&self, idx: usize) -> Option<&Bytes> {
        self.columns.get(idx)?.as_ref()
    }

    /// The last column, if it is no null.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.columns.last()?.as_deref()
    }

    /// Column `idx` as text; `None` when it is null, absent or not UTF-8.
    #[must_use]
    pub fn text(&self, idx: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(idx)?).ok()
    }
}
