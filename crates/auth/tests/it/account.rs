//! What users change of their own account: addresses with two mailboxes, passwords with proofs, ways of signing in.

use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, PASSWORD, Session, code_of, other_code, sms_of, token_of};

const NEW: &str = "a new password";

async fn put(api: &Api, session: &Session, body: Value) -> crate::support::Answer {
    api.call(Method::PUT, "/user", Some(&session.access), body).await
}

#[test]
fn a_new_address_must_be_proved_even_where_sign_ups_are_not() {
    testkit::run(async {
        let settings = AuthSettings { mailer_secure_email_change: false, ..AuthSettings::default() };
        let api = Api::new("onebox", settings).await;
        api.sign_up("taken@example.com").await;
        let session = api.sign_up("ada@example.com").await;
        let taken = json!({"email": "taken@example.com"});
        assert_eq!(put(&api, &session, taken).await.refusal(), (422, "email_exists"));
        let answer = put(&api, &session, json!({"email": "ada@new.com"})).await;
        assert_eq!(
            (&answer.body["email"], &answer.body["new_email"]),
            (&json!("ada@example.com"), &json!("ada@new.com"))
        );
        assert_eq!(api.inbox.list().len(), 1);
        let body = json!({"type": "email_change", "email": "ada@new.com", "token": code_of(&api.mail())});
        let answer = api.post("/verify", body).await;
        assert_eq!(answer.body["user"]["email"], "ada@new.com", "{}", answer.body);
        assert_eq!(answer.body["user"]["identities"][0]["email"], "ada@new.com");
        assert_eq!(api.sign_in("ada@new.com", PASSWORD).await.status, 200);
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 400);
    });
}

#[test]
fn an_anonymous_user_becomes_a_permanent_one_by_an_address() {
    testkit::run(async {
        let api =
            Api::new("permanent", AuthSettings { anonymous_users: true, ..AuthSettings::default() }).await;
        let session = Session::of(&api.post("/signup", json!({})).await);
        let lonely = put(&api, &session, json!({"password": NEW})).await;
        assert_eq!(lonely.refusal(), (422, "validation_failed"));
        let answer = put(&api, &session, json!({"email": "ada@example.com", "password": NEW})).await;
        assert_eq!(
            (&answer.body["email"], &answer.body["is_anonymous"]),
            (&json!("ada@example.com"), &json!(false))
        );
        assert_eq!(api.sign_in("ada@example.com", NEW).await.status, 200);
    });
}

#[test]
fn a_change_asked_again_needs_both_mailboxes_again() {
    testkit::run(async {
        let settings = AuthSettings { mail_max_frequency_secs: 0, ..AuthSettings::default() };
        let api = Api::new("halves", settings).await;
        let session = api.sign_up("ada@example.com").await;
        let half = async || {
            put(&api, &session, json!({"email": "eve@evil.com"})).await;
            let new = api.inbox.list().into_iter().find(|it| it.to == "eve@evil.com").unwrap();
            let body = json!({"type": "email_change", "token_hash": token_of(&new)});
            api.post("/verify", body).await.body["msg"].clone()
        };
        let told = "Confirmation link accepted. Please proceed to confirm link sent to the other email";
        assert_eq!(half().await, told);
        assert_eq!(half().await, told, "the same half twice is no whole");
        assert_eq!(api.get("/user", Some(&session.access)).await.body["email"], "ada@example.com");
    });
}

