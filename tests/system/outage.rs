//! PostgreSQL is killed under load: clients are told to come back, and the first request after its return succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::server::{Home, Server, runs, until};

const READERS: usize = 4;
const WRITERS: usize = 4;
/// The pool's bound (`store::PoolSettings::data_connections`), and the listener.
const MAX_CONNECTIONS: usize = 10 + 1;

/// Ask again and again until told to stop; how often it went well, and how often it was put off.
async fn insist(server: Arc<Server>, write: bool, stop: Arc<AtomicBool>) -> (usize, usize) {
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let (mut good, mut put_off) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let answer = server.service(request(&client, &server, write)).send().await.unwrap();
        let wanted = if write { StatusCode::CREATED } else { StatusCode::OK };
        if answer.status() == wanted {
            good += 1;
            continue;
        }
        check_put_off(answer).await;
        put_off += 1;
        sleep(Duration::from_millis(20)).await;
    }
    (good, put_off)
}

/// 503 with `Retry-After`, in PostgREST's shape.
async fn check_put_off(answer: Response) {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"), "{:?}", answer.headers());
    let error: Value = answer.json().await.unwrap();
    let mut fields: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "details", "hint", "message"], "{error}");
    assert!(error["code"].as_str().unwrap().starts_with("PGRST00"), "{error}");
}

fn request(client: &Client, server: &Server, write: bool) -> RequestBuilder {
    if write {
        client.post(server.url("/rest/v1/lasting")).json(&json!({ "note": "x" }))
    } else {
        client.get(server.url("/rest/v1/lasting?select=id&limit=1"))
    }
}

/// Connections of the data path, the listener among them.
async fn connections(server: &Server) -> usize {
    let client = server.owner("").await;
    let row =
        client.query_one("select count(*) from pg_stat_activity where usename = 'authenticator'", &[]).await;
    usize::try_from(row.unwrap().get::<_, i64>(0)).unwrap()
}

// REQ H12
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_killed_under_load_costs_only_what_was_under_way() {
    let server = Arc::new(Home::new().start());
    let table = "create table lasting (id bigint generated always as identity primary key, note text); \
        grant all on lasting to service_role; \
        create function nap() returns void language sql volatile as 'select pg_sleep(20)'";
    server.owner(table).await;
    let client = Client::new();
    server.until_ok(|| request(&client, &server, false)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for number in 0..READERS + WRITERS {
        load.spawn(insist(Arc::clone(&server), number < WRITERS, Arc::clone(&stop)));
    }
    sleep(Duration::from_secs(1)).await;
    let before = connections(&server).await;
    assert!((2..=MAX_CONNECTIONS).contains(&before), "{before} connections");

    // Its outcome will be unknown: it may write, so it is not repeated.
    let napping = server.service(client.post(server.url("/rest/v1/rpc/nap")));
    let napping = tokio::spawn(async move { napping.send().await.unwrap() });
    sleep(Duration::from_millis(300)).await;
    let postmaster = server.home().postmaster();
    killpg(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    until("PostgreSQL has ended", async || !runs(postmaster)).await;
    let killed = Instant::now();
    check_put_off(napping.await.unwrap()).await;
    until("PostgreSQL is back", async || {
        let config = server.fact("database_url").to_owned();
        tokio_postgres::connect(&config, tokio_postgres::NoTls).await.is_ok()
    })
    .await;
    // One request, not repeated by us.
    let first = server.service(request(&client, &server, false)).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::OK, "{:?} after the end", killed.elapsed());

    sleep(Duration::from_secs(1)).await;
    let after = connections(&server).await;
    assert!((1..=MAX_CONNECTIONS).contains(&after), "{before} connections before, {after} after");
    stop.store(true, Ordering::Relaxed);
    let outcomes = load.join_all().await;
    assert!(outcomes.iter().all(|(good, _)| *good > 0), "{outcomes:?}");
    Arc::into_inner(server).unwrap().stop().await;
}
