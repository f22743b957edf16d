//! A connection of the services' login, on loan: a client of `tokio-postgres` whose questions are seen in traces.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement, ToStatement};
use trace::Span;

use crate::traced;

/// A pooled `tokio-postgres` connection; dereferences to `tokio_postgres::Client`. Dropping it gives it back.
pub struct ServiceClient {
    client: Object,
    database: Arc<str>,
}

/// A prepared statement that knows what kind of thing it does.
#[derive(Debug, Clone)]
pub struct Prepared {
    statement: Statement,
    /// A word such as `SELECT`; empty when it is none of those that are known.
    operation: &'static str,
}

/// What can be asked: text, or a prepared statement.
pub trait Question {
    /// The driver's kind of it.
    type Statement: ToStatement + ?Sized + Sync;

    /// The driver's.
    fn statement(&self) -> &Self::Statement;

    /// A word such as `SELECT`, or nothing.
    fn operation(&self) -> &'static str;
}

impl Question for str {
    type Statement = str;

    fn statement(&self) -> &str {
        self
    }

    fn operation(&self) -> &'static str {
        operation(self)
    }
}

impl Question for Prepared {
    type Statement = Statement;

    fn statement(&self) -> &Statement {
        &self.statement
    }

    fn operation(&self) -> &'static str {
        self.operation
    }
}

type Values<'a> = [&'a (dyn ToSql + Sync)];

impl ServiceClient {
    pub(super) fn new(client: Object, database: Arc<str>) -> Self {
        Self { client, database }
    }

    /// Prepare `text`, or take what was prepared of it on this connection before.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn prepare_cached(&self, text: &str) -> Result<Prepared, Error> {
        let statement = self.client.prepare_cached(text).await?;
        Ok(Prepared { statement, operation: operation(text) })
    }

    /// Rows.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn query<Q: Question + ?Sized>(&self, it: &Q, values: &Values<'_>) -> Result<Vec<Row>, Error> {
        let span = self.begin(it);
        end(span, self.client.query(it.statement(), values).await)
    }

    /// The only row.
    ///
    /// # Errors
    /// What PostgreSQL says, or that there is not exactly one row.
    pub async fn query_one<Q: Question + ?Sized>(&self, it: &Q, values: &Values<'_>) -> Result<Row, Error> {
        let span = self.begin(it);
        end(span, self.client.query_one(it.statement(), values).await)
    }

    /// The only row, or none.
    ///
    /// # Errors
    /// What PostgreSQL says, or that there are several.
    pub async fn query_opt<Q: Question + ?Sized>(
        &self,
        it: &Q,
        values: &Values<'_>,
    ) -> Result<Option<Row>, Error> {
        let span = self.begin(it);
        end(span, self.client.query_opt(it.statement(), values).await)
    }

    /// How many rows it changed.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn execute<Q: Question + ?Sized>(&self, it: &Q, values: &Values<'_>) -> Result<u64, Error> {
        let span = self.begin(it);
        end(span, self.client.execute(it.statement(), values).await)
    }

    fn begin<Q: Question + ?Sized>(&self, it: &Q) -> Option<Span> {
        trace::ask_database(it.operation(), &self.database)
    }
}

fn end<T>(span: Option<Span>, outcome: Result<T, Error>) -> Result<T, Error> {
    if let Some(span) = span {
        traced::served(span, &outcome);
    }
    outcome
}

/// The first word of `text` after comments, if it is one that a trace may show.
fn operation(text: &str) -> &'static str {
    let line = text.lines().find(|it| !it.is_empty() && !it.starts_with("--")).unwrap_or_default();
    let word = line.split_ascii_whitespace().next().unwrap_or_default();
    let known = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH"];
    known.into_iter().find(|it| it.eq_ignore_ascii_case(word)).unwrap_or_default()
}

impl Deref for ServiceClient {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.client
    }
}

impl DerefMut for ServiceClient {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.client
    }
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient").field("database", &self.database).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_a_known_word_and_never_anything_else_of_a_statement() {
        for (text, word) in [
            ("select 1", "SELECT"),
            ("-- why\n\nwith x as (select 1)\nselect * from x", "WITH"),
            ("Insert\ninto t values (1)", "INSERT"),
            ("secret", ""),
            ("", ""),
        ] {
            assert_eq!(operation(text), word, "{text}");
        }
    }
}
