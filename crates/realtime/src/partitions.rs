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

/// Look after the partitions of `project` once, unless another process is doing it.
pub(crate) async fn keep(databases: &Databases, locks: &Locks, project: &Project) {
    let lock =
        DistributedLock::new(locks, &format!("realtime:partitions:{}", project.reference), LOCK_TTL_SECS);
    let work = async {
        let database = databases.of(project).await;
        let client = database.services().await?;
        client.batch_execute("select realtime.keep_partitions()").await.map_err(store::Error::from)
    };
    if let Some(Err(error)) = lock.run(work).await {
        tracing::warn!(project.id = %project.reference, %error, "the partitions of realtime.messages were not kept");
    }
}

#[cfg(test)]
mod tests;
