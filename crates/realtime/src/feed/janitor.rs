//! Removes slots that nobody reads: of processes that were killed, and of projects that are not followed any more.
//!
//! A slot's leader has the lock while it exists, so whoever gets the lock of a slot that was left alone for a while may
//! remove it. A slot that holds too much is removed as soon as it is seen to be alone.

use std::collections::HashMap;
use std::time::Duration;

use store::replication::{Lsn, Slot, Slots};
use store::{DistributedLock, Error};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Ground, lead, slot};

/// The lock is held for a moment only.
const LOCK_TTL_SECS: u64 = 15;
/// Slots that are not read are looked at so often at least.
const OFTEN: Duration = Duration::from_secs(15);

/// Slots that were alone when last looked at: since when, and where they stood.
type Alone = HashMap<String, (Instant, Lsn)>;

/// For ever.
pub(super) async fn keep_clean(ground: Ground) {
    let mut look = interval((ground.settings.linger / 4).clamp(Duration::from_millis(100), OFTEN));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alone = Alone::new();
    loop {
        look.tick().await;
        if let Err(error) = clean(&ground, &mut alone).await {
            tracing::debug!(%error, "replication slots are not looked at");
        }
    }
}

async fn clean(ground: &Ground, alone: &mut Alone) -> Result<(), Error> {
    let slots = Slots::open(&ground.server, ground.server.database().unwrap_or("postgres")).await?;
    let found = slots.list(&slot::prefix(&ground.locks)).await?;
    let now = Instant::now();
    alone.retain(|name, (_, stood)| found.iter().any(|it| it.name == *name && is_still(it, *stood)));
    for it in found.iter().filter(|it| it.reader.is_none()) {
        let (since, _) = *alone.entry(it.name.clone()).or_insert((now, it.confirmed));
        let is_over = it.held_bytes > ground.settings.max_held_bytes;
        if now - since >= ground.settings.linger || is_over {
            remove(ground, &slots, it).await?;
        }
    }
    Ok(())
}

fn is_still(slot: &Slot, stood: Lsn) -> bool {
    slot.reader.is_none() && slot.confirmed == stood
}

async fn remove(ground: &Ground, slots: &Slots, found: &Slot) -> Result<(), Error> {
    let Some(project) = slot::project(&ground.locks, &found.name) else { return Ok(()) };
    let lock = DistributedLock::new(&ground.locks, &slot::lock(&project), LOCK_TTL_SECS);
    if !lock.try_acquire().await? {
        return Ok(());
    }
    let removing = async {
        // Somebody may have read it between our look and the lock.
        match slots.find(&found.name).await? {
            Some(slot) if is_still(&slot, found.confirmed) => {
                tracing::info!(project.id = %project, held_bytes = slot.held_bytes, "removing a slot that nobody reads");
                lead::remove(slots, &found.name, "orphaned").await
            }
            _ => Ok(()),
        }
    };
    let removed = lock.while_held(removing).await;
    lock.release().await;
    removed.unwrap_or(Ok(()))
}
