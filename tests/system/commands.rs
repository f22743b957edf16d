//! The commands beside `start`, as scripts use them.

use serde_json::{Value, json};

use crate::server::{Home, until};

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

#[tokio::test]
async fn a_project_is_configured_and_its_keys_rotate_while_it_runs() {
    let server = Home::new().start();
    let home = server.home();
    let client = reqwest::Client::new();
    let sign_up = async |name: &str| {
        let body = json!({"email": format!("{name}@example.com"), "password": "correct horse"});
        let request = client.post(server.url("/auth/v1/signup")).header("apikey", server.fact("anon_key"));
        let answer = request.json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, ada) = sign_up("ada").await;
    assert_eq!(status, 200, "{ada}");

    // A change counts without a restart, and a secret is read from a file and shown to nobody.
    std::fs::write(
        home.file("smtp.json"),
        r#"{"host": "mail", "port": 25, "from": "a@b.c", "password": "hush"}"#,
    )
    .unwrap();
    let set = ["project", "settings", "set", "default", "disable_signup=true", "smtp=@smtp.json"];
    let settings = home.json(&set);
    assert_eq!(settings["auth"]["disable_signup"], true);
    assert!(!settings.to_string().contains("hush"));
    assert_eq!(home.json(&["project", "settings", "get", "default", "smtp.host"]), "mail");
    until("the change counts", async || sign_up("bob").await.0 == 422).await;
    let (code, message) = home.refusal(&["project", "settings", "set", "default", "disable_singup=true"]);
    assert!(code == 1 && message.contains("disable_singup"), "{message}");
    let mail = home.json(&["project", "mail", "default", "invite", "--subject", "Join {{ .SiteURL }}"]);
    assert_eq!(mail["subject"], "Join http://localhost:3000");

    // A standby key is published before it signs; a revoked one opens nothing.
    let published = async || {
        let answer = client.get(server.url("/auth/v1/.well-known/jwks.json")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["keys"].as_array().unwrap().len()
    };
    let statuses = |keys: &Value| -> Vec<String> {
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().map(|it| it["status"].as_str().unwrap().to_owned()).collect()
    };
    let keys = home.json(&["project", "keys", "rotate", "default"]);
    assert_eq!(statuses(&keys), ["current", "standby"]);
    until("both are published", async || published().await == 2).await;
    assert_eq!(statuses(&home.json(&["project", "keys", "rotate", "default"])), ["previous", "current"]);
    let user = async || {
        let token = ada["access_token"].as_str().unwrap();
        let request = client.get(server.url("/auth/v1/user")).header("apikey", server.fact("anon_key"));
        request.bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(user().await, 200, "whoever is signed in stays so");
    let old = keys["keys"][0]["kid"].as_str().unwrap();
    let revoked = home.json(&["project", "keys", "revoke", "default", old]);
    assert_eq!(statuses(&revoked), ["revoked", "current"]);
    until("the old key opens nothing", async || user().await == 403).await;
    server.stop().await;
}
