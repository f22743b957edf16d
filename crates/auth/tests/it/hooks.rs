//! Hooks, over HTTP to a real server and as functions of the real database.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{AuthSettings, HookSettings};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::idp::Idp;
use crate::support::{Api, PASSWORD, Session};

const SECRET: &str = "v1,whsec_bWFkYmFzZSBtYWRiYXNlIG1hZGJhc2U=";

fn http(server: &Idp, path: &str) -> HookSettings {
    HookSettings { enabled: true, uri: format!("{}{path}", server.url), secrets: Some(SECRET.into()) }
}

fn function(name: &str) -> HookSettings {
    HookSettings { enabled: true, uri: format!("pg-functions://postgres/public/{name}"), secrets: None }
}

fn claims(token: &str) -> BTreeMap<String, Value> {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn define(api: &Api, name: &str, body: &str) {
    let text = format!(
        "create function public.{name}(event jsonb) returns jsonb language plpgsql as $$ {body} $$; \
         grant execute on function public.{name}(jsonb) to supabase_auth_admin; \
         grant usage on schema public to supabase_auth_admin;"
    );
    api.test.owner().await.batch_execute(&text).await.unwrap();
}

#[test]
fn a_function_makes_the_claims_of_access_tokens() {
    testkit::run(async {
        let settings =
            AuthSettings { hook_custom_access_token: function("claims"), ..AuthSettings::default() };
        let api = Api::new("claims", settings.clone()).await;
        let missing = api.post("/signup", json!({"email": "b@example.com", "password": PASSWORD})).await;
        assert_eq!(missing.refusal(), (500, "unexpected_failure"), "{}", missing.body);
        define(
            &api,
            "claims",
            "begin return jsonb_set(event, '{claims,plan}', to_jsonb(event ->> 'authentication_method')); end",
        )
        .await;
        let session = api.sign_up("ada@example.com").await;
        assert_eq!(claims(&session.access)["plan"], "password");
        let refreshed = Session::of(&api.refresh(&session.refresh).await);
        assert_eq!(claims(&refreshed.access)["plan"], "password");
        assert_eq!(api.get("/user", Some(&refreshed.access)).await.status, StatusCode::OK);
        // Claims that every reader relies on may not go.
        define(&api, "less", "begin return jsonb_build_object('claims', (event -> 'claims') - 'role'); end")
            .await;
        let less = AuthSettings { hook_custom_access_token: function("less"), ..settings.clone() };
        let broken = api.with(less).sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(broken.refusal(), (500, "unexpected_failure"));
        assert_eq!(broken.body["msg"], "output claims do not conform to the expected schema: role required");
        define(&api, "slow", "begin perform pg_sleep(10); return event; end").await;
        let slow = AuthSettings { hook_custom_access_token: function("slow"), ..settings };
        let late = api.with(slow).sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(late.refusal(), (422, "hook_timeout"));
    });
}

#[test]
fn a_hook_refuses_new_users_in_its_own_words() {
    testkit::run(async {
        let server = Idp::start().await;
        let settings =
            AuthSettings { hook_before_user_created: http(&server, "/before"), ..AuthSettings::default() };
        let api = Api::new("before", settings).await;
        let refusal = json!({"error": {"http_code": 403, "message": "Only example.com may join"}});
        server.page("/before", &refusal);
        let body = json!({"email": "ada@evil.com", "password": PASSWORD});
        let refused = api.post("/signup", body.clone()).await;
        assert_eq!(refused.refusal(), (403, "unknown"));
        assert_eq!(refused.body["msg"], "Only example.com may join");
        let admin = api.admin(Method::POST, "/admin/users", body.clone()).await;
        assert_eq!(admin.status, StatusCode::FORBIDDEN);
        server.page("/before", &json!({}));
        assert_eq!(api.post("/signup", body).await.status, StatusCode::OK);
        let seen = server.seen_at("/before");
        let last = seen.last().unwrap();
        let event: Value = serde_json::from_slice(&last.body).unwrap();
        assert_eq!(
            (&event["user"]["email"], &event["metadata"]["name"]),
            (&json!("ada@evil.com"), &json!("before-user-created"))
        );
        // Signed as Standard Webhooks says.
        let header = |name: &str| last.headers[name].to_str().unwrap().to_owned();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(&SECRET[9..]).unwrap());
        let text = String::from_utf8(last.body.clone()).unwrap();
        let content = format!("{}.{}.{text}", header("webhook-id"), header("webhook-timestamp"));
        let tag = BASE64_STANDARD.encode(hmac::sign(&key, content.as_bytes()));
        assert_eq!(header("webhook-signature"), format!("v1,{tag}"));
    });
}

