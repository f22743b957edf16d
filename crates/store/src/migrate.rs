//! Runs a crate's migrations: in order, each in a transaction, under an advisory lock so that two nodes take turns.

use refinery::Runner;
use tokio_postgres::Client;

use crate::Error;

/// Apply what `runner` holds and the database lacks; the record is kept in `schema.schema_migrations`.
///
/// Waits for another node that migrates the same schema of this database. The schema must exist: nothing but the
/// table of the record is made here. Returns how many migrations were applied.
///
/// # Errors
/// [`Error::Migration`] names the schema; nothing of the failed migration is kept.
pub async fn migrate(client: &mut Client, schema: &'static str, mut runner: Runner) -> Result<usize, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Migration { schema, source };
    runner.set_migration_table_name(format!("{schema}.schema_migrations"));
    let key = advisory_key("madbase.migrate.", schema);
    client.execute("select pg_advisory_lock($1)", &[&key]).await.map_err(|it| failed(it.into()))?;
    let outcome = runner.run_async(client).await;
    // A connection that broke meanwhile has lost its locks with it, so only the run's own failure counts.
    let unlocked = client.execute("select pg_advisory_unlock($1)", &[&key]).await;
    let report = outcome.map_err(|it| failed(it.into()))?;
    unlocked.map_err(|it| failed(it.into()))?;
    Ok(report.applied_migrations().len())
}

/// The same number on every node and in every version: FNV-1a (64 bits) over a prefix of ours and a name.
pub(crate) fn advisory_key(prefix: &str, name: &str) -> i64 {
    let hash = prefix.bytes().chain(name.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::advisory_key;

    #[test]
    fn lock_keys_are_stable_and_differ_by_schema() {
        // Another value would let an old and a new version migrate side by side.
        assert_eq!(advisory_key("madbase.migrate.", "auth"), -5_710_270_203_710_501_351);
        let of = |schema| advisory_key("madbase.migrate.", schema);
        assert_ne!(of("auth"), of("storage"));
    }
}
