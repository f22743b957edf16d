//! Nodes: joining by a token once, heartbeats by certificate, being lost and found, and who hears of it.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use common::{NodeId, NodeName, Pillar};
use control_plane::{ControlPlane, NODES_CHANNEL, Offer, node_router, router};
use http::Method;
use serde_json::{Value, json};
use store::mtls::{Credentials, Identity, SigningRequest};
use store::{Notification, Notifications, Redis};
use testkit::run;
use tokio::time::timeout;

use crate::{Installation, TOKEN, send};

struct Cluster {
    it: Installation,
    plane: ControlPlane,
    admin: Router,
    door: Router,
}

/// What a node knows after joining.
struct Joined {
    id: String,
    answer: Value,
    key: secrecy::SecretString,
}

fn beat(state: &str) -> Value {
    json!({ "address": "10.0.0.5:8010", "zone": "a", "version": "0.1.0", "state": state })
}

impl Cluster {
    async fn start() -> Self {
        let it = Installation::new();
        let plane = it.start(Vec::new()).await.unwrap();
        let mut offer = Offer::default();
        offer.settings.insert("redis-url", "redis://cache".to_owned().into());
        let (admin, door) = (router(plane.clone()), node_router(plane.clone(), offer));
        Self { it, plane, admin, door }
    }

    async fn token(&self, role: &str) -> String {
        let body = json!({ "role": role });
        let answer =
            send(&self.admin, Some(TOKEN), (Method::POST, "/api/v1/nodes/join-tokens"), Some(&body)).await;
        assert_eq!(answer.short(), "201");
        answer.body.get("token").unwrap().as_str().unwrap().to_owned()
    }

    async fn join(&self, token: &str) -> Result<Joined, String> {
        let request = SigningRequest::new().unwrap();
        let body = json!({ "token": token, "csr": request.csr, "node": beat("ready") });
        let answer = send(&self.door, None, (Method::POST, "/node/v1/join"), Some(&body)).await;
        if answer.short() != "200" {
            return Err(answer.short());
        }
        let id = answer.body.get("id").unwrap().as_str().unwrap().to_owned();
        Ok(Joined { id, answer: answer.body, key: request.key })
    }

    /// As the node `id`, whose certificate was verified by whoever serves.
    async fn beat(&self, (pillar, id): (Pillar, &str), body: &Value) -> (String, Value) {
        let name = NodeName { pillar, id: id.parse::<NodeId>().unwrap() };
        let door = self.door.clone().layer(Extension(Arc::new(name)));
        let answer = send(&door, None, (Method::POST, "/node/v1/heartbeat"), Some(body)).await;
        (answer.short(), answer.body)
    }

    async fn state(&self, id: &str) -> String {
        let nodes = self.plane.nodes().await.unwrap();
        nodes.iter().find(|it| it.id == id).map_or_else(|| "none".to_owned(), |it| it.state.clone())
    }
}

async fn heard(changes: &mut Notifications) -> Option<Notification> {
    timeout(Duration::from_secs(30), changes.next()).await.unwrap()
}

