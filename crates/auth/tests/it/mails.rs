//! Which mails are sent, and how many.

use common::AuthSettings;
use serde_json::json;

use crate::support::{Api, PASSWORD};

fn confirming() -> AuthSettings {
    AuthSettings { mailer_autoconfirm: false, ..AuthSettings::default() }
}

#[test]
fn one_address_gets_one_mail_a_minute() {
    testkit::run(async {
        let api = Api::new("frequency", confirming()).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body.clone()).await.status, 200);
        let answer = api.post("/signup", body).await;
        assert_eq!(answer.refusal(), (429, "over_email_send_rate_limit"));
        let message = answer.body["msg"].as_str().unwrap();
        assert!(message.starts_with("For security purposes, you can only request this after "), "{message}");
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(api.inbox.list().len(), 1);
        api.wait(61);
        let body = json!({"type": "signup", "email": "ada@example.com"});
        assert_eq!(api.post("/resend", body).await.status, 200);
        assert_eq!(api.inbox.list().len(), 2);
    });
}

#[test]
fn an_unknown_address_is_answered_as_a_known_one() {
    testkit::run(async {
        let api = Api::new("enumeration", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        for address in ["ada@example.com", "nobody@example.com"] {
            let first = api.post("/recover", json!({"email": address})).await;
            assert_eq!((first.status.as_u16(), first.body), (200, json!({})), "{address}");
            let second = api.post("/recover", json!({"email": address})).await;
            assert_eq!(second.refusal(), (429, "over_email_send_rate_limit"), "{address}");
        }
        assert!(api.inbox.list().iter().all(|it| it.to == "ada@example.com"));
    });
}

#[test]
fn no_order_of_requests_tells_a_known_address_from_an_unknown_one() {
    testkit::run(async {
        let settings = AuthSettings { mail_max_per_hour: 8, ..AuthSettings::default() };
        let api = Api::new("sequence", settings).await;
        api.sign_up("ada@example.com").await;
        let mut told = Vec::new();
        for address in ["ada@example.com", "nobody@example.com"] {
            let mut statuses = Vec::new();
            for (path, kind) in [
                ("/recover", None),
                ("/resend", Some("signup")),
                ("/resend", Some("email_change")),
                ("/recover", None),
            ] {
                let body = json!({"email": address, "type": kind});
                statuses.push(api.post(path, body).await.status.as_u16());
            }
            told.push(statuses);
        }
        assert_eq!(told[0], [200, 200, 200, 429]);
        assert_eq!(told[0], told[1]);
        // Six of the hour's eight mails are gone, whether they were sent or not.
        api.sign_up("bob@example.com").await;
        let mut left = Vec::new();
        for name in ["eve", "eve.b", "eve.c", "bob"] {
            let body = json!({"email": format!("{name}@example.com")});
            left.push(api.post("/recover", body).await.status.as_u16());
        }
        assert_eq!(left, [200, 200, 429, 429]);
    });
}

#[test]
fn a_project_sends_so_many_mails_an_hour() {
    testkit::run(async {
        let api = Api::new("hourly", AuthSettings { mail_max_per_hour: 3, ..confirming() }).await;
        let sign_up = |idx: u32| {
            api.post("/signup", json!({"email": format!("user{idx}@example.com"), "password": PASSWORD}))
        };
        for idx in 0..3 {
            assert_eq!(sign_up(idx).await.status, 200);
        }
        let answer = sign_up(3).await;
        assert_eq!(answer.refusal(), (429, "over_email_send_rate_limit"));
        assert_eq!(answer.body["msg"], "email rate limit exceeded");
        api.wait(3600);
        assert_eq!(sign_up(3).await.status, 200);
    });
}

#[test]
fn bad_requests_for_mails_are_refused() {
    testkit::run(async {
        let api = Api::new("badmails", AuthSettings::default()).await;
        let cases = [
            ("/recover", json!({}), "Password recovery requires an email"),
            ("/recover", json!({"email": "x"}), "Unable to validate email address: invalid format"),
            ("/otp", json!({}), "One of email or phone must be set"),
            (
                "/otp",
                json!({"email": "a@b.c", "phone": "1"}),
                "Only an email address or phone number should be provided",
            ),
            (
                "/otp",
                json!({"email": "a@b.c", "channel": "sms"}),
                "Channel should only be specified with Phone OTP",
            ),
            ("/resend", json!({}), "Missing one of these types: signup, email_change, sms, phone_change"),
            ("/resend", json!({"type": "signup"}), "Missing email address or phone number"),
            ("/resend", json!({"type": "sms", "email": "a@b.c"}), "Type provided requires a phone number"),
            ("/resend", json!({"type": "signup", "phone": "1"}), "Type provided requires an email address"),
        ];
        for (path, body, message) in cases {
            let answer = api.post(path, body.clone()).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{path} {body}");
            assert_eq!(answer.body["msg"], message, "{path} {body}");
        }
    });
}
