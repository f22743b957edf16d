//! Keeps one replica's [`Standing`] up to date: what it says, held against what the primary said, decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Error, Row};

use super::Lsn;
use super::primary::{Course, Primary};
use super::standing::{Standing, State};
use super::watch::Subject;

/// What a replica says.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Whether it is a standby at all.
    in_recovery: bool,
    replayed: Lsn,
    /// Of what it receives; unknown without a stream, or to a login that may not see it.
    timeline: Option<i32>,
}

/// Watches one replica.
#[derive(Debug)]
pub(super) struct ReplicaWatch {
    standing: Arc<Standing>,
    primary: Arc<Primary>,
    max_lag: Duration,
    /// Nothing was heard on this connection yet.
    fresh: bool,
    /// What it had replayed when it was asked last, and when that was.
    before: Option<(Instant, Lsn)>,
    /// It was ahead of the primary: their histories parted. Only a restart can mend that.
    parted: bool,
}

impl ReplicaWatch {
    pub(super) fn new(standing: Arc<Standing>, primary: Arc<Primary>, max_lag: Duration) -> Self {
        Self { standing, primary, max_lag, fresh: true, before: None, parted: false }
    }

    /// What to think of it, and why.
    fn judge(&mut self, seen: Seen, course: &Course, now: Instant) -> (State, &'static str) {
        // Nothing can be replayed before the primary has written it; what was asked later must show it.
        let later = |at: Instant| course.asked_at.is_some_and(|it| it > at);
        self.parted |= self.before.is_some_and(|(at, it)| later(at) && it > course.history.latest());
        if !seen.in_recovery {
            return (State::Astray, "it is no standby");
        }
        if self.parted {
            return (State::Astray, "it has what the primary has not");
        }
        if let (Some(own), Some(primary)) = (seen.timeline, course.timeline)
            && own != primary
        {
            return (State::Astray, "it follows another timeline than the primary's");
        }
        match course.history.lag(seen.replayed, now) {
            None => (State::Lagging, "it has not caught up yet"),
            Some(lag) if lag > self.max_lag => (State::Lagging, "it lags over the limit"),
            Some(_) => (State::Usable, ""),
        }
    }
}

impl Subject for ReplicaWatch {
    const TEXT: &'static str = "select pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn(),
        (select received_tli from pg_catalog.pg_stat_wal_receiver)";

    fn connected(&mut self) {
        (self.fresh, self.before, self.parted) = (true, None, false);
    }

    fn hear(&mut self, row: &Row, asked_at: Instant) -> Result<(), Error> {
        let replayed = row.try_get::<_, Option<PgLsn>>(1)?.map_or(Lsn::ZERO, Lsn::from);
        let seen = Seen { in_recovery: row.try_get(0)?, replayed, timeline: row.try_get(2)? };
        if std::mem::take(&mut self.fresh) {
            self.standing.restart_at(replayed);
        } else {
            self.standing.has_replayed(replayed);
        }
        let primary = Arc::clone(&self.primary);
        let course = primary.course();
        let now = Instant::now();
        let (state, why) = self.judge(seen, &course, now);
        let lag = course.history.lag(replayed, now).unwrap_or(self.max_lag);
        self.standing.gauges.lag(lag, course.history.latest(), replayed);
        drop(course);
        self.before = Some((asked_at, replayed));
        self.standing.set(state, why);
        Ok(())
    }

    fn lost(&mut self, why: &str) {
        self.standing.set(State::Away, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::history::History;

    const LIMIT: Duration = Duration::from_secs(10);

    fn course(lsn: u64, asked_at: Instant) -> Course {
        let mut history = History::new(LIMIT);
        history.add(Lsn(100), asked_at);
        history.add(Lsn(lsn), asked_at + Duration::from_secs(1));
        Course { history, timeline: Some(2), asked_at: Some(asked_at + Duration::from_secs(1)) }
    }

    fn watch() -> ReplicaWatch {
        ReplicaWatch::new(Arc::new(Standing::new("near:1")), Arc::new(Primary::new(LIMIT)), LIMIT)
    }

    fn standby(replayed: u64) -> Seen {
        Seen { in_recovery: true, replayed: Lsn(replayed), timeline: Some(2) }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_standby_of_this_primary_that_keeps_up_is_read_from() {
        let begin = Instant::now();
        let (course, soon, late) =
            (course(500, begin), begin + Duration::from_secs(2), begin + Duration::from_secs(60));
        let cases = [
            (standby(500), late, State::Usable),
            (standby(499), soon, State::Usable),
            (standby(499), late, State::Lagging),
            (standby(99), soon, State::Lagging),
            (Seen { in_recovery: false, ..standby(500) }, soon, State::Astray),
            (Seen { timeline: Some(1), ..standby(500) }, soon, State::Astray),
            (Seen { timeline: None, ..standby(500) }, soon, State::Usable),
        ];
        for (seen, now, expected) in cases {
            assert_eq!(watch().judge(seen, &course, now).0, expected, "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_ahead_of_its_primary_stays_out_until_it_is_connected_anew() {
        let begin = Instant::now();
        let course = course(500, begin);
        let mut watch = watch();
        // Asked after the primary: it may well be further by now.
        watch.before = Some((begin + Duration::from_secs(5), Lsn(600)));
        assert_eq!(watch.judge(standby(600), &course, begin).0, State::Usable);
        watch.before = Some((begin, Lsn(600)));
        assert_eq!(watch.judge(standby(600), &course, begin).0, State::Astray);
        watch.before = None;
        assert_eq!(watch.judge(standby(500), &course, begin).0, State::Astray);
        watch.connected();
        assert_eq!(watch.judge(standby(500), &course, begin).0, State::Usable);
    }
}
