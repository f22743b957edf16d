//! A cluster loses one part after the other while people work on the task board, and they do not notice.
//!
//! PostgreSQL with a streaming replica, Redis, a system node, two proxies and two workers, each a process of its own on
//! loopback. A balancer before the proxies does what balancers do: it asks `/ready`, and takes the other proxy when no
//! connection comes about. Everything else that is not answered as it should be is a failed request.

mod balancer;
mod people;
mod tally;

use std::time::Duration;

use serde_json::Value;
use state::postgres::{Ephemeral, Search, Standby};
use testkit::RedisServer;
use tokio::time::{Instant, sleep};

use self::balancer::Balancer;
use self::people::{PEOPLE, People};
use self::tally::Tally;
use crate::node::{Node, Site, keys as keys_of, postgres, service, until_ok};
use crate::server::until;

const BOARD: &str = include_str!("../clients/board/schema.sql");
const ORGANISATION: &str = "00000000-0000-4000-8000-000000000001";

/// How long the control plane is away: a minute in the long run (`./madbase test --long`, which asks for more random
/// cases by this variable too).
fn outage() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a test reads its own settings")]
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse::<u32>().ok());
    Duration::from_secs(if cases.is_some_and(|it| it >= 10_000) { 60 } else { 4 })
}

/// Between two faults, at least.
const CALM: Duration = Duration::from_millis(1500);
/// By when a new worker has its first request.
const FOUND: Duration = Duration::from_secs(2);
/// A machine that also runs other tests may stand still for longer than that; not each time.
const TRIES: usize = 3;

/// Until people have worked for a while with what just happened.
async fn calm(tally: &Tally) {
    sleep(CALM).await;
    until("people go on", async || tally.is_busy()).await;
}

/// A port that nobody uses now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start(site: Site) -> Node {
    tokio::task::spawn_blocking(|| site.start()).await.unwrap()
}

