//! The commands beside `start`, as scripts use them.

use serde_json::{Value, json};

use crate::server::Home;

#[test]
fn commands_say_that_nothing_runs() {
    let home = Home::new();
    let status = home.run(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(3));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["running"], &status["ready"]), (&json!(false), &json!(false)));
    assert_eq!(home.json(&["stop"]), json!({ "stopped": false, "was_running": false }));
    let (code, message) = home.refusal(&["project", "list"]);
    assert_eq!(code, 1);
    assert!(message.contains("not running") && message.contains("madbase start"), "{message}");
}

#[tokio::test]
async fn status_tells_where_a_server_is_and_holds_no_secret() {
    let server = Home::new().start();
    let status = server.home().json(&["status"]);
    assert_eq!((&status["running"], &status["ready"]), (&json!(true), &json!(true)));
    assert_eq!(status["api_url"], server.facts["api_url"]);
    assert_eq!(status["pid"], server.pid());
    assert!(status["postgres"]["major"].as_u64().unwrap() >= 15, "{status}");
    assert!(!status.to_string().contains(server.fact("secret_key")));
    let text = String::from_utf8(server.home().run(&["status"]).stdout).unwrap();
    assert!(text.contains("ready") && text.contains(server.fact("api_url")), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_project_is_created_shown_opened_and_deleted() {
    let server = Home::new().start();
    let home = server.home();
    let created = home.json(&["project", "create", "shop", "--name", "The shop"]);
    assert_eq!((&created["ref"], &created["name"]), (&json!("shop"), &json!("The shop")));
    let names = |list: &Value| -> Vec<String> {
        let projects = list["projects"].as_array().unwrap();
        projects.iter().map(|it| it["ref"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&home.json(&["project", "list"])), ["default", "shop"]);
    assert_eq!(home.json(&["project", "show", "shop"])["database"], "project_shop");
    let (code, message) = home.refusal(&["project", "create", "shop"]);
    assert_eq!(code, 1, "{message}");

    // Its keys open it at its own host, and not the default project.
    let keys = home.json(&["project", "keys", "shop"]);
    let ask = |host: String| {
        let key = keys["anon"].as_str().unwrap().to_owned();
        let request = reqwest::Client::new().get(server.url("/auth/v1/settings")).header("host", host);
        async move { request.header("apikey", key).send().await.unwrap().status() }
    };
    let port = home.ports[0];
    assert_eq!(ask(format!("shop.localhost:{port}")).await, 200);
    assert_eq!(ask(format!("localhost:{port}")).await, 401);

    let (code, message) = home.refusal(&["project", "delete", "shop"]);
    assert_eq!(code, 1);
    assert!(message.contains("--yes"), "{message}");
    assert_eq!(home.json(&["project", "delete", "shop", "--yes"]), json!({ "deleted": "shop" }));
    assert_eq!(names(&home.json(&["project", "list"])), ["default"]);
    server.stop().await;
}

#[tokio::test]
async fn keys_come_as_variables_too_and_mails_are_listed() {
    let server = Home::new().start();
    let home = server.home();
    let text = String::from_utf8(home.run(&["project", "keys", "default", "--env"]).stdout).unwrap();
    for (name, fact) in [
        ("SUPABASE_URL", "api_url"),
        ("SUPABASE_ANON_KEY", "anon_key"),
        ("SUPABASE_SECRET_KEY", "secret_key"),
        ("SUPABASE_DB_URL", "database_url"),
    ] {
        assert!(text.contains(&format!("{name}={}\n", server.fact(fact))), "{name}: {text}");
    }
    assert_eq!(home.json(&["inbox"])["mails"], json!([]));
    let (code, message) = {
        let output = home.command(&["inbox"]).env("MADBASE_ADMIN_TOKEN", "wrong").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code, Some(1), "{message}");
    server.stop().await;
}

#[test]
fn shells_get_completions_and_a_wrong_word_gets_usage() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.run(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("madbase"), "{shell}");
    }
    assert_eq!(home.run(&["sart"]).status.code(), Some(2));
}

#[test]
fn tests_are_run_in_a_checkout_only() {
    let (code, message) = Home::new().refusal(&["test"]);
    assert_eq!(code, 1);
    assert!(message.contains("source checkout"), "{message}");
}
