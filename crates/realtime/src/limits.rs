//! How much of something may happen in a second, on average over the last ten.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// A burst may use up what so many seconds allow.
const BURST_SECS: f64 = 10.0;

/// Counts one kind of thing. The bound is told at every count, so that a changed setting holds at once.
#[derive(Debug)]
pub(crate) struct Rate {
    /// What was counted and has not faded, and when that was so.
    level: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { level: Mutex::new((0.0, Instant::now())) }
    }

    /// Count `amount` if that keeps to `per_second`: whether it does. What is larger than a burst by itself passes when nothing
    /// came lately, and takes its time to fade.
    pub(crate) fn take(&self, amount: u32, per_second: u32) -> bool {
        let (per_second, amount) = (f64::from(per_second), f64::from(amount));
        let now = Instant::now();
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let faded = now.saturating_duration_since(level.1).as_secs_f64() * per_second;
        let used = (level.0 - faded).max(0.0);
        let is_rested = used <= 0.0 && per_second > 0.0;
        let fits = is_rested || used + amount <= per_second * BURST_SECS;
        *level = (if fits { used + amount } else { used }, now);
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate::new();
        let take = |count: usize| (0..count).filter(|_| rate.take(1, 5)).count();
        assert_eq!(take(60), 50);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(take(60), 10);
        assert!(!rate.take(51, 5) && !rate.take(1, 0));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(rate.take(500, 5) && !rate.take(1, 5));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(rate.take(1, 5) && !Rate::new().take(1, 0));
    }
}
