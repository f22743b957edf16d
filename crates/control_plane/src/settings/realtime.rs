//! Bounds of what a project sets about realtime.

use common::RealtimeSettings;

/// Sockets, channels and everything a second.
const MAX: u32 = 1_000_000_000;
/// A client's message is 5 MB at most.
const MAX_PAYLOAD_KB: u32 = 5000;

/// Refuse what does not fit.
pub(super) fn check(settings: &RealtimeSettings) -> Result<(), String> {
    let counts = [
        settings.max_concurrent_users,
        settings.max_channels_per_client,
        settings.max_joins_per_second,
        settings.max_events_per_second,
        settings.max_bytes_per_second,
        settings.max_presence_events_per_second,
    ];
    if counts.iter().any(|it| !(1..=MAX).contains(it)) {
        return Err("realtime.max_… must be 1 to 1000000000".to_owned());
    }
    if !(1..=MAX_PAYLOAD_KB).contains(&settings.max_payload_size_in_kb) {
        return Err("realtime.max_payload_size_in_kb must be 1 to 5000".to_owned());
    }
    Ok(())
}
