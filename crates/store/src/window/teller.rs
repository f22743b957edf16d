//! Tells Redis what this process admitted by itself, many keys at once, a moment later.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::script::Call;
use super::slot::Slot;
use crate::Redis;

/// Between one telling and the next.
const EVERY: Duration = Duration::from_millis(25);
/// Keys told at once: Redis does nothing else meanwhile.
const BATCH: usize = 64;

/// The keys with something to tell. Each is here at most once.
#[derive(Debug, Default)]
pub(super) struct Untold {
    slots: Mutex<Vec<Arc<Slot>>>,
    added: Notify,
}

impl Untold {
    pub(super) fn add(&self, slot: Arc<Slot>) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        self.added.notify_one();
    }

    fn take(&self) -> Vec<Arc<Slot>> {
        std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tell until the token is cancelled. Nothing is ever untold without Redis.
pub(super) fn tell(redis: Redis, per: Duration, untold: Arc<Untold>) -> CancellationToken {
    let ends = CancellationToken::new();
    let ended = ends.clone();
    if redis.is_configured() {
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = keep_telling(&redis, per, &untold) => {}
            }
        });
    }
    ends
}

async fn keep_telling(redis: &Redis, per: Duration, untold: &Untold) {
    loop {
        untold.added.notified().await;
        tokio::time::sleep(EVERY).await;
        let mut call = Call::new(per);
        for slot in untold.take() {
            call.add_queued(slot);
            if call.len() >= BATCH {
                std::mem::replace(&mut call, Call::new(per)).run(redis).await;
            }
        }
        call.run(redis).await;
    }
}
