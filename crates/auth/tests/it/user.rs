//! `GET` and `PUT /user`, `POST /logout`, and who a Bearer token is.

use common::AuthSettings;
use common::jwt::{Key, KeyRing};
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, PASSWORD, Session};

#[test]
fn users_change_their_metadata_name_by_name() {
    testkit::run(async {
        let api = Api::new("metadata", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let put = |body: Value| api.call(Method::PUT, "/user", Some(&session.access), body);
        put(json!({"data": {"a": 1, "b": {"c": 2}}})).await;
        let answer = put(json!({"data": {"a": null, "d": 3}})).await;
        let expected = json!({"b": {"c": 2}, "d": 3, "sub": session.user_id, "email": "ada@example.com",
            "email_verified": true, "phone_verified": false});
        assert_eq!(answer.body["user_metadata"], expected);
        let answer = put(json!({"app_metadata": {"role": "admin"}})).await;
        assert_eq!(answer.refusal(), (403, "not_admin"));
    });
}

#[test]
fn a_new_password_ends_the_other_sessions() {
    testkit::run(async {
        let api = Api::new("newpassword", AuthSettings::default()).await;
        let other = api.sign_up("ada@example.com").await;
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        let put = |body: Value| api.call(Method::PUT, "/user", Some(&session.access), body);
        assert_eq!(put(json!({"password": PASSWORD})).await.refusal(), (422, "same_password"));
        assert_eq!(put(json!({"password": "short"})).await.refusal(), (422, "weak_password"));
        assert_eq!(put(json!({"password": "a new password"})).await.status, 200);
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
        assert_eq!(api.get("/user", Some(&other.access)).await.refusal(), (403, "session_not_found"));
        assert_eq!(api.refresh(&other.refresh).await.refusal(), (400, "refresh_token_not_found"));
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 400);
        assert_eq!(api.sign_in("ada@example.com", "a new password").await.status, 200);
    });
}

#[test]
fn a_sign_out_counts_at_once_in_every_scope() {
    testkit::run(async {
        let api = Api::new("logout", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let sessions = async || {
            let mut sessions = Vec::new();
            for _ in 0..3 {
                sessions.push(Session::of(&api.sign_in("ada@example.com", PASSWORD).await));
            }
            sessions
        };
        // Who still stands after the first of three signs out.
        let cases = [
            ("?scope=local", [false, true, true]),
            ("?scope=others", [true, false, false]),
            ("?scope=global", [false; 3]),
            ("", [false; 3]),
        ];
        for (scope, stands) in cases {
            let sessions = sessions().await;
            let path = format!("/logout{scope}");
            let answer = api.call(Method::POST, &path, Some(&sessions[0].access), Value::Null).await;
            assert_eq!(answer.status, 204);
            for (session, stands) in sessions.iter().zip(stands) {
                let (user, refresh) = if stands { (200, 200) } else { (403, 400) };
                assert_eq!(api.get("/user", Some(&session.access)).await.status, user, "{scope}");
                assert_eq!(api.refresh(&session.refresh).await.status, refresh, "{scope}");
            }
        }
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        let answer = api.call(Method::POST, "/logout?scope=none", Some(&session.access), Value::Null).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        assert_eq!(answer.body["msg"], "Unsupported logout scope \"none\"");
    });
}

#[test]
fn bearer_tokens_that_do_not_verify_are_refused() {
    testkit::run(async {
        let api = Api::new("bearer", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let sign = |claims: Value| api.project.jwt.sign(claims.as_object().unwrap()).unwrap();
        let forged = KeyRing::new(vec![Key::from_secret(b"a secret of somebody else, long enough")])
            .sign(json!({"sub": session.user_id, "role": "service_role"}).as_object().unwrap())
            .unwrap();
        let stranger = Uuid::new_v4();
        let cases = [
            (None, 401, "no_authorization"),
            (Some("nonsense".into()), 403, "bad_jwt"),
            (Some(forged.clone()), 403, "bad_jwt"),
            (Some(sign(json!({"sub": session.user_id, "exp": 1_000_000}))), 403, "bad_jwt"),
            (Some(api.project.keys.anon.expose_secret().to_owned()), 403, "bad_jwt"),
            (Some(sign(json!({"sub": "ada"}))), 400, "bad_jwt"),
            (Some(sign(json!({"sub": session.user_id, "session_id": "x"}))), 403, "bad_jwt"),
            (Some(sign(json!({"sub": stranger}))), 403, "user_not_found"),
            (Some(sign(json!({"sub": session.user_id, "session_id": stranger}))), 403, "session_not_found"),
        ];
        for (bearer, status, code) in cases {
            let answer = api.get("/user", bearer.as_deref()).await;
            assert_eq!(answer.refusal(), (status, code), "{bearer:?} {}", answer.body);
        }
        assert_eq!(api.get("/admin/users", Some(&forged)).await.refusal(), (403, "bad_jwt"));
        // The token of another project.
        let other = Api::new("bearerother", AuthSettings::default()).await;
        let stranger = other.sign_up("ada@example.com").await;
        assert_eq!(api.get("/user", Some(&stranger.access)).await.refusal(), (403, "bad_jwt"));
    });
}

#[test]
fn an_access_token_expires() {
    testkit::run(async {
        let api = Api::new("expiry", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        api.wait(3600 + 31);
        let answer = api.get("/user", Some(&session.access)).await;
        assert_eq!(answer.refusal(), (403, "bad_jwt"));
        assert_eq!(answer.body["msg"], "invalid JWT: unable to parse or verify signature, JWT expired");
        assert_eq!(api.refresh(&session.refresh).await.status, 200);
    });
}