#[test]
fn an_old_session_needs_a_nonce_for_a_new_password() {
    testkit::run(async {
        let settings = AuthSettings {
            password_require_reauthentication: true,
            mail_max_frequency_secs: 0,
            jwt_expiry_secs: 200_000,
            ..AuthSettings::default()
        };
        let api = Api::new("nonce", settings).await;
        let session = api.sign_up("ada@example.com").await;
        assert_eq!(put(&api, &session, json!({"password": "young session"})).await.status, 200);
        api.wait(24 * 3600 + 1);
        let refused = put(&api, &session, json!({"password": NEW})).await;
        assert_eq!(refused.refusal(), (400, "reauthentication_needed"));
        let early = put(&api, &session, json!({"password": NEW, "nonce": "123456"})).await;
        assert_eq!(early.refusal(), (422, "reauthentication_not_valid"));
        assert_eq!(early.body["msg"], "Nonce has expired or is invalid");
        assert_eq!(api.get("/reauthenticate", Some(&session.access)).await.body, json!({}));
        let mail = api.mail();
        assert_eq!((mail.to.as_str(), mail.link.as_deref()), ("ada@example.com", None));
        let nonce = code_of(&mail);
        let wrong = put(&api, &session, json!({"password": NEW, "nonce": other_code(&nonce)})).await;
        assert_eq!(wrong.refusal(), (422, "reauthentication_not_valid"));
        assert_eq!(put(&api, &session, json!({"password": NEW, "nonce": nonce})).await.status, 200);
        let twice = put(&api, &session, json!({"password": "another one", "nonce": nonce})).await;
        assert_eq!(twice.refusal(), (422, "reauthentication_not_valid"));
        assert_eq!(api.sign_in("ada@example.com", NEW).await.status, 200);
    });
}

#[test]
fn a_nonce_goes_to_the_phone_of_a_user_without_an_address() {
    testkit::run(async {
        let settings = AuthSettings {
            phone_enabled: true,
            sms_autoconfirm: true,
            anonymous_users: true,
            password_require_reauthentication: true,
            jwt_expiry_secs: 200_000,
            ..AuthSettings::default()
        };
        let api = Api::new("smsnonce", settings).await;
        let body = json!({"phone": "+1555000", "password": PASSWORD});
        let session = Session::of(&api.post("/signup", body).await);
        api.wait(24 * 3600 + 1);
        assert_eq!(api.get("/reauthenticate", Some(&session.access)).await.status, 200);
        let again = api.get("/reauthenticate", Some(&session.access)).await;
        assert_eq!(again.refusal(), (429, "over_sms_send_rate_limit"));
        let nonce = sms_of(&api.mail());
        assert_eq!(put(&api, &session, json!({"password": NEW, "nonce": nonce})).await.status, 200);
        let nobody = Session::of(&api.post("/signup", json!({})).await);
        let answer = api.get("/reauthenticate", Some(&nobody.access)).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        let told = "Reauthentication requires the user to have an email or a phone number";
        assert_eq!(answer.body["msg"], told);
    });
}

#[test]
fn who_has_confirmed_nothing_cannot_reauthenticate() {
    testkit::run(async {
        let api = Api::new("unproved", AuthSettings { phone_enabled: true, ..AuthSettings::default() }).await;
        let mail = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        admin.execute("update auth.users set email_confirmed_at = null", &[]).await.unwrap();
        let answer = api.get("/reauthenticate", Some(&mail.access)).await;
        assert_eq!(answer.refusal(), (422, "email_not_confirmed"));
        admin.execute("update auth.users set email = null, phone = '1555000'", &[]).await.unwrap();
        let answer = api.get("/reauthenticate", Some(&mail.access)).await;
        assert_eq!(answer.refusal(), (422, "phone_not_confirmed"));
        admin.execute("update auth.users set phone = null", &[]).await.unwrap();
        let strict =
            api.with(AuthSettings { password_require_reauthentication: true, ..AuthSettings::default() });
        admin.execute("update auth.sessions set created_at = now() - interval '2 days'", &[]).await.unwrap();
        let answer = put(&strict, &mail, json!({"password": NEW, "nonce": "1"})).await;
        assert_eq!(answer.refusal(), (422, "reauthentication_not_valid"));
        assert_eq!(answer.body["msg"], "Reauthentication requires an email or a phone number");
    });
}

#[test]
fn a_new_password_may_need_the_current_one() {
    testkit::run(async {
        let settings = AuthSettings { password_require_current: true, ..AuthSettings::default() };
        let api = Api::new("current", settings).await;
        let session = api.sign_up("ada@example.com").await;
        let none = put(&api, &session, json!({"password": NEW})).await;
        assert_eq!(none.refusal(), (400, "current_password_required"));
        let wrong = put(&api, &session, json!({"password": NEW, "current_password": "x"})).await;
        assert_eq!(wrong.refusal(), (400, "current_password_invalid"));
        assert_eq!(wrong.body["msg"], "Current password required when setting new password.");
        let right = json!({"password": NEW, "current_password": PASSWORD});
        assert_eq!(put(&api, &session, right).await.status, 200);
        // Who comes by a mailed code has forgotten it.
        api.post("/recover", json!({"email": "ada@example.com"})).await;
        let body = json!({"type": "recovery", "email": "ada@example.com", "token": code_of(&api.mail())});
        let recovered = Session::of(&api.post("/verify", body).await);
        assert_eq!(put(&api, &recovered, json!({"password": "a third one"})).await.status, 200);
    });
}

