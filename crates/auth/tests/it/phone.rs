//! Sign-up, sign-in and changes by phone number, with codes from the development inbox.

use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, PASSWORD, Session, other_code, sms_of};

const NUMBER: &str = "+49 170 1234567";
const DIGITS: &str = "491701234567";

fn by_phone() -> AuthSettings {
    AuthSettings { phone_enabled: true, sms_max_frequency_secs: 0, ..AuthSettings::default() }
}

async fn verify(api: &Api, kind: &str, phone: &str, code: &str) -> Answer {
    api.post("/verify", json!({"type": kind, "phone": phone, "token": code})).await
}

async fn sign_in(api: &Api, phone: &str) -> Answer {
    api.post("/token?grant_type=password", json!({"phone": phone, "password": PASSWORD})).await
}

#[test]
fn a_number_is_confirmed_by_the_code_sent_to_it() {
    testkit::run(async {
        let api = Api::new("phone", by_phone()).await;
        let body = json!({"phone": NUMBER, "password": PASSWORD, "data": {"name": "Ada"}});
        let answer = api.post("/signup", body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["phone"], DIGITS);
        assert_eq!(answer.body["app_metadata"], json!({"provider": "phone", "providers": ["phone"]}));
        assert_eq!(answer.body["identities"][0]["provider"], "phone");
        assert!(answer.body.get("access_token").is_none());
        assert_eq!(sign_in(&api, NUMBER).await.refusal(), (400, "phone_not_confirmed"));
        let code = sms_of(&api.mail());
        assert_eq!(api.mail().to, format!("+{DIGITS}"));
        assert_eq!(verify(&api, "sms", NUMBER, &other_code(&code)).await.refusal(), (403, "otp_expired"));
        assert_eq!(verify(&api, "phone_change", NUMBER, &code).await.refusal(), (403, "otp_expired"));
        let answer = verify(&api, "sms", NUMBER, &code).await;
        let session = Session::of(&answer);
        assert!(answer.body["user"]["phone_confirmed_at"].is_string());
        assert_eq!(answer.body["user"]["identities"][0]["identity_data"]["phone_verified"], true);
        assert_eq!(verify(&api, "sms", NUMBER, &code).await.refusal(), (403, "otp_expired"));
        assert_eq!(api.get("/user", Some(&session.access)).await.body["phone"], DIGITS);
        assert_eq!(sign_in(&api, NUMBER).await.status, 200);
        // Taken, and it does not show.
        let again = api.post("/signup", body).await;
        assert_eq!((again.status.as_u16(), &again.body["phone"]), (200, &json!(DIGITS)));
        assert_ne!(again.body["id"], json!(session.user_id));
    });
}

#[test]
fn a_number_counts_at_once_where_sms_confirmations_are_off() {
    testkit::run(async {
        let api = Api::new("smsauto", AuthSettings { sms_autoconfirm: true, ..by_phone() }).await;
        let body = json!({"phone": NUMBER, "password": PASSWORD});
        let session = Session::of(&api.post("/signup", body.clone()).await);
        assert_eq!(api.get("/user", Some(&session.access)).await.body["phone"], DIGITS);
        assert_eq!(api.post("/signup", body).await.refusal(), (422, "user_already_exists"));
        let put = json!({"phone": "+4917000"});
        let answer = api.call(Method::PUT, "/user", Some(&session.access), put).await;
        assert_eq!(answer.body["phone"], "4917000", "{}", answer.body);
        assert!(api.inbox.list().is_empty());
    });
}

#[test]
fn a_code_by_sms_signs_new_and_known_users_in() {
    testkit::run(async {
        let api = Api::new("smsotp", by_phone()).await;
        let quiet = json!({"phone": NUMBER, "create_user": false});
        assert_eq!(api.post("/otp", quiet).await.refusal(), (422, "otp_disabled"));
        let closed = api.with(AuthSettings { disable_signup: true, ..by_phone() });
        assert_eq!(closed.post("/otp", json!({"phone": NUMBER})).await.refusal(), (422, "signup_disabled"));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer = api.post("/otp", json!({"phone": NUMBER, "data": {"x": 1}})).await;
            assert_eq!((answer.status.as_u16(), answer.body), (200, json!({})));
            let answer = verify(&api, "sms", DIGITS, &sms_of(&api.mail())).await;
            assert_eq!(answer.body["user"]["user_metadata"]["x"], 1, "{}", answer.body);
            ids.push(Session::of(&answer).user_id);
        }
        assert_eq!(ids[0], ids[1]);
    });
}