#[test]
fn what_a_hook_does_wrong_is_told_by_its_code() {
    testkit::run(async {
        let server = Idp::start().await;
        let settings =
            AuthSettings { hook_before_user_created: http(&server, "/x"), ..AuthSettings::default() };
        let api = Api::new("wrong", settings.clone()).await;
        let sign_up = async |api: &Api| {
            let answer = api.post("/signup", json!({"email": "ada@example.com", "password": PASSWORD})).await;
            let (status, code) = answer.refusal();
            (status, code.to_owned())
        };
        server.page("/x", &"{}".into());
        assert_eq!(sign_up(&api).await, (400, "hook_payload_invalid_content_type".into()));
        server.page("/x", &json!({"a": "b".repeat(300_000)}));
        assert_eq!(sign_up(&api).await, (422, "hook_payload_over_size_limit".into()));
        server.page_with("/x", 502, &json!({}));
        assert_eq!(sign_up(&api).await, (500, "unexpected_failure".into()));
        server.page_with("/x", 503, &json!({}));
        let before = server.seen_at("/x").len();
        assert_eq!(
            sign_up(&api).await,
            (500, "unexpected_failure".into()),
            "without Retry-After it is an answer"
        );
        assert_eq!(server.seen_at("/x").len(), before + 1);
        let gone = HookSettings { uri: "http://127.0.0.1:9/".into(), ..http(&server, "/x") };
        let gone = api.with(AuthSettings { hook_before_user_created: gone, ..settings });
        assert_eq!(sign_up(&gone).await, (422, "hook_timeout_after_retry".into()));
    });
}

#[test]
fn attempts_with_passwords_and_factors_are_told_and_may_be_rejected() {
    testkit::run(async {
        let settings = AuthSettings {
            hook_password_verification_attempt: function("attempt"),
            ..AuthSettings::default()
        };
        let api = Api::new("attempt", settings).await;
        define(
            &api,
            "attempt",
            "begin if (event ->> 'valid')::boolean then return '{\"decision\": \"continue\"}'; end if; \
             return '{\"decision\": \"reject\", \"message\": \"Enough\", \"should_logout_user\": true}'; end",
        )
        .await;
        let session = api.sign_up("ada@example.com").await;
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, StatusCode::OK);
        let rejected = api.sign_in("ada@example.com", "wrong password").await;
        assert_eq!(rejected.refusal(), (400, "invalid_credentials"));
        assert_eq!(rejected.body["msg"], "Enough");
        let out = api.get("/user", Some(&session.access)).await;
        assert_eq!(out.refusal(), (403, "session_not_found"), "the hook ended all sessions");
    });
}

#[test]
fn hooks_deliver_mails_and_sms() {
    testkit::run(async {
        let server = Idp::start().await;
        server.page("/mail", &json!({}));
        server.page("/sms", &json!({}));
        let settings = AuthSettings {
            mailer_autoconfirm: false,
            phone_enabled: true,
            hook_send_email: http(&server, "/mail"),
            hook_send_sms: http(&server, "/sms"),
            ..AuthSettings::default()
        };
        let api = Api::new("deliver", settings).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, StatusCode::OK);
        let event = loop {
            if let Some(seen) = server.seen_at("/mail").pop() {
                break serde_json::from_slice::<Value>(&seen.body).unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert!(api.inbox.list().is_empty(), "the hook delivers, nobody else does");
        assert_eq!(event["email_data"]["email_action_type"], "signup");
        assert_eq!(event["user"]["email"], "ada@example.com");
        let hash = event["email_data"]["token_hash"].as_str().unwrap();
        let verified = api.post("/verify", json!({"type": "signup", "token_hash": hash})).await;
        assert_eq!(verified.status, StatusCode::OK, "{}", verified.body);

        assert_eq!(api.post("/otp", json!({"phone": "+4915112345678"})).await.status, StatusCode::OK);
        let event: Value = serde_json::from_slice(&server.seen_at("/sms").pop().unwrap().body).unwrap();
        let code = event["sms"]["otp"].as_str().unwrap();
        let body = json!({"type": "sms", "phone": "+4915112345678", "token": code});
        let verified = api.post("/verify", body).await;
        assert_eq!(verified.status, StatusCode::OK, "{}", verified.body);
    });
}
