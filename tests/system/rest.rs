//! `madbase rest`: the data API alone, on a plain PostgreSQL database, with PostgREST's settings.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Home, read, until};

/// A database without anything of Supabase, and a login as PostgREST wants it.
pub(crate) const PLAIN: &str = "
    create role rest_login login noinherit password 'pw';
    create role visitor nologin; create role member nologin;
    grant visitor, member to rest_login;
    create schema shop; create schema other;
    grant usage on schema shop, other to visitor, member;
    create table shop.items (id int primary key, name text);
    create table other.things (id int primary key);
    insert into shop.items values (1, 'hat'), (2, 'bag');
    grant select on shop.items, other.things to visitor;
    grant select, insert on shop.items to member;
    create function shop.told(name text) returns text language sql as 'select current_setting(name, true)';
    alter role visitor set statement_timeout = '7s';
    alter role member set default_transaction_isolation = 'serializable';
    alter role rest_login set pgrst.db_max_rows = '1';";

/// A running `madbase rest`.
pub(crate) struct Rest {
    child: Child,
    pub(crate) url: String,
}

impl Rest {
    pub(crate) fn start(home: &Home, port: u16, prepare: impl FnOnce(&mut Command)) -> Self {
        let log = std::fs::File::options().append(true).create(true).open(home.file("rest.log")).unwrap();
        let mut command = home.command(&["rest", home.file("rest.conf").to_str().unwrap()]);
        command.env("PGRST_SERVER_HOST", "127.0.0.1").env("PGRST_SERVER_PORT", port.to_string());
        prepare(&mut command);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    async fn get(&self, path: &str) -> Option<(StatusCode, Value)> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        Some((answer.status(), answer.json().await.unwrap_or_default()))
    }

    pub(crate) async fn until_answered(&self, home: &Home, path: &str, expected: Value) {
        let mut last = None;
        let asked = async || {
            last = self.get(path).await;
            last.as_ref().is_some_and(|(_, body)| *body == expected)
        };
        until(&format!("{path} gives {expected}; log: {}", read(&home.file("rest.log"))), asked).await;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one process, told from its start to its end")]
async fn the_data_api_runs_alone_with_postgrest_s_settings() {
    let search = state::postgres::Search { only: None, path: std::env::var_os("PATH") };
    let cluster = state::postgres::ephemeral(&search).await.unwrap();
    let administrator = connect(cluster.url()).await;
    administrator.batch_execute(PLAIN).await.unwrap();
    let (_, place) = cluster.url().split_once('@').unwrap();
    let (home, url) = (&Home::new(), format!("postgres://rest_login:pw@{place}"));
    std::fs::write(home.file("uri"), format!("{url}\n")).unwrap();
    let file = format!(
        "db-uri = \"@{}\"\ndb-schemas = \"shop\" # its only one\ndb-anon-role = \"nobody\"\njwt-role-claim-key = \"$$.app.role\"\n",
        home.file("uri").display()
    );
    std::fs::write(home.file("rest.conf"), file).unwrap();
    let secret = "a secret of at least thirty-two bytes";
    let (port, admin) = (free_port(), free_port());
    let mut rest = Rest::start(home, port, |command| {
        command.env("PGRST_DB_ANON_ROLE", "visitor").env("PGRST_JWT_SECRET", secret);
        command.env("PGRST_ADMIN_SERVER_PORT", admin.to_string());
        command.env("PGRST_LOG_QUERY", "true").env("PGRST_SERVER_REUSEPORT", "true");
    });
    // The role's setting limits rows to one; no key, no prefix.
    rest.until_answered(home, "/items?order=id", json!([{ "id": 1, "name": "hat" }])).await;
    // Another process may listen at the same port.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.set_reuseport(true).unwrap();
    other.bind(([127, 0, 0, 1], port).into()).unwrap();
    drop(other);
    // Settings of the impersonated role hold.
    assert_eq!(rest.get("/rpc/told?name=statement_timeout").await.unwrap().1, "7s");
    assert_eq!(rest.get("/rpc/told?name=transaction_isolation").await.unwrap().1, "read committed");

    // A token's role is where the path says.
    let ring = common::jwt::KeyRing::from_jwt_secret(secret).unwrap();
    let token = ring.sign(json!({ "app": { "role": "member" } }).as_object().unwrap()).unwrap();
    let client = reqwest::Client::new();
    let insert = client.post(format!("{}/items", rest.url)).bearer_auth(&token).json(&json!({ "id": 3 }));
    assert_eq!(insert.send().await.unwrap().status(), 201);
    let told = format!("{}/rpc/told", rest.url);
    let by_post = client.post(&told).json(&json!({ "name": "transaction_isolation" }));
    for call in [client.get(format!("{told}?name=transaction_isolation")), by_post] {
        let answer = call.bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), "serializable");
    }
    assert_eq!(rest.get("/nothing").await.unwrap().1["code"], "PGRST205");