#[test]
fn an_account_of_an_organisation_is_changed_there() {
    testkit::run(async {
        let api = Api::new("sso", AuthSettings { phone_enabled: true, ..AuthSettings::default() }).await;
        let session = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        admin.execute("update auth.users set is_sso_user = true", &[]).await.unwrap();
        for body in [
            json!({"email": "a@b.c"}),
            json!({"password": NEW}),
            json!({"phone": "+1555"}),
            json!({"nonce": "1"}),
        ] {
            assert_eq!(put(&api, &session, body).await.refusal(), (422, "user_sso_managed"));
        }
        assert_eq!(put(&api, &session, json!({"data": {"x": 1}})).await.status, 200);
    });
}

#[test]
fn identities_go_one_by_one_and_the_last_one_stays() {
    testkit::run(async {
        let settings = AuthSettings {
            manual_linking: true,
            phone_enabled: true,
            sms_autoconfirm: true,
            ..AuthSettings::default()
        };
        let api = Api::new("unlink", settings.clone()).await;
        let session = api.sign_up("ada@example.com").await;
        let unlink = |id: &str| {
            let path = format!("/user/identities/{id}");
            let access = session.access.clone();
            let api = &api;
            async move { api.call(Method::DELETE, &path, Some(&access), Value::Null).await }
        };
        let only = api.get("/user", Some(&session.access)).await.body["identities"][0]["identity_id"].clone();
        let only = only.as_str().unwrap().to_owned();
        assert_eq!(unlink(&only).await.refusal(), (422, "single_identity_not_deletable"));
        let answer = put(&api, &session, json!({"phone": "+1555000"})).await;
        let phone = answer.body["identities"][1]["identity_id"].as_str().unwrap().to_owned();
        assert_eq!(unlink("x").await.refusal(), (404, "validation_failed"));
        assert_eq!(unlink(&Uuid::new_v4().to_string()).await.refusal(), (422, "identity_not_found"));
        assert_eq!(unlink(&phone).await.body, json!({}));
        let user = api.get("/user", Some(&session.access)).await.body;
        assert_eq!((&user["phone"], &user["app_metadata"]["providers"]), (&json!(""), &json!(["email"])));
        assert!(user.get("phone_confirmed_at").is_none());
        let closed = api.with(AuthSettings { manual_linking: false, ..settings });
        let path = format!("/user/identities/{only}");
        let answer = closed.call(Method::DELETE, &path, Some(&session.access), Value::Null).await;
        assert_eq!(answer.refusal(), (404, "manual_linking_disabled"));
        let other = json!({"sub": session.user_id, "aud": "somebody else"});
        let token = api.project.jwt.sign(other.as_object().unwrap()).unwrap();
        let answer = api.call(Method::DELETE, &path, Some(&token), Value::Null).await;
        assert_eq!(answer.refusal(), (403, "unexpected_audience"));
    });
}

#[test]
fn an_unlinked_identity_takes_its_address_along() {
    testkit::run(async {
        let settings = AuthSettings { manual_linking: true, ..AuthSettings::default() };
        let api = Api::new("unlinkmail", settings).await;
        let session = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        let link = async |address: &str| {
            let data = json!({"sub": "42", "email": address, "email_verified": true});
            let sql = "insert into auth.identities (provider_id, user_id, identity_data, provider, created_at) \
                       values ('42', $1, $2, 'github', now())";
            let user: Uuid = session.user_id.parse().unwrap();
            admin.execute(sql, &[&user, &data]).await.unwrap();
        };
        let by_mail =
            api.get("/user", Some(&session.access)).await.body["identities"][0]["identity_id"].clone();
        let path = format!("/user/identities/{}", by_mail.as_str().unwrap());
        api.sign_up("bob@example.com").await;
        link("bob@example.com").await;
        let answer = api.call(Method::DELETE, &path, Some(&session.access), Value::Null).await;
        assert_eq!(answer.refusal(), (422, "email_conflict_identity_not_deletable"));
        admin.execute("delete from auth.identities where provider = 'github'", &[]).await.unwrap();
        link("ada@github.com").await;
        assert_eq!(api.call(Method::DELETE, &path, Some(&session.access), Value::Null).await.status, 200);
        let user = api.get("/user", Some(&session.access)).await.body;
        assert_eq!(
            (&user["email"], &user["app_metadata"]["provider"]),
            (&json!("ada@github.com"), &json!("github"))
        );
    });
}

