//! What callers write by way of other processes: each tells the others who wrote up to where, over Redis.
//!
//! Told before the write is answered: a client's next request comes to another process later than the message, as a rule
//! (nobody waits for the other process to have read it). Without
//! Redis, or while it is away, processes know of their own writes only; once it is back, everybody counts as having
//! written. A message is `{key}:{position}`, both in hexadecimal; position 0 is one that nobody knows.

use std::sync::Arc;

use super::Lsn;
use super::primary::Primary;
use crate::{Notification, Redis};

const CHANNEL: &str = "madbase:wrote";

/// Tell the others that the caller `key` wrote up to `position`.
pub(super) async fn tell(redis: &Redis, key: u64, position: Lsn) {
    let position = if position == Lsn::UNKNOWN { 0 } else { position.0 };
    redis.publish(CHANNEL, &format!("{key:x}:{position:x}")).await;
}

/// Note what others tell, as long as this runs.
pub(super) async fn hear(redis: Redis, primary: Arc<Primary>) {
    let mut messages = redis.subscribe(CHANNEL);
    while let Some(message) = messages.next().await {
        match message {
            Notification::Message(text) => note(&primary, &text),
            // Some may have been missed.
            Notification::Connected => primary.marks.doubt_all(),
        }
    }
}

fn note(primary: &Primary, text: &str) {
    let number = |it: &str| u64::from_str_radix(it, 16).ok();
    match text.split_once(':').map(|(key, position)| (number(key), number(position))) {
        Some((Some(key), Some(0))) => primary.marks.note_unknown(key),
        Some((Some(key), Some(position))) => primary.marks.note(key, Lsn(position)),
        _ => primary.marks.doubt_all(),
    }
}