/// The board, with a board of his own for each person, and its owner's connection.
async fn board(keys: &Value) -> tokio_postgres::Client {
    let url = keys["database_url"].as_str().unwrap();
    let (owner, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    owner.batch_execute(BOARD).await.unwrap();
    let rows = format!(
        "insert into public.organisations (id, name) values ('{ORGANISATION}', 'Loom Works');
         insert into public.boards (id, organisation_id, name)
         select it, '{ORGANISATION}', 'board ' || it from generate_series(1, {PEOPLE}) it"
    );
    owner.batch_execute(&rows).await.unwrap();
    owner
}

/// How often a node was asked for rows.
async fn asked(node: &Node) -> f64 {
    // What nodes say to each other is encrypted; who may be asked for metrics goes by address.
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    let metrics = client.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counts = metrics
        .lines()
        .filter(|it| it.starts_with("madbase_http_requests_total{") && it.contains("service=\"data_api\""));
    counts.filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// All processes.
struct Cluster {
    postgres: Ephemeral,
    standby: Standby,
    redis: RedisServer,
    /// None while it is away.
    system: Option<Node>,
    workers: Vec<Node>,
    proxies: Vec<Node>,
    keys: Value,
}

impl Cluster {
    async fn start() -> Self {
        let postgres = postgres().await;
        let search = Search { only: None, path: std::env::var_os("PATH") };
        let standby = postgres.standby(&search).await.unwrap();
        let redis = RedisServer::start().await;
        let (workers, proxies, keys) = (Vec::new(), Vec::new(), Value::Null);
        let mut cluster = Self { postgres, standby, redis, system: None, workers, proxies, keys };
        let mut site = Site::new("system", &cluster.postgres);
        // Where its nodes look for it when it is back.
        site.variables.push(("MADBASE_NODE_PORT", free_port().to_string()));
        let system = start(cluster.informed(site)).await;
        cluster.keys = keys_of(&system).await;
        cluster.system = Some(system);
        for _ in 0..2 {
            let worker = start(cluster.joining("worker")).await;
            cluster.workers.push(worker);
            // A proxy that is restarted is where it was.
            let proxy = cluster.joining("proxy").with(&["--port", &free_port().to_string()]);
            cluster.proxies.push(start(proxy).await);
        }
        cluster
    }

    fn joining(&self, role: &'static str) -> Site {
        self.informed(Site::joining(role, self.system.as_ref().unwrap()))
    }

    /// What every node is told beside its role.
    fn informed(&self, mut site: Site) -> Site {
        site.variables.push(("REDIS_URL", self.redis.url()));
        site.variables.push(("READ_REPLICA_URL", self.standby.url().to_owned()));
        site.with(&["--drain-delay", "1"])
    }

    /// Until rows come by every proxy, and from every worker.
    async fn serves(&self) {
        let client = reqwest::Client::new();
        for node in &self.proxies {
            until_ok(|| service(&self.keys, client.get(node.url("/rest/v1/tasks?limit=1")))).await;
        }
        until("every worker was asked", async || {
            let request = service(&self.keys, client.get(self.proxies[0].url("/rest/v1/tasks?limit=1")));
            assert!(request.send().await.unwrap().status().is_success());
            asked(&self.workers[0]).await > 0.0 && asked(&self.workers[1]).await > 0.0
        })
        .await;
    }

    async fn restart_a_proxy(&mut self, balancer: &Balancer) {
        let site = self.proxies.remove(0).stop().await;
        sleep(CALM).await;
        self.proxies.push(start(site).await);
        until("the balancer has both", async || balancer.is_complete()).await;
    }

    /// How long it took from the moment at which it was ready until it had a request.
    async fn add_a_worker(&mut self) -> Duration {
        let added = start(self.joining("worker")).await;
        let began = Instant::now();
        until("it is found", async || asked(&added).await > 0.0).await;
        self.workers.push(added);
        began.elapsed()
    }

    async fn restart_a_worker(&mut self) {
        let site = self.workers.remove(0).stop().await;
        self.workers.push(start(site).await);
    }

    async fn lose_redis(&mut self) {
        self.redis.kill();
        sleep(CALM).await;
        self.redis.restart().await;
    }

    async fn lose_the_control_plane(&mut self) {
        let site = self.system.take().unwrap().kill().await;
        sleep(outage()).await;
        self.system = Some(start(site).await);
    }

    async fn stop(self) {
        for node in self.workers.into_iter().chain(self.proxies).chain(self.system) {
            node.stop().await;
        }
    }
}

// REQ H5 H6 K1 K2 K3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_its_parts_one_by_one_and_no_request_fails() {
    const KILL: &str = "a worker is killed";
    let mut cluster = Cluster::start().await;
    let owner = board(&cluster.keys).await;
    cluster.serves().await;
    let tally = Tally::new();
    let bases: Vec<&str> = cluster.proxies.iter().map(Node::base).collect();
    let balancer = Balancer::before(&bases);
    let people = People::work(&balancer, &cluster.keys, &owner, &tally).await;
    tally.begin("nothing happens");
    calm(&tally).await;
    tally.begin("a proxy is terminated and restarted");
    cluster.restart_a_proxy(&balancer).await;
    calm(&tally).await;
    tally.begin(KILL);
    cluster.workers.remove(0).kill().await;
    calm(&tally).await;
    tally.begin("a worker is added");
    let mut found = cluster.add_a_worker().await;
    for _ in 1..TRIES {
        if found >= FOUND {
            found = found.min(cluster.add_a_worker().await);
        }
    }
    calm(&tally).await;
    tally.begin("a worker is terminated and restarted");
    cluster.restart_a_worker().await;
    calm(&tally).await;
    tally.begin("Redis is killed and restarted");
    cluster.lose_redis().await;
    calm(&tally).await;
    tally.begin("the control plane is away");
    cluster.lose_the_control_plane().await;
    calm(&tally).await;
    tally.begin("nothing happens any more");
    calm(&tally).await;
    let written = people.stop().await;
    tally.show(&format!("a new worker had its first request {} ms after it was ready", found.as_millis()));
    assert!(found < FOUND, "found after {found:?}");
    written.compare(&owner, &tally).await;
    tally.judge(KILL);
    cluster.stop().await;
}
