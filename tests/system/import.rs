//! A dump of Supabase's schema `auth`, made by the real `pg_dump`, imports; its users sign in with their passwords.

use std::process::Command;

use reqwest::Client;
use serde_json::{Value, json};
use state::postgres::Search;
use tokio_postgres::NoTls;

use crate::server::{Home, Server};

const LAYOUT: &str = include_str!("supabase_auth.sql");

/// A dump of that schema with `arguments`, as text.
async fn dump(arguments: &[&str]) -> String {
    let search = Search { only: None, path: std::env::var_os("PATH") };
    let old = state::postgres::ephemeral(&search).await.unwrap();
    let (client, connection) = tokio_postgres::connect(old.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(LAYOUT).await.unwrap();
    let output = Command::new("pg_dump").args(["--schema=auth", old.url()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn token(server: &Server, host: &str, key: &str, grant: &str, body: Value) -> (u16, Value) {
    let url = server.url(&format!("/auth/v1/token?grant_type={grant}"));
    let request = Client::new().post(url).header("host", host).header("apikey", key).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn imported(report: &Value, table: &str) -> u64 {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|it| it["table"] == table).unwrap()["imported"].as_u64().unwrap()
}

#[tokio::test]
async fn users_of_a_dump_sign_in_with_their_passwords() {
    let whole = dump(&[]).await;
    assert!(whole.contains("COPY auth.users") && whole.contains("CREATE TABLE auth.users"));
    let server = Home::new().start();
    let home = server.home();
    std::fs::write(home.file("dump.sql"), whole).unwrap();
    let report = home.json(&["project", "import", "default", "dump.sql"]);
    for (table, rows) in
        [("users", 3), ("identities", 3), ("sessions", 1), ("refresh_tokens", 2), ("mfa_factors", 1)]
    {
        assert_eq!(imported(&report, table), rows, "{table}: {report}");
    }
    assert!(report.to_string().contains("column_of_tomorrow"), "what is left out is said: {report}");

    let (host, key) = (format!("localhost:{}", home.ports[0]), server.fact("anon_key").to_owned());
    let ask = |grant: &'static str, body: Value| token(&server, &host, &key, grant, body);
    let password = |name: &str, word: &str| json!({"email": format!("{name}@example.com"), "password": word});
    let owner = server.owner("").await;
    let hash = async || {
        let row =
            owner.query_one("select encrypted_password from auth.users where email = 'ada@example.com'", &[]);
        row.await.unwrap().get::<_, String>(0)
    };
    assert!(hash().await.starts_with("$2a$06$"));
    let wrong = ask("password", password("ada", "secret of bob")).await;
    assert_eq!((wrong.0, &wrong.1["error_code"]), (400, &json!("invalid_credentials")));
    let (status, ada) = ask("password", password("ada", "secret of ada")).await;
    assert_eq!(status, 200, "{ada}");
    assert_eq!(ada["user"]["user_metadata"]["name"], "Ada \t \"the first\"\n\\ O'Neil; (x)");
    assert_eq!(ada["user"]["identities"][0]["provider"], "email");
    assert!(hash().await.starts_with("$argon2id$"), "hashed anew at the first sign-in");
    assert_eq!(ask("password", password("ada", "secret of ada")).await.0, 200);
    let (status, bob) = ask("password", password("bob", "secret of bob")).await;
    assert_eq!((status, &bob["user"]["factors"][0]["factor_type"]), (200, &json!("totp")));
    assert_eq!(ask("password", password("eve", "secret of eve")).await.1["error_code"], "user_banned");

    // Whoever was signed in stays so.
    let (status, refreshed) = ask("refresh_token", json!({"refresh_token": "abcdefghij12"})).await;
    assert_eq!(status, 200, "{refreshed}");

    // A second time there is nothing to do, and nothing is undone.
    let again = home.json(&["project", "import", "default", "dump.sql"]);
    assert_eq!(imported(&again, "users") + imported(&again, "refresh_tokens"), 0, "{again}");
    assert!(hash().await.starts_with("$argon2id$"));
    server.stop().await;
}

#[tokio::test]
async fn a_dump_of_inserts_imports_into_any_project_and_a_bad_one_leaves_nothing() {
    let inserts = dump(&["--data-only", "--column-inserts", "--rows-per-insert=2"]).await;
    assert!(inserts.contains("INSERT INTO auth.users"));
    let server = Home::new().start();
    let home = server.home();
    home.json(&["project", "create", "shop"]);
    let broken = inserts.replace("'abcdefghij12'", "'abcdefghij12', now()");
    for (bad, said) in
        [(broken, "INSERT"), ("PGDMP\u{1}".to_owned(), "pg_restore"), ("select 1;".to_owned(), "no rows")]
    {
        std::fs::write(home.file("bad.sql"), bad).unwrap();
        let (code, message) = home.refusal(&["project", "import", "shop", "bad.sql"]);
        assert!(code == 1 && message.contains(said), "{message}");
    }
    std::fs::write(home.file("dump.sql"), inserts).unwrap();
    let report = home.json(&["project", "import", "shop", "dump.sql"]);
    assert_eq!(imported(&report, "users"), 3, "the bad one left nothing: {report}");
    let keys = home.json(&["project", "keys", "shop"]);
    let host = format!("shop.localhost:{}", home.ports[0]);
    let body = json!({"email": "ada@example.com", "password": "secret of ada"});
    let (status, ada) = token(&server, &host, keys["anon"].as_str().unwrap(), "password", body).await;
    assert_eq!(status, 200, "{ada}");
    server.stop().await;
}
