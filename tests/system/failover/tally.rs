//! What became of all requests, by what they asked for.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// Longest that a read may take beyond the outage.
const BEYOND: Duration = Duration::from_secs(2);
/// The same for what hashes passwords or waits for its turn to write, on a machine that others use too.
const WORK: Duration = Duration::from_secs(5);

/// So many requests of a kind show that it works.
const ENOUGH: usize = 3;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    User,
    Insert,
    Upsert,
    SignIn,
    Refresh,
}

const KINDS: [Kind; 6] = [Kind::Read, Kind::User, Kind::Insert, Kind::Upsert, Kind::SignIn, Kind::Refresh];

impl Kind {
    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::User)
    }

    /// How many ask for it side by side.
    pub(super) fn people(self) -> usize {
        match self {
            Self::Read | Self::Insert => 4,
            Self::Upsert | Self::User | Self::Refresh => 2,
            Self::SignIn => 1,
        }
    }
}

/// What became of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    /// 503 with `Retry-After`, in the protocol's shape.
    PutOff,
    Failed(String),
}

/// When the primary began to go, was gone, and when the standby was the primary.
pub(super) struct Outage {
    pub(super) began: Instant,
    pub(super) gone: Instant,
    pub(super) ended: Instant,
}

struct Entry {
    kind: Kind,
    began: Instant,
    ended: Instant,
    outcome: Outcome,
}

/// Shared by everybody who asks.
#[derive(Clone)]
pub(super) struct Tally(Arc<Mutex<Vec<Entry>>>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn note(&self, kind: Kind, began: Instant, outcome: Outcome) {
        self.0.lock().unwrap().push(Entry { kind, began, ended: Instant::now(), outcome });
    }

    /// Whether a few requests of each kind began and were done after `instant`.
    pub(super) fn is_busy_since(&self, instant: Instant) -> bool {
        let entries = self.0.lock().unwrap();
        let done = |it: &Entry, kind| it.kind == kind && it.began > instant && it.outcome == Outcome::Done;
        KINDS.into_iter().all(|kind| entries.iter().filter(|it| done(it, kind)).count() >= ENOUGH)
    }

    /// Print the table.
    #[expect(clippy::print_stdout, reason = "the table is what people run this for")]
    pub(super) fn show(&self, name: &str, outage: &Outage, below: &str) {
        let entries = self.0.lock().unwrap();
        let down = outage.ended - outage.began;
        let mut text = format!("\n{name}; no primary for {} ms\n", down.as_millis());
        writeln!(
            text,
            "{:<8} {:>8} {:>7} {:>6} {:>10} {:>11}",
            "asked", "answered", "put off", "failed", "longest ms", "silence ms"
        )
        .unwrap();
        for kind in KINDS {
            let of = || entries.iter().filter(|it| it.kind == kind);
            let done = of().filter(|it| it.outcome == Outcome::Done).count();
            let put_off = of().filter(|it| it.outcome == Outcome::PutOff).count();
            let longest = of().map(|it| it.ended - it.began).max().unwrap_or_default();
            writeln!(
                text,
                "{:<8} {done:>8} {put_off:>7} {:>6} {:>10} {:>11}",
                format!("{kind:?}"),
                of().count() - done - put_off,
                longest.as_millis(),
                silence(of()).as_millis()
            )
            .unwrap();
        }
        let by = |read| silence(entries.iter().filter(|it| it.kind.is_read() == read)).as_millis();
        println!("{text}silent to reads for {} ms, to writes for {} ms\n{below}", by(true), by(false));
    }

    /// Reads never fail and wait no longer than the outage; writes that were not sent succeed, and the others are put off
    /// at most once each.
    pub(super) fn judge(&self, outage: &Outage) {
        let entries = self.0.lock().unwrap();
        let failed: Vec<_> = entries
            .iter()
            .filter_map(|it| match &it.outcome {
                Outcome::Failed(why) => Some((it.kind, why)),
                Outcome::Done | Outcome::PutOff => None,
            })
            .collect();
        assert!(failed.is_empty(), "{} failed: {:#?}", failed.len(), &failed[..failed.len().min(10)]);
        for it in entries.iter() {
            let beyond = if it.kind.is_read() { BEYOND } else { WORK };
            let down = outage.ended - outage.began;
            let (took, longest) = (it.ended - it.began, down + beyond + 3 * calm(&entries, it.kind, outage));
            assert!(took <= longest, "{:?} took {took:?}, more than {longest:?}", it.kind);
        }
        for kind in KINDS {
            let put_off = || entries.iter().filter(|it| it.kind == kind && it.outcome == Outcome::PutOff);
            let may = if kind.is_read() { 0 } else { kind.people() };
            assert!(put_off().count() <= may, "{kind:?} was put off {} times", put_off().count());
            let unsent = put_off().filter(|it| it.began > outage.gone + Duration::from_millis(20)).count();
            assert_eq!(unsent, 0, "{kind:?} was put off although it was never sent");
        }
    }
}

/// The longest that a request of `kind` took while nothing had happened yet: what else runs on this machine counts.
fn calm(entries: &[Entry], kind: Kind, outage: &Outage) -> Duration {
    let before = entries.iter().filter(|it| it.kind == kind && it.ended < outage.began);
    before.map(|it| it.ended - it.began).max().unwrap_or_default()
}

/// The longest time in which nothing was answered well.
fn silence<'a>(entries: impl Iterator<Item = &'a Entry>) -> Duration {
    let mut ends: Vec<_> = entries.filter(|it| it.outcome == Outcome::Done).map(|it| it.ended).collect();
    ends.sort_unstable();
    ends.windows(2).map(|it| it[1] - it[0]).max().unwrap_or_default()
}
