//! What is known about the primary: where it is, where it was, and what callers wrote there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Error, Row};

use super::Lsn;
use super::history::History;
use super::marks::{Marks, Question};
use super::watch::Subject;

/// The primary of the replicas.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) marks: Marks,
    course: Mutex<Course>,
    /// What it had written, kept or not, when it was asked last.
    inserted: AtomicU64,
    /// When that was, in milliseconds since `began`; 0 is never.
    asked_at_ms: AtomicU64,
    began: Instant,
}

/// Its positions over time.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) history: History,
    /// Which history of the cluster it writes: one more after each promotion.
    pub(super) timeline: Option<i32>,
    /// When it was asked last.
    pub(super) asked_at: Option<Instant>,
}

impl Primary {
    pub(super) fn new(max_lag: Duration) -> Self {
        let course = Course { history: History::new(max_lag), timeline: None, asked_at: None };
        Self {
            marks: Marks::new(),
            course: Mutex::new(course),
            inserted: AtomicU64::default(),
            asked_at_ms: AtomicU64::default(),
            began: Instant::now(),
        }
    }

    pub(super) fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since this was made.
    pub(super) fn now_ms(&self) -> u64 {
        self.millis(Instant::now())
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// What it had written when it was asked last, if that is at most `age` ago.
    pub(super) fn inserted(&self, age: Duration) -> Option<Lsn> {
        let asked_at = self.asked_at_ms.load(Ordering::Acquire);
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let young = asked_at > 0 && self.now_ms().saturating_sub(asked_at) <= age_ms;
        young.then(|| Lsn(self.inserted.load(Ordering::Acquire)))
    }

    /// It answered what it was asked at `asked_at`.
    fn hear(&self, seen: &Seen, asked_at: Instant) {
        let mut course = self.course();
        let same = course.timeline.is_none_or(|it| it == seen.timeline);
        let goes_on = course.history.add(seen.flushed, asked_at) && same;
        course.timeline = Some(seen.timeline);
        course.asked_at = Some(asked_at);
        drop(course);
        if !goes_on {
            tracing::warn!(timeline = seen.timeline, "another primary answers: marks are looked through");
            self.marks.doubt_beyond(seen.inserted);
        }
        self.inserted.store(seen.inserted.end().0, Ordering::Release);
        self.asked_at_ms.store(self.millis(asked_at).max(1), Ordering::Release);
    }
}

/// What a primary says.
#[derive(Debug)]
struct Seen {
    flushed: Lsn,
    inserted: Lsn,
    timeline: i32,
}

/// Keeps [`Primary`] up to date.
#[derive(Debug)]
pub(super) struct PrimaryWatch {
    primary: std::sync::Arc<Primary>,
    question: Option<Question>,
}

impl PrimaryWatch {
    pub(super) fn new(primary: std::sync::Arc<Primary>) -> Self {
        Self { primary, question: None }
    }

    fn unanswered(&mut self) {
        if let Some(question) = self.question.take() {
            self.primary.marks.unanswered(&question);
        }
    }
}

impl Subject for PrimaryWatch {
    /// Nothing of a standby: `DATABASE_URL` may lead to one during a failover.
    const TEXT: &'static str = "select case when not pg_catalog.pg_is_in_recovery() then
            pg_catalog.pg_current_wal_flush_lsn() end,
        case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_wal_insert_lsn() end,
        case when not pg_catalog.pg_is_in_recovery() then ('x' || pg_catalog.substr(
            pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int4 end";

    fn ask(&mut self) {
        self.question = self.primary.marks.ask();
    }

    fn hear(&mut self, row: &Row, asked_at: Instant) -> Result<(), Error> {
        let lsn = |idx| row.try_get::<_, Option<PgLsn>>(idx).map(|it| it.map(Lsn::from));
        let (Some(flushed), Some(inserted), Some(timeline)) = (lsn(0)?, lsn(1)?, row.try_get(2)?) else {
            self.unanswered();
            return Ok(());
        };
        self.primary.hear(&Seen { flushed, inserted, timeline }, asked_at);
        if let Some(question) = self.question.take() {
            self.primary.marks.answer(&question, inserted);
        }
        Ok(())
    }

    fn lost(&mut self, why: &str) {
        self.unanswered();
        tracing::debug!(why, "the primary cannot be asked where it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_primary_that_went_back_makes_later_marks_doubtful() {
        let primary = Primary::new(Duration::from_secs(10));
        let seen = |lsn, timeline| Seen { flushed: Lsn(lsn), inserted: Lsn(lsn), timeline };
        primary.hear(&seen(1000, 1), Instant::now());
        primary.marks.note(1, Lsn(1000));
        primary.marks.note(2, Lsn(800));
        primary.hear(&seen(900, 2), Instant::now());
        assert!(primary.marks.needed(1) > Lsn(u64::MAX - 2));
        assert_eq!(primary.marks.needed(2), Lsn(800));
        assert_eq!(primary.inserted(Duration::from_secs(1)), Some(Lsn(900)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(primary.inserted(Duration::from_secs(1)), None);
    }
}
