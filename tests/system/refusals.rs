//! Shows 6: what keeps a server from starting is said at once, with the next step; nothing is left running.

use std::net::TcpListener;

use serde_json::Value;

use crate::server::{Home, read};

/// The message must hold every one of `parts`.
#[track_caller]
fn check(home: &Home, parts: &[&str]) {
    let (code, message) = home.refusal(&["start"]);
    assert_eq!(code, 1, "{message}");
    let error = message.lines().skip_while(|it| !it.starts_with("error: ")).collect::<Vec<_>>().join("\n");
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing: {message}");
    }
    assert!(!home.data().join("postgres/postmaster.pid").exists(), "PostgreSQL was left running");
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_the_flag() {
    for (idx, flag) in [(0, "--port"), (1, "--control-port")] {
        let home = Home::new();
        let _taken = TcpListener::bind(("127.0.0.1", home.ports[idx])).unwrap();
        let us = format!("process {}", std::process::id());
        check(&home, &[&format!("port {} is taken", home.ports[idx]), &us, flag]);
        assert!(!home.data().join("postgres").exists(), "the slow steps came first");
    }
}

#[test]
fn a_missing_postgres_is_said_with_the_package_and_the_setting() {
    let home = Home::new();
    let empty = home.file("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = home.command(&["start"]).env("MADBASE_POSTGRES_BIN", &empty).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["PostgreSQL 15 or newer was not found", "apt-get install postgresql", "MADBASE_POSTGRES_BIN"]
    {
        assert!(message.contains(part), "{part:?} is missing: {message}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let home = Home::new();
    std::fs::write(home.data(), "a file").unwrap();
    check(&home, &[&home.data().display().to_string(), "--data-dir"]);
    assert_eq!(read(&home.data()), "a file");
    std::fs::remove_file(home.data()).unwrap();
}

#[tokio::test]
async fn a_damaged_key_file_is_named_and_never_replaced() {
    let home = Home::new().start().stop().await;
    for name in ["master_key", "admin_token", "postgres_password"] {
        let path = home.data().join("secrets").join(name);
        let good = read(&path);
        std::fs::write(&path, "damaged").unwrap();
        check(&home, &[&format!("{name} is damaged"), "backup"]);
        assert_eq!(read(&path), "damaged");
        std::fs::remove_file(&path).unwrap();
        check(&home, &[name, "is missing", "backup"]);
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_is_refused() {
    let server = Home::new().start();
    let (code, message) = server.home().refusal(&["start", "--port", "0", "--control-port", "0"]);
    assert_eq!(code, 1);
    assert!(message.contains(&format!("process {}", server.pid())), "{message}");
    assert!(message.contains("madbase stop"), "{message}");
    assert_eq!(reqwest::get(server.url("/health")).await.unwrap().status(), 200);
    server.stop().await;
}

#[test]
fn a_database_url_that_leads_nowhere_is_said_and_its_password_is_not() {
    let home = Home::new();
    let url = format!("postgres://admin:hidden-word@127.0.0.1:{}/app", home.ports[2]);
    let output = home.command(&["start"]).env("DATABASE_URL", url).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error: "), "{message}");
    for part in [&*format!("127.0.0.1:{}", home.ports[2]), "correct DATABASE_URL"] {
        assert!(message.contains(part), "{part:?} is missing: {message}");
    }
    assert!(!message.contains("hidden-word"), "{message}");
}

#[test]
fn a_machine_reads_the_refusal_as_json() {
    let home = Home::new();
    let _taken = TcpListener::bind(("127.0.0.1", home.ports[0])).unwrap();
    for args in [&["start", "--json"][..], &["start", "--detach", "--json"]] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(1));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["error"].as_str().unwrap().contains("is taken"), "{answer}");
    }
}
