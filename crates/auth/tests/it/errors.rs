//! The shapes of refusals, and what may not reach a handler.

use axum::body::Body;
use common::AuthSettings;
use http::Method;
use serde_json::json;

use crate::support::Api;

#[test]
fn the_api_version_chooses_the_shape_of_errors() {
    testkit::run(async {
        let api = Api::new("shapes", AuthSettings::default()).await;
        let body = json!({"email": "a@b.c", "password": "short"}).to_string();
        let message = "Password should be at least 6 characters.";
        let old = json!({"code": 422, "error_code": "weak_password", "msg": message, "weak_password": {"reasons": ["length"]}});
        let new =
            json!({"code": "weak_password", "message": message, "weak_password": {"reasons": ["length"]}});
        for (version, expected) in [
            (None, &old),
            (Some("2023-12-31"), &old),
            (Some("x"), &old),
            (Some("2024-01-01"), &new),
            (Some("2025-06-01"), &new),
        ] {
            let mut request = api.request(&Method::POST, "/signup", None);
            if let Some(version) = version {
                request = request.header("x-supabase-api-version", version);
            }
            let answer = api.send(request.body(Body::from(body.clone())).unwrap()).await;
            assert_eq!(answer.refusal(), (422, "weak_password"));
            assert_eq!(&answer.body, expected, "{version:?}");
            let echoed = answer.headers.get("x-supabase-api-version").map(|it| it.to_str().unwrap());
            assert_eq!(echoed, version.filter(|_| expected == &new));
        }
    });
}

#[test]
fn bodies_that_are_no_json_or_too_large_are_refused() {
    testkit::run(async {
        let api = Api::new("bodies", AuthSettings::default()).await;
        let send = |body: Vec<u8>| {
            api.send(
                api.request(&Method::POST, "/token?grant_type=password", None)
                    .body(Body::from(body))
                    .unwrap(),
            )
        };
        for bad in ["", "{", "[]", "\"x\"", "{\"email\": 1}", "{\"email\": \"\\ud800\"}", "\u{0}"] {
            let answer = send(bad.as_bytes().to_vec()).await;
            assert_eq!(answer.refusal(), (400, "bad_json"), "{bad}");
            let message = answer.body["msg"].as_str().unwrap();
            assert!(message.starts_with("Could not parse request body as JSON: "), "{message}");
        }
        assert_eq!(send(vec![0xff, 0xfe]).await.refusal(), (400, "bad_json"));
        let large = send(format!("{{\"email\": \"{}\"}}", "a".repeat(1024 * 1024)).into_bytes()).await;
        assert_eq!(large.refusal(), (413, "request_entity_too_large"));
        assert_eq!(large.body["msg"], "Request body too large (max 1048576 bytes)");
        let deep = send("[".repeat(100_000).into_bytes()).await;
        assert_eq!(deep.refusal(), (400, "bad_json"));
    });
}

#[test]
fn nul_bytes_do_not_reach_the_database_as_a_failure() {
    testkit::run(async {
        let api = Api::new("nul", AuthSettings::default()).await;
        let answer = api.sign_in("a\u{0}@b.c", "x").await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        let body = json!({"email": "a@b.c", "password": "long enough", "data": {"x": "a\u{0}b"}});
        assert_eq!(api.post("/signup", body).await.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn unknown_paths_and_methods_are_told_as_json() {
    testkit::run(async {
        let api = Api::new("paths", AuthSettings::default()).await;
        assert_eq!(api.get("/nothing", None).await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/signup", None).await.refusal(), (405, "method_not_allowed"));
        let twice = api.post("/token?grant_type=magic&grant_type=other", json!({})).await;
        assert_eq!(twice.refusal(), (400, "invalid_credentials"));
        let bytes = api.get("/verify?type=%ff&token=%00", None).await;
        assert_eq!(bytes.refusal(), (400, "validation_failed"));
        let path = api.admin(Method::GET, "/admin/users/%ff", serde_json::Value::Null).await;
        assert_eq!(path.refusal(), (404, "validation_failed"));
    });
}

#[test]
fn a_trigger_that_refuses_a_user_is_a_failure_without_its_words() {
    testkit::run(async {
        let api = Api::new("trigger", AuthSettings::default()).await;
        // As people write it on Supabase: the project's owner puts a trigger on auth.users.
        api.test
            .owner()
            .await
            .batch_execute(
                "create function public.refuse() returns trigger language plpgsql security definer as \
                 $$ begin raise exception 'secret words'; end $$; \
                 create trigger refuse after insert on auth.users for each row execute function public.refuse()",
            )
            .await
            .unwrap();
        let answer = api.post("/signup", json!({"email": "a@b.c", "password": "long enough"})).await;
        assert_eq!(answer.refusal(), (500, "unexpected_failure"));
        assert_eq!(answer.body["msg"], "Database error saving new user");
        assert_eq!(answer.body["error_id"], "request-1");
    });
}

/// The reference page and the code name the same codes.
#[test]
fn every_code_is_documented() {
    let page = include_str!("../../../../docs/reference/errors-auth.md");
    let sources = [
        include_str!("../../src/error.rs"),
        include_str!("../../src/error/account.rs"),
        include_str!("../../src/error/external.rs"),
        include_str!("../../src/error/factor.rs"),
        include_str!("../../src/error/guard.rs"),
        include_str!("../../src/error/oauth.rs"),
        include_str!("../../src/error/passkey.rs"),
        include_str!("../../src/error/phone.rs"),
        include_str!("../../src/error/sso.rs"),
    ];
    let mut codes: Vec<&str> = sources
        .iter()
        .flat_map(|it| it.split_once("fn facts").unwrap().1.split('"').skip(1).step_by(2))
        .filter(|it| it.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_'))
        .collect();
    let mut documented: Vec<&str> =
        page.lines().filter_map(|it| it.strip_prefix("| `")?.split_once('`')).map(|it| it.0).collect();
    codes.sort_unstable();
    codes.dedup();
    documented.sort_unstable();
    documented.dedup();
    assert_eq!(codes, documented);
}
