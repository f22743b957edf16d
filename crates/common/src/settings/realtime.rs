//! How much a project's realtime service takes.

use serde::{Deserialize, Serialize};

/// Settings of a project's realtime service, under Supabase's own names. Each process counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealtimeSettings {
    /// Whether nobody may connect.
    pub suspend: bool,
    /// Whether channels must be private.
    pub private_only: bool,
    /// Sockets at once.
    pub max_concurrent_users: u32,
    /// Channels that one socket may join.
    pub max_channels_per_client: u32,
    /// Channels that are joined in a second, on average over ten seconds, as all rates here.
    pub max_joins_per_second: u32,
    /// Broadcasts that are sent in a second.
    pub max_events_per_second: u32,
    /// Bytes of broadcasts that are sent in a second.
    pub max_bytes_per_second: u32,
    /// Presence messages that are sent in a second.
    pub max_presence_events_per_second: u32,
    /// The largest broadcast, in kB.
    pub max_payload_size_in_kb: u32,
}

impl Default for RealtimeSettings {
    fn default() -> Self {
        Self {
            suspend: false,
            private_only: false,
            max_concurrent_users: 200,
            max_channels_per_client: 100,
            max_joins_per_second: 100,
            max_events_per_second: 100,
            max_bytes_per_second: 100_000,
            max_presence_events_per_second: 1000,
            max_payload_size_in_kb: 3000,
        }
    }
}
