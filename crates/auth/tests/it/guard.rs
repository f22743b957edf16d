//! What guards sign-ins: rate limits for each address, captchas, breached passwords, limits of sessions.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use common::{AuthSettings, ClientAddress, MailTemplate};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::idp::Idp;
use crate::support::{Answer, Api, PASSWORD, Session};

async fn from(api: &Api, address: IpAddr, path: &str, body: &Value) -> Answer {
    let request = api.request(&Method::POST, path, None).extension(ClientAddress(address));
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[test]
fn ten_thousand_wrong_passwords_over_a_hundred_addresses_are_limited() {
    testkit::run(async {
        let api = Api::new("stuffing", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let (refused, limited, least_wait) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(u32::MAX));
        let tries = stream::iter(0..10_000_u32).for_each_concurrent(50, |number| {
            let (api, refused, limited, least_wait) = (&api, &refused, &limited, &least_wait);
            async move {
                let address = IpAddr::from([10, 0, 0, u8::try_from(number % 100).unwrap()]);
                let body = json!({"email": "ada@example.com", "password": format!("wrong {number}")});
                let answer = from(api, address, "/token?grant_type=password", &body).await;
                match answer.refusal() {
                    (400, "invalid_credentials") => refused.fetch_add(1, Ordering::Relaxed),
                    (429, "over_request_rate_limit") => {
                        let wait = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
                        least_wait.fetch_min(wait, Ordering::Relaxed);
                        limited.fetch_add(1, Ordering::Relaxed)
                    }
                    other => panic!("{other:?}: {}", answer.body),
                };
            }
        });
        tries.await;
        let (refused, limited) = (refused.into_inner(), limited.into_inner());
        assert_eq!(refused + limited, 10_000);
        // A wrong one counts as three: ten at once for each address, and one more every six seconds.
        assert!((900..3000).contains(&refused), "{refused} passwords were compared");
        assert!(least_wait.into_inner() >= 1);
        // Somebody else signs in meanwhile.
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        let other = from(&api, IpAddr::from([10, 0, 1, 1]), "/token?grant_type=password", &body).await;
        assert_eq!(other.status, StatusCode::OK);
    });
}

#[test]
fn each_way_in_has_its_own_budget_and_the_service_key_none() {
    testkit::run(async {
        let settings = AuthSettings {
            rate_limit_otp: 3,
            rate_limit_anonymous_users: 2,
            anonymous_users: true,
            ..AuthSettings::default()
        };
        let api = Api::new("budgets", settings).await;
        for number in 0..6 {
            let body = json!({"email": format!("a{number}@example.com")});
            let expected = if number < 3 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
            assert_eq!(api.post("/recover", body.clone()).await.status, expected, "{number}");
        }
        assert_eq!(api.post("/otp", json!({"email": "b@example.com"})).await.status, StatusCode::OK);
        for number in 0..4 {
            let expected = if number < 2 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
            assert_eq!(api.post("/signup", json!({})).await.status, expected, "{number}");
        }
        for _ in 0..10 {
            let answer = api.opaque(Method::POST, "/recover", "service_role").await;
            assert_eq!(answer.refusal(), (400, "bad_json"), "not limited, but there is no body");
        }
    });
}

#[test]
fn a_captcha_is_needed_earned_and_never_trusted_when_its_provider_is_silent() {
    testkit::run(async {
        let provider = Idp::start().await;
        let settings = AuthSettings {
            security_captcha_enabled: true,
            security_captcha_secret: Some("hush".into()),
            security_captcha_url: Some(format!("{}/siteverify", provider.url)),
            ..AuthSettings::default()
        };
        let api = Api::new("captcha", settings).await;
        let sign_up = |token: Value| json!({"email": "ada@example.com", "password": PASSWORD, "gotrue_meta_security": {"captcha_token": token}});
        let missing = api.post("/signup", json!({"email": "ada@example.com", "password": PASSWORD})).await;
        assert_eq!(missing.refusal(), (400, "captcha_failed"));
        assert_eq!(missing.body["msg"], "captcha protection: request disallowed (no captcha_token found)");
        let bent = "/token?grant_type=refresh_token&grant%5Ftype=password";
        let bent = api.post(bent, json!({"email": "ada@example.com", "password": PASSWORD})).await;
        assert_eq!(bent.refusal(), (400, "captcha_failed"));
        provider.page(
            "/siteverify",
            &json!({"success": false, "error-codes": ["invalid-input-response", "<b>"]}),
        );
        let wrong = api.post("/signup", sign_up("bad".into())).await;
        assert_eq!(wrong.refusal(), (400, "captcha_failed"));
        assert_eq!(wrong.body["msg"], "captcha protection: request disallowed (invalid-input-response)");
        provider.page("/siteverify", &json!({"success": true}));
        let right = api.post("/signup", sign_up("good".into())).await;
        assert_eq!(right.status, StatusCode::OK, "{}", right.body);
        let seen = provider.seen_at("/siteverify").pop().unwrap();
        assert_eq!((&*seen.form["secret"], &*seen.form["response"]), ("hush", "good"));
        // A refresh needs none, an administrator neither.
        let session = Session::of(&right);
        assert_eq!(api.refresh(&session.refresh).await.status, StatusCode::OK);
        let gone = AuthSettings {
            security_captcha_url: Some("http://127.0.0.1:9/".into()),
            ..api.project.auth.clone()
        };
        let silent = api
            .with(gone)
            .post(
                "/recover",
                json!({"email": "ada@example.com", "gotrue_meta_security": {"captcha_token": "x"}}),
            )
            .await;
        assert_eq!(silent.refusal(), (500, "unexpected_failure"));
    });
}

#[test]
fn a_breached_password_is_refused_by_the_first_five_digits_of_its_hash() {
    testkit::run(async {
        let list = Idp::start().await;
        // SHA-1 of "correct horse battery": what follows the first five digits is on the list.
        let (prefix, rest) = split(PASSWORD);
        list.page(
            &format!("/range/{prefix}"),
            &format!("{rest}:3\r\n0018A45C4D1DEF81644B54AB7F969B88D65:0\r\n").into(),
        );
        let settings = AuthSettings {
            password_hibp_enabled: true,
            password_hibp_url: Some(format!("{}/range", list.url)),
            ..AuthSettings::default()
        };
        let api = Api::new("breach", settings.clone()).await;
        let weak = api.post("/signup", json!({"email": "ada@example.com", "password": PASSWORD})).await;
        assert_eq!(weak.refusal(), (422, "weak_password"));
        assert_eq!(weak.body["weak_password"]["reasons"], json!(["pwned"]));
        let seen = list.seen_at(&format!("/range/{prefix}")).pop().unwrap();
        assert_eq!(seen.headers["add-padding"], "true");
        let (other, _) = split("another horse battery");
        list.page(&format!("/range/{other}"), &"0018A45C4D1DEF81644B54AB7F969B88D65:7\r\n".into());
        let fine = api
            .post("/signup", json!({"email": "ada@example.com", "password": "another horse battery"}))
            .await;
        assert_eq!(fine.status, StatusCode::OK, "{}", fine.body);
        let session = Session::of(&fine);
        let changed =
            api.call(Method::PUT, "/user", Some(&session.access), json!({"password": PASSWORD})).await;
        assert_eq!(changed.refusal(), (422, "weak_password"));
        // Nobody answers: open, unless the project says closed.
        let gone = AuthSettings { password_hibp_url: Some("http://127.0.0.1:9".into()), ..settings };
        let body = |name: &str| json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        assert_eq!(api.with(gone.clone()).post("/signup", body("b")).await.status, StatusCode::OK);
        let closed = AuthSettings { password_hibp_fail_closed: true, ..gone };
        assert_eq!(
            api.with(closed).post("/signup", body("c")).await.status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
    });
}

fn split(password: &str) -> (String, String) {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let hash = digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X}").unwrap();
        text
    });
    let (prefix, rest) = hash.split_at(5);
    (prefix.to_owned(), rest.to_owned())
}

