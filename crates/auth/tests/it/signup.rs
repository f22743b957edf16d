//! `POST /signup`, `GET /settings`, `/health`, discovery.

use common::AuthSettings;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Api, PASSWORD, Session};

fn confirming() -> AuthSettings {
    AuthSettings { mailer_autoconfirm: false, ..AuthSettings::default() }
}

#[test]
fn a_new_user_is_signed_in_at_once_where_confirmations_are_off() {
    testkit::run(async {
        let api = Api::new("signup", AuthSettings::default()).await;
        let body = json!({"email": "Ada@Example.com", "password": PASSWORD, "data": {"name": "Ada"}});
        let answer = api.post("/signup", body).await;
        assert_snapshot!(answer.redacted(), @r#"
        200 {
          "access_token": "[access_token]",
          "expires_at": "[seconds]",
          "expires_in": 3600,
          "refresh_token": "[refresh_token]",
          "token_type": "bearer",
          "user": {
            "app_metadata": {
              "provider": "email",
              "providers": [
                "email"
              ]
            },
            "aud": "authenticated",
            "confirmed_at": "[time]",
            "created_at": "[time]",
            "email": "ada@example.com",
            "email_confirmed_at": "[time]",
            "id": "[id]",
            "identities": [
              {
                "created_at": "[time]",
                "email": "ada@example.com",
                "id": "[id]",
                "identity_data": {
                  "email": "ada@example.com",
                  "email_verified": false,
                  "name": "Ada",
                  "phone_verified": false,
                  "sub": "[id]"
                },
                "identity_id": "[id]",
                "last_sign_in_at": "[time]",
                "provider": "email",
                "updated_at": "[time]",
                "user_id": "[id]"
              }
            ],
            "is_anonymous": false,
            "last_sign_in_at": "[time]",
            "phone": "",
            "role": "authenticated",
            "updated_at": "[time]",
            "user_metadata": {
              "email": "ada@example.com",
              "email_verified": true,
              "name": "Ada",
              "phone_verified": false,
              "sub": "[id]"
            }
          }
        }
        "#);
        assert_eq!(answer.headers["sb-auth-user-id"], answer.body["user"]["id"].as_str().unwrap());
    });
}

#[test]
fn users_are_described_by_their_first_identity_and_what_they_told() {
    testkit::run(async {
        let api = Api::new("described", AuthSettings::default()).await;
        let told =
            json!({"name": "Ada", "email": "mallory@example.com", "phone": "1", "email_verified": "yes"});
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "data": told});
        let user = api.post("/signup", body.clone()).await.body["user"].clone();
        let described = json!({"sub": user["id"], "email": "ada@example.com", "email_verified": true,
            "phone_verified": false, "name": "Ada", "phone": "1"});
        assert_eq!(user["user_metadata"], described, "nobody tells another address than the own");
        // Somebody who has to confirm first, and somebody who asks for a link.
        let silent = api.with(confirming());
        let body = json!({"email": "bea@example.com", "password": PASSWORD, "data": {"name": "Bea"}});
        let user = silent.post("/signup", body).await.body;
        let described = json!({"sub": user["id"], "email": "bea@example.com", "email_verified": false,
            "phone_verified": false, "name": "Bea"});
        assert_eq!(user["user_metadata"], described);
        let asked = api.post("/otp", json!({"email": "cy@example.com", "data": {"name": "Cy"}})).await;
        assert_eq!(asked.status, 200, "{}", asked.body);
        let listed = api.admin(http::Method::GET, "/admin/users", json!(null)).await;
        let cy = listed.body["users"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["email"] == "cy@example.com")
            .unwrap();
        assert_eq!((&cy["user_metadata"]["sub"], &cy["user_metadata"]["name"]), (&cy["id"], &json!("Cy")));
    });
}

