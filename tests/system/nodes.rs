//! The roles of a cluster as processes of their own, on one PostgreSQL.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::node::{Node, Site, keys, postgres, service, until_ok};
use crate::server::until;

const SLOW: &str = "create function slow(seconds float) returns text language sql as \
    $$ select pg_sleep(seconds); select 'done' $$";

async fn status(url: String) -> u16 {
    reqwest::get(url).await.unwrap().status().as_u16()
}

async fn run_sql(keys: &Value, statements: &str) -> tokio_postgres::Client {
    let url = keys["database_url"].as_str().unwrap();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statements).await.unwrap();
    client
}

// REQ K1 K2 K3
#[tokio::test]
async fn each_role_runs_by_itself_and_they_share_projects() {
    let postgres = postgres().await;
    // A proxy that comes first waits for the system node.
    let early = Site::new("worker", &postgres);
    let worker = std::thread::spawn(|| early.start());
    let system = Site::new("system", &postgres).start();
    let worker = worker.join().unwrap();
    let mut proxy = Site::new("proxy", &postgres);
    proxy.variables.push(("WORKER_UPSTREAM_URLS", worker.base().to_owned()));
    let proxy = proxy.start();
    for node in [&system, &worker, &proxy] {
        for path in ["/health", "/ready", "/metrics"] {
            assert_eq!(status(node.url(path)).await, 200, "{} {path}", node.facts);
        }
    }
    let keys = keys(&system).await;
    run_sql(&keys, "create table notes (id int); insert into notes values (7)").await;
    let client = reqwest::Client::new();
    let rows = until_ok(|| service(&keys, client.get(worker.url("/rest/v1/notes")))).await;
    assert_eq!(rows.json::<Value>().await.unwrap(), json!([{ "id": 7 }]));
    let rows = service(&keys, client.get(proxy.url("/rest/v1/notes"))).send().await.unwrap();
    assert_eq!(rows.json::<Value>().await.unwrap(), json!([{ "id": 7 }]), "by the proxy");
    assert_eq!(status(worker.url("/rest/v1/notes")).await, 401, "a worker asks for keys as well");
    let user = json!({ "email": "ada@example.com", "password": "correct horse" });
    let signed_up =
        service(&keys, client.post(proxy.url("/auth/v1/signup"))).json(&user).send().await.unwrap();
    assert_eq!(signed_up.status(), 200);

    // Projects are read straight from the control database: what is made on the system node is there at once.
    let shop = client.post(system.url("/api/v1/projects")).bearer_auth(crate::node::ADMIN_TOKEN);
    assert_eq!(shop.json(&json!({ "ref": "shop" })).send().await.unwrap().status(), 201);
    let ask = client.get(proxy.url("/auth/v1/settings")).header("host", "shop.localhost");
    assert_eq!(ask.send().await.unwrap().status(), 401, "the project is known, the key is missing");
    for node in [proxy, worker, system] {
        node.stop().await;
    }
}

// REQ H5
#[tokio::test]
async fn a_worker_finishes_what_it_has_begun_before_it_stops() {
    let postgres = postgres().await;
    let system = Site::new("system", &postgres).start();
    let worker = Site::new("worker", &postgres).with(&["--drain-delay", "2"]).start();
    let keys = keys(&system).await;
    let owner = run_sql(&keys, SLOW).await;
    let client = reqwest::Client::new();
    let call = |seconds: f64| {
        let request = client.post(worker.url("/rest/v1/rpc/slow")).json(&json!({ "seconds": seconds }));
        service(&keys, request)
    };
    until_ok(|| call(0.0)).await;
    let slow = tokio::spawn(call(4.0).send());
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until("the request is in PostgreSQL", async || {
        owner.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    worker.signal(Signal::SIGTERM);
    until("/ready tells", async || status(worker.url("/ready")).await == 503).await;
    assert_eq!(call(0.0).send().await.unwrap().status(), 200, "it still serves while balancers look away");
    let address = worker.base().trim_start_matches("http://").to_owned();
    until("the listener is closed", async || TcpStream::connect(&address).await.is_err()).await;
    let answer = slow.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "\"done\"".into()));
    let (ended, site) = worker.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", site.log());

    // The control plane tells it too.
    let system = Site::new("system", &postgres).with(&["--drain-delay", "2"]).start();
    system.signal(Signal::SIGTERM);
    until("/ready tells", async || status(system.url("/ready")).await == 503).await;
    assert_eq!(system.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_said_with_the_next_step() {
    let check = |site: &Site, parts: &[&str]| {
        let (code, message) = site.refusal();
        assert_eq!(code, 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing: {message}");
        }
    };
    for role in ["system", "proxy", "worker"] {
        check(&Site::bare(role), &["DATABASE_URL is not set", "postgres://"]);
    }
    let postgres = postgres().await;
    let mut keyless = Site::new("worker", &postgres);
    keyless.variables.retain(|it| it.0 != "MADBASE_MASTER_KEY");
    check(&keyless, &["no master key", "secrets/master_key", "MADBASE_MASTER_KEY"]);
    keyless.variables.push(("MADBASE_MASTER_KEY", "short".into()));
    check(&keyless, &["MADBASE_MASTER_KEY is no master key"]);
    let early = Site::new("proxy", &postgres).with(&["--wait", "1"]);
    check(&early, &["the control database is not prepared", "madbase system"]);

    let system: Node = Site::new("system", &postgres).start();
    let mut stranger = Site::new("worker", &postgres);
    let wrong = crate::node::MASTER_KEY.replace("AAEC", "BBBB");
    stranger.variables.push(("MADBASE_MASTER_KEY", wrong));
    check(&stranger, &["the master key does not fit"]);
    let taken = system.base().rsplit(':').next().unwrap().to_owned();
    let site = Site::new("worker", &postgres).with(&["--worker-port", &taken]);
    check(&site, &[&format!("port {taken} is taken"), "--worker-port"]);
}
