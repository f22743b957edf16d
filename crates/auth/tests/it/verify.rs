//! `POST` and `GET /verify`: codes and links from mails.

use aws_lc_rs::digest;
use base64::Engine as _;
use common::AuthSettings;
use http::Method;
use serde_json::json;

use crate::support::{Answer, Api, PASSWORD, Session, code_of, path_of, token_of};

fn confirming() -> AuthSettings {
    AuthSettings {
        mailer_autoconfirm: false,
        mail_max_frequency_secs: 0,
        site_url: "https://app.test".into(),
        redirect_urls: vec!["https://*.app.test/**".into()],
        ..AuthSettings::default()
    }
}

async fn waiting(api: &Api) {
    let answer = api.post("/signup", json!({"email": "ada@example.com", "password": PASSWORD})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.get("access_token").is_none());
    assert_eq!(answer.body["identities"].as_array().unwrap().len(), 1);
    assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.refusal(), (400, "email_not_confirmed"));
}

async fn code(api: &Api, kind: &str, code: &str) -> Answer {
    api.post("/verify", json!({"type": kind, "email": "ada@example.com", "token": code})).await
}

#[test]
fn a_mailed_code_confirms_once() {
    testkit::run(async {
        let api = Api::new("code", confirming()).await;
        waiting(&api).await;
        let mail = api.mail();
        assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("ada@example.com", "Confirm your signup"));
        let digits = code_of(&mail);
        let wrong = if digits == "000000" { "000001" } else { "000000" };
        assert_eq!(code(&api, "signup", wrong).await.refusal(), (403, "otp_expired"));
        assert_eq!(code(&api, "recovery", &digits).await.refusal(), (403, "otp_expired"));
        let answer = code(&api, "signup", &digits).await;
        let session = Session::of(&answer);
        assert_eq!(answer.body["user"]["user_metadata"]["email_verified"], true);
        assert_eq!(answer.body["user"]["identities"][0]["identity_data"]["email_verified"], true);
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
        assert_eq!(code(&api, "signup", &digits).await.refusal(), (403, "otp_expired"));
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 200);
    });
}

#[test]
fn a_mailed_link_confirms_once_and_leads_to_the_site() {
    testkit::run(async {
        let api = Api::new("link", confirming()).await;
        waiting(&api).await;
        let path = path_of(&api.mail());
        let looked = api.call(Method::HEAD, &path, None, serde_json::Value::Null).await;
        assert_eq!(looked.status, 405, "a look spends nothing");
        let answer = api.get(&path, None).await;
        assert_eq!(answer.status, 303);
        let location = url::Url::parse(&answer.location()).unwrap();
        assert_eq!(location.host_str(), Some("app.test"));
        let fragment = location.fragment().unwrap();
        let names: Vec<String> =
            url::form_urlencoded::parse(fragment.as_bytes()).map(|(name, _)| name.into_owned()).collect();
        assert_eq!(
            names,
            ["access_token", "expires_at", "expires_in", "refresh_token", "sb", "token_type", "type"]
        );
        let again = api.get(&path, None).await;
        assert_eq!(
            again.location(),
            "https://app.test#error=access_denied&error_code=otp_expired\
             &error_description=Email+link+is+invalid+or+has+expired&sb="
        );
    });
}

#[test]
fn links_lead_to_allowed_addresses_only() {
    testkit::run(async {
        let api = Api::new("redirects", confirming()).await;
        let cases = [
            ("https://a.app.test/in?x=1", "https://a.app.test/in?x=1"),
            ("https://evil.test", "https://app.test"),
            ("//evil.test", "https://app.test"),
            ("https://app.test@evil.test", "https://app.test"),
            ("javascript:alert(1)", "https://app.test"),
        ];
        for (idx, (wanted, expected)) in cases.into_iter().enumerate() {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("redirect_to", wanted)
                .finish();
            let body = json!({"email": format!("user{idx}@example.com"), "password": PASSWORD});
            assert_eq!(api.post(&format!("/signup?{query}"), body).await.status, 200);
            let answer = api.get(&path_of(&api.mail()), None).await;
            assert!(
                answer.location().starts_with(&format!("{expected}#access_token=")),
                "{}",
                answer.location()
            );
            // Nor can the link be bent afterwards.
            let bent = api.get(&format!("/verify?token=x&type=signup&{query}"), None).await;
            assert!(bent.location().starts_with(&format!("{expected}#error=")), "{}", bent.location());
        }
    });
}

