//! Realtime over two workers and one Redis: messages, members and changes reach both, while workers and Redis come and go.

mod socket;

use std::time::Duration;

use serde_json::{Value, json};
use state::postgres::Ephemeral;
use testkit::RedisServer;
use tokio::time::{Instant, sleep};

use self::socket::Socket;
use crate::node::{Node, Site, keys as keys_of, postgres};
use crate::server::until;

/// REQ C8: how long the members of a lost worker are kept, and a little for noticing it.
const TTL: Duration = Duration::from_secs(60 + 10);
/// "Redis restarted: flow resumes within 5 s".
const AGAIN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// PostgreSQL, Redis, a system node and two workers, each a process of its own.
struct Ground {
    redis: RedisServer,
    system: Node,
    workers: Vec<Node>,
    key: String,
    owner: tokio_postgres::Client,
    /// Dropped last: all others use it.
    postgres: Ephemeral,
}

impl Ground {
    async fn start() -> Self {
        let postgres = postgres().await;
        let redis = RedisServer::start().await;
        let system = start(Site::new("system", &postgres)).await;
        let keys = keys_of(&system).await;
        let (owner, connection) =
            tokio_postgres::connect(keys["database_url"].as_str().unwrap(), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        let key = keys["anon"].as_str().unwrap().to_owned();
        let mut ground = Self { redis, system, workers: Vec::new(), key, owner, postgres };
        for _ in 0..2 {
            // A worker that is restarted is where it was, as the proxy before it expects.
            let worker = ground.site("worker").with(&["--worker-port", &free_port().to_string()]);
            ground.workers.push(start(worker).await);
        }
        ground
    }

    fn site(&self, role: &'static str) -> Site {
        let mut site = Site::new(role, &self.postgres);
        site.variables.push(("REDIS_URL", self.redis.url()));
        site
    }

    /// A connection to worker 0 or 1.
    async fn socket(&self, worker: usize) -> Socket {
        Socket::open(self.workers[worker].base(), &self.key).await
    }

    /// Who is in `public`, as an operator asks it.
    fn members(&self) -> Vec<String> {
        let text = self.redis.cli(&["SMEMBERS", "presence:channel:public:users"]);
        let mut members: Vec<String> = text.lines().filter(|it| !it.is_empty()).map(str::to_owned).collect();
        members.sort();
        members
    }

    async fn publish_a_table(&self) {
        let statements = "create table public.notes (id int primary key, text text);
            grant select on public.notes to anon;
            alter publication supabase_realtime add table public.notes";
        self.owner.batch_execute(statements).await.unwrap();
    }

    async fn write(&self, id: i32) {
        self.owner.execute("insert into public.notes values ($1, 'a note')", &[&id]).await.unwrap();
    }

    async fn stop(self) {
        for node in self.workers.into_iter().chain([self.system]) {
            node.stop().await;
        }
    }
}

async fn start(site: Site) -> Node {
    tokio::task::spawn_blocking(|| site.start()).await.unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn all_changes() -> Value {
    json!({ "postgres_changes": [{ "event": "*", "schema": "public", "table": "notes" }] })
}

fn member(key: &str) -> Value {
    json!({ "presence": { "enabled": true, "key": key } })
}

fn is_said(message: &Value) -> bool {
    message["event"] == "broadcast"
}

/// The row of a change, by its key.
fn id_of(message: &Value) -> i64 {
    message["payload"]["data"]["record"]["id"].as_i64().unwrap()
}

fn is_change(message: &Value) -> bool {
    message["event"] == "postgres_changes"
}

// REQ K3
#[tokio::test]
async fn what_one_worker_is_told_the_other_delivers_also_after_redis_was_away() {
    let mut ground = Ground::start().await;
    let (mut a, mut b) = (ground.socket(0).await, ground.socket(1).await);
    for it in [&mut a, &mut b] {
        it.join("public", json!({})).await;
    }
    a.say("public", json!({ "n": 1 })).await;
    let said = b.wait("the message of A", PATIENCE, is_said).await;
    assert_eq!(said["payload"]["payload"], json!({ "n": 1 }));
    b.say("public", json!({ "n": 2 })).await;
    let said = a.wait("the message of B", PATIENCE, is_said).await;
    assert_eq!(said["payload"]["payload"], json!({ "n": 2 }), "and not its own");

    ground.redis.kill();
    // Within one worker nothing is missing meanwhile.
    let mut beside = ground.socket(0).await;
    beside.join("public", json!({})).await;
    a.say("public", json!({ "n": 3 })).await;
    beside.wait("the message of A, without Redis", PATIENCE, is_said).await;
    ground.redis.restart().await;
    let back = Instant::now();
    let arrived = loop {
        a.say("public", json!({ "n": 4 })).await;
        let messages = b.all(Duration::from_millis(50)).await;
        if messages.iter().any(|it| is_said(it) && it["payload"]["payload"]["n"] == 4) {
            break back.elapsed();
        }
        assert!(back.elapsed() < PATIENCE, "nothing flows any more; B was closed: {:?}", b.closed);
    };
    assert!(arrived < AGAIN, "it flows again after {arrived:?}");
    assert_eq!((a.closed, b.closed), (None, None), "no client had to do anything");
    ground.stop().await;
}

// REQ C4 C8 C12 K3
#[tokio::test]
async fn members_of_a_terminated_worker_leave_at_once_and_of_a_killed_one_within_the_ttl() {
    let mut ground = Ground::start().await;
    let mut watcher = ground.socket(1).await;
    watcher.join("public", member("watcher")).await;
    watcher.track("public", json!({})).await;
    for (key, is_killed) in [("ada", false), ("bob", true)] {
        let mut there = ground.socket(0).await;
        there.join("public", member(key)).await;
        there.track("public", json!({ "name": key })).await;
        let came = |it: &Value| it["event"] == "presence_diff" && it["payload"]["joins"][key].is_object();
        let diff = watcher.wait("the member is seen on the other worker", PATIENCE, came).await;
        assert_eq!(diff["payload"]["joins"][key]["metas"][0]["name"], key);
        until("Redis knows both", async || ground.members() == [key, "watcher"]).await;
        let ttl: i64 =
            ground.redis.cli(&["TTL", &format!("presence:channel:public:user:{key}")]).parse().unwrap();
        assert!((1..=60).contains(&ttl), "{ttl} s");

        let worker = ground.workers.remove(0);
        let began = Instant::now();
        let site = if is_killed { worker.kill().await } else { worker.stop().await };
        let went = |it: &Value| it["event"] == "presence_diff" && it["payload"]["leaves"][key].is_object();
        watcher.wait("the member leaves", TTL, went).await;
        let took = began.elapsed();
        assert!(
            is_killed || took < Duration::from_secs(20),
            "a terminated worker's member left after {took:?}"
        );
        until("Redis knows one", async || ground.members() == ["watcher"]).await;
        ground.workers.insert(0, start(site).await);
    }
    ground.stop().await;
}

// REQ K3 H5
#[tokio::test]
async fn clients_of_a_terminated_worker_come_back_on_the_other_one_and_miss_no_change() {
    let mut ground = Ground::start().await;
    ground.publish_a_table().await;
    let upstream = ground.workers.iter().map(Node::base).collect::<Vec<_>>().join(",");
    let mut site = ground.site("proxy");
    site.variables.push(("WORKER_UPSTREAM_URLS", upstream));
    let proxy = start(site).await;
    let mut through = Socket::open(proxy.base(), &ground.key).await;
    through.join("public", all_changes()).await;
    ground.write(1).await;
    assert_eq!(id_of(&through.wait("a change", PATIENCE, is_change).await), 1);

    // Whichever worker it is on: after both were terminated, one after the other, it had to move.
    let mut moved = 0;
    for next in 2..4 {
        let site = ground.workers.remove(0).stop().await;
        let others = through.all(Duration::from_millis(500)).await;
        assert!(!others.iter().any(is_change), "{others:?}");
        if through.closed.is_some() {
            assert_ne!(through.closed, Some(1000), "clients do not come back after a normal closure");
            moved += 1;
            through = Socket::open(proxy.base(), &ground.key).await;
            through.join("public", all_changes()).await;
        }
        ground.write(next).await;
        assert_eq!(
            id_of(&through.wait("a change after the drain", PATIENCE, is_change).await),
            i64::from(next)
        );
        ground.workers.push(start(site).await);
    }
    assert!(moved >= 1, "neither worker had it");
    proxy.stop().await;
    ground.stop().await;
}

// REQ K3
#[tokio::test]
async fn changes_committed_while_the_reader_of_the_stream_is_killed_arrive_with_the_others() {
    let mut ground = Ground::start().await;
    ground.publish_a_table().await;
    // The first one who subscribes makes its worker the reader.
    let mut first = ground.socket(0).await;
    first.join("public", all_changes()).await;
    let mut second = ground.socket(1).await;
    second.join("public", all_changes()).await;
    ground.write(1).await;
    for it in [&mut first, &mut second] {
        assert_eq!(id_of(&it.wait("a change", PATIENCE, is_change).await), 1);
    }
    ground.workers.remove(0).kill().await;
    for id in 2..=20 {
        ground.write(id).await;
        sleep(Duration::from_millis(20)).await;
    }
    for id in 2..=20 {
        let change =
            second.wait("changes of the time without a reader", Duration::from_secs(90), is_change).await;
        assert_eq!(id_of(&change), id);
    }
    assert_eq!(first.end(PATIENCE).await, 1006);
    ground.stop().await;
}