#[test]
fn a_token_lets_one_node_in_once() {
    run(async {
        let it = Cluster::start().await;
        let token = it.token("worker").await;
        let joined = it.join(&token).await.unwrap();
        assert!(joined.id.starts_with("worker-"), "{}", joined.id);
        assert_eq!(joined.answer["settings"], json!({ "redis-url": "redis://cache" }));
        assert_eq!(joined.answer["master_key"].as_str().unwrap().len(), 43);
        let text = |name: &str| joined.answer[name].as_str().unwrap().to_owned();
        let identity = Identity { chain: text("chain"), key: joined.key, authority: text("authority") };
        let name = Credentials::new(&identity).unwrap().name();
        assert_eq!((name.pillar, name.id.as_str()), (Pillar::Worker, joined.id.as_str()));
        assert_eq!(it.state(&joined.id).await, "left", "it takes no requests before it says so");

        assert_eq!(it.join(&token).await.err().unwrap(), "401 CP201", "a second time");
        let other = it.token("worker").await;
        let (head, hash) = other.rsplit_once('.').unwrap();
        let guessed = format!("{}x.{hash}", &head[..head.len() - 1]);
        assert_eq!(it.join(&guessed).await.err().unwrap(), "401 CP201", "a guessed secret");
        it.it
            .control()
            .await
            .batch_execute("update madbase.join_tokens set expires_at = now()")
            .await
            .unwrap();
        assert_eq!(it.join(&other).await.err().unwrap(), "401 CP201", "an expired one");
        assert_eq!(it.join("mbj1").await.err().unwrap(), "401 CP201", "no token at all");
        let kept =
            "select count(*) from madbase.join_tokens where encode(hash, 'escape') like '%' || $1 || '%'";
        let secret = token.split('.').nth(2).unwrap();
        assert_eq!(it.it.control().await.query_one(kept, &[&secret]).await.unwrap().get::<_, i64>(0), 0);
        for (role, ttl) in [("system", 60), ("worker", 0), ("worker", 10_000_000), ("clerk", 60)] {
            let body = json!({ "role": role, "ttl_secs": ttl });
            let asked = (Method::POST, "/api/v1/nodes/join-tokens");
            assert_eq!(
                send(&it.admin, Some(TOKEN), asked, Some(&body)).await.short(),
                "400 CP101",
                "{role} {ttl}"
            );
        }
    });
}

#[test]
fn a_token_that_two_use_at_once_lets_one_in() {
    run(async {
        let it = Cluster::start().await;
        let token = it.token("proxy").await;
        let all = futures_util::future::join_all((0..6).map(|_| it.join(&token))).await;
        assert_eq!(all.iter().filter(|it| it.is_ok()).count(), 1);
        assert_eq!(it.plane.nodes().await.unwrap().len(), 1);
    });
}

// REQ H6
#[test]
fn who_takes_requests_is_told_at_once_and_load_is_not() {
    run(async {
        let it = Cluster::start().await;
        let mut changes = it.plane.node_changes();
        assert_eq!(heard(&mut changes).await, Some(Notification::Connected));
        let joined = it.join(&it.token("worker").await).await.unwrap();
        let told = Some(Notification::Message(joined.id.clone()));
        assert_eq!(heard(&mut changes).await, told);
        let node = (Pillar::Worker, joined.id.as_str());
        assert_eq!(it.beat(node, &beat("ready")).await.0, "200");
        assert_eq!(heard(&mut changes).await, told);
        let mut busy = beat("ready");
        busy["requests_in_flight"] = json!(7);
        busy["requests_per_sec"] = json!(12.5);
        assert_eq!(it.beat(node, &busy).await.0, "200");
        let nodes = it.plane.nodes().await.unwrap();
        assert_eq!((nodes[0].requests_in_flight, nodes[0].requests_per_sec), (7, 12.5));
        assert!(timeout(Duration::from_millis(300), changes.next()).await.is_err(), "load is told to nobody");
        assert_eq!(it.beat(node, &beat("draining")).await.0, "200");
        assert_eq!(heard(&mut changes).await, told);
        assert_eq!(it.state(&joined.id).await, "draining");
    });
}

#[test]
fn redis_hears_what_postgresql_tells() {
    run(async {
        let it = Cluster::start().await;
        let redis = Redis::none();
        let mut messages = redis.subscribe(NODES_CHANNEL);
        let plane = it.plane.clone();
        let keeping = tokio::spawn(async move { plane.keep_nodes(&redis).await });
        assert_eq!(messages.next().await, Some(Notification::Connected));
        assert_eq!(messages.next().await, Some(Notification::Message(String::new())), "it listens");
        let joined = it.join(&it.token("proxy").await).await.unwrap();
        let message = timeout(Duration::from_secs(30), messages.next()).await.unwrap();
        assert_eq!(message, Some(Notification::Message(joined.id)));
        keeping.abort();
    });
}

