//! What the crowd is told: a plan when it starts, then one order after the other, each a line of JSON on standard input.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

/// The first line.
#[derive(Debug, Deserialize)]
pub(crate) struct Plan {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    /// What subscribers ask for, with the query.
    pub(crate) path: String,
    /// What the sender asks for, if anybody is to send.
    #[serde(default)]
    pub(crate) sender_path: Option<String>,
    /// Subscribers, the sender not counted.
    pub(crate) sockets: usize,
    /// They are spread over this many topics, `room:0` and so on.
    #[serde(default = "one")]
    pub(crate) topics: usize,
    /// Who they are, in turn; nobody in particular when empty.
    #[serde(default)]
    pub(crate) users: Vec<User>,
    /// `postgres_changes` of every join.
    #[serde(default)]
    pub(crate) changes: Vec<Value>,
    /// Processes whose processor time is told with every measurement.
    #[serde(default)]
    pub(crate) watched: Vec<u32>,
}

/// A user of some sockets.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    /// What every change that he may see contains.
    pub(crate) mark: String,
    pub(crate) token: String,
}

/// How the server speaks inside of WebSocket frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// Supabase Realtime's protocol 2.0.0.
    Realtime,
    /// nchan: the path is the topic, a frame is a message.
    Nchan,
}

/// A line after the first.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Order {
    /// Open the connections.
    Open,
    /// Join the topics.
    Join,
    /// Keep everything open until the next order.
    Hold,
    /// Count anew.
    Restart,
    /// Send, and wait until everybody has everything.
    Broadcast(Broadcast),
    /// Wait for so many deliveries, `secs` at most.
    Listen { deliveries: u64, secs: u64 },
}

/// Messages from the one sender to all subscribers.
#[derive(Debug, Deserialize)]
pub(crate) struct Broadcast {
    pub(crate) messages: u32,
    /// Bytes of a message's body.
    pub(crate) size: usize,
    /// So many messages may be under way at once (sent, not yet with everybody).
    #[serde(default)]
    pub(crate) window: Option<u32>,
    /// Or: so many a second, whatever becomes of them.
    #[serde(default)]
    pub(crate) per_sec: Option<u32>,
    /// Give up after this time.
    pub(crate) secs: u64,
}

fn one() -> usize {
    1
}
