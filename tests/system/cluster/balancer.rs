//! What stands before the proxies: takes those whose `/ready` is 200, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// Between two looks at `/ready`.
const EVERY: Duration = Duration::from_millis(100);

/// Dropped it stops looking.
pub(super) struct Balancer {
    doors: Arc<[Door]>,
    turn: Arc<AtomicUsize>,
    _looking: JoinSet<()>,
}

struct Door {
    base: String,
    up: AtomicBool,
}

/// Gives addresses; cheap to clone.
#[derive(Clone)]
pub(super) struct Doors {
    doors: Arc<[Door]>,
    turn: Arc<AtomicUsize>,
}

impl Balancer {
    pub(super) fn before(bases: &[&str]) -> Self {
        let door = |base: &&str| Door { base: (*base).to_owned(), up: AtomicBool::new(true) };
        let doors: Arc<[Door]> = bases.iter().map(door).collect();
        let mut looking = JoinSet::new();
        for idx in 0..doors.len() {
            let doors = Arc::clone(&doors);
            looking.spawn(async move {
                let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
                loop {
                    let answer = client.get(format!("{}/ready", doors[idx].base)).send().await;
                    doors[idx].up.store(answer.is_ok_and(|it| it.status() == 200), Ordering::SeqCst);
                    sleep(EVERY).await;
                }
            });
        }
        Self { doors, turn: Arc::default(), _looking: looking }
    }

    /// Whether all are ready.
    pub(super) fn is_complete(&self) -> bool {
        self.doors.iter().all(|it| it.up.load(Ordering::SeqCst))
    }

    pub(super) fn doors(&self) -> Doors {
        Doors { doors: Arc::clone(&self.doors), turn: Arc::clone(&self.turn) }
    }
}

impl Doors {
    /// The next one that is ready; any, when none is.
    pub(super) fn next(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let mut round = (0..self.doors.len()).map(|it| &self.doors[(turn + it) % self.doors.len()]);
        let any = &self.doors[turn % self.doors.len()];
        &round.find(|it| it.up.load(Ordering::SeqCst)).unwrap_or(any).base
    }
}