#[test]
fn a_silent_node_is_lost_and_found_when_it_speaks() {
    run(async {
        let it = Cluster::start().await;
        let joined = it.join(&it.token("worker").await).await.unwrap();
        let node = (Pillar::Worker, joined.id.as_str());
        it.beat(node, &beat("ready")).await;
        assert_eq!(it.plane.lose_silent().await.unwrap(), [""; 0]);
        let silent = "update madbase.nodes set last_seen_at = now() - interval '16 s'";
        it.it.control().await.batch_execute(silent).await.unwrap();
        assert_eq!(it.plane.lose_silent().await.unwrap(), [joined.id.as_str()]);
        assert_eq!(it.state(&joined.id).await, "lost");
        it.beat(node, &beat("ready")).await;
        assert_eq!(it.state(&joined.id).await, "ready");
        // One that left in order is not lost.
        it.beat(node, &beat("left")).await;
        it.it.control().await.batch_execute(silent).await.unwrap();
        assert_eq!(it.plane.lose_silent().await.unwrap(), [""; 0]);
    });
}

#[test]
fn an_operator_drains_and_removes_nodes() {
    run(async {
        let it = Cluster::start().await;
        let joined = it.join(&it.token("worker").await).await.unwrap();
        let node = (Pillar::Worker, joined.id.as_str());
        it.beat(node, &beat("ready")).await;
        let admin =
            async |method: Method, path: String| send(&it.admin, Some(TOKEN), (method, &path), None).await;
        let path = format!("/api/v1/nodes/{}", joined.id);
        assert_eq!(admin(Method::POST, format!("{path}/drain")).await.short(), "200");
        assert_eq!(it.state(&joined.id).await, "draining", "proxies hear it before the node does");
        let (_, pulse) = it.beat(node, &beat("ready")).await;
        assert_eq!((&pulse["drain"], it.state(&joined.id).await.as_str()), (&json!(true), "draining"));
        // It was stopped and starts again.
        let mut started = beat("ready");
        started["started"] = json!(true);
        let (_, pulse) = it.beat(node, &started).await;
        assert_eq!((&pulse["drain"], it.state(&joined.id).await.as_str()), (&json!(false), "ready"));

        assert_eq!(admin(Method::DELETE, path.clone()).await.short(), "204");
        assert_eq!(admin(Method::DELETE, path.clone()).await.short(), "404 CP312");
        assert_eq!(admin(Method::POST, format!("{path}/drain")).await.short(), "404 CP312");
        assert_eq!(
            it.beat(node, &beat("ready")).await.0,
            "404 CP312",
            "its certificate alone brings it not back"
        );
        let audit = admin(Method::GET, "/api/v1/audit".into()).await.body;
        let actions: Vec<&str> =
            audit["audit"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
        for action in ["node.join_token", "node.join", "node.drain", "node.remove"] {
            assert!(actions.contains(&action), "{action}: {actions:?}");
        }
        assert!(!audit.to_string().contains("mbj1"), "{audit}");
    });
}

#[test]
fn only_nodes_beat_and_only_administrators_look() {
    run(async {
        let it = Cluster::start().await;
        let joined = it.join(&it.token("worker").await).await.unwrap();
        let asked = (Method::POST, "/node/v1/heartbeat");
        assert_eq!(send(&it.door, None, asked, Some(&beat("ready"))).await.short(), "401 CP202");
        let (status, _) = it.beat((Pillar::Proxy, &joined.id), &beat("ready")).await;
        assert_eq!(status, "404 CP312", "a proxy is no worker, whatever its id");
        let mut csr = beat("ready");
        csr["csr"] = json!("nonsense");
        assert_eq!(it.beat((Pillar::Worker, &joined.id), &csr).await.0, "400 CP101");
        csr["csr"] = json!(SigningRequest::new().unwrap().csr);
        let (status, pulse) = it.beat((Pillar::Worker, &joined.id), &csr).await;
        assert_eq!(status, "200");
        let renewed = store::mtls::name_of(pulse["chain"].as_str().unwrap()).unwrap();
        assert_eq!(renewed.id.as_str(), joined.id);
        let remove = format!("/api/v1/nodes/{}", joined.id);
        for (method, path) in [
            (Method::GET, "/api/v1/nodes"),
            (Method::POST, "/api/v1/nodes/join-tokens"),
            (Method::DELETE, remove.as_str()),
        ] {
            assert_eq!(send(&it.admin, None, (method, path), None).await.short(), "401 CP200", "{path}");
        }
        assert_eq!(
            send(&it.door, Some(TOKEN), (Method::GET, "/api/v1/nodes"), None).await.short(),
            "404 CP300"
        );
    });
}
