//! How often members may come, change and go, and what they may say of themselves.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

/// Bounds and times.
#[derive(Debug, Clone)]
pub struct PresenceSettings {
    /// How long members of a worker that fell silent are there; keys in Redis live as long. Default 60 s (REQ C8).
    pub ttl: Duration,
    /// How often a worker tells the others that it lives. Default 5 s.
    pub beat: Duration,
    /// How long changes of a topic are gathered before they are told of. Default 20 ms.
    pub gather: Duration,
    /// Members that a worker has in one project. Default 100,000.
    pub max_members: usize,
    /// The longest text that a member may say of itself. Default 64 KiB.
    pub max_meta_bytes: usize,
    /// The longest text about all of a topic's members, as whoever joins is sent it; beyond it members say 1 KiB at most.
    /// Default 1 MiB.
    pub max_state_bytes: usize,
    /// Presence events of a project per second, in each process. Default 1,000.
    pub events_per_second: u32,
    /// Presence events of one client in `client_window`. Default 5.
    pub client_events: u32,
    /// Default 30 s.
    pub client_window: Duration,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            beat: Duration::from_secs(5),
            gather: Duration::from_millis(20),
            max_members: 100_000,
            max_meta_bytes: 64 * 1024,
            max_state_bytes: 1024 * 1024,
            events_per_second: 1_000,
            client_events: 5,
            client_window: Duration::from_secs(30),
        }
    }
}

/// What is always short enough.
pub(super) const SHORT_BYTES: usize = 1024;

/// Why somebody is not shown. `Display` is for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresenceRefusal {
    /// What a member says of itself must be a map.
    #[error("Presence track payload must be a map")]
    NotAMap,
    /// It says too much.
    #[error("Presence track payload is too large")]
    TooLarge,
    /// This client changes too often.
    #[error("ClientPresenceRateLimitReached: Too many presence events of this client")]
    TooManyOfClient,
    /// All of the project's change too often.
    #[error("PresenceRateLimitReached: Too many presence events per second")]
    TooManyOfProject,
    /// There are too many.
    #[error("PresenceRateLimitReached: Too many members")]
    Full,
}

/// What a member says of itself, if that is a map and no longer than allowed, and how long it is.
pub(super) fn said(meta: &Value, max_bytes: usize) -> Result<(&Map<String, Value>, usize), PresenceRefusal> {
    let said = meta.as_object().ok_or(PresenceRefusal::NotAMap)?;
    let mut room = Room(max_bytes);
    serde_json::to_writer(&mut room, said).map_err(|_| PresenceRefusal::TooLarge)?;
    Ok((said, max_bytes - room.0))
}

/// Takes so many bytes, and keeps none.
struct Room(usize);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Counts events in windows of fixed length.
#[derive(Debug)]
pub(super) struct Window {
    since: Instant,
    events: u32,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, events: 0 }
    }

    /// Whether what was counted counts no more.
    pub(super) fn is_over(&self, per: Duration, now: Instant) -> bool {
        now.duration_since(self.since) >= per
    }

    /// Count one event, if fewer than `limit` were in the window of length `per`.
    pub(super) fn admit(&mut self, limit: u32, per: Duration, now: Instant) -> bool {
        if self.is_over(per, now) {
            *self = Self::new(now);
        }
        let admitted = self.events < limit;
        self.events += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_members_say_is_a_bounded_map() {
        assert_eq!(said(&json!([]), 100), Err(PresenceRefusal::NotAMap));
        assert_eq!(said(&json!(null), 100), Err(PresenceRefusal::NotAMap));
        assert_eq!(said(&json!({"a": "x".repeat(100)}), 100), Err(PresenceRefusal::TooLarge));
        assert!(said(&json!({"a": "x".repeat(92)}), 100).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_admits_so_many() {
        let per = Duration::from_secs(30);
        let mut window = Window::new(Instant::now());
        assert_eq!([1, 2, 3].map(|_| window.admit(2, per, Instant::now())), [true, true, false]);
        tokio::time::advance(per).await;
        assert!(window.admit(2, per, Instant::now()));
    }
}
