//! Time of the clock that PostgreSQL on the same machine reads too, and processor time of processes.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds that these processes have kept processors busy; `/proc` counts by hundredths of a second.
pub(crate) fn cpu_ms(processes: &[u32]) -> u64 {
    processes.iter().filter_map(|it| ticks(&format!("/proc/{it}/stat"))).sum::<u64>() * 10
}

/// The same of this process.
pub(crate) fn own_cpu_ms() -> u64 {
    ticks("/proc/self/stat").unwrap_or_default() * 10
}

/// User and system time, after the name, which may contain anything.
fn ticks(path: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let fields = text.rsplit(')').next()?.split_whitespace();
    Some(fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum())
}