#[test]
fn a_number_gets_one_sms_a_minute_and_a_project_so_many_an_hour() {
    testkit::run(async {
        let settings = AuthSettings { sms_max_frequency_secs: 60, sms_max_per_hour: 2, ..by_phone() };
        let api = Api::new("smslimits", settings).await;
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.status, 200);
        let answer = api.post("/otp", json!({"phone": NUMBER})).await;
        assert_eq!(answer.refusal(), (429, "over_sms_send_rate_limit"));
        let message = answer.body["msg"].as_str().unwrap();
        assert!(message.starts_with("For security purposes, you can only request this after "), "{message}");
        assert!(answer.headers.contains_key("retry-after"));
        api.wait(61);
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.status, 200);
        let answer = api.post("/otp", json!({"phone": "+1555000"})).await;
        assert_eq!(answer.refusal(), (429, "over_sms_send_rate_limit"));
        assert_eq!(answer.body["msg"], "SMS rate limit exceeded");
        assert_eq!(api.inbox.list().len(), 2);
    });
}

#[test]
fn codes_by_sms_die_with_time_and_after_ten_guesses() {
    testkit::run(async {
        let api = Api::new("smsguess", by_phone()).await;
        api.post("/otp", json!({"phone": NUMBER})).await;
        let code = sms_of(&api.mail());
        api.wait(61);
        assert_eq!(verify(&api, "sms", NUMBER, &code).await.refusal(), (403, "otp_expired"));
        let again = api.post("/resend", json!({"type": "sms", "phone": NUMBER})).await;
        assert_eq!((again.status.as_u16(), again.body), (200, json!({})));
        let code = sms_of(&api.mail());
        for _ in 0..10 {
            let answer = verify(&api, "sms", NUMBER, &other_code(&code)).await;
            assert_eq!(answer.refusal(), (403, "otp_expired"));
        }
        assert_eq!(verify(&api, "sms", NUMBER, &code).await.refusal(), (403, "otp_expired"));
    });
}

#[test]
fn a_resent_code_tells_nothing_about_a_number() {
    testkit::run(async {
        let settings = AuthSettings { sms_max_frequency_secs: 60, ..by_phone() };
        let api = Api::new("smsunknown", settings).await;
        api.post("/otp", json!({"phone": NUMBER})).await;
        api.wait(61);
        for phone in [NUMBER, "+1555000"] {
            let body = json!({"type": "sms", "phone": phone});
            let first = api.post("/resend", body.clone()).await;
            assert_eq!((first.status.as_u16(), first.body), (200, json!({})), "{phone}");
            let second = api.post("/resend", body).await;
            assert_eq!(second.refusal(), (429, "over_sms_send_rate_limit"), "{phone}");
        }
        assert_eq!(api.inbox.list().len(), 2);
    });
}

#[test]
fn a_new_number_needs_the_code_sent_to_it() {
    testkit::run(async {
        let api = Api::new("newnumber", by_phone()).await;
        api.post("/otp", json!({"phone": "+1555000"})).await;
        let other = Session::of(&verify(&api, "sms", "+1555000", &sms_of(&api.mail())).await);
        let session = api.sign_up("ada@example.com").await;
        let put = |body: Value| api.call(Method::PUT, "/user", Some(&session.access), body);
        assert_eq!(put(json!({"phone": "+1555000"})).await.refusal(), (422, "phone_exists"));
        assert_eq!(put(json!({"phone": "01555"})).await.refusal(), (400, "validation_failed"));
        let answer = put(json!({"phone": NUMBER})).await;
        assert_eq!((&answer.body["new_phone"], &answer.body["phone"]), (&json!(DIGITS), &json!("")));
        // Somebody else wants the same number: each code proves its own user's wish.
        let code = sms_of(&api.mail());
        let theirs = json!({"phone": NUMBER});
        assert_eq!(api.call(Method::PUT, "/user", Some(&other.access), theirs).await.status, 200);
        let answer = verify(&api, "phone_change", NUMBER, &code).await;
        assert_eq!(Session::of(&answer).user_id, session.user_id);
        assert_eq!(answer.body["user"]["phone"], DIGITS);
        assert_eq!(answer.body["user"]["app_metadata"]["providers"], json!(["email", "phone"]));
        let stolen = verify(&api, "phone_change", NUMBER, &sms_of(&api.mail())).await;
        assert_eq!(stolen.refusal(), (422, "phone_exists"));
        let resend = json!({"type": "phone_change", "phone": "+1555000"});
        assert_eq!(api.post("/resend", resend).await.status, 200);
        assert_eq!(sign_in(&api, NUMBER).await.status, 200);
    });
}

