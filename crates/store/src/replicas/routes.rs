//! Where one project's reads go: to a replica that has replayed what the caller wrote, else to the primary. Whatever
//! goes wrong on a replica, the primary is asked; a caller hears only of what the primary would have said too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Project;
use tokio_util::sync::CancellationToken;

use super::caller::hash;
use super::measures::{Fallback, Reads};
use super::standing::Standing;
use super::told;
use super::{CallerKey, Lsn, Replicas};
use crate::data_path::{DataPath, Mode, Part};
use crate::{Answer, Error, Isolation, PoolSettings, Session, Statement};

/// Longest wait for a free connection to a replica: the primary is the better choice then.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(1);
/// How long a replica is not asked after it could not be connected to as this project: its database or login may not
/// be there yet.
const AVOID: Duration = Duration::from_secs(1);
/// A token so young reads on the primary: what was written for its user is not older.
const FRESH: Duration = Duration::from_secs(2);
/// With a token younger than the largest lag, replicas must have what the primary had this long ago.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// One project's ways to the replicas.
#[derive(Debug)]
pub(crate) struct Routes {
    replicas: Arc<Replicas>,
    routes: Vec<Route>,
    /// Keeps callers of projects apart.
    project: u64,
    reads: Reads,
}

/// A way to one replica.
#[derive(Debug)]
struct Route {
    standing: Arc<Standing>,
    data: DataPath,
    /// Milliseconds on the primary's clock.
    avoid_until_ms: AtomicU64,
}

/// Why a replica's answer does not count.
struct Failed {
    why: Fallback,
    /// What it said, if it said something.
    error: Option<Error>,
}

impl Routes {
    /// No connection is made yet.
    pub(crate) fn new(
        replicas: &Arc<Replicas>,
        settings: &PoolSettings,
        project: &Project,
        closing: &CancellationToken,
    ) -> Self {
        let acquire_timeout = settings.acquire_timeout.min(ACQUIRE_LIMIT);
        let settings = PoolSettings { acquire_timeout, ..settings.clone() };
        let route = |(server, standing): &(crate::Server, Arc<Standing>)| {
            let config = server.config(&project.database, Some(&project.logins.authenticator));
            let part = Part::Replica(Arc::clone(standing.name()));
            let data = DataPath::new(config, &settings, part, closing.clone());
            Route { standing: Arc::clone(standing), data, avoid_until_ms: AtomicU64::default() }
        };
        let routes: Vec<_> = replicas.servers.iter().map(route).collect();
        let reads = Reads::new(&project.database, routes.iter().map(|it| &**it.standing.name()));
        Self { replicas: Arc::clone(replicas), routes, project: hash(project.reference.as_str()), reads }
    }

    /// Run a read on a replica if one may answer it, else on `primary`.
    pub(crate) async fn read(
        &self,
        primary: &DataPath,
        session: &Session,
        statement: &Statement,
    ) -> Result<Answer, Error> {
        let failed = match self.choose(session) {
            Err(why) => Failed { why, error: None },
            Ok((idx, route, needed)) => match route.read(session, statement, needed).await {
                Ok(outcome) => {
                    self.reads.on_replica(idx);
                    return outcome;
                }
                Err(failed) => {
                    if matches!(failed.error, Some(Error::Connect(_))) {
                        route.avoid(self.replicas.primary.now_ms());
                    }
                    failed
                }
            },
        };
        self.reads.on_primary(failed.why);
        match (primary.run(session, statement, Mode::Read).await, failed.error) {
            // What the replica refused stands when nobody can tell better.
            (Err(Error::Connect(_) | Error::PoolTimeout), Some(error @ Error::Statement(_))) => Err(error),
            (outcome, _) => outcome,
        }
    }

    /// Remember where the caller's write is, here and in other processes.
    pub(crate) async fn wrote(&self, session: &Session, outcome: &Result<Answer, Error>) {
        let Some(caller) = session.caller else { return };
        let (marks, key) = (&self.replicas.primary.marks, caller.within(self.project));
        let position = match outcome {
            // Without a position it was rolled back.
            Ok(answer) => answer.position,
            Err(Error::Lost(_)) => Some(Lsn::UNKNOWN),
            Err(_) => None,
        };
        let Some(position) = position else { return };
        marks.note(key, position);
        if let Some(redis) = self.replicas.shared.get() {
            told::tell(redis, key, position).await;
        }
    }

    /// Refuse new reads on replicas.
    pub(crate) fn drain(&self) {
        self.routes.iter().for_each(|it| it.data.drain());
    }

