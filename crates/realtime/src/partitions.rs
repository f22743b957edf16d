//! Partitions of `realtime.messages`: made days ahead, dropped three days after their day.
//!
//! One process of all does it for a project; the work itself is `realtime.keep_partitions()`. A process that fails to
//! only leaves it to the next: messages that find no partition make some.

use std::sync::Arc;
use std::time::Duration;

use common::Project;
use store::{Databases, DistributedLock, Locks};
use tokio_util::sync::CancellationToken;

/// What a process that falls silent keeps others from trying for.
const LOCK_TTL_SECS: u64 = 60;
/// Whether the partition of a day to come is missing, or that of a day long past is there.
const IS_DUE: &str = "\
    select to_regclass('realtime.messages_' || to_char(today + 3, 'YYYY_MM_DD')) is null \
        or to_regclass('realtime.messages_' || to_char(today - 4, 'YYYY_MM_DD')) is not null \
    from (select (now() at time zone 'utc')::date) as it (today)";
/// Between two looks at a project's partitions.
pub(crate) const EVERY: Duration = Duration::from_secs(3600);

/// Look after the partitions of `project` now and every `every`, until `ends`.
pub(crate) async fn keep_up(
    databases: Databases,
    locks: Locks,
    project: Arc<Project>,
    every: Duration,
    ends: CancellationToken,
) {
    let keeping = async {
        loop {
            keep(&databases, &locks, &project).await;
            tokio::time::sleep(every).await;
        }
    };
    ends.run_until_cancelled(keeping).await;
}

/// Look after the partitions of `project` once, if there is anything to do and no other process is doing it.
pub(crate) async fn keep(databases: &Databases, locks: &Locks, project: &Project) {
    if let Err(error) = try_keep(databases, locks, project).await {
        tracing::warn!(project.id = %project.reference, %error, "the partitions of realtime.messages were not kept");
    }
}

async fn try_keep(databases: &Databases, locks: &Locks, project: &Project) -> Result<(), store::Error> {
    // Most often that is all: a lock takes a connection of its own.
    let is_due: bool =
        databases.of(project).await.services().await?.query_one(IS_DUE, &[]).await?.try_get(0)?;
    if !is_due {
        return Ok(());
    }
    let lock =
        DistributedLock::new(locks, &format!("realtime:partitions:{}", project.reference), LOCK_TTL_SECS);
    let work = async {
        let client = databases.of(project).await.services().await?;
        client.batch_execute("select realtime.keep_partitions()").await.map_err(store::Error::from)
    };
    lock.run(work).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
