//! A cluster that nodes join by token: who is in it, what goes on without the control plane, and how nodes leave.

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::node::{Node, Site, keys, postgres, service, until_ok};
use crate::server::until;

const TABLE: &str = "create table notes (id int); insert into notes values (7)";

async fn make_table(keys: &Value) {
    let url = keys["database_url"].as_str().unwrap();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(TABLE).await.unwrap();
}

fn of_role(system: &Node, role: &str) -> Vec<(String, String)> {
    system.nodes().into_iter().filter(|it| it.0 == role).map(|(_, id, state)| (id, state)).collect()
}

async fn rows(client: &Client, proxy: &Node, keys: &Value) -> u16 {
    let answer = service(keys, client.get(proxy.url("/rest/v1/notes"))).send().await;
    answer.map_or(0, |it| it.status().as_u16())
}

// REQ H6 K2 K3
#[tokio::test]
async fn nodes_join_by_token_serve_without_the_control_plane_and_leave_in_order() {
    let postgres = postgres().await;
    let mut site = Site::new("system", &postgres);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    site.variables.push(("MADBASE_NODE_PORT", free.to_string()));
    let system = site.start();
    let keys = keys(&system).await;
    make_table(&keys).await;
    let proxy = Site::joining("proxy", &system).start();
    let client = Client::new();
    assert_eq!(rows(&client, &proxy, &keys).await, 503, "there is no worker yet");
    let worker = Site::joining("worker", &system).start();
    let ready = Instant::now();
    until_ok(|| service(&keys, client.get(proxy.url("/rest/v1/notes")))).await;
    // Half the time after which the proxy would have looked by itself.
    assert!(ready.elapsed() < Duration::from_secs(15), "nobody told of the worker: {:?}", ready.elapsed());
    assert_eq!(system.nodes().len(), 3);

    // A worker takes users' requests from nodes only, whoever's key they carry.
    assert!(worker.base().starts_with("https://"));
    let stranger = Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    assert_eq!(stranger.get(worker.url("/ready")).send().await.unwrap().status(), 200);
    let asked = service(&keys, stranger.get(worker.url("/rest/v1/notes"))).send().await.unwrap();
    assert_eq!(asked.status(), 403);

    // Without the control plane all goes on, and nodes start as well.
    let site = system.kill().await;
    assert_eq!(rows(&client, &proxy, &keys).await, 200);
    let worker = worker.stop().await.start();
    until_ok(|| service(&keys, client.get(proxy.url("/rest/v1/notes")))).await;
    let proxy = proxy.stop().await.start();
    until_ok(|| service(&keys, client.get(proxy.url("/rest/v1/notes")))).await;

    // It comes back and knows them again, by the same names.
    let system = site.start();
    until("the worker is known again", async || {
        of_role(&system, "worker").iter().all(|it| it.1 == "ready")
            && of_role(&system, "proxy")[0].1 == "ready"
    })
    .await;
    assert_eq!((of_role(&system, "worker").len(), of_role(&system, "proxy").len()), (1, 1));

    // An operator's wish is a stop in order; a second worker takes over.
    let second = Site::joining("worker", &system).start();
    let first = of_role(&system, "worker").into_iter().map(|it| it.0);
    let here = |it: &String| worker.site().log().contains(it.as_str());
    let first = first.into_iter().find(here).unwrap();
    system.admin(&["cluster", "drain", &first]);
    let (status, site) = worker.ended().await;
    assert_eq!(status.code(), Some(0), "{}", site.log());
    assert_eq!(rows(&client, &proxy, &keys).await, 200);
    let state = |id: &str| of_role(&system, "worker").into_iter().find(|it| it.0 == id).map(|it| it.1);
    assert_eq!(state(&first).as_deref(), Some("left"));
    system.admin(&["cluster", "remove", &first]);
    assert_eq!(state(&first), None);
    for node in [proxy, second, system] {
        node.stop().await;
    }
}