    /// End connections to replicas that have nothing to do.
    pub(crate) fn end_idle(&self) {
        self.routes.iter().for_each(|it| it.data.end_idle());
    }

    /// Connections to replicas, open or being opened.
    pub(crate) fn open(&self) -> usize {
        self.routes.iter().map(|it| it.data.open()).sum()
    }

    /// The replica to ask, and what it must have replayed.
    fn choose(&self, session: &Session) -> Result<(usize, &Route, Lsn), Fallback> {
        let several = matches!(session.isolation, Some(Isolation::RepeatableRead | Isolation::Serializable));
        let caller = session.caller.filter(|_| !several).ok_or(Fallback::Asked)?;
        let needed = self.needed(caller).ok_or(Fallback::Fresh)?;
        let now = self.replicas.primary.now_ms();
        let usable = || self.routes.iter().enumerate().filter(|(_, it)| it.is_usable(now));
        let count = self.routes.len().max(1);
        let first = self.replicas.turn() % count;
        let fit = usable().filter(|(_, it)| it.standing.replayed() >= needed);
        // The one with the least to do; of equals the next in turn.
        let best = fit.min_by_key(|(idx, it)| (it.standing.outstanding(), (idx + count - first) % count));
        match best {
            Some((idx, route)) => Ok((idx, route, needed)),
            None if usable().next().is_some() => Err(Fallback::Behind),
            None => Err(Fallback::Unusable),
        }
    }

    /// What a replica must have replayed for `caller`; `None` when that cannot be known.
    fn needed(&self, caller: CallerKey) -> Option<Lsn> {
        let primary = &self.replicas.primary;
        let own = primary.marks.needed(caller.within(self.project));
        match caller.age() {
            Some(age) if age < FRESH => None,
            Some(age) if age < self.replicas.max_lag + FRESH => {
                Some(own.max(primary.inserted(KNOWN_WITHIN)?))
            }
            _ => Some(own),
        }
    }
}

impl Route {
    fn is_usable(&self, now_ms: u64) -> bool {
        self.standing.is_usable() && self.avoid_until_ms.load(Ordering::Relaxed) <= now_ms
    }

    fn avoid(&self, now_ms: u64) {
        let until = now_ms + u64::try_from(AVOID.as_millis()).unwrap_or_default();
        self.avoid_until_ms.store(until, Ordering::Relaxed);
    }

    /// Ask this replica; `Ok` is what the caller is told.
    async fn read(
        &self,
        session: &Session,
        statement: &Statement,
        needed: Lsn,
    ) -> Result<Result<Answer, Error>, Failed> {
        let _busy = self.standing.begin();
        let away = self.standing.away();
        let asked = self.data.run(session, statement, Mode::Read);
        let outcome = tokio::select! {
            it = asked => it,
            () = away => return Err(Failed { why: Fallback::Lost, error: None }),
        };
        match outcome {
            Ok(answer) => {
                let replayed = answer.position.unwrap_or_default();
                self.standing.has_replayed(replayed);
                // It tells itself what it had replayed: whatever answers behind this address, nobody misses a write.
                if replayed >= needed {
                    Ok(Ok(answer))
                } else {
                    Err(Failed { why: Fallback::Behind, error: None })
                }
            }
            Err(Error::Statement(error)) if !may_differ(&error.code) => Ok(Err(Error::Statement(error))),
            Err(error @ Error::Statement(_)) => Err(Failed { why: Fallback::Refused, error: Some(error) }),
            Err(error) => Err(Failed { why: Fallback::Lost, error: Some(error) }),
        }
    }
}

/// Whether a statement that a replica refused with `code` may succeed on the primary: conflicts with recovery (class
/// 40), what a standby cannot do (0A, 25, 55), names and rights that it has not got yet (42, and 22023 for a role), and
/// what concerns that machine only (53, 58, XX). What the data or the request is to blame for is told as it is.
fn may_differ(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    code == "22023" || matches!(class, "0A" | "25" | "40" | "42" | "53" | "55" | "58" | "XX")
}

#[cfg(test)]
mod tests {
    use super::may_differ;

    #[test]
    fn what_concerns_the_replica_only_goes_to_the_primary() {
        for code in ["40001", "40P01", "25006", "0A000", "42P01", "42501", "22023", "55000", "53200", "XX000"]
        {
            assert!(may_differ(code), "{code}");
        }
        for code in ["22P02", "23505", "P0001", "PT402", "57014", "", "é"] {
            assert!(!may_differ(code), "{code}");
        }
    }
}