    // New settings in the database come with a notification.
    administrator
        .batch_execute("alter role rest_login set pgrst.db_schemas = 'other'; alter role rest_login reset pgrst.db_max_rows")
        .await
        .unwrap();
    administrator.batch_execute("notify pgrst, 'reload config'").await.unwrap();
    rest.until_answered(home, "/things", json!([])).await;

    let cache = reqwest::get(format!("http://127.0.0.1:{admin}/schema_cache")).await.unwrap();
    assert_eq!(
        cache.json::<Value>().await.unwrap()["dbTables"][0][0],
        json!({ "qiName": "things", "qiSchema": "other" })
    );
    assert!(read(&home.file("rest.log")).contains("pgrst_source"), "log-query tells statements");
    for (path, expected) in [("live", 200), ("ready", 200), ("metrics", 200), ("other", 404)] {
        let answer = reqwest::get(format!("http://127.0.0.1:{admin}/{path}")).await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
    }
    kill(Pid::from_raw(i32::try_from(rest.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let mut status = None;
    until("it stops", async || {
        status = rest.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success(), "log: {}", read(&home.file("rest.log")));
    assert!(!read(&home.file("rest.log")).contains(secret));
}

#[test]
fn rest_says_what_is_wrong_with_its_settings() {
    let home = Home::new();
    let refusal = |name: &str, value: &str| {
        let mut command = home.command(&["rest"]);
        let output =
            command.env("PGRST_SERVER_PORT", free_port().to_string()).env(name, value).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refusal("PGRST_JWT_SECRET", "short").contains("at least 32 characters"));
    assert!(refusal("PGRST_DB_TX_END", "never").contains("commit-allow-override"));
    let (code, message) = home.refusal(&["rest", "nowhere.conf"]);
    assert!(code == 1 && message.contains("nowhere.conf"), "{message}");
}

#[tokio::test]
async fn clients_of_supabase_find_the_data_api_at_rest_v1() {
    let search = state::postgres::Search { only: None, path: std::env::var_os("PATH") };
    let cluster = state::postgres::ephemeral(&search).await.unwrap();
    connect(cluster.url()).await.batch_execute(PLAIN).await.unwrap();
    let (_, place) = cluster.url().split_once('@').unwrap();
    let home = &Home::new();
    std::fs::write(home.file("rest.conf"), "db-schemas = \"shop\"\ndb-anon-role = \"visitor\"\n").unwrap();
    let secret = "a secret of at least thirty-two bytes";
    let rest = Rest::start(home, free_port(), |command| {
        command.arg("--rest-v1").env("PGRST_DB_URI", format!("postgres://rest_login:pw@{place}"));
        command.env("PGRST_JWT_SECRET", secret);
    });
    rest.until_answered(home, "/rest/v1/items?order=id", json!([{ "id": 1, "name": "hat" }])).await;
    for path in ["/items", "/rest/v2/items", "/auth/v1/token"] {
        assert_eq!(rest.get(path).await.unwrap().0, 404, "{path}");
    }
    // As supabase-js asks: the key is a token, and says who it is.
    let ring = common::jwt::KeyRing::from_jwt_secret(secret).unwrap();
    let key = ring.sign(json!({ "role": "member" }).as_object().unwrap()).unwrap();
    let insert = |key: &str| {
        let request = reqwest::Client::new().post(format!("{}/rest/v1/items", rest.url));
        request.header("apikey", key).bearer_auth(key).json(&json!({ "id": 3 })).send()
    };
    assert_eq!(insert(&key).await.unwrap().status(), 201);
    assert_eq!(insert("forged").await.unwrap().status(), 401);
    let (_, document) = rest.get("/rest/v1/").await.unwrap();
    assert_eq!(document["basePath"], "/rest/v1");
}
