//! What the operator bounds about sockets, for all projects of a process together.

use std::time::Duration;

use crate::FeedSettings;

/// Bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sockets at once. Default 50,000.
    pub max_sockets: usize,
    /// The largest message of a client. Default 5 MB.
    pub max_message_bytes: usize,
    /// Beginnings of messages that clients have not sent to their ends, of all sockets together. Default 256 MiB.
    pub max_unread_bytes: usize,
    /// What may wait for one socket before it is closed as too slow. Default 4 MiB.
    pub max_waiting_bytes: usize,
    /// A socket that says nothing for so long is closed; clients send a heartbeat every 25 s. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may refuse to take what is sent to it. Default 30 s.
    pub write_timeout: Duration,
    /// How often rights in private topics are asked for again. Default 5 min.
    pub check_every: Duration,
    /// How long a channel that asked to hear of it waits for the stream of changes to stand. Default 60 s.
    pub ready_timeout: Duration,
    /// At the end sockets are told to reconnect over so much time, less when they are few or the end is near. Default 10 s.
    pub drain_spread: Duration,
    /// Bounds of the projects' streams of changes.
    pub feed: FeedSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_sockets: 50_000,
            max_message_bytes: 5_000_000,
            max_unread_bytes: 256 * 1024 * 1024,
            max_waiting_bytes: 4 * 1024 * 1024,
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            check_every: Duration::from_secs(300),
            ready_timeout: Duration::from_secs(60),
            drain_spread: Duration::from_secs(10),
            feed: FeedSettings::default(),
        }
    }
}
