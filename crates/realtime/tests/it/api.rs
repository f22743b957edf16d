//! Broadcasts by HTTP.

use axum::body::Body;
use common::Caller;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::world::{World, caller};

const TOPIC: &str = "realtime:room";

/// Status and body of a request as `role`.
pub(crate) async fn post(
    world: &World,
    role: &str,
    path: &str,
    (kind, body): (&str, Vec<u8>),
) -> (u16, String) {
    let mut request = Request::post(path).header("content-type", kind).body(Body::from(body)).unwrap();
    let caller: Caller = caller(&world.project, &format!("role={role}"));
    request.extensions_mut().insert(Arc::clone(&world.project));
    request.extensions_mut().insert(caller);
    let response = world.realtime.clone().answer(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn json_body(value: &Value) -> (&'static str, Vec<u8>) {
    ("application/json", value.to_string().into_bytes())
}

pub(crate) const ACCEPTED: (u16, String) = (202, String::new());

#[test]
fn broadcasts_come_by_http_one_by_one_and_in_batches() {
    testkit::run(async {
        let test = testkit::project("http").await;
        let world = World::new(&test).await;
        let mut client = world.joined(TOPIC, json!({})).await;
        let batch = json!({"messages": [
            {"topic": "room", "event": "a", "payload": {"x": 1}},
            {"topic": "elsewhere", "event": "a", "payload": {}},
            {"topic": "room", "event": "b", "payload": {"x": 2}, "private": false},
        ]});
        assert_eq!(post(&world, "anon", "/api/broadcast", json_body(&batch)).await, ACCEPTED);
        for (event, x) in [("a", 1), ("b", 2)] {
            let expected = json!({"type": "broadcast", "event": event, "payload": {"x": x}});
            assert_eq!(client.event().await.payload, expected);
        }
        let one = post(&world, "anon", "/api/broadcast/room/events/c%20d", json_body(&json!([1]))).await;
        assert_eq!(one, ACCEPTED);
        assert_eq!(client.event().await.payload["event"], "c d");
        let bytes = ("application/octet-stream", vec![0, 255]);
        assert_eq!(post(&world, "anon", "/api/broadcast/room/events/e", bytes).await, ACCEPTED);
        assert_eq!(&*client.frame().await.into_data(), b"\x04\x0d\x01\0\0realtime:roome\0\xff");
    });
}

#[test]
fn bad_broadcasts_are_refused_as_documented() {
    testkit::run(async {
        let test = testkit::project("badhttp").await;
        let world = World::new(&test).await;
        let path = "/api/broadcast/room/events/e";
        let (status, body) = post(&world, "anon", "/api/broadcast", json_body(&json!({}))).await;
        assert_eq!((status, body.as_str()), (422, r#"{"errors":{"messages":["can't be blank"]}}"#));
        let batch = json!({"messages": [{"topic": "room", "event": "e", "payload": {}, "private": 1}]});
        let (status, body) = post(&world, "anon", "/api/broadcast", json_body(&batch)).await;
        assert_eq!((status, body.as_str()), (422, r#"{"errors":{"messages":[{"private":["is invalid"]}]}}"#));
        assert_eq!(post(&world, "anon", path, ("text/plain", b"x".to_vec())).await.0, 415);
        assert_eq!(post(&world, "anon", path, ("application/json", b"{".to_vec())).await.0, 422);
        assert_eq!(post(&world, "anon", path, json_body(&json!("x".repeat(3_100_000)))).await.0, 413);
        let (status, body) = post(&world, "", path, json_body(&json!({}))).await;
        assert_eq!((status, body.as_str()), (401, r#"{"error":"Unauthorized","message":"Unauthorized"}"#));
        assert_eq!(post(&world, "anon", "/api/other", json_body(&json!({}))).await.0, 404);
    });
}

#[test]
fn private_topics_take_what_policies_allow() {
    testkit::run(async {
        let test = testkit::project("privhttp").await;
        let world = World::new(&test).await;
        let policy = "create policy write on realtime.messages for all to authenticated using (true) with check (true)";
        test.admin().await.batch_execute(policy).await.unwrap();
        let mut client = world.connect_as("2.0.0", "authenticated").await.unwrap();
        let reply = client.join(TOPIC, json!({"config": {"private": true}})).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        let mut public = world.joined(TOPIC, json!({})).await;
        let path = "/api/broadcast/room/events/e?private=true";
        assert_eq!(post(&world, "anon", path, json_body(&json!({}))).await.0, 403);
        let batch = json!({"messages": [{"topic": "room", "event": "no", "payload": {}, "private": true}]});
        assert_eq!(post(&world, "anon", "/api/broadcast", json_body(&batch)).await, ACCEPTED);
        assert_eq!(post(&world, "authenticated", path, json_body(&json!({}))).await, ACCEPTED);
        assert_eq!(client.event().await.payload["event"], "e");
        client.hears_nothing().await;
        public.hears_nothing().await;
    });
}

#[test]
fn a_sign_of_life_is_given() {
    testkit::run(async {
        let test = testkit::project("ping").await;
        let world = World::new(&test).await;
        let mut request = Request::get("/api/ping").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Arc::clone(&world.project));
        request.extensions_mut().insert(caller(&world.project, ""));
        assert_eq!(world.realtime.clone().answer(request).await.status(), StatusCode::OK);
    });
}
