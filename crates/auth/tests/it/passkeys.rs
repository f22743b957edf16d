//! Passkeys: registered, used to sign in, listed, renamed, deleted; answered by a software authenticator.

use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::authenticator::Authenticator;
use crate::factors::{claims, post};
use crate::support::{Answer, Api, PASSWORD, Session};

fn with_passkeys() -> AuthSettings {
    AuthSettings { passkeys: true, anonymous_users: true, ..AuthSettings::default() }
}

async fn options(api: &Api, session: &Session) -> Answer {
    post(api, session, "/passkeys/registration/options", json!({})).await
}

async fn register(api: &Api, session: &Session, key: &mut Authenticator) -> Answer {
    let asked = options(api, session).await;
    assert_eq!(asked.status, 200, "{}", asked.body);
    let body =
        json!({"challenge_id": asked.body["challenge_id"], "credential": key.create(&asked.body["options"])});
    post(api, session, "/passkeys/registration/verify", body).await
}

async fn ask(api: &Api) -> Value {
    api.post("/passkeys/authentication/options", json!({})).await.body
}

async fn sign_in(api: &Api, key: &mut Authenticator) -> Answer {
    let asked = ask(api).await;
    let body = json!({"challenge_id": asked["challenge_id"], "credential": key.get(&asked["options"])});
    api.post("/passkeys/authentication/verify", body).await
}

