//! Two processes of a project, with one Redis between them.

use std::time::Duration;

use realtime::Config;
use serde_json::json;
use store::{Redis, RedisSettings};
use testkit::{RedisServer, TestProject};

use crate::api::{ACCEPTED, json_body, post};
use crate::world::{World, open};

const TOPIC: &str = "realtime:room";

async fn process(test: &TestProject, server: &RedisServer) -> World {
    let settings = RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() };
    let redis = Redis::open(settings).unwrap();
    while !redis.is_up() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    World::with(test, open(), Config::default(), &redis).await
}

// REQ K3: a message sent on one worker arrives on another, once, in order.
#[test]
fn what_is_sent_on_one_worker_arrives_on_the_other() {
    testkit::run(async {
        let (test, server) = (testkit::project("two").await, RedisServer::start().await);
        let (a, b) = (process(&test, &server).await, process(&test, &server).await);
        let mut near = a.joined(TOPIC, json!({})).await;
        let mut far = b.joined(TOPIC, json!({})).await;
        let mut sender = a.joined(TOPIC, json!({})).await;
        for number in 0..200 {
            sender.broadcast(TOPIC, json!(number)).await;
        }
        for client in [&mut near, &mut far] {
            for number in 0..200 {
                assert_eq!(client.event().await.payload["payload"], number);
            }
            client.hears_nothing().await;
        }
        sender.hears_nothing().await;
        let mut other = b.joined("realtime:other", json!({})).await;
        far.broadcast(TOPIC, json!("back")).await;
        assert_eq!(sender.event().await.payload["payload"], "back");
        other.hears_nothing().await;
    });
}

#[test]
fn a_burst_arrives_on_the_other_worker_in_its_order() {
    testkit::run(async {
        let (test, server) = (testkit::project("burst").await, RedisServer::start().await);
        let (a, b) = (process(&test, &server).await, process(&test, &server).await);
        let mut far = b.joined(TOPIC, json!({})).await;
        let message = |number: i32| json!({"topic": "room", "event": "e", "payload": number});
        let burst = json!({"messages": (0..900).map(message).collect::<Vec<_>>()});
        assert_eq!(post(&a, "anon", "/api/broadcast", json_body(&burst)).await, ACCEPTED);
        for number in 0..900 {
            assert_eq!(far.event().await.payload["payload"], number);
        }
    });
}

#[test]
fn a_lost_redis_comes_back_and_clients_hear_of_the_gap() {
    testkit::run(async {
        let (test, mut server) = (testkit::project("gap").await, RedisServer::start().await);
        let (a, b) = (process(&test, &server).await, process(&test, &server).await);
        let mut sender = a.joined(TOPIC, json!({})).await;
        let mut far = b.joined(TOPIC, json!({})).await;
        server.restart().await;
        let gap = far.event().await;
        assert_eq!(
            (gap.event.as_str(), gap.payload["status"].as_str()),
            ("system", Some("error")),
            "{gap:?}"
        );
        // The sender's own connection may still be on its way back.
        loop {
            sender.broadcast(TOPIC, json!("on")).await;
            let heard = tokio::time::timeout(Duration::from_millis(500), far.event()).await;
            if heard.is_ok_and(|it| it.event == "broadcast") {
                break;
            }
        }
    });
}
