//! Two real PostgreSQL servers: a primary of this test process, and a streaming standby for each test that wants one.
//!
//! Never on the server that `MADBASE_TEST_DATABASE_URL` names: a base backup would copy every other test's database.

use std::process::Command;
use std::time::Duration;

use state::postgres::Standby;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::TestServer;
use crate::server::{search, store_of};

/// Longest wait for the standby to have caught up.
const CATCH_UP: Duration = Duration::from_secs(30);

static PRIMARY: OnceCell<TestServer> = OnceCell::const_new();
/// A base backup takes two of the primary's senders for a moment: one at a time.
static BACKUP: Mutex<()> = Mutex::const_new(());

/// The primary of this test process's standbys; started at the first call, gone with the process.
///
/// # Panics
/// When it cannot be started: the message names the next step.
pub async fn primary() -> &'static TestServer {
    PRIMARY.get_or_init(open).await
}

async fn open() -> TestServer {
    let server = TestServer::start().await;
    let admin = server.store().admin("postgres").await.expect("connect to the primary");
    for text in [
        // Else commits wait up to 600 ms before they are sent to standbys.
        "alter system set synchronous_commit = on",
        // A standby that pauses or is away finds what it missed, though others make checkpoints meanwhile.
        "alter system set wal_keep_size = '1GB'",
        "select pg_reload_conf()",
    ] {
        admin.batch_execute(text).await.expect("configure the primary");
    }
    server
}

/// A new standby of [`primary`] which has caught up with it; a few seconds.
///
/// # Panics
/// When it cannot be made.
pub async fn standby() -> TestStandby {
    let primary = primary().await;
    let own = primary.own.as_ref().expect("the primary is a cluster of its own");
    let backup = BACKUP.lock().await;
    let standby = own.standby(&search()).await.expect("make a standby");
    drop(backup);
    let standby = TestStandby { store: store_of(standby.url()), standby };
    standby.catch_up().await;
    standby
}

/// A standby of one test.
#[derive(Debug)]
pub struct TestStandby {
    standby: Standby,
    store: store::Server,
}

impl TestStandby {
    /// The superuser's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.standby.url()
    }

    /// A connection as the superuser.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn admin(&self, database: &str) -> Client {
        self.store.admin(database).await.expect("connect to the standby")
    }

    /// Run statements in its database `postgres`.
    ///
    /// # Panics
    /// When it does not answer or refuses.
    pub async fn execute(&self, text: &str) {
        self.admin("postgres").await.batch_execute(text).await.expect("run on the standby");
    }

    /// Receive, but replay nothing from now on.
    ///
    /// # Panics
    /// As [`TestStandby::execute`].
    pub async fn pause(&self) {
        self.execute("select pg_wal_replay_pause()").await;
        self.wait_until("select pg_get_wal_replay_pause_state() = 'paused'").await;
    }

    /// Replay again.
    ///
    /// # Panics
    /// As [`TestStandby::execute`].
    pub async fn resume(&self) {
        self.execute("select pg_wal_replay_resume()").await;
    }

    /// Make it a primary of its own.
    ///
    /// # Panics
    /// When it does not become one.
    pub async fn promote(&self) {
        self.execute("select pg_promote()").await;
        self.wait_until("select not pg_is_in_recovery()").await;
    }

    /// Wait until it has replayed what the primary has written so far.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn catch_up(&self) {
        let primary = primary().await.store().admin("postgres").await.expect("connect to the primary");
        let text = "select pg_current_wal_flush_lsn()::text";
        let position: String = primary.query_one(text, &[]).await.expect("ask the primary").get(0);
        self.wait_until(&format!("select pg_last_wal_replay_lsn() >= '{position}'")).await;
    }

    /// `kill -9`.
    pub async fn crash(&mut self) {
        self.standby.crash().await;
    }

    /// Stop all of its processes without ending them, as a machine does that hangs.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Let them go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let postmaster = self.standby.pid().expect("the standby runs").to_string();
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &postmaster]).output().expect("run ps");
        let children = String::from_utf8_lossy(&listed.stdout);
        let status =
            Command::new("kill").arg(signal).arg(&postmaster).args(children.split_whitespace()).status();
        assert!(status.expect("run kill").success(), "signal the standby's processes");
    }

    /// Start it again after a crash, at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&mut self) {
        self.standby.start().await.expect("start the standby again");
    }

    async fn wait_until(&self, condition: &str) {
        let admin = self.admin("postgres").await;
        let deadline = Instant::now() + CATCH_UP;
        while !admin.query_one(condition, &[]).await.expect("ask the standby").get::<_, bool>(0) {
            assert!(Instant::now() < deadline, "the standby never fulfilled: {condition}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
