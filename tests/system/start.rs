//! Shows 1: one command to a working backend.

use std::os::unix::fs::PermissionsExt as _;

use crate::server::{Home, read, runs};

#[tokio::test]
async fn start_reaches_ready_and_tells_everything_a_person_needs() {
    let server = Home::new().start();
    let health = reqwest::get(server.url("/health")).await.unwrap();
    assert_eq!(health.status(), 200);
    assert_eq!(reqwest::get(server.url("/ready")).await.unwrap().status(), 200);
    assert!(reqwest::get(server.url("/metrics")).await.unwrap().status().is_success());

    assert!(server.fact("publishable_key").starts_with("sb_publishable_"));
    assert!(server.fact("secret_key").starts_with("sb_secret_"));
    assert_eq!(server.fact("anon_key").split('.').count(), 3);
    assert_eq!(server.fact("service_role_key").split('.').count(), 3);
    let row = server.owner("").await.query_one("select current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "postgres");

    // REQ K1: keys open the API, and nothing opens it without one.
    let client = reqwest::Client::new();
    let open = client.get(server.url("/auth/v1/settings")).header("apikey", server.fact("publishable_key"));
    assert_eq!(open.send().await.unwrap().status(), 200);
    let shut = client.get(server.url("/rest/v1/")).send().await.unwrap();
    assert_eq!(shut.status(), 401);
    server.stop().await;
}

#[tokio::test]
async fn keys_and_rows_are_the_same_after_a_restart() {
    let server = Home::new().start();
    let before = server.facts.clone();
    server.owner("create table kept (id int); insert into kept values (7)").await;
    let server = server.stop().await.start();
    for name in ["anon_key", "service_role_key", "publishable_key", "secret_key", "database_url"] {
        assert_eq!(server.facts[name], before[name], "{name}");
    }
    let row = server.owner("").await.query_one("select id from kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    server.stop().await;
}

#[tokio::test]
async fn a_start_in_the_background_returns_when_ready_and_stops_on_command() {
    let home = Home::new();
    let facts = home.json(&["start", "--detach"]);
    let health = reqwest::get(format!("{}/health", facts["api_url"].as_str().unwrap())).await.unwrap();
    assert_eq!(health.status(), 200);
    let postmaster = home.postmaster();
    let status = home.json(&["status"]);
    assert_eq!(status["pid"], facts["pid"]);

    assert_eq!(home.json(&["stop"])["stopped"], true);
    assert!(!runs(i32::try_from(facts["pid"].as_i64().unwrap()).unwrap()));
    assert!(!runs(postmaster));
}

#[tokio::test]
async fn secrets_are_for_their_owner_only_and_nowhere_else() {
    let server = Home::new().start();
    let home = server.home();
    let mut secrets = Vec::new();
    for name in ["master_key", "admin_token", "postgres_password"] {
        let path = home.data().join("secrets").join(name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        secrets.push(read(&path).trim().to_owned());
    }
    secrets.push(server.fact("service_role_key").to_owned());
    secrets.push(server.fact("secret_key").to_owned());
    let run_file = read(&home.data().join("run.json"));
    let log = read(&home.file("log"));
    let arguments = [server.pid(), home.postmaster()].map(|it| read(format!("/proc/{it}/cmdline").as_ref()));
    for secret in secrets {
        for text in [&run_file, &log, &arguments[0], &arguments[1]] {
            assert!(!text.contains(&secret), "a secret shows in {text}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_postgres_named_by_database_url_is_used_instead() {
    let search = state::postgres::Search { only: None, path: std::env::var_os("PATH") };
    let external = state::postgres::ephemeral(&search).await.unwrap();
    let (admin, connection) = tokio_postgres::connect(external.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute("create database app").await.unwrap();

    let home = Home::new();
    let output =
        home.command(&["start", "--detach", "--json"]).env("DATABASE_URL", app(external.url())).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(facts["database_url"].as_str().unwrap().ends_with("/app"), "{facts}");
    assert!(!home.data().join("postgres").exists(), "it made a cluster of its own");
    let ready = reqwest::get(format!("{}/ready", facts["api_url"].as_str().unwrap())).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(home.json(&["stop"])["stopped"], true);
    assert_eq!(
        admin.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0),
        1,
        "it stopped what is not its own"
    );
}

/// The same server's URL for database `app`.
fn app(url: &str) -> String {
    format!("{}/app", url.strip_suffix("/postgres").unwrap())
}