#[test]
fn a_number_for_tests_gets_no_sms() {
    testkit::run(async {
        let fixed = [(DIGITS.to_owned(), "000000".to_owned())].into();
        let api = Api::new("testotp", AuthSettings { sms_test_otps: fixed, ..by_phone() }).await;
        let answer = api.post("/otp", json!({"phone": NUMBER})).await;
        assert_eq!(answer.body, json!({"message_id": "test-otp"}));
        assert!(api.inbox.list().is_empty());
        assert_eq!(verify(&api, "sms", NUMBER, "000001").await.refusal(), (403, "otp_expired"));
        assert_eq!(verify(&api, "sms", NUMBER, "000000").await.status, 200);
        assert_eq!(verify(&api, "sms", NUMBER, "000000").await.refusal(), (403, "otp_expired"));
    });
}

#[test]
fn without_phone_sign_in_numbers_are_refused() {
    testkit::run(async {
        let api = Api::new("nophone", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let cases = [
            ("/signup", json!({"phone": NUMBER, "password": PASSWORD}), 400, "Phone signups are disabled"),
            (
                "/token?grant_type=password",
                json!({"phone": NUMBER, "password": PASSWORD}),
                422,
                "Phone logins are disabled",
            ),
            ("/otp", json!({"phone": NUMBER}), 400, "Unsupported phone provider"),
            ("/resend", json!({"type": "sms", "phone": NUMBER}), 400, "Phone logins are disabled"),
        ];
        for (path, body, status, message) in cases {
            let answer = api.post(path, body).await;
            assert_eq!(answer.refusal(), (status, "phone_provider_disabled"), "{path}");
            assert_eq!(answer.body["msg"], message, "{path}");
        }
        let put = json!({"phone": NUMBER});
        let answer = api.call(Method::PUT, "/user", Some(&session.access), put).await;
        assert_eq!(answer.refusal(), (400, "phone_provider_disabled"));
    });
}

#[test]
fn bad_requests_by_phone_are_refused() {
    testkit::run(async {
        let api = Api::new("badphones", by_phone()).await;
        let channel = "Invalid channel, supported values are 'sms' or 'whatsapp'. 'whatsapp' is only supported if \
                       Twilio or Twilio Verify is used as the provider.";
        let e164 = "Invalid phone number format (E.164 required)";
        let challenge = "c".repeat(43);
        let cases = [
            ("/signup", json!({"phone": "01", "password": PASSWORD}), e164),
            ("/signup", json!({"phone": NUMBER, "password": PASSWORD, "channel": "pigeon"}), channel),
            ("/signup", json!({"phone": NUMBER, "password": PASSWORD, "channel": "whatsapp"}), channel),
            ("/signup", json!({"phone": NUMBER}), "Signup requires a valid password"),
            (
                "/signup",
                json!({"phone": NUMBER, "email": "a@b.c", "password": PASSWORD}),
                "Only an email address or phone number should be provided on signup.",
            ),
            (
                "/signup",
                json!({"phone": NUMBER, "password": PASSWORD, "code_challenge": challenge,
                    "code_challenge_method": "s256"}),
                "PKCE not supported for phone signups",
            ),
            ("/otp", json!({"phone": "x"}), e164),
            ("/otp", json!({"phone": NUMBER, "channel": "fax"}), channel),
            (
                "/token?grant_type=password",
                json!({"phone": NUMBER, "email": "a@b.c"}),
                "Only an email address or phone number should be provided on login.",
            ),
            ("/verify", json!({"type": "sms", "phone": "x", "token": "1"}), e164),
            ("/verify", json!({"type": "sms", "token_hash": "x"}), "Invalid email verification type"),
            ("/resend", json!({"type": "phone_change"}), "Type provided requires a phone number"),
            ("/resend", json!({"type": "sms", "phone": "x"}), e164),
            (
                "/resend",
                json!({"type": "sms", "phone": NUMBER, "email": "a@b.c"}),
                "Only an email address or phone number should be provided.",
            ),
        ];
        for (path, body, message) in cases {
            let answer = api.post(path, body.clone()).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{path} {body}");
            assert_eq!(answer.body["msg"], message, "{path} {body}");
        }
        let unknown = json!({"phone": "++", "password": PASSWORD});
        let answer = api.post("/token?grant_type=password", unknown).await;
        assert_eq!(answer.refusal(), (400, "invalid_credentials"));
        for body in [
            json!({"type": "sms", "email": "a@b.c", "token": "123456"}),
            json!({"type": "email", "phone": NUMBER, "token": "123456"}),
        ] {
            assert_eq!(api.post("/verify", body).await.refusal(), (403, "otp_expired"));
        }
        let mail = json!({"type": "email", "email": "nonsense", "token": "123456"});
        assert_eq!(api.post("/verify", mail).await.refusal(), (422, "validation_failed"));
    });
}
