//! Plan → one statement whose only row carries everything: total, page size, body, response settings. Never fails.
//!
//! Columns of that row: see [`column`].

mod body;
mod builder;
mod call;
mod cast;
mod condition;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use builder::{Sql, array_literal, call_of};
pub(crate) use call::call;
pub(crate) use read::{planned_count, read};
pub(crate) use write::write;

/// Positions in the row that every statement gives.
pub(crate) mod column {
    /// Rows there are, without the page; null when not asked for.
    pub(crate) const TOTAL: usize = 0;
    /// Rows in the page, or rows affected.
    pub(crate) const COUNT: usize = 1;
    /// The setting `response.headers`.
    pub(crate) const HEADERS: usize = 2;
    /// The setting `response.status`.
    pub(crate) const STATUS: usize = 3;
    /// Of an upsert: rows that were new.
    pub(crate) const INSERTED: usize = 4;
    /// Of an insert of one row: values of the primary key as a JSON array.
    pub(crate) const LOCATION: usize = 5;
    /// The body: the last one, so that all else is known before it comes.
    pub(crate) const BODY: usize = 6;
}

/// The name of the rows that a mutation or function gave.
const SOURCE: &str = "pgrst_source";
