//! Rights that nobody gave: fields that only the service may write, and routes that only the service key opens.

use common::{AuthSettings, OAuthServerSettings};
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::confirming;
use crate::support::{Api, PASSWORD, Session, code_of};

/// Every column of a user that a client would like to write.
fn greedy(mut body: Value) -> Value {
    let wishes = json!({
        "id": "00000000-0000-4000-8000-000000000001", "aud": "admin", "role": "service_role",
        "is_super_admin": true, "is_sso_user": true, "is_anonymous": true,
        "email_confirmed_at": "2020-01-01T00:00:00Z", "phone_confirmed_at": "2020-01-01T00:00:00Z",
        "confirmed_at": "2020-01-01T00:00:00Z", "email_confirm": true, "phone_confirm": true,
        "banned_until": "2020-01-01T00:00:00Z", "ban_duration": "none", "invited_at": "2020-01-01T00:00:00Z",
        "created_at": "2000-01-01T00:00:00Z", "last_sign_in_at": "2000-01-01T00:00:00Z", "instance_id": "x",
        "encrypted_password": "x", "password_hash": "x", "confirmation_token": "x", "recovery_token": "x",
        "raw_app_meta_data": {"role": "admin"}, "raw_user_meta_data": {"x": 1},
        "identities": [{"provider": "google"}], "factors": [], "aal": "aal2", "session_id": "x", "provider": "google",
    });
    for (name, value) in wishes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn row(api: &Api, email: &str) -> Value {
    let admin = api.test.admin().await;
    let text = "select to_jsonb(u)::text from auth.users u where email = $1";
    let row = admin.query_one(text, &[&email]).await.unwrap();
    serde_json::from_str(&row.get::<_, String>(0)).unwrap()
}

fn check(row: &Value, confirmed: bool) {
    assert_ne!(row["id"], "00000000-0000-4000-8000-000000000001");
    assert_eq!((&row["aud"], &row["role"]), (&json!("authenticated"), &json!("authenticated")), "{row}");
    assert!(!row["is_super_admin"].as_bool().unwrap_or_default(), "{row}");
    assert_eq!((&row["is_sso_user"], &row["is_anonymous"]), (&json!(false), &json!(false)));
    assert_eq!(row["raw_app_meta_data"], json!({"provider": "email", "providers": ["email"]}));
    assert_eq!(row["email_confirmed_at"].is_string(), confirmed, "{row}");
    for name in ["phone_confirmed_at", "banned_until", "invited_at"] {
        assert!(row[name].is_null(), "{name}: {row}");
    }
    assert!(row["created_at"].as_str().unwrap() > "2020");
    assert_ne!(row["encrypted_password"], "x");
}

#[test]
fn users_write_only_what_is_theirs() {
    testkit::run(async {
        let api = Api::new("hostile_mass", confirming()).await;
        let greedy_app = |mut body: Value| {
            body["app_metadata"] = json!({"role": "admin"});
            body["user_metadata"] = json!({"role": "admin"});
            greedy(body)
        };
        let body =
            greedy_app(json!({"email": "ada@example.com", "password": PASSWORD, "data": {"pet": "cat"}}));
        assert_eq!(api.post("/signup", body).await.status, 200);
        check(&row(&api, "ada@example.com").await, false);
        assert_eq!(row(&api, "ada@example.com").await["raw_user_meta_data"]["pet"], "cat");
        let code = code_of(&api.mail());
        let body = greedy_app(json!({"type": "signup", "email": "ada@example.com", "token": code}));
        let session = Session::of(&api.post("/verify", body).await);
        check(&row(&api, "ada@example.com").await, true);
        assert_eq!(api.post("/otp", greedy_app(json!({"email": "bob@example.com"}))).await.status, 200);
        check(&row(&api, "bob@example.com").await, false);
        let put = |body: Value| api.call(Method::PUT, "/user", Some(&session.access), body);
        assert_eq!(put(greedy(json!({"data": {"pet": "dog"}}))).await.status, 200);
        check(&row(&api, "ada@example.com").await, true);
        assert_eq!(put(json!({"app_metadata": {"role": "admin"}})).await.refusal(), (403, "not_admin"));
        // Metadata of the user's own is no right: the token's claims do not change.
        assert_eq!(put(json!({"data": {"role": "service_role", "aal": "aal2"}})).await.status, 200);
        let fresh = Session::of(&api.refresh(&session.refresh).await);
        assert_eq!(api.get("/admin/users", Some(&fresh.access)).await.refusal(), (403, "not_admin"));
    });
}

/// The paths of the routers' source, with every `{…}` filled in.
fn admin_paths() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut texts = vec![std::fs::read_to_string(format!("{folder}/routes.rs")).unwrap()];
    for entry in std::fs::read_dir(format!("{folder}/routes")).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let mut paths: Vec<String> = texts
        .iter()
        .flat_map(|it| it.split('"').skip(1).step_by(2))
        .filter(|it| it.starts_with("/admin") || *it == "/invite")
        .map(|it| {
            it.split('/')
                .map(|part| if part.starts_with('{') { NOBODY } else { part })
                .collect::<Vec<_>>()
                .join("/")
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

const NOBODY: &str = "6f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11";

#[test]
fn every_admin_route_is_closed_to_everybody_else() {
    testkit::run(async {
        let oauth_server = OAuthServerSettings { enabled: true, ..OAuthServerSettings::default() };
        let settings = AuthSettings { oauth_server, passkeys: true, ..AuthSettings::default() };
        let api = Api::new("hostile_admin", settings).await;
        let session = api.sign_up("ada@example.com").await;
        let anon = api.project.keys.anon.expose_secret().to_owned();
        let claims =
            json!({"sub": Uuid::new_v4(), "role": "authenticated", "app_metadata": {"role": "service_role"}});
        let odd = api.project.jwt.sign(claims.as_object().unwrap()).unwrap();
        let paths = admin_paths();
        assert!(paths.len() >= 12, "{paths:?}");
        let mut asked = 0;
        for path in &paths {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let known = api.call(method.clone(), path, None, json!({})).await;
                if known.status == 405 {
                    continue;
                }
                asked += 1;
                assert_eq!(known.refusal(), (401, "no_authorization"), "{method} {path}: {}", known.body);
                for bearer in [&anon, &session.access, &odd] {
                    let answer = api.call(method.clone(), path, Some(bearer), json!({})).await;
                    assert_eq!(answer.refusal(), (403, "not_admin"), "{method} {path}: {}", answer.body);
                }
                // An opaque key stands for the caller that the gateway made of it, here `anon`.
                let opaque = api.call(method.clone(), path, Some("sb_publishable_x"), json!({})).await;
                assert_eq!(opaque.refusal(), (403, "not_admin"), "{method} {path}: {}", opaque.body);
            }
        }
        assert!(asked > paths.len(), "{asked} of {paths:?}");
    });
}
