//! Shows 3: the primary goes away under load, in order or killed, and its standby is promoted.
//!
//! An acknowledged commit is on the standby (`synchronous_standby_names`), so nothing acknowledged may be missing
//! afterwards. Reads, and writes that were not sent, wait and succeed; a write whose outcome nobody knows is answered 503
//! with `Retry-After`, and is there once or not at all. The figures are printed.

mod front;
mod load;
mod tally;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use state::postgres::{Ephemeral, Search, Standby};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use self::front::Front;
use self::load::Load;
use self::tally::{Outage, Tally};
use crate::node::postgres;
use crate::server::until;

/// With the primary, before it goes; and with the new one.
const CALM: Duration = Duration::from_secs(1);
/// What a watchman takes to notice that the primary is gone.
const UNNOTICED: Duration = Duration::from_millis(800);
const TABLES: &str =
    "create table public.ledger (id bigint generated always as identity primary key, key uuid not null);
    create table public.counters (name text primary key, value int not null);
    grant all on public.ledger, public.counters to service_role";

/// How the primary goes.
#[derive(Clone, Copy)]
enum Fault {
    /// `pg_ctl stop -m fast`.
    Stopped,
    /// SIGKILL to all of its processes.
    Killed,
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A primary whose commits wait for its standby.
async fn pair() -> (Ephemeral, Standby) {
    let primary = postgres().await;
    let search = Search { only: None, path: std::env::var_os("PATH") };
    let standby = primary.standby(&search).await.unwrap();
    let admin = connect(primary.url()).await;
    // After the copy: the standby, once promoted, must wait for nobody.
    for text in [
        "alter system set synchronous_standby_names = '*'",
        "alter system set synchronous_commit = on",
        "select pg_reload_conf()",
    ] {
        admin.batch_execute(text).await.unwrap();
    }
    until("the standby is synchronous", async || {
        let synchronous = "select from pg_stat_replication where sync_state = 'sync'";
        admin.query_opt(synchronous, &[]).await.unwrap().is_some()
    })
    .await;
    (primary, standby)
}

/// A change of tables on the new primary is heard of; how long that took.
async fn hears_of_changes(front: &Front, admin: &Client) -> Duration {
    admin.batch_execute("alter table public.counters add column heard bool").await.unwrap();
    let began = Instant::now();
    let ask = || front.service(front.client().get(front.url("/rest/v1/counters?select=heard&limit=1")));
    until("the change is heard of", async || ask().send().await.unwrap().status() == 200).await;
    began.elapsed()
}

/// The primary of `front` goes by `fault`.
async fn fail_over((mut primary, standby): (Ephemeral, Standby), front: Front, fault: Fault, name: &str) {
    connect(primary.url()).await.batch_execute(TABLES).await.unwrap();
    front.until_ready().await;
    let tally = Tally::new();
    let front = Arc::new(front);
    let load = Load::begin(&front, &tally).await;
    let begun = Instant::now();
    until("everybody asks", async || tally.is_busy_since(begun)).await;
    let began = Instant::now();
    match fault {
        Fault::Stopped => primary.stop().await.unwrap(),
        Fault::Killed => primary.crash().await,
    }
    let gone = Instant::now();
    sleep(UNNOTICED).await;
    standby.promote().await.unwrap();
    let outage = Outage { began, gone, ended: Instant::now() };
    until("everybody has asked the new primary", async || tally.is_busy_since(outage.ended)).await;
    sleep(CALM).await;
    let written = load.stop().await;
    let admin = connect(standby.url()).await;
    let surplus = written.compare(&admin).await;
    let heard = hears_of_changes(&front, &admin).await;
    front.controls().await;
    tally.show(
        name,
        &outage,
        &format!(
            "{surplus} of the writes put off were done; a change of tables heard after {} ms",
            heard.as_millis()
        ),
    );
    tally.judge(&outage);
    assert!(heard < Duration::from_secs(20), "heard after {heard:?}");
    Arc::into_inner(front).unwrap().stop().await;
}

// REQ H12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_stopped_in_order_is_followed_by_its_standby() {
    let pair = pair().await;
    let front = Front::alone(&pair.0, &pair.1).await;
    fail_over(pair, front, Fault::Stopped, "one process, primary stopped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_followed_by_its_standby() {
    let pair = pair().await;
    let front = Front::alone(&pair.0, &pair.1).await;
    fail_over(pair, front, Fault::Killed, "one process, primary killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_stopped_behind_a_proxy_is_followed_by_its_standby() {
    let pair = pair().await;
    let front = Front::cluster(&pair.0, &pair.1).await;
    fail_over(pair, front, Fault::Stopped, "proxy and worker, primary stopped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_killed_behind_a_proxy_is_followed_by_its_standby() {
    let pair = pair().await;
    let front = Front::cluster(&pair.0, &pair.1).await;
    fail_over(pair, front, Fault::Killed, "proxy and worker, primary killed").await;
}

/// Cancel every commit that waits for a standby: that of a request, or of the server's own work.
async fn cancel_waiting_commits(admin: &Client) -> Infallible {
    let cancel = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
    loop {
        admin.batch_execute(cancel).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
}

// PostgreSQL acknowledges such a commit with nothing but a warning, and a failover would undo it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_no_standby_confirmed_is_not_acknowledged() {
    let (primary, standby) = pair().await;
    let front = Front::alone(&primary, &standby).await;
    let admin = connect(primary.url()).await;
    admin.batch_execute(TABLES).await.unwrap();
    front.until_ready().await;
    let person = serde_json::json!({ "email": "ada@example.com", "password": "correct horse" });
    let post = |path: &str| front.service(front.client().post(front.url(path)));
    assert_eq!(post("/auth/v1/signup").json(&person).send().await.unwrap().status(), 200);
    // Nobody is called so: commits wait for ever.
    admin.batch_execute("alter system set synchronous_standby_names = 'nobody'").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    until("the standby is not waited for", async || {
        let confirms = "select from pg_stat_replication where sync_state <> 'async'";
        admin.query_opt(confirms, &[]).await.unwrap().is_none()
    })
    .await;
    let row = serde_json::json!({ "key": uuid::Uuid::new_v4() });
    for request in
        [post("/rest/v1/ledger").json(&row), post("/auth/v1/token?grant_type=password").json(&person)]
    {
        let answer = tokio::select! {
            answer = request.send() => answer.unwrap(),
            never = cancel_waiting_commits(&admin) => match never {},
        };
        assert_eq!(answer.status(), 503, "{}", answer.url());
        assert!(answer.headers().contains_key("retry-after"), "{}", answer.url());
    }
    admin.batch_execute("alter system set synchronous_standby_names = '*'").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    assert_eq!(post("/rest/v1/ledger").json(&row).send().await.unwrap().status(), 201);
    front.stop().await;
}
