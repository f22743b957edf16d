//! Shows 4: `kill -9` loses nothing that was acknowledged, and the next start needs no help.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Home, Server, runs, until};

const WRITERS: usize = 4;
const INSERTS: usize = 1_000;
const KILL_AFTER: usize = 300;

/// Insert until the server is gone; the ids that were acknowledged.
async fn write(server: Arc<Server>, writer: usize, acknowledged: Arc<AtomicUsize>) -> Vec<i64> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let mut ids = Vec::new();
    for number in 0..INSERTS / WRITERS {
        let id = i64::try_from(writer * INSERTS + number).unwrap();
        let request = client.post(server.url("/rest/v1/survivors")).json(&json!({ "id": id }));
        match server.service(request).send().await {
            Ok(answer) if answer.status() == 201 => {
                ids.push(id);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Unknown: it may or may not be there.
            _ => break,
        }
    }
    ids
}

async fn rows(server: &Server) -> BTreeSet<i64> {
    let client = server.owner("").await;
    let rows = client.query("select id from survivors", &[]).await.unwrap();
    rows.iter().map(|it| it.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_survive_a_kill_of_everything_amid_inserts() {
    let server = Home::new().start();
    server
        .owner("create table survivors (id bigint primary key); grant all on survivors to service_role")
        .await;
    let client = reqwest::Client::new();
    server.until_ok(|| client.get(server.url("/rest/v1/survivors?select=id"))).await;

    let server = Arc::new(server);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(server.clone(), writer, acknowledged.clone()));
    }
    until("some inserts are acknowledged", async || acknowledged.load(Ordering::Relaxed) >= KILL_AFTER).await;
    let postmaster = server.home().postmaster();
    killpg(Pid::from_raw(server.pid()), Signal::SIGKILL).unwrap();
    killpg(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    let ids: Vec<i64> = writers.join_all().await.concat();
    assert!(ids.len() < INSERTS, "the kill came too late to prove anything");

    let server = Arc::into_inner(server).unwrap();
    let server = server.ended().await.1.start();
    let kept = rows(&server).await;
    let lost: Vec<&i64> = ids.iter().filter(|it| !kept.contains(it)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged rows are lost", lost.len(), ids.len());
    let answer = server.until_ok(|| client.get(server.url("/rest/v1/survivors?select=id&limit=1"))).await;
    assert_eq!(answer.json::<Vec<Value>>().await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_postgres_orphaned_by_a_killed_server_is_taken_care_of() {
    let server = Home::new().start();
    server.owner("create table kept (id int); insert into kept values (7)").await;
    let orphan = server.home().postmaster();
    let home = server.kill().await;
    assert!(runs(orphan), "PostgreSQL went with the server: this test proves nothing");

    let server = home.start();
    assert!(!runs(orphan));
    let row = server.owner("").await.query_one("select id from kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    server.stop().await;
}

#[tokio::test]
async fn stop_ends_the_postgres_of_a_killed_server() {
    let server = Home::new().start();
    let orphan = server.home().postmaster();
    let home = server.kill().await;
    assert_eq!(home.json(&["stop"]), json!({ "stopped": true, "was_running": false }));
    assert!(!runs(orphan));
}

#[tokio::test]
async fn a_killed_postgres_comes_back_while_the_server_runs() {
    let server = Home::new().start();
    server.owner("create table kept (id int primary key); grant all on kept to service_role").await;
    let client = reqwest::Client::new();
    server.until_ok(|| client.get(server.url("/rest/v1/kept?select=id"))).await;
    let postmaster = server.home().postmaster();
    killpg(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    until("PostgreSQL has ended", async || !runs(postmaster)).await;
    server.until_ok(|| client.get(server.url("/rest/v1/kept?select=id"))).await;
    assert_ne!(server.home().postmaster(), postmaster);
    server.stop().await;
}