#[tokio::test]
async fn nobody_joins_without_a_good_token_or_at_a_foreign_system_node() {
    let postgres = postgres().await;
    let system = Site::new("system", &postgres).start();
    let other = self::postgres().await;
    let stranger = Site::new("system", &other).start();
    let address = system.facts["node_url"].as_str().unwrap();
    let check = |site: Site, parts: &[&str]| {
        let (code, message) = site.refusal();
        assert_eq!(code, 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing: {message}");
        }
        assert!(!site.data().join("secrets/node.json").exists());
    };
    check(Site::bare("worker").with(&["--join", address]), &["needs a token", "madbase cluster join-token"]);
    let mut garbled = Site::bare("worker").with(&["--join", address]);
    garbled.variables.push(("MADBASE_JOIN_TOKEN", "nonsense".into()));
    check(garbled, &["a join token is mbj1."]);
    // The token of another cluster: its hash does not fit the certificate.
    let mut foreign = Site::joining("worker", &stranger);
    foreign.flags[1] = address.to_owned();
    check(foreign, &["is not the system node that the token is of"]);
    // The token of a proxy.
    let mut proxy = Site::joining("proxy", &system);
    let token = std::mem::take(&mut proxy.flags);
    let mut worker = Site::bare("worker");
    worker.flags = token;
    check(worker, &["another role", "Make one for worker"]);
    // A used one.
    let mut again = Site::bare("proxy");
    again.flags = Site::joining("proxy", &system).flags;
    check(again, &["cannot read the join token"]);
    let good = Site::joining("proxy", &system);
    let token = std::fs::read_to_string(good.flags.last().unwrap()).unwrap();
    let node = good.start();
    let mut late = Site::bare("proxy").with(&["--join", address]);
    late.variables.push(("MADBASE_JOIN_TOKEN", token));
    check(late, &["the join token is unknown, used or expired", "madbase cluster join-token"]);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended().await.0.code(), Some(0));

    let beyond = Site::new("worker", &postgres).with(&["--bind", "0.0.0.0"]);
    check(beyond, &["without TLS", "--join", "--plain"]);
}

#[tokio::test]
async fn a_node_keeps_what_it_was_given_for_itself() {
    use std::os::unix::fs::PermissionsExt as _;
    let postgres = postgres().await;
    let system = Site::new("system", &postgres).with(&["--base-domain", "cluster.example"]).start();
    let site = Site::joining("proxy", &system).start().stop().await;
    for name in ["node.json", "cluster.toml", "master_key"] {
        let mode = site.data().join("secrets").join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let shown = site.command(&["config", "--json", "show", "proxy"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let setting = |key: &str| {
        let found = shown["settings"].as_array().unwrap().iter().find(|it| it["key"] == key).unwrap();
        (found["value"].clone(), found["origin"].as_str().unwrap().contains("cluster.toml"))
    };
    assert_eq!(setting("base-domain"), (json!("cluster.example"), true));
    assert_eq!(setting("database-url"), (json!("(hidden)"), true));
    let token = std::fs::read_to_string(site.flags.last().unwrap()).unwrap();
    assert!(!site.log().contains(token.split('.').nth(2).unwrap()), "{}", site.log());
}

/// What a file of a node's secrets lets anybody do: TLS as that node.
fn as_node(file: &str) -> Client {
    let kept: Value = serde_json::from_str(file).unwrap();
    let text = |name: &str| kept[name].as_str().unwrap().to_owned();
    let identity =
        store::mtls::Identity { chain: text("chain"), key: text("key").into(), authority: text("authority") };
    let credentials = store::mtls::Credentials::new(&identity).unwrap();
    let tls = credentials.client(&[common::Pillar::Worker, common::Pillar::System]).unwrap();
    Client::builder().tls_backend_preconfigured((*tls).clone()).build().unwrap()
}

// REQ H6 H9
#[tokio::test]
async fn a_removed_node_stops_and_whoever_has_its_key_is_refused_at_once() {
    let postgres = postgres().await;
    let system = Site::new("system", &postgres).start();
    let keys = keys(&system).await;
    make_table(&keys).await;
    let worker = Site::joining("worker", &system).start();
    let [gone, stays] = ["proxy"; 2].map(|it| Site::joining(it, &system).start());
    let client = Client::new();
    for proxy in [&gone, &stays] {
        until_ok(|| service(&keys, client.get(proxy.url("/rest/v1/notes")))).await;
    }
    let file = std::fs::read_to_string(gone.site().data().join("secrets/node.json")).unwrap();
    let thief = as_node(&file);
    let ask = async |client: &Client| {
        let answer = service(&keys, client.get(worker.url("/rest/v1/notes"))).send().await;
        answer.map(|it| it.status().as_u16()).map_err(drop)
    };
    assert_eq!(ask(&thief).await, Ok(200), "it is a proxy's key");

    let log = gone.site().log();
    let id =
        of_role(&system, "proxy").into_iter().map(|it| it.0).find(|it| log.contains(it.as_str())).unwrap();
    system.admin(&["cluster", "remove", &id]);
    let (status, site) = gone.ended().await;
    assert_eq!(status.code(), Some(0), "{}", site.log());
    assert!(site.log().contains("removed this node from the cluster"), "{}", site.log());
    until("its open connections are of no use", async || ask(&thief).await == Ok(403)).await;
    assert_eq!(ask(&as_node(&file)).await, Err(()), "no new handshake");
    let beat = system.facts["node_url"].as_str().unwrap().to_owned() + "/health";
    until("nor with the system node", async || as_node(&file).get(&beat).send().await.is_err()).await;
    assert_eq!(rows(&client, &stays, &keys).await, 200, "the others go on");
    let (code, message) = site.refusal();
    assert_eq!(code, 1, "{message}");
    assert!(message.contains("was removed from its cluster") && message.contains("--join"), "{message}");
    for node in [stays, worker, system] {
        node.stop().await;
    }
}
