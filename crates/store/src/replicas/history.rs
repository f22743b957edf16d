//! Where the primary was when: what turns a replica's position into a lag in time, by one clock (ours).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Lsn;

/// Samples kept; with the usual spacing they reach back 16 times the largest lag allowed.
const MOST: usize = 1024;

/// The primary's positions over time, oldest first.
#[derive(Debug)]
pub(super) struct History {
    samples: VecDeque<(Instant, Lsn)>,
    /// Where it was at first: how long ago it wrote what is before that is not known.
    begun: Lsn,
    spacing: Duration,
}

impl History {
    /// For lags about `limit`, which is told within a 64th.
    pub(super) fn new(limit: Duration) -> Self {
        Self { samples: VecDeque::new(), begun: Lsn::UNKNOWN, spacing: limit / 64 }
    }

    pub(super) fn latest(&self) -> Lsn {
        self.samples.back().map_or(Lsn::ZERO, |(_, lsn)| *lsn)
    }

    /// The primary is at `position` now; `false` when it was further before: it is another one.
    pub(super) fn add(&mut self, position: Lsn, now: Instant) -> bool {
        let latest = self.latest();
        if position < latest {
            self.samples.clear();
        }
        if self.samples.is_empty() {
            self.begun = position;
        }
        if position != latest {
            match self.samples.back_mut() {
                Some((at, lsn)) if now.duration_since(*at) < self.spacing => *lsn = position,
                _ => self.samples.push_back((now, position)),
            }
        }
        if self.samples.len() > MOST {
            self.samples.pop_front();
        }
        position >= latest
    }

    /// How long ago the primary wrote what a replica at `replayed` lacks, as far as the samples reach back; `None`
    /// when it lacks something that was written before the first sample.
    pub(super) fn lag(&self, replayed: Lsn, now: Instant) -> Option<Duration> {
        let next = self.samples.partition_point(|(_, lsn)| *lsn <= replayed);
        let age = self.samples.get(next).map_or(Duration::ZERO, |(at, _)| now.duration_since(*at));
        (replayed >= self.begun).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lag_is_the_age_of_what_is_missing() {
        let begin = Instant::now();
        let at = |secs: u64| begin + Duration::from_secs(secs);
        let mut history = History::new(Duration::from_secs(10));
        assert_eq!(history.lag(Lsn(1), at(0)), None, "nothing is known");
        for (secs, lsn) in [(0, 100), (1, 200), (2, 200), (5, 300)] {
            assert!(history.add(Lsn(lsn), at(secs)));
        }
        for (replayed, lag) in [(400, 0), (300, 0), (250, 4), (200, 4), (199, 8), (100, 8)] {
            assert_eq!(history.lag(Lsn(replayed), at(9)), Some(Duration::from_secs(lag)), "{replayed}");
        }
        assert_eq!(history.lag(Lsn(99), at(9)), None, "it may lack what is much older");
        assert!(!history.add(Lsn(40), at(9)), "another primary");
        assert_eq!(history.lag(Lsn(40), at(20)), Some(Duration::ZERO));
        assert_eq!(history.lag(Lsn(39), at(20)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_primary_is_remembered_in_bounded_space_and_never_too_young() {
        let begin = Instant::now();
        let mut history = History::new(Duration::from_secs(64));
        for tick in 0..4000_u64 {
            history.add(Lsn(tick + 1), begin + Duration::from_millis(tick * 100));
        }
        let now = begin + Duration::from_millis(399_900);
        assert!(history.samples.len() <= 401, "{}", history.samples.len());
        let lag = history.lag(Lsn(2000), now).unwrap();
        assert!(lag >= Duration::from_secs(199) && lag <= Duration::from_secs(201), "{lag:?}");
    }
}