#[test]
fn a_passkey_signs_in_without_saying_who() {
    testkit::run(async {
        let api = Api::new("passkey", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        let asked = options(&api, &session).await;
        let shown = &asked.body["options"];
        assert_eq!(shown["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(shown["authenticatorSelection"]["userVerification"], "preferred");
        assert_eq!((&shown["rp"]["id"], &shown["attestation"]), (&json!("localhost"), &json!("none")));
        assert!(asked.body["expires_at"].as_i64().unwrap() > api.now_secs());
        let body = json!({"challenge_id": asked.body["challenge_id"], "credential": key.create(shown)});
        let made = post(&api, &session, "/passkeys/registration/verify", body.clone()).await;
        assert_eq!(
            (made.status.as_u16(), &made.body["friendly_name"]),
            (200, &json!("Passkey")),
            "{}",
            made.body
        );
        let again = post(&api, &session, "/passkeys/registration/verify", body).await;
        assert_eq!(again.refusal(), (400, "webauthn_challenge_not_found"));
        let known = options(&api, &session).await;
        assert_eq!(known.body["options"]["excludeCredentials"].as_array().unwrap().len(), 1);
        let signed_in = Session::of(&sign_in(&api, &mut key).await);
        assert_eq!(signed_in.user_id, session.user_id);
        let claims = claims(&signed_in);
        assert_eq!((&claims["aal"], &claims["amr"][0]["method"]), (&json!("aal1"), &json!("passkey")));
        let list = api.get("/passkeys", Some(&signed_in.access)).await;
        assert!(list.body[0]["last_used_at"].is_string(), "{}", list.body);
    });
}

#[test]
fn a_question_is_answered_once_and_in_time() {
    testkit::run(async {
        let api = Api::new("pkonce", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        assert_eq!(register(&api, &session, &mut key).await.status, 200);
        let asked = ask(&api).await;
        let body = json!({"challenge_id": asked["challenge_id"], "credential": key.get(&asked["options"])});
        let verify = || api.post("/passkeys/authentication/verify", body.clone());
        let answers = futures_util::future::join_all((0..10).map(|_| verify())).await;
        assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 1);
        assert_eq!(verify().await.refusal(), (400, "webauthn_challenge_not_found"));
        let asked = ask(&api).await;
        let late = json!({"challenge_id": asked["challenge_id"], "credential": key.get(&asked["options"])});
        api.wait(301);
        let answer = api.post("/passkeys/authentication/verify", late).await;
        assert_eq!(
            (answer.refusal(), &answer.body["msg"]),
            ((400, "webauthn_challenge_expired"), &json!("Challenge has expired"))
        );
        let asked = options(&api, &session).await.body;
        api.wait(301);
        let late =
            json!({"challenge_id": asked["challenge_id"], "credential": key.create(&asked["options"])});
        let answer = post(&api, &session, "/passkeys/registration/verify", late).await;
        assert_eq!(answer.refusal(), (400, "webauthn_challenge_expired"));
        // Whoever asks sweeps.
        ask(&api).await;
        let admin = api.test.admin().await;
        let left = admin.query_one("select count(*) from auth.webauthn_challenges", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 1);
    });
}

#[test]
fn answers_of_strangers_do_not_sign_in() {
    testkit::run(async {
        let api = Api::new("pkfake", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        assert_eq!(register(&api, &session, &mut key).await.status, 200);
        let refused = (400, "webauthn_verification_failed");
        // A key that nobody registered, for a user that exists and for one that does not.
        let mut fake = Authenticator::new();
        for handle in [key.user_handle.clone(), Some("AAAA".into()), None] {
            fake.user_handle = handle;
            let answer = sign_in(&api, &mut fake).await;
            assert_eq!(
                (answer.refusal(), &answer.body["msg"]),
                (refused, &json!("Credential verification failed"))
            );
        }
        // The right key on a phishing site, and a copy of it that has fallen behind.
        key.origin = "https://evil.com";
        assert_eq!(sign_in(&api, &mut key).await.refusal(), refused);
        key.origin = "http://localhost:3000";
        assert_eq!(sign_in(&api, &mut key).await.status, 200);
        key.counter = 0;
        assert_eq!(sign_in(&api, &mut key).await.refusal(), refused);
        key.counter = 10;
        assert_eq!(sign_in(&api, &mut key).await.status, 200);
        // The answer to a registration is none to a sign-in, and a question of somebody else is none of mine.
        let other = api.sign_up("bob@example.com").await;
        let theirs = options(&api, &other).await.body;
        let body =
            json!({"challenge_id": theirs["challenge_id"], "credential": key.create(&theirs["options"])});
        let answer = post(&api, &session, "/passkeys/registration/verify", body.clone()).await;
        assert_eq!(answer.refusal(), (400, "webauthn_challenge_not_found"));
        assert_eq!(
            api.post("/passkeys/authentication/verify", body).await.refusal(),
            (400, "webauthn_challenge_not_found")
        );
        let mine = options(&api, &session).await.body;
        let mut evil = Authenticator::new();
        evil.origin = "https://evil.com";
        let body = json!({"challenge_id": mine["challenge_id"], "credential": evil.create(&mine["options"])});
        assert_eq!(post(&api, &session, "/passkeys/registration/verify", body).await.refusal(), refused);
    });
}

#[test]
fn a_key_belongs_to_one_user_and_users_have_so_many() {
    testkit::run(async {
        let api = Api::new("pkmany", AuthSettings { passkey_max_per_user: 2, ..with_passkeys() }).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        assert_eq!(register(&api, &session, &mut key).await.status, 200);
        let other = api.sign_up("bob@example.com").await;
        let answer = register(&api, &other, &mut key).await;
        assert_eq!(answer.refusal(), (422, "webauthn_credential_exists"));
        let asked = options(&api, &session).await.body;
        assert_eq!(register(&api, &session, &mut Authenticator::new()).await.status, 200);
        assert_eq!(options(&api, &session).await.refusal(), (422, "too_many_passkeys"));
        let mut late = Authenticator::new();
        let body =
            json!({"challenge_id": asked["challenge_id"], "credential": late.create(&asked["options"])});
        let answer = post(&api, &session, "/passkeys/registration/verify", body).await;
        assert_eq!(answer.refusal(), (422, "too_many_passkeys"));
    });
}

#[test]
fn passkeys_are_listed_renamed_and_deleted_by_their_users() {
    testkit::run(async {
        let api = Api::new("pkmanage", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let other = api.sign_up("bob@example.com").await;
        let mut key = Authenticator::new();
        let id = register(&api, &session, &mut key).await.body["id"].as_str().unwrap().to_owned();
        let path = format!("/passkeys/{id}");
        let patch = |session: &Session, path: &str, body: Value| {
            let (access, path) = (session.access.clone(), path.to_owned());
            let api = &api;
            async move { api.call(Method::PATCH, &path, Some(&access), body).await }
        };
        let renamed = patch(&session, &path, json!({"friendly_name": "Laptop"})).await;
        assert_eq!((renamed.status.as_u16(), &renamed.body["friendly_name"]), (200, &json!("Laptop")));
        let list = api.get("/passkeys", Some(&session.access)).await.body;
        assert_eq!(
            (list[0]["id"].as_str(), list[0]["friendly_name"].as_str()),
            (Some(id.as_str()), Some("Laptop"))
        );
        assert_eq!(api.get("/passkeys", Some(&other.access)).await.body, json!([]));
        let cases = [
            (&session, path.clone(), json!({}), (400, "validation_failed"), "friendly_name is required"),
            (
                &session,
                path.clone(),
                json!({"friendly_name": "x".repeat(121)}),
                (400, "validation_failed"),
                "friendly_name must be 120 characters or less",
            ),
            (
                &session,
                "/passkeys/x".into(),
                json!({"friendly_name": "a"}),
                (404, "validation_failed"),
                "Passkey not found",
            ),
            (
                &other,
                path.clone(),
                json!({"friendly_name": "a"}),
                (404, "validation_failed"),
                "Passkey not found",
            ),
        ];
        for (session, path, body, refusal, message) in cases {
            let answer = patch(session, &path, body).await;
            assert_eq!((answer.refusal(), &answer.body["msg"]), (refusal, &json!(message)));
        }
        let delete = |session: &Session| {
            let (access, path) = (session.access.clone(), path.clone());
            let api = &api;
            async move { api.call(Method::DELETE, &path, Some(&access), Value::Null).await }
        };
        assert_eq!(delete(&other).await.refusal(), (404, "validation_failed"));
        assert_eq!(delete(&session).await.status, 204);
        assert_eq!(delete(&session).await.refusal(), (404, "validation_failed"));
        assert_eq!(sign_in(&api, &mut key).await.refusal(), (400, "webauthn_verification_failed"));
    });
}

#[test]
fn the_service_key_lists_and_deletes_passkeys() {
    testkit::run(async {
        let api = Api::new("pkadmin", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        let id = register(&api, &session, &mut key).await.body["id"].as_str().unwrap().to_owned();
        let base = format!("/admin/users/{}/passkeys", session.user_id);
        assert_eq!(api.admin(Method::GET, &base, Value::Null).await.body[0]["id"], json!(id));
        assert_eq!(api.get(&base, Some(&session.access)).await.refusal(), (403, "not_admin"));
        let path = format!("{base}/{id}");
        assert_eq!(api.admin(Method::DELETE, &path, Value::Null).await.status, 204);
        assert_eq!(api.admin(Method::DELETE, &path, Value::Null).await.refusal(), (404, "validation_failed"));
        let nobody = format!("/admin/users/{}/passkeys", Uuid::new_v4());
        assert_eq!(api.admin(Method::GET, &nobody, Value::Null).await.refusal(), (404, "user_not_found"));
    });
}

#[test]
fn who_may_not_sign_in_cannot_by_a_passkey_either() {
    testkit::run(async {
        let api = Api::new("pkbanned", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut key = Authenticator::new();
        assert_eq!(register(&api, &session, &mut key).await.status, 200);
        let admin = api.test.admin().await;
        let cases = [
            ("email_confirmed_at = null", (403, "email_not_confirmed")),
            ("email_confirmed_at = now(), phone = '1555'", (403, "phone_not_confirmed")),
            ("phone_confirmed_at = now(), banned_until = now() + interval '1 day'", (403, "user_banned")),
        ];
        for (change, refusal) in cases {
            admin.execute(&format!("update auth.users set {change}"), &[]).await.unwrap();
            assert_eq!(sign_in(&api, &mut key).await.refusal(), refusal);
        }
    });
}

#[test]
fn keys_are_kept_by_permanent_users_with_all_their_factors() {
    testkit::run(async {
        let api = Api::new("pkwho", with_passkeys()).await;
        let nobody = Session::of(&api.post("/signup", json!({})).await);
        assert_eq!(options(&api, &nobody).await.refusal(), (403, "no_authorization"));
        let session = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        let factor = "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at) \
                      select gen_random_uuid(), id, 'totp', 'verified', now(), now() from auth.users where email is not null";
        admin.execute(factor, &[]).await.unwrap();
        assert_eq!(options(&api, &session).await.refusal(), (403, "insufficient_aal"));
        let path = format!("/passkeys/{}", Uuid::new_v4());
        let answer = api.call(Method::DELETE, &path, Some(&session.access), Value::Null).await;
        assert_eq!(answer.refusal(), (403, "insufficient_aal"));
        admin.execute("delete from auth.mfa_factors", &[]).await.unwrap();
        admin.execute("update auth.users set is_sso_user = true", &[]).await.unwrap();
        let answer = options(&api, &session).await;
        assert_eq!(
            (answer.refusal(), &answer.body["msg"]),
            ((422, "validation_failed"), &json!("SSO users cannot register passkeys"))
        );
        assert_eq!(api.get("/passkeys", None).await.refusal(), (401, "no_authorization"));
    });
}

#[test]
fn bad_requests_about_passkeys_are_refused() {
    testkit::run(async {
        let api = Api::new("pkbad", with_passkeys()).await;
        let session = api.sign_up("ada@example.com").await;
        let id = Uuid::new_v4();
        let cases = [
            (json!({}), (400, "validation_failed"), "challenge_id is required"),
            (json!({"challenge_id": id}), (400, "validation_failed"), "credential is required"),
            (
                json!({"challenge_id": "x", "credential": {}}),
                (400, "validation_failed"),
                "challenge_id must be a valid UUID",
            ),
            (
                json!({"challenge_id": id, "credential": {}}),
                (400, "webauthn_challenge_not_found"),
                "Challenge not found or already used",
            ),
        ];
        for (body, refusal, message) in cases {
            for path in ["/passkeys/registration/verify", "/passkeys/authentication/verify"] {
                let answer = post(&api, &session, path, body.clone()).await;
                assert_eq!((answer.refusal(), &answer.body["msg"]), (refusal, &json!(message)), "{path}");
            }
        }
        for path in ["registration", "authentication"] {
            let typed = json!({"challenge_id": 1, "credential": {}});
            let answer = post(&api, &session, &format!("/passkeys/{path}/verify"), typed).await;
            assert_eq!(answer.refusal(), (400, "bad_json"), "{path}");
            let asked = post(&api, &session, &format!("/passkeys/{path}/options"), json!({})).await.body;
            let body = json!({"challenge_id": asked["challenge_id"], "credential": {"id": 1}});
            let answer = post(&api, &session, &format!("/passkeys/{path}/verify"), body).await;
            let told = json!("Invalid credential response");
            assert_eq!(
                (answer.refusal(), &answer.body["msg"]),
                ((400, "webauthn_verification_failed"), &told)
            );
        }
        let off = api.with(AuthSettings::default());
        for path in ["/passkeys/registration/options", "/passkeys/authentication/options"] {
            assert_eq!(post(&off, &session, path, json!({})).await.refusal(), (404, "passkey_disabled"));
        }
        assert_eq!(off.get("/passkeys", Some(&session.access)).await.refusal(), (404, "passkey_disabled"));
        assert_eq!(off.sign_in("ada@example.com", PASSWORD).await.status, 200);
    });
}