#[test]
fn sessions_end_by_age_by_silence_and_by_a_newer_login() {
    testkit::run(async {
        let api = Api::new("limits", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let boxed = api.with(AuthSettings { sessions_timebox: 1000, ..AuthSettings::default() });
        // Real time passes too, more of it on a busy machine.
        api.wait(980);
        let session = Session::of(&boxed.refresh(&session.refresh).await);
        api.wait(20);
        let over = boxed.refresh(&session.refresh).await;
        assert_eq!(over.refusal(), (400, "session_expired"));
        assert_eq!(over.body["msg"], "Invalid Refresh Token: Session Expired");

        let idle = api.with(AuthSettings { sessions_inactivity_timeout: 1000, ..AuthSettings::default() });
        let mut session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        for _ in 0..3 {
            api.wait(980);
            session = Session::of(&idle.refresh(&session.refresh).await);
        }
        api.wait(1000);
        let over = idle.refresh(&session.refresh).await;
        assert_eq!(over.body["msg"], "Invalid Refresh Token: Session Expired (Inactivity)");

        let single = api.with(AuthSettings { sessions_single_per_user: true, ..AuthSettings::default() });
        let first = Session::of(&single.sign_in("ada@example.com", PASSWORD).await);
        api.wait(1);
        let second = Session::of(&single.sign_in("ada@example.com", PASSWORD).await);
        assert_eq!(single.get("/user", Some(&first.access)).await.refusal(), (403, "session_not_found"));
        let over = single.refresh(&first.refresh).await;
        assert_eq!(over.body["msg"], "Invalid Refresh Token: Session Expired (Revoked by Newer Login)");
        assert_eq!(single.refresh(&second.refresh).await.status, StatusCode::OK);
    });
}

#[test]
fn mails_say_what_the_project_wants() {
    testkit::run(async {
        let template = MailTemplate {
            subject: Some("Hello {{ .Data.name }}\r\nBcc: x@y.z".into()),
            content: Some("<p>{{ .Data.name }} {{ .Token }} <a href=\"{{ .ConfirmationURL }}\">x</a> {{ .TokenHash }}</p>".into()),
        };
        let settings = AuthSettings {
            mailer_autoconfirm: false,
            mailer_templates: [("confirmation".to_owned(), template)].into(),
            ..AuthSettings::default()
        };
        let api = Api::new("words", settings).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "data": {"name": "<Ada>"}});
        assert_eq!(api.post("/signup", body).await.status, StatusCode::OK);
        let mail = api.mail();
        assert_eq!(mail.subject, "Hello <Ada>  Bcc: x@y.z");
        assert!(mail.html.starts_with("<p>&lt;Ada&gt; "), "{}", mail.html);
        let hash = mail.html.split_once("</a> ").unwrap().1.trim_end_matches("</p>").to_owned();
        let verified = api.post("/verify", json!({"type": "signup", "token_hash": hash})).await;
        assert_eq!(verified.status, StatusCode::OK, "{}", verified.body);
    });
}
