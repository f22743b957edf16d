//! `/health`, `/ready`, `/metrics`, and paths that nobody answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::{Config, ServeSettings};
use tokio::time::{Instant, sleep};

use crate::world::{World, show};

#[tokio::test]
async fn health_says_that_the_process_lives() {
    let world = World::new().await;
    world.shelf.silent.store(true, Ordering::SeqCst);
    let response = world.client.get(world.url("/health")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type"]).await, @r#"
    200
    content-type: application/json; charset=utf-8
    {"status":"ok"}
    "#);
    let response = world.client.post(world.url("/health")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type", "allow"]).await, @r#"
    405
    content-type: application/json; charset=utf-8
    allow: GET, HEAD
    {"message":"Method not allowed"}
    "#);
}

#[tokio::test]
async fn ready_follows_the_directory() {
    let config = Config { directory_timeout: Duration::from_millis(100), ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let ready = async || world.client.get(world.url("/ready")).send().await.unwrap();
    insta::assert_snapshot!(show(ready().await, &["content-type"]).await, @r#"
    200
    content-type: application/json; charset=utf-8
    {"status":"ready"}
    "#);
    world.shelf.silent.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(5);
    while ready().await.status() == 200 {
        assert!(Instant::now() < deadline, "still ready");
        sleep(Duration::from_millis(20)).await;
    }
    insta::assert_snapshot!(show(ready().await, &["content-type"]).await, @r#"
    503
    content-type: application/json; charset=utf-8
    {"status":"unavailable"}
    "#);
    world.shelf.silent.store(false, Ordering::SeqCst);
    *world.shelf.delay.lock().unwrap() = Duration::from_secs(60);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(ready().await.status(), 503, "a directory that hangs is bounded");
}

#[tokio::test]
async fn probes_do_not_multiply_questions() {
    let world = World::new().await;
    for _ in 0..20 {
        world.client.get(world.url("/ready")).send().await.unwrap();
    }
    assert!(world.shelf.questions.load(Ordering::SeqCst) < 20);
}

#[tokio::test]
async fn metrics_are_for_near_peers_that_ask_for_themselves() {
    let world = World::new().await;
    let response = world.client.get(world.url("/metrics")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type"]).await, @r#"
    200
    content-type: text/plain; version=0.0.4; charset=utf-8
    madbase_up 1
    "#);
    let forwarded = world.client.get(world.url("/metrics")).header("x-forwarded-for", "203.0.113.9");
    insta::assert_snapshot!(show(forwarded.send().await.unwrap(), &["content-type"]).await, @r#"
    403
    content-type: application/json; charset=utf-8
    {"message":"Metrics are not served to this address"}
    "#);
    let config = Config { metrics_open: true, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let forwarded = world.client.get(world.url("/metrics")).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(forwarded.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn paths_that_nobody_answers_are_told_apart_from_those_to_come() {
    let world = World::new().await;
    let response = world.client.get(world.url("/rest")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type"]).await, @r#"
    404
    content-type: application/json; charset=utf-8
    {"message":"Nothing is served at this path"}
    "#);
    let response = world.client.get(world.url("/storage/v1/bucket")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type"]).await, @r#"
    404
    content-type: application/json; charset=utf-8
    {"message":"/storage/v1 is not available in this version of MadBase"}
    "#);
    let trace = world.client.request(http::Method::TRACE, world.url("/rest/v1/x"));
    insta::assert_snapshot!(show(trace.send().await.unwrap(), &["allow", "proxy-status"]).await, @r#"
    405
    allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
    proxy-status: PostgREST; error=method_not_allowed
    {"code":"method_not_allowed","details":null,"hint":null,"message":"Method not allowed"}
    "#);
}
