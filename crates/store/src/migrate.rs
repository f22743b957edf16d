//! Runs a crate's migrations: in order, each in a transaction, under an advisory lock so that two nodes take turns.

use refinery::Runner;
use tokio_postgres::Client;

use crate::Error;

/// Apply what `runner` holds and the database lacks; the record is kept in `schema.schema_migrations`.
///
/// Waits for another node that migrates the same database. Returns how many migrations were applied.
///
/// # Errors
/// [`Error::Migration`] names the schema; nothing of the failed migration is kept.
pub async fn migrate(client: &mut Client, schema: &'static str, runner: Runner) -> Result<usize, Error> {
    let _ = (client, schema, runner);
    todo!("store")
}
