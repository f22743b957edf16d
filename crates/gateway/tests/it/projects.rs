//! From host to project, and the cache between the gateway and the directory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::{Config, ServeSettings};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::world::{World, project, show};

async fn seen(world: &World, host: &str) -> (u16, Value) {
    let request = world.client.get(world.url("/auth/v1/health")).header("host", host);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_host_names_the_project() {
    let config = Config { base_domain: Some("example.com".into()), ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    for (host, expected) in [
        ("board.example.com", "board"),
        ("board.localhost:8000", "board"),
        ("localhost", "default"),
        ("127.0.0.1:8000", "default"),
        ("[::1]:8000", "default"),
        ("example.com", "default"),
        ("other.example.org", "default"),
    ] {
        let (status, body) = seen(&world, host).await;
        assert_eq!((status, body["project"].as_str()), (200, Some(expected)), "{host}");
    }
}

#[tokio::test]
async fn a_project_that_is_not_there_is_404() {
    let config = Config { base_domain: Some("example.com".into()), ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let shown = async |host: &str, path: &str| {
        let request = world.client.get(world.url(path)).header("host", host);
        show(request.send().await.unwrap(), &["content-type"]).await
    };
    insta::assert_snapshot!(shown("nobody.example.com", "/rest/v1/x").await, @r#"
    404
    content-type: application/json; charset=utf-8
    {"code":"project_not_found","details":null,"hint":null,"message":"There is no project at this address"}
    "#);
    insta::assert_snapshot!(shown("a.b.example.com", "/auth/v1/user").await, @r#"
    404
    content-type: application/json; charset=utf-8
    {"code":404,"error_code":"project_not_found","msg":"There is no project at this address"}
    "#);
}

#[tokio::test]
async fn a_key_of_one_project_does_not_open_another() {
    let world = World::new().await;
    for path in ["/rest/v1/x", "/auth/v1/user"] {
        for (host, key, expected) in [
            ("board.localhost", "sb_secret_board", 200),
            ("board.localhost", "sb_secret_default", 401),
            ("localhost", "sb_secret_board", 401),
            ("localhost", "sb_secret_default", 200),
        ] {
            let request = world.client.get(world.url(path)).header("host", host).header("apikey", key);
            assert_eq!(request.send().await.unwrap().status(), expected, "{host} {key} {path}");
        }
    }
}

/// REQ H8, H10: a change shows within the TTL, and the directory is asked once in it.
#[tokio::test]
async fn test_project_config_cache_ttl() {
    assert_eq!((Config::default().project_ttl.as_secs(), Config::default().max_projects), (60, 100));
    let ttl = Duration::from_millis(500);
    let world = World::with(Config { project_ttl: ttl, ..Config::default() }, ServeSettings::default()).await;
    let started = Instant::now();
    assert_eq!(seen(&world, "localhost").await.1["version"], 1);
    world.shelf.put(project("default", 2));
    let mut old_answers = 0;
    while seen(&world, "localhost").await.1["version"] == 1 {
        old_answers += 1;
        assert!(started.elapsed() < ttl + Duration::from_secs(20), "the change does not show");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(old_answers > 0, "nothing was cached");
    assert!(started.elapsed() >= ttl, "forgotten too early");
    assert_eq!(world.shelf.questions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_question_serves_all_who_wait_for_it() {
    let world = World::new().await;
    *world.shelf.delay.lock().unwrap() = Duration::from_millis(100);
    let answers = (0..20).map(|_| seen(&world, "localhost"));
    for (status, _) in futures_util::future::join_all(answers).await {
        assert_eq!(status, 200);
    }
    assert_eq!(world.shelf.questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn invented_names_are_asked_for_once() {
    let world = World::new().await;
    for _ in 0..5 {
        assert_eq!(seen(&world, "nobody.localhost").await.0, 404);
    }
    assert_eq!(world.shelf.questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_known_serves_on_while_the_directory_is_silent() {
    let short = Duration::from_millis(50);
    let config = Config { project_ttl: short, project_retry: short, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    assert_eq!(seen(&world, "localhost").await.0, 200);
    world.shelf.silent.store(true, Ordering::SeqCst);
    let asked = world.shelf.questions.load(Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(5);
    while world.shelf.questions.load(Ordering::SeqCst) < asked + 2 {
        assert_eq!(seen(&world, "localhost").await.0, 200);
        assert!(Instant::now() < deadline, "nobody asks again");
        sleep(Duration::from_millis(10)).await;
    }
    let request = world.client.get(world.url("/rest/v1/x")).header("host", "board.localhost");
    let shown = show(request.send().await.unwrap(), &["retry-after", "proxy-status"]).await;
    insta::assert_snapshot!(shown, @r#"
    503
    retry-after: 1
    proxy-status: PostgREST; error=project_unavailable
    {"code":"project_unavailable","details":null,"hint":null,"message":"The project's configuration is not available right now"}
    "#);
}

#[tokio::test]
async fn a_deleted_project_ends_with_its_ttl_even_if_the_directory_falls_silent_later() {
    let short = Duration::from_millis(50);
    let config = Config { project_ttl: short, project_retry: short, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    assert_eq!(seen(&world, "board.localhost").await.0, 200);
    world.shelf.remove("board");
    let deadline = Instant::now() + Duration::from_secs(5);
    while seen(&world, "board.localhost").await.0 != 404 {
        assert!(Instant::now() < deadline, "still served");
        sleep(Duration::from_millis(10)).await;
    }
    world.shelf.silent.store(true, Ordering::SeqCst);
    sleep(short * 2).await;
    assert_eq!(seen(&world, "board.localhost").await.0, 503, "unknown, but not served");
}