#[test]
fn an_access_token_carries_the_claims_that_policies_read() {
    testkit::run(async {
        let api = Api::new("claims", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let rules = common::jwt::Rules {
            now_secs: jiff::Timestamp::now().as_second(),
            leeway_secs: 5,
            audience: Some("authenticated"),
            default_role: "",
        };
        let claims = api.project.jwt.verify(&session.access, &rules).unwrap();
        assert_eq!(claims.role, "authenticated");
        assert_eq!(claims.text("sub"), Some(session.user_id.as_str()));
        assert_eq!(claims.text("iss"), Some("http://api.test/auth/v1"));
        assert_eq!(claims.text("aal"), Some("aal1"));
        assert_eq!(claims.map["amr"][0]["method"], "password");
        assert_eq!(claims.map["is_anonymous"], false);
        let names: Vec<&String> = claims.map.keys().collect();
        assert_eq!(
            names,
            [
                "aal",
                "amr",
                "app_metadata",
                "aud",
                "email",
                "exp",
                "iat",
                "is_anonymous",
                "iss",
                "phone",
                "role",
                "session_id",
                "sub",
                "user_metadata"
            ]
        );
    });
}

#[test]
fn a_taken_address_is_told_only_where_confirmations_are_off() {
    testkit::run(async {
        let api = Api::new("taken", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let body = json!({"email": "ADA@example.com", "password": "another one", "data": {"x": 1}});
        let answer = api.post("/signup", body.clone()).await;
        assert_eq!(answer.refusal(), (422, "user_already_exists"));
        let silent = api.with(confirming());
        let answer = silent.post("/signup", body).await;
        // As a new user looks, but for the identities: supabase-js tells by those.
        assert_snapshot!(answer.redacted(), @r#"
        200 {
          "app_metadata": {
            "provider": "email",
            "providers": [
              "email"
            ]
          },
          "aud": "authenticated",
          "confirmation_sent_at": "[time]",
          "created_at": "[time]",
          "email": "ada@example.com",
          "id": "[id]",
          "identities": [],
          "is_anonymous": false,
          "phone": "",
          "role": "",
          "updated_at": "[time]",
          "user_metadata": {
            "x": 1
          }
        }
        "#);
        assert!(api.inbox.list().is_empty());
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 200);
    });
}

#[test]
fn an_unconfirmed_user_cannot_be_taken_over_by_signing_up_again() {
    testkit::run(async {
        let api = Api::new("takeover", confirming()).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let open = api.with(AuthSettings::default());
        let answer = open.post("/signup", json!({"email": "ada@example.com", "password": "mallory's"})).await;
        assert_eq!(answer.refusal(), (422, "user_already_exists"));
    });
}

#[test]
fn twenty_sign_ups_with_one_address_make_one_user() {
    testkit::run(async {
        let api = Api::new("race", AuthSettings::default()).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        let answers =
            futures_util::future::join_all((0..20).map(|_| api.post("/signup", body.clone()))).await;
        let codes: Vec<u16> = answers.iter().map(|it| it.status.as_u16()).collect();
        assert_eq!(codes.iter().filter(|it| **it == 200).count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|it| **it == 422).count(), 19, "{codes:?}");
    });
}

#[test]
fn bad_sign_ups_are_refused_in_gotrues_words() {
    testkit::run(async {
        let api = Api::new("badsignup", AuthSettings::default()).await;
        let cases = [
            (json!({"email": "a@b.c"}), 400, "validation_failed", "Signup requires a valid password"),
            (
                json!({"email": "nobody", "password": PASSWORD}),
                400,
                "validation_failed",
                "Unable to validate email address: invalid format",
            ),
            (
                json!({"email": "a@b.c", "phone": "1", "password": PASSWORD}),
                400,
                "validation_failed",
                "Only an email address or phone number should be provided on signup.",
            ),
            (
                json!({"phone": "4912345", "password": PASSWORD}),
                400,
                "phone_provider_disabled",
                "Phone signups are disabled",
            ),
            (
                json!({"email": "a@b.c", "password": "short"}),
                422,
                "weak_password",
                "Password should be at least 6 characters.",
            ),
            (
                json!({"email": "a@b.c", "password": "x".repeat(73)}),
                400,
                "validation_failed",
                "Password cannot be longer than 72 characters",
            ),
            (
                json!({"email": "a@b.c", "password": PASSWORD, "code_challenge": "x"}),
                400,
                "validation_failed",
                "PKCE flow requires code_challenge_method and code_challenge",
            ),
            (json!({}), 422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled"),
        ];
        for (body, status, code, message) in cases {
            let answer = api.post("/signup", body.clone()).await;
            assert_eq!(answer.refusal(), (status, code), "{body}");
            assert_eq!(answer.body["msg"], message, "{body}");
        }
        let closed = api.with(AuthSettings { disable_signup: true, ..AuthSettings::default() });
        let answer = closed.post("/signup", json!({"email": "a@b.c", "password": PASSWORD})).await;
        assert_eq!(answer.refusal(), (422, "signup_disabled"));
    });
}

#[test]
fn anonymous_users_sign_up_where_they_may_and_become_permanent() {
    testkit::run(async {
        let settings = AuthSettings { anonymous_users: true, ..AuthSettings::default() };
        let api = Api::new("anonymous", settings).await;
        let answer = api.post("/signup", json!({"data": {"cart": 1}})).await;
        assert_eq!(answer.body["user"]["is_anonymous"], true);
        assert_eq!(answer.body["user"]["app_metadata"], json!({}));
        assert_eq!(answer.body["user"]["identities"], json!([]));
        let session = Session::of(&answer);
        let body = json!({"password": PASSWORD});
        let refused = api.call(http::Method::PUT, "/user", Some(&session.access), body).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"));
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        let changed = api.call(http::Method::PUT, "/user", Some(&session.access), body).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!(changed.body["is_anonymous"], false);
        assert_eq!(changed.body["identities"][0]["provider"], "email");
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 200);
    });
}

#[test]
fn settings_health_and_keys_are_public() {
    testkit::run(async {
        let api = Api::new("settings", confirming()).await;
        let settings = api.get("/settings", None).await.body;
        assert_eq!(settings["external"].as_object().unwrap().len(), 26);
        assert_eq!(settings["external"]["email"], true);
        assert_eq!(settings["external"]["phone"], false);
        assert_eq!(settings["mailer_autoconfirm"], false);
        assert_eq!(api.get("/health", None).await.body["name"], "GoTrue");
        let keys = api.get("/.well-known/jwks.json", None).await;
        assert_eq!(keys.headers["cache-control"], "public, max-age=600");
        let keys = keys.body["keys"].as_array().unwrap().clone();
        assert!(
            !keys.is_empty() && keys.iter().all(|it| it["kty"] == "EC" && it.get("d").is_none()),
            "{keys:?}"
        );
        let document = api.get("/.well-known/openid-configuration", None).await.body;
        assert_eq!(document["jwks_uri"], "http://api.test/auth/v1/.well-known/jwks.json");
    });
}
