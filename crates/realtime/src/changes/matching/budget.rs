//! What one batch may spend on the policies of one table, all callers together.
//!
//! One caller whose policies run into their time limit is that caller's matter. With the second one the table is slow: what
//! is still asked is given up, and nobody is asked any more. So it is, too, when answers come, and are slow, and many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// So many callers may run into the limit.
const MOST_TIMEOUTS: u64 = 2;
/// After this long it matters how long an answer takes; and how long that may be, on average.
const LONG: Duration = Duration::from_secs(3);
const SLOW_ANSWER: Duration = Duration::from_millis(100);

/// Shared by the questions about one table.
#[derive(Debug)]
pub(super) struct Budget {
    began: Instant,
    timeouts: AtomicU64,
    answers: AtomicU64,
    /// All answers together took so long.
    took_ms: AtomicU64,
    over: CancellationToken,
}

impl Budget {
    pub(super) fn new() -> Self {
        let (timeouts, answers, took_ms) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Instant::now(), timeouts, answers, took_ms, over: CancellationToken::new() }
    }

    /// Whether nobody is to be asked any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// What comes of `asking`, unless the budget is over before.
    pub(super) async fn within<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        self.over.run_until_cancelled(asking).await
    }

    /// Somebody was asked, which `took` so long.
    pub(super) fn spend(&self, took: Duration, is_timeout: bool) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let took_ms = self.took_ms.fetch_add(took_ms, Ordering::Relaxed).saturating_add(took_ms);
        let timeouts =
            self.timeouts.fetch_add(u64::from(is_timeout), Ordering::Relaxed) + u64::from(is_timeout);
        let is_long = self.began.elapsed() > LONG && Duration::from_millis(took_ms / answers) > SLOW_ANSWER;
        if timeouts >= MOST_TIMEOUTS || is_long {
            self.over.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_who_takes_long_is_no_matter_and_many_are() {
        let (quick, slow, limit) =
            (Duration::from_millis(5), Duration::from_millis(900), Duration::from_secs(1));
        let budget = Budget::new();
        (0..1000).for_each(|_| budget.spend(quick, false));
        budget.spend(limit, true);
        assert!(!budget.is_over());
        budget.spend(limit, true);
        assert!(budget.is_over() && budget.within(std::future::pending::<()>()).await.is_none());
        // Many quick answers may take their time, slow ones may not.
        let [many, few] = [Budget::new(), Budget::new()];
        few.spend(slow, false);
        tokio::time::advance(LONG + slow).await;
        many.spend(quick, false);
        assert!(!few.is_over() && !many.is_over());
        few.spend(slow, false);
        assert!(few.is_over());
    }
}