#[test]
fn a_link_token_works_as_token_hash() {
    testkit::run(async {
        let api = Api::new("tokenhash", confirming()).await;
        waiting(&api).await;
        let token = token_of(&api.mail());
        let body = json!({"type": "email", "token_hash": token});
        assert_eq!(api.post("/verify", body.clone()).await.status, 200);
        assert_eq!(api.post("/verify", body).await.refusal(), (403, "otp_expired"));
        let cases = [
            json!({"type": "email"}),
            json!({"token_hash": "x"}),
            json!({"type": "email", "token": "1", "token_hash": "x"}),
            json!({"type": "email", "token_hash": "x", "email": "a@b.c"}),
            json!({"type": "email", "token": "1"}),
            json!({"type": "sorcery", "token_hash": "x"}),
        ];
        for body in cases {
            assert_eq!(
                api.post("/verify", body.clone()).await.refusal(),
                (400, "validation_failed"),
                "{body}"
            );
        }
        assert_eq!(api.get("/verify?type=signup", None).await.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn codes_die_with_time_and_after_ten_guesses() {
    testkit::run(async {
        let api = Api::new("guessing", confirming()).await;
        waiting(&api).await;
        let digits = code_of(&api.mail());
        api.wait(3601);
        assert_eq!(code(&api, "signup", &digits).await.refusal(), (403, "otp_expired"));
        api.post("/resend", json!({"type": "signup", "email": "ada@example.com"})).await;
        let digits = code_of(&api.mail());
        for _ in 0..10 {
            let wrong = if digits == "123456" { "123457" } else { "123456" };
            assert_eq!(code(&api, "signup", wrong).await.refusal(), (403, "otp_expired"));
        }
        assert_eq!(code(&api, "signup", &digits).await.refusal(), (403, "otp_expired"));
        assert!(api.get(&path_of(&api.mail()), None).await.location().contains("error_code=otp_expired"));
    });
}

#[test]
fn the_database_does_not_hold_what_opens() {
    testkit::run(async {
        let api = Api::new("stored", confirming()).await;
        waiting(&api).await;
        let token = token_of(&api.mail());
        let admin = api.test.admin().await;
        let row = admin.query_one("select token_hash from auth.one_time_tokens", &[]).await.unwrap();
        let stored: String = row.get(0);
        assert!(!stored.contains(&token));
        let answer = api.post("/verify", json!({"type": "signup", "token_hash": stored})).await;
        assert_eq!(answer.refusal(), (403, "otp_expired"));
    });
}

#[test]
fn a_recovery_signs_in_to_set_a_new_password() {
    testkit::run(async {
        let api = Api::new("recovery", confirming()).await;
        waiting(&api).await;
        code(&api, "signup", &code_of(&api.mail())).await;
        assert_eq!(api.post("/recover", json!({"email": "ada@example.com"})).await.body, json!({}));
        let mail = api.mail();
        assert_eq!(mail.subject, "Reset your password");
        let session = Session::of(&code(&api, "recovery", &code_of(&mail)).await);
        let body = json!({"password": "a new password"});
        assert_eq!(api.call(Method::PUT, "/user", Some(&session.access), body).await.status, 200);
        assert_eq!(api.sign_in("ada@example.com", "a new password").await.status, 200);
    });
}

#[test]
fn a_code_by_otp_signs_new_and_known_users_in() {
    testkit::run(async {
        for autoconfirm in [true, false] {
            let settings = AuthSettings { mailer_autoconfirm: autoconfirm, ..confirming() };
            let api = Api::new("otp", settings).await;
            let body = json!({"email": "ada@example.com", "create_user": false});
            assert_eq!(api.post("/otp", body).await.refusal(), (422, "otp_disabled"));
            let mut ids = Vec::new();
            for _ in 0..2 {
                let answer = api.post("/otp", json!({"email": "ada@example.com", "data": {"x": 1}})).await;
                assert_eq!((answer.status.as_u16(), answer.body), (200, json!({})));
                let answer = code(&api, "email", &code_of(&api.mail())).await;
                assert_eq!(answer.body["user"]["user_metadata"]["x"], 1);
                ids.push(Session::of(&answer).user_id);
            }
            assert_eq!(ids[0], ids[1]);
            assert_eq!(
                api.post("/otp", json!({"phone": "49123"})).await.refusal(),
                (400, "phone_provider_disabled")
            );
        }
    });
}

#[test]
fn a_change_of_address_needs_both_mailboxes() {
    testkit::run(async {
        let api = Api::new("double", confirming()).await;
        waiting(&api).await;
        let session = Session::of(&code(&api, "signup", &code_of(&api.mail())).await);
        let body = json!({"email": "ada@new.com"});
        let answer = api.call(Method::PUT, "/user", Some(&session.access), body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["new_email"]), (200, &json!("ada@new.com")));
        assert_eq!(answer.body["email"], "ada@example.com");
        let mails = api.inbox.list();
        let (current, new) = (&mails[0], &mails[1]);
        assert_eq!((current.to.as_str(), new.to.as_str()), ("ada@example.com", "ada@new.com"));
        let half = api.post("/verify", json!({"type": "email_change", "token_hash": token_of(new)})).await;
        assert_eq!((half.status.as_u16(), &half.body["code"]), (200, &json!("200")));
        assert_eq!(api.sign_in("ada@new.com", PASSWORD).await.status, 400);
        // The same half twice is no whole.
        let again = api.post("/verify", json!({"type": "email_change", "token_hash": token_of(new)})).await;
        assert_eq!(again.refusal(), (403, "otp_expired"));
        let body = json!({"type": "email_change", "email": "ada@example.com", "token": code_of(current)});
        let answer = api.post("/verify", body).await;
        assert_eq!(answer.body["user"]["email"], "ada@new.com", "{}", answer.body);
        assert_eq!(api.sign_in("ada@new.com", PASSWORD).await.status, 200);
    });
}

#[test]
fn a_pkce_link_ends_in_a_code_that_needs_the_verifier() {
    testkit::run(async {
        let api = Api::new("pkce", confirming()).await;
        let verifier = "v".repeat(64);
        let challenge = base64::prelude::BASE64_URL_SAFE_NO_PAD
            .encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "code_challenge": challenge,
            "code_challenge_method": "s256"});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let location = api.get(&path_of(&api.mail()), None).await.location();
        let code = location.strip_prefix("https://app.test?code=").unwrap().to_owned();
        let exchange = |code: &str, verifier: &str| {
            api.post("/token?grant_type=pkce", json!({"auth_code": code, "code_verifier": verifier}))
        };
        assert_eq!(exchange(&code, &"w".repeat(64)).await.refusal(), (400, "bad_code_verifier"));
        assert_eq!(exchange("nonsense", &verifier).await.refusal(), (404, "flow_state_not_found"));
        assert_eq!(exchange("", &verifier).await.refusal(), (400, "validation_failed"));
        api.wait(301);
        assert_eq!(exchange(&code, &verifier).await.refusal(), (422, "flow_state_expired"));
        api.wait(-301);
        let answer = exchange(&code, &verifier).await;
        let session = Session::of(&answer);
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
        assert_eq!(exchange(&code, &verifier).await.refusal(), (404, "flow_state_not_found"));
    });
}

#[test]
fn a_link_opened_twenty_times_at_once_opens_one_session() {
    testkit::run(async {
        let api = Api::new("linkrace", confirming()).await;
        waiting(&api).await;
        let body = json!({"type": "signup", "token_hash": token_of(&api.mail())});
        let answers =
            futures_util::future::join_all((0..20).map(|_| api.post("/verify", body.clone()))).await;
        let opened = answers.iter().filter(|it| it.status == 200).count();
        let codes: Vec<_> = answers.iter().map(|it| it.status.as_u16()).collect();
        assert_eq!(opened, 1, "{codes:?}");
        let sessions =
            api.test.admin().await.query_one("select count(*) from auth.sessions", &[]).await.unwrap();
        assert_eq!(sessions.get::<_, i64>(0), 1);
    });
}
