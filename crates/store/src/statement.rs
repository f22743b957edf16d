//! What travels to PostgreSQL in one round trip: session settings, one statement, and how the transaction ends.
//!
//! Built by the pure stages of a service; the text holds no client input (that is `params`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Answer, CallerKey};

/// A statement with its parameters in PostgreSQL's text format.
///
/// Parameter types are left to PostgreSQL (OID 0), so a cast in the text (`$1::int`) decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text, with `$1`… for parameters. Prepared once per connection and role under this text.
    pub text: Arc<str>,
    /// One value per parameter, in order; `None` is null.
    pub params: Vec<Option<Bytes>>,
}

/// What holds for one transaction: sent before the statement, gone after it.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// `set_config(name, value, true)`, in order. `role` comes first by convention, so that what follows
    /// is checked with the caller's rights.
    pub settings: Vec<(Cow<'static, str>, String)>,
    /// The isolation level; `None` is the server's default.
    pub isolation: Option<Isolation>,
    /// A statement without parameters to run after the settings (PostgREST's `db-pre-request`): its text.
    pub before: Option<Arc<str>>,
    /// How the answer comes.
    pub delivery: Delivery,
    /// Nothing that it runs changes the settings, so that others with the same settings may follow in its transaction.
    /// Of a write also: nothing tells whether another such write went before it in the same transaction or in one of
    /// its own (no triggers, no rules); when one fails, all are undone and sent again, each alone.
    pub is_sociable: bool,
    /// Who asks. Where there are replicas, a read may go to one that has replayed what this caller wrote; without a
    /// caller it goes to the primary.
    pub caller: Option<CallerKey>,
    /// What the statement does, for traces: a word such as `SELECT`; empty when that is not known.
    pub operation: &'static str,
}

/// How an answer comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Whole.
    #[default]
    Whole,
    /// For a statement with one row: when its last column is large, it comes in pieces ([`crate::Answer::tail`]).
    Streamed,
}

/// How far a transaction is apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// All statements see what was committed before the first.
    RepeatableRead,
    /// As if transactions ran one after another.
    Serializable,
}

/// How a write's transaction ends.
pub enum End {
    /// Commit when the statement succeeds. One round trip.
    Commit,
    /// Check deferred constraints, then roll back. One round trip.
    Rollback,
    /// Ask after the statement: `true` commits. Two round trips.
    If(Box<dyn FnOnce(&Answer) -> bool + Send>),
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "Commit",
            Self::Rollback => "Rollback",
            Self::If(_) => "If",
        })
    }
}
