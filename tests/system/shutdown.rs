//! REQ H5, H10: a signal drains. The first two names are asked for to the letter.

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::StatusCode;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::{Home, Server, read, runs, until};

const SLOW: &str = "create function slow(seconds float) returns text language sql as \
    $$ select pg_sleep(seconds); select 'done' $$";

/// A request that is being worked on in PostgreSQL when this returns.
async fn in_flight(server: &Server, seconds: f64) -> JoinHandle<reqwest::Result<(StatusCode, String)>> {
    let client = reqwest::Client::new();
    let owner = server.owner(SLOW).await;
    server
        .until_ok(|| client.post(server.url("/rest/v1/rpc/slow")).json(&serde_json::json!({ "seconds": 0 })))
        .await;
    let request =
        client.post(server.url("/rest/v1/rpc/slow")).json(&serde_json::json!({ "seconds": seconds }));
    let request = server.service(request);
    let task = tokio::spawn(async move {
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    });
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until("the request is in PostgreSQL", async || {
        let row = owner.query_one(sleeping, &[]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
    task
}

// REQ H5 H10
#[tokio::test]
async fn test_graceful_shutdown_completes_inflight() {
    let server = Home::new().start();
    let postmaster = server.home().postmaster();
    let request = in_flight(&server, 2.0).await;
    server.signal(Signal::SIGTERM);
    let (status, body) = request.await.unwrap().unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::OK, "\"done\""));
    let (status, home) = server.ended().await;
    assert_eq!(status.code(), Some(0), "{}", read(&home.file("log")));
    assert!(!runs(postmaster));
    let log = read(&home.data().join("log/postgresql.log"));
    assert!(log.contains("database system is shut down"), "{log}");
    assert!(!home.data().join("run.json").exists());
}

// REQ H5 H10
#[tokio::test]
async fn test_graceful_shutdown_rejects_new() {
    let server = Home::new().start();
    let port = server.home().ports[0];
    let request = in_flight(&server, 3.0).await;
    server.signal(Signal::SIGTERM);
    until("new connections are refused", async || TcpStream::connect(("127.0.0.1", port)).await.is_err())
        .await;
    assert!(!request.is_finished(), "the request ended before a new one was refused: this proves nothing");
    assert_eq!(request.await.unwrap().unwrap().0, StatusCode::OK);
    assert_eq!(server.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn an_interrupt_stops_as_cleanly_as_a_termination() {
    let server = Home::new().start();
    server.signal(Signal::SIGINT);
    let (status, home) = server.ended().await;
    assert_eq!(status.code(), Some(0), "{}", read(&home.file("log")));
    assert_eq!(home.run(&["status"]).status.code(), Some(3));
}

#[tokio::test]
async fn whoever_asks_twice_does_not_wait() {
    let server = Home::new().start();
    let postmaster = server.home().postmaster();
    let request = in_flight(&server, 60.0).await;
    server.signal(Signal::SIGINT);
    let port = server.home().ports[0];
    until("it drains", async || TcpStream::connect(("127.0.0.1", port)).await.is_err()).await;
    server.signal(Signal::SIGINT);
    let (status, _home) = timeout(Duration::from_secs(20), server.ended()).await.unwrap();
    assert_eq!(status.code(), Some(130));
    until("PostgreSQL has ended", async || !runs(postmaster)).await;
    request.abort();
}
