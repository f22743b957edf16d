//! How long the stages of a request took, for projects whose `Server-Timing` tells; otherwise nothing is measured.

use std::sync::OnceLock;
use std::time::Duration;

use common::StageTimes;
use tokio::time::Instant;

/// Marks the end of each stage; the first mark counts.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Option<Instant>,
    parsed: OnceLock<Instant>,
    planned: OnceLock<Instant>,
    ran: OnceLock<Instant>,
}

impl Watch {
    /// A request arrives; `runs` when it is to be measured.
    pub(crate) fn start(runs: bool) -> Self {
        let (parsed, planned, ran) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { began: runs.then(Instant::now), parsed, planned, ran }
    }

    fn mark(&self, stage: &OnceLock<Instant>) {
        if self.began.is_some() {
            stage.get_or_init(Instant::now);
        }
    }

    /// The request is understood.
    pub(crate) fn parsed(&self) {
        self.mark(&self.parsed);
    }

    /// The statement is written.
    pub(crate) fn planned(&self) {
        self.mark(&self.planned);
    }

    /// The database has answered.
    pub(crate) fn ran(&self) {
        self.mark(&self.ran);
    }

    /// What was measured until now.
    pub(crate) fn times(&self) -> Option<StageTimes> {
        let mut last = self.began?;
        let mut since_last = |stage: Option<&Instant>| -> Option<Duration> {
            let end = *stage?;
            let took = end.saturating_duration_since(last);
            last = end;
            Some(took)
        };
        let parse = since_last(self.parsed.get()).unwrap_or_default();
        let plan = since_last(self.planned.get());
        let transaction = since_last(self.ran.get());
        Some(StageTimes { parse, plan, transaction, response: last.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stages_are_measured_where_they_happen() {
        let watch = Watch::start(true);
        tokio::time::advance(Duration::from_millis(1)).await;
        watch.parsed();
        tokio::time::advance(Duration::from_millis(2)).await;
        watch.planned();
        watch.planned();
        let times = watch.times().unwrap();
        assert_eq!((times.parse, times.plan), (Duration::from_millis(1), Some(Duration::from_millis(2))));
        assert_eq!(times.transaction, None);
        assert_eq!(Watch::start(false).times(), None);
    }
}
