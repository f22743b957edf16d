//! Messages of clients to the others of a public topic, in both versions of the protocol.

use bytes::Bytes;
use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{World, token};

const TOPIC: &str = "realtime:room";

#[test]
fn clients_of_both_versions_meet_in_a_topic() {
    testkit::run(async {
        let test = testkit::project("meet").await;
        let world = World::new(&test).await;
        for vsn in ["1.0.0", "2.0.0"] {
            let mut first = world.connect(vsn).await;
            let reply = first.join(TOPIC, json!({"config": {}})).await;
            assert_eq!(reply, json!({"status": "ok", "response": {"postgres_changes": []}}));
            let reply = first.ask("phoenix", "heartbeat", json!({})).await;
            assert_eq!(reply, json!({"status": "ok", "response": {}}));
            let mut second = world.joined(TOPIC, json!({})).await;
            second.broadcast(TOPIC, json!({"x": 1})).await;
            let told = first.event().await;
            assert_eq!((told.topic.as_str(), told.event.as_str()), (TOPIC, "broadcast"));
            assert_eq!(told.payload, json!({"type": "broadcast", "event": "e", "payload": {"x": 1}}));
            second.hears_nothing().await;
            let left = first.ask(TOPIC, "phx_leave", json!({})).await;
            assert_eq!(left["status"], "ok");
            assert_eq!(first.next().await.event, "phx_close");
            second.broadcast(TOPIC, json!({"x": 2})).await;
            second.hears_nothing().await;
            first.hears_nothing().await;
        }
    });
}

#[test]
fn own_copies_and_acknowledgements_come_when_wanted() {
    testkit::run(async {
        let test = testkit::project("ack").await;
        let world = World::new(&test).await;
        let mut client = world.joined(TOPIC, json!({"broadcast": {"ack": "true", "self": true}})).await;
        let payload = json!({"type": "broadcast", "event": "e", "payload": {}});
        assert_eq!(client.ask(TOPIC, "broadcast", payload.clone()).await["status"], "ok");
        assert_eq!(client.event().await.payload, payload);
        let mut silent = world.joined(TOPIC, json!({"broadcast": {"ack": false}})).await;
        silent.broadcast(TOPIC, json!({})).await;
        silent.hears_nothing().await;
    });
}

#[test]
fn bytes_reach_who_can_read_them() {
    testkit::run(async {
        let test = testkit::project("bytes").await;
        let world = World::new(&test).await;
        let mut sender = world.joined(TOPIC, json!({})).await;
        let mut reader = world.joined(TOPIC, json!({})).await;
        let mut old = world.connect("1.0.0").await;
        old.join(TOPIC, json!({})).await;
        let frame = |encoding: u8, meta: &str, body: &[u8]| {
            let mut frame = vec![3, 1, 1, 13, 2, u8::try_from(meta.len()).unwrap(), encoding];
            frame.extend(format!("19{TOPIC}ev{meta}").bytes());
            frame.extend(body);
            Message::Binary(frame.into())
        };
        sender.stream.send(frame(0, "", b"\0\xff")).await.unwrap();
        let expected: &[u8] = b"\x04\x0d\x02\0\0realtime:roomev\0\xff";
        assert_eq!(reader.frame().await, Message::Binary(Bytes::from_static(expected)));
        old.hears_nothing().await;
        sender.stream.send(frame(1, r#"{"m":1}"#, br#"{"x":1}"#)).await.unwrap();
        let payload = json!({"type": "broadcast", "event": "ev", "payload": {"x": 1}, "meta": {"m": 1}});
        assert_eq!(reader.event().await.payload, payload);
        assert_eq!(old.event().await.payload, payload);
    });
}

#[test]
fn a_topic_is_joined_again_in_place_of_the_first_time() {
    testkit::run(async {
        let test = testkit::project("again").await;
        let world = World::new(&test).await;
        let mut client = world.joined(TOPIC, json!({})).await;
        let reply = client.join(TOPIC, json!({"config": {"broadcast": {"self": true}}})).await;
        assert_eq!(reply["status"], "ok");
        client.broadcast(TOPIC, json!({})).await;
        assert_eq!(client.event().await.event, "broadcast");
        client.hears_nothing().await;
    });
}

#[test]
fn what_clients_say_besides_is_passed_over() {
    testkit::run(async {
        let test = testkit::project("besides").await;
        let world = World::new(&test).await;
        let query = "anon&log_level=info&eventsPerSecond=10&vsn=1.0.0";
        let mut client = world.connect_as("2.0.0", query).await.unwrap();
        // Of any type, and with what is known nowhere.
        for config in [
            json!([]),
            json!("x"),
            json!({"broadcast": 7, "presence": [], "postgres_changes": {}, "other": 1}),
        ] {
            let reply = client.join(TOPIC, json!({"config": config, "other": {}})).await;
            assert_eq!(reply, json!({"status": "ok", "response": {"postgres_changes": []}}), "{config}");
        }
        // Who gives no name among members has a number.
        client.ask(TOPIC, "presence", json!({"type": "presence", "event": "track", "payload": {}})).await;
        assert_eq!(client.event().await.event, "presence_state");
        let came = client.event().await.payload["joins"].as_object().unwrap().clone();
        assert!(came.keys().all(|it| it.parse::<uuid::Uuid>().is_ok()) && came.len() == 1, "{came:?}");
    });
}

#[test]
fn what_was_not_joined_is_refused() {
    testkit::run(async {
        let test = testkit::project("unjoined").await;
        let world = World::new(&test).await;
        let mut client = world.connect("2.0.0").await;
        let unmatched = json!({"status": "error", "response": {"reason": "unmatched topic"}});
        assert_eq!(client.ask(TOPIC, "broadcast", json!({})).await, unmatched);
        assert_eq!(client.join("other:room", json!({})).await, unmatched);
        let mut refused = async |topic: &str, payload| {
            let reply = client.join(topic, payload).await;
            assert_eq!(reply["status"], "error", "{reply}");
            reply["response"]["reason"].as_str().unwrap().to_owned()
        };
        insta::assert_snapshot!(refused("realtime:", json!({})).await, @"TopicNameRequired: You must provide a topic name");
        insta::assert_snapshot!(refused("realtime:a\nb", json!({})).await, @"TopicNameInvalid: A topic name has no control characters and at most 1024 bytes");
        insta::assert_snapshot!(refused(TOPIC, json!({"access_token": "a.b.c"})).await, @"MalformedJWT: The token provided is not a valid JWT");
        let forged = token(&world.project, &json!({"role": "service_role", "exp": 9_999_999_999_u64}));
        let forged = format!("{}x", forged.split_at(forged.len() - 4).0);
        insta::assert_snapshot!(refused(TOPIC, json!({"access_token": forged})).await, @"JwtSignatureError: Failed to validate JWT signature");
        let bare = token(&world.project, &json!({"role": "authenticated"}));
        insta::assert_snapshot!(refused(TOPIC, json!({"access_token": bare})).await, @"InvalidJWTToken: Fields `role` and `exp` are required in JWT");
    });
}
