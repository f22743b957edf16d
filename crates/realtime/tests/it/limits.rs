//! Limits of projects, tokens that end, and clients that break the protocol: refused as documented, and nobody else is hurt.

use std::time::Duration;

use common::RealtimeSettings;
use futures_util::SinkExt as _;
use realtime::Config;
use serde_json::{Value, json};
use store::Redis;
use testkit::TestProject;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::world::{World, open, secs, token};

const TOPIC: &str = "realtime:room";

async fn limited(test: &TestProject, settings: RealtimeSettings) -> World {
    World::with(test, settings, Config::default(), &Redis::none()).await
}

/// Status and body of a refused connection.
async fn refused(world: &World, role: &str) -> (u16, Value) {
    match world.connect_as("2.0.0", role).await {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            (response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[test]
fn connections_over_the_limits_are_refused_with_the_documented_words() {
    testkit::run(async {
        let test = testkit::project("connlimit").await;
        let world = limited(&test, RealtimeSettings { max_concurrent_users: 2, ..open() }).await;
        let first = world.connect("2.0.0").await;
        let _second = world.connect("1.0.0").await;
        let (status, body) = refused(&world, "anon").await;
        assert_eq!((status, body["error"].as_str()), (429, Some("Too many connected users")));
        drop(first);
        while world.connect_as("2.0.0", "anon").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let world = limited(&test, RealtimeSettings { suspend: true, ..open() }).await;
        assert_eq!(refused(&world, "anon").await.0, 403);
        let world = World::new(&test).await;
        let (status, body) = refused(&world, "").await;
        assert_eq!(
            (status, body["error"].as_str()),
            (401, Some("Fields `role` and `exp` are required in JWT"))
        );
        let (status, body) = refused(&world, "anon&exp=1").await;
        assert_eq!((status, body["error"].as_str()), (401, Some("Token has expired")));
    });
}

#[test]
fn joins_over_the_limits_are_refused_and_floods_end() {
    testkit::run(async {
        let test = testkit::project("joinlimit").await;
        let settings = RealtimeSettings { max_channels_per_client: 2, max_joins_per_second: 3, ..open() };
        let world = limited(&test, settings).await;
        let mut client = world.connect("2.0.0").await;
        let mut reasons = Vec::new();
        for number in 0..60 {
            let reply = client.join(&format!("realtime:{number}"), json!({})).await;
            reasons.push(reply["response"]["reason"].as_str().unwrap_or("ok").to_owned());
        }
        reasons.dedup();
        let expected = [
            "ok",
            "ChannelRateLimitReached: Too many channels",
            "ClientJoinRateLimitReached: Too many joins per second",
        ];
        assert_eq!(reasons.get(..3).unwrap(), expected);
        let world = limited(&test, RealtimeSettings { private_only: true, ..open() }).await;
        let mut client = world.connect("2.0.0").await;
        let reply = client.join(TOPIC, json!({})).await;
        assert_eq!(reply["response"]["reason"], "PrivateOnly: This project only allows private channels");
    });
}

#[test]
fn too_many_messages_close_the_channel_and_large_ones_are_refused() {
    testkit::run(async {
        let test = testkit::project("msglimit").await;
        let settings = RealtimeSettings { max_events_per_second: 1, max_payload_size_in_kb: 10, ..open() };
        let world = limited(&test, settings).await;
        let mut reader = world.joined(TOPIC, json!({})).await;
        let mut client = world.joined(TOPIC, json!({"broadcast": {"ack": true}})).await;
        let large = json!({"type": "broadcast", "event": "e", "payload": "x".repeat(20_000)});
        assert_eq!(client.ask(TOPIC, "broadcast", large).await["status"], "error");
        for number in 0..30 {
            client.broadcast(TOPIC, json!(number)).await;
        }
        let told = client.event().await;
        assert_eq!(
            (told.event.as_str(), told.payload["message"].as_str()),
            ("system", Some("Too many messages per second"))
        );
        assert_eq!(client.event().await.event, "phx_close");
        for number in 0..10 {
            assert_eq!(reader.event().await.payload["payload"], number);
        }
        assert_eq!(client.join(TOPIC, json!({})).await["status"], "ok", "the socket is as it was");
    });
}

#[test]
fn tokens_are_refreshed_refused_and_expire() {
    testkit::run(async {
        let test = testkit::project("tokens").await;
        let world = World::new(&test).await;
        let mut client = world.connect("2.0.0").await;
        let signed =
            |exp: i64| token(&world.project, &json!({"role": "authenticated", "sub": "a", "exp": exp}));
        let reply = client.join(TOPIC, json!({"access_token": signed(secs(4))})).await;
        assert_eq!(reply["status"], "ok");
        client.join("realtime:other", json!({"access_token": signed(secs(4))})).await;
        for same in [Value::Null, json!("sb_publishable_x"), json!(signed(secs(3600)))] {
            client.send(TOPIC, "access_token", json!({"access_token": same})).await;
        }
        let told = client.event().await;
        assert_eq!(
            (told.topic.as_str(), told.payload["message"].as_str()),
            ("realtime:other", Some("Access token has expired"))
        );
        assert_eq!(client.event().await.event, "phx_close");
        client.send(TOPIC, "access_token", json!({"access_token": "a.b.c"})).await;
        let told = client.event().await;
        assert_eq!((told.topic.as_str(), told.payload["status"].as_str()), (TOPIC, Some("error")));
        assert_eq!(client.event().await.event, "phx_close");
    });
}

#[test]
fn clients_that_break_the_protocol_are_closed_and_others_go_on() {
    testkit::run(async {
        let test = testkit::project("hostile").await;
        let world = World::new(&test).await;
        let mut reader = world.joined(TOPIC, json!({})).await;
        let large = "x".repeat(5_000_001);
        let cases: [(Message, u16); 6] = [
            (Message::text("{}"), 1003),
            (Message::text("["), 1003),
            (Message::text(r#"["1","2","realtime:room","broadcast"]"#), 1003),
            (Message::binary(vec![3, 255, 255]), 1003),
            (Message::binary(vec![]), 1003),
            (Message::text(large), 1009),
        ];
        for (message, code) in cases {
            let mut client = world.joined(TOPIC, json!({})).await;
            // The server may have hung up while the rest is still sent.
            let _ = client.stream.send(message).await;
            assert_eq!(client.end().await.0, code);
        }
        let mut sender = world.joined(TOPIC, json!({})).await;
        sender.broadcast(TOPIC, json!("on")).await;
        assert_eq!(reader.event().await.payload["payload"], "on");
    });
}

#[test]
fn who_does_not_read_is_closed_and_others_get_everything() {
    testkit::run(async {
        let test = testkit::project("slow").await;
        let config = Config { max_waiting_bytes: 200_000, ..Config::default() };
        let world = World::with(&test, open(), config, &Redis::none()).await;
        let mut slow = world.joined(TOPIC, json!({})).await;
        let mut quick = world.joined(TOPIC, json!({})).await;
        let mut sender = world.joined(TOPIC, json!({"broadcast": {"ack": true}})).await;
        let body = "x".repeat(50_000);
        for number in 0..400 {
            let payload = json!({"type": "broadcast", "event": "e", "payload": [number, body]});
            assert_eq!(sender.ask(TOPIC, "broadcast", payload).await["status"], "ok");
            assert_eq!(quick.event().await.payload["payload"][0], number);
        }
        let mut received = 0;
        let code = loop {
            match tokio::time::timeout(
                Duration::from_secs(20),
                futures_util::StreamExt::next(&mut slow.stream),
            )
            .await
            {
                Ok(Some(Ok(Message::Close(frame)))) => break frame.map(|it| u16::from(it.code)),
                Ok(Some(Ok(_))) => received += 1,
                // A connection that was cut says nothing.
                Ok(_) => break None,
                Err(_) => panic!("it was not closed"),
            }
        };
        assert!(code.is_none_or(|it| it == 1013) && received < 400, "{code:?} after {received}");
    });
}

#[test]
fn a_silent_socket_is_closed() {
    testkit::run(async {
        let test = testkit::project("silent").await;
        let config = Config { idle_timeout: Duration::from_secs(3), ..Config::default() };
        let world = World::with(&test, open(), config, &Redis::none()).await;
        let mut silent = world.joined(TOPIC, json!({})).await;
        let mut alive = world.joined(TOPIC, json!({})).await;
        for _ in 0..10 {
            alive.hears_nothing().await;
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        assert_eq!(silent.end().await, (1001, "heartbeats stopped".to_owned()));
        alive.hears_nothing().await;
    });
}

// REQ H5: sockets are told to come back before the process ends.
#[test]
fn at_the_end_sockets_are_told_to_connect_again() {
    testkit::run(async {
        let test = testkit::project("drain").await;
        let world = World::new(&test).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(world.joined(TOPIC, json!({})).await);
        }
        let realtime = world.realtime.clone();
        let draining = tokio::spawn(async move { realtime.drain(Duration::from_secs(20)).await });
        for client in &mut clients {
            assert_eq!(client.end().await.0, 1012);
        }
        let drained = draining.await.unwrap();
        assert_eq!((drained.told, drained.left), (20, 0));
        assert_eq!(refused(&world, "anon").await.0, 503);
    });
}

/// The beginning of a text of 1 MB: its head and so many bytes.
async fn begin(client: &mut crate::world::Client, bytes: usize) {
    let head = [&[0x81, 0xff][..], &1_000_000_u64.to_be_bytes(), &[0; 4]].concat();
    let raw = client.stream.get_mut();
    tokio::io::AsyncWriteExt::write_all(raw, &head).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(raw, &vec![b' '; bytes]).await.unwrap();
}

#[test]
fn unfinished_messages_are_bounded_in_size_and_time() {
    testkit::run(async {
        let test = testkit::project("unfinished").await;
        let config =
            Config { max_unread_bytes: 200_000, idle_timeout: Duration::from_secs(2), ..Config::default() };
        let world = World::with(&test, open(), config, &Redis::none()).await;
        let mut patient = world.connect("2.0.0").await;
        begin(&mut patient, 150_000).await;
        let mut greedy = world.connect("2.0.0").await;
        begin(&mut greedy, 150_000).await;
        assert_eq!(greedy.end().await.0, 1013);
        // A byte now and then does not keep the other one.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let raw = patient.stream.get_mut();
            if tokio::io::AsyncWriteExt::write_all(raw, b" ").await.is_err() {
                break;
            }
        }
        assert_eq!(patient.end().await.0, 1008);
        // What they held is free again.
        let mut third = world.connect("2.0.0").await;
        begin(&mut third, 150_000).await;
        let end = third.end().await.0;
        assert!([1001, 1008].contains(&end), "{end}");
    });
}
