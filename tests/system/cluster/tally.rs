//! What became of all requests, phase by phase.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::people::PEOPLE;

/// More answers than this show that people go on.
const ENOUGH: usize = 10;

/// Shared by everybody who asks.
#[derive(Clone)]
pub(super) struct Tally(Arc<Mutex<Vec<Phase>>>);

struct Phase {
    name: &'static str,
    began: Instant,
    took: Duration,
    answered: usize,
    /// Given to the other proxy, because the first one took no connection.
    moved: usize,
    /// Sent to a worker that was killed before it answered.
    lost: usize,
    /// Answered, without what the same person had written just before.
    stale: usize,
    failed: Vec<String>,
    slowest: Duration,
}

/// What became of one request.
pub(super) enum Outcome {
    Answered,
    Lost,
    Failed(String),
}

impl Tally {
    pub(super) fn new() -> Self {
        let tally = Self(Arc::default());
        tally.begin("people sign up");
        tally
    }

    /// From now on requests count for `name`.
    pub(super) fn begin(&self, name: &'static str) {
        let mut phases = self.0.lock().unwrap();
        if let Some(last) = phases.last_mut() {
            last.took = last.began.elapsed();
        }
        let (began, zero) = (Instant::now(), Duration::ZERO);
        let phase = Phase {
            name,
            began,
            took: zero,
            answered: 0,
            moved: 0,
            lost: 0,
            stale: 0,
            failed: Vec::new(),
            slowest: zero,
        };
        phases.push(phase);
    }

    /// A request ended after `took`; it counts where it ended.
    pub(super) fn note(&self, outcome: Outcome, took: Duration) {
        let mut phases = self.0.lock().unwrap();
        let phase = phases.last_mut().unwrap();
        phase.slowest = phase.slowest.max(took);
        match outcome {
            Outcome::Answered => phase.answered += 1,
            Outcome::Lost => phase.lost += 1,
            Outcome::Failed(why) => phase.failed.push(why),
        }
    }

    pub(super) fn moved(&self) {
        self.0.lock().unwrap().last_mut().unwrap().moved += 1;
    }

    pub(super) fn stale(&self) {
        self.0.lock().unwrap().last_mut().unwrap().stale += 1;
    }

    pub(super) fn lost(&self) -> usize {
        self.0.lock().unwrap().iter().map(|it| it.lost).sum()
    }

    /// Whether enough requests were answered since the phase began.
    pub(super) fn is_busy(&self) -> bool {
        self.0.lock().unwrap().last().unwrap().answered > ENOUGH
    }

    /// Print the table.
    #[expect(clippy::print_stdout, reason = "the table is what people run this for")]
    pub(super) fn show(&self, below: &str) {
        let mut phases = self.0.lock().unwrap();
        let last = phases.last_mut().unwrap();
        last.took = last.began.elapsed();
        let mut text = format!(
            "\n{:<38} {:>6} {:>8} {:>6} {:>5} {:>6} {:>7} {:>11}\n",
            "phase", "s", "requests", "moved", "lost", "stale", "failed", "slowest ms"
        );
        for it in phases.iter() {
            let (secs, slowest_ms) = (it.took.as_secs_f64(), it.slowest.as_millis());
            let requests = it.answered + it.lost + it.failed.len();
            writeln!(
                text,
                "{:<38} {secs:>6.1} {requests:>8} {:>6} {:>5} {:>6} {:>7} {slowest_ms:>11}",
                it.name,
                it.moved,
                it.lost,
                it.stale,
                it.failed.len()
            )
            .unwrap();
        }
        println!("{text}{below}");
    }

    /// No request failed; those in flight on the process that was killed in `kill` may be lost, one for each person.
    pub(super) fn judge(&self, kill: &str) {
        let phases = self.0.lock().unwrap();
        for phase in phases.iter() {
            let lost = if phase.name == kill { PEOPLE } else { 0 };
            assert!(phase.lost <= lost, "{} were lost while {}", phase.lost, phase.name);
            assert!(phase.failed.is_empty(), "while {}: {:#?}", phase.name, phase.failed);
            assert!(phase.answered > ENOUGH, "hardly anybody asked while {}", phase.name);
        }
    }
}