#[test]
fn a_client_may_ask_for_another_audience_and_gets_nothing() {
    testkit::run(async {
        let api =
            Api::new("audience", AuthSettings { manual_linking: true, ..AuthSettings::default() }).await;
        let session = api.sign_up("ada@example.com").await;
        let ask = |method: Method, path: &str, audience: &str| {
            let request = api.request(&method, path, Some(&session.access)).header("x-jwt-aud", audience);
            api.send(request.body(axum::body::Body::empty()).unwrap())
        };
        assert_eq!(ask(Method::GET, "/user", "authenticated").await.status, 200);
        let refused = ask(Method::GET, "/user", "others").await;
        assert_eq!(refused.refusal(), (400, "validation_failed"));
        assert_eq!(refused.body["msg"], "Token audience doesn't match request audience");
        let path = format!("/user/identities/{}", Uuid::new_v4());
        assert_eq!(ask(Method::DELETE, &path, "others").await.refusal(), (403, "unexpected_audience"));
    });
}

#[test]
fn a_link_to_the_current_address_needs_the_secure_change() {
    testkit::run(async {
        let settings = AuthSettings { mailer_secure_email_change: false, ..AuthSettings::default() };
        let api = Api::new("currentlink", settings).await;
        api.sign_up("ada@example.com").await;
        let body = json!({"type": "email_change_current", "email": "ada@example.com", "new_email": "a@b.c"});
        let answer = api.admin(Method::POST, "/admin/generate_link", body).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        assert_eq!(answer.body["msg"], "Enable secure email change to generate link for current email");
    });
}

#[test]
fn metadata_that_no_header_could_carry_is_refused() {
    testkit::run(async {
        let api = Api::new("metadatasize", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let large = json!({"x": "y".repeat(900_000)});
        let answer = put(&api, &session, json!({"data": large})).await;
        assert_eq!(answer.refusal(), (422, "validation_failed"));
        assert_eq!(answer.body["msg"], "The metadata of a user may hold at most 16384 bytes");
        // Nor bit by bit.
        assert_eq!(put(&api, &session, json!({"data": {"a": "y".repeat(10_000)}})).await.status, 200);
        let more = put(&api, &session, json!({"data": {"b": "y".repeat(10_000)}})).await;
        assert_eq!(more.refusal(), (422, "validation_failed"));
        assert_eq!(put(&api, &session, json!({"data": {"a": null}})).await.status, 200);
        let signup = json!({"email": "b@b.c", "password": PASSWORD, "data": large});
        assert_eq!(api.post("/signup", signup).await.refusal(), (422, "validation_failed"));
        let otp = json!({"email": "b@b.c", "data": large});
        assert_eq!(api.post("/otp", otp).await.refusal(), (422, "validation_failed"));
        for field in ["user_metadata", "app_metadata"] {
            let body = json!({"email": "b@b.c", field: large});
            let answer = api.admin(Method::POST, "/admin/users", body.clone()).await;
            assert_eq!(answer.refusal(), (422, "validation_failed"), "{field}");
            let path = format!("/admin/users/{}", session.user_id);
            assert_eq!(
                api.admin(Method::PUT, &path, body).await.refusal(),
                (422, "validation_failed"),
                "{field}"
            );
        }
        let invite = json!({"email": "b@b.c", "data": large});
        assert_eq!(api.admin(Method::POST, "/invite", invite).await.refusal(), (422, "validation_failed"));
    });
}
