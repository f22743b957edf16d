//! Feeds on a real PostgreSQL and a real Redis: REQ C12. They stand here because nothing outside of this crate sees a feed.
//!
//! A "process" is a [`Node`]: feeds on a runtime of its own, whose sudden end is what `kill -9` leaves behind.

mod cleanup;
mod nodes;
mod stream;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use store::{Locks, Redis, RedisSettings};
use testkit::{RedisServer, TestProject};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::*;
use crate::change::{Kind, Value};

const SOON: Duration = Duration::from_secs(60);

/// What a process's subscribers were told.
#[derive(Debug, Default)]
struct Seen {
    rows: Vec<String>,
    messages: Vec<SqlBroadcast>,
    gaps: usize,
    /// What they take for each batch.
    pause: Duration,
}

/// A process.
struct Node {
    runtime: Option<Runtime>,
    feeds: Feeds,
    feed: Option<Feed>,
    status: watch::Receiver<Status>,
    seen: Arc<Mutex<Seen>>,
}

fn quick() -> FeedSettings {
    FeedSettings {
        linger: Duration::from_millis(500),
        max_held_bytes: 64 * 1024 * 1024,
        check_every: Duration::from_millis(300),
    }
}

impl Node {
    /// That follows `project`.
    fn start(project: &TestProject, redis: Option<&RedisServer>, settings: FeedSettings) -> Self {
        Self::start_with(project, redis, settings, None)
    }

    fn start_with(
        project: &TestProject,
        redis: Option<&RedisServer>,
        settings: FeedSettings,
        versions: Option<Versions>,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let entered = runtime.enter();
        let redis = match redis {
            Some(server) => {
                Redis::open(RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() })
                    .unwrap()
            }
            None => Redis::none(),
        };
        let server = project.databases.server().clone();
        // A place of this test's own, so that no other test's janitor comes.
        let locks = Locks::new(&redis, &server, &project.project.database);
        let feeds = Feeds::new(Ground { server, redis, locks, versions, settings });
        let feed = feeds.follow(&project.project, sinks(&seen));
        drop(entered);
        let status = feed.status();
        Self { runtime: Some(runtime), feeds, feed: Some(feed), status, seen }
    }

    async fn live(mut self) -> Self {
        self.wait_for(|it| *it == Status::Live).await;
        self
    }

    async fn wait_for(&mut self, wanted: impl FnMut(&Status) -> bool) {
        let waiting = tokio::time::timeout(SOON, self.status.wait_for(wanted)).await.map(drop);
        assert!(waiting.is_ok(), "{:?}", *self.status.borrow());
    }

    fn rows(&self) -> Vec<String> {
        self.seen.lock().unwrap().rows.clone()
    }

    fn gaps(&self) -> usize {
        self.seen.lock().unwrap().gaps
    }

    /// Wait until exactly these came.
    async fn saw(&self, rows: &[String]) {
        eventually(async || {
            let seen = self.rows();
            if seen == rows { Ok(()) } else { Err(differs(&seen, rows)) }
        })
        .await;
    }

    /// The last subscriber leaves.
    fn leave(&mut self) {
        self.feed = None;
    }

    /// End in order.
    async fn close(mut self) {
        self.feeds.close(SOON).await;
        self.kill();
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn differs(seen: &[String], wanted: &[String]) -> String {
    let at = seen.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(seen.len().min(wanted.len()));
    let near = |it: &[String]| it.iter().skip(at).take(5).cloned().collect::<Vec<_>>();
    format!(
        "{} instead of {} rows; from {at} on {:?} instead of {:?}",
        seen.len(),
        wanted.len(),
        near(seen),
        near(wanted)
    )
}

fn sinks(seen: &Arc<Mutex<Seen>>) -> Sinks {
    let (rows, messages, gaps) = (Arc::clone(seen), Arc::clone(seen), Arc::clone(seen));
    Sinks {
        changes: Arc::new(move |batch| {
            let mut seen = rows.lock().unwrap();
            seen.rows.extend(batch.changes.iter().map(shown));
            sleep(seen.pause).boxed()
        }),
        broadcast: Arc::new(move |it| messages.lock().unwrap().messages.push(it)),
        gap: Arc::new(move || gaps.lock().unwrap().gaps += 1),
    }
}

fn shown(change: &crate::change::Change) -> String {
    let sign = match change.kind {
        Kind::Insert => '+',
        Kind::Update => '*',
        Kind::Delete => '-',
    };
    let one = |it: &Value| match it {
        Value::Null => "null".to_owned(),
        Value::Unchanged => "?".to_owned(),
        Value::Text(it) => String::from_utf8_lossy(it).into_owned(),
    };
    let values = change.new.as_ref().or(change.old.as_ref()).unwrap();
    let table = if change.table.name == "notes" { String::new() } else { format!("{}:", change.table.name) };
    format!("{sign}{table}{}", values.iter().map(one).collect::<Vec<_>>().join("|"))
}

/// A project with a published table `notes (id int primary key)`.
async fn publish(project: &TestProject) {
    let text = "create table notes (id int primary key); alter publication supabase_realtime add table notes";
    project.owner().await.batch_execute(text).await.unwrap();
}

async fn project(name: &str) -> TestProject {
    let project = testkit::project(name).await;
    publish(&project).await;
    project
}

/// Insert these in one transaction each; how they are shown.
async fn insert(project: &TestProject, ids: std::ops::Range<i32>) -> Vec<String> {
    let owner = project.owner().await;
    for id in ids.clone() {
        owner.execute("insert into notes values ($1)", &[&id]).await.unwrap();
    }
    ids.map(|it| format!("+{it}")).collect()
}

/// The project's slots: whether each is read, and the bytes that it holds.
async fn slots(project: &TestProject) -> Vec<(bool, i64)> {
    let text = "select active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8 \
        from pg_replication_slots where database = current_database()";
    let rows = project.admin().await.query(text, &[]).await.unwrap();
    rows.iter().map(|it| (it.get(0), it.get(1))).collect()
}

async fn eventually(mut check: impl AsyncFnMut() -> Result<(), String>) {
    let deadline = Instant::now() + SOON;
    loop {
        match check().await {
            Ok(()) => return,
            Err(seen) => assert!(Instant::now() < deadline, "{seen}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn no_slot(project: &TestProject) {
    eventually(async || {
        let slots = slots(project).await;
        if slots.is_empty() { Ok(()) } else { Err(format!("{slots:?}")) }
    })
    .await;
}
