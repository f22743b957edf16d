//! Second factors: authenticator apps and codes by SMS.

use common::{AuthSettings, FactorUse, HookSettings};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use uuid::Uuid;

use crate::support::{Answer, Api, PASSWORD, Session, other_code, sms_of};

fn with_factors() -> AuthSettings {
    AuthSettings {
        phone_enabled: true,
        anonymous_users: true,
        sms_max_frequency_secs: 0,
        mfa_phone: FactorUse::On,
        mfa_webauthn: FactorUse::On,
        ..AuthSettings::default()
    }
}

pub(crate) async fn post(api: &Api, session: &Session, path: &str, body: Value) -> Answer {
    api.call(Method::POST, path, Some(&session.access), body).await
}

/// An authenticator app, enrolled.
struct App {
    id: String,
    secret: String,
}

impl App {
    async fn enroll(api: &Api, session: &Session, name: &str) -> Self {
        let body = json!({"factor_type": "totp", "friendly_name": name});
        let answer = post(api, session, "/factors", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        Self { id: text(&answer.body["id"]), secret: text(&answer.body["totp"]["secret"]) }
    }

    fn code(&self, now_secs: i64) -> String {
        let secret = Secret::try_from_base32(&self.secret).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        totp.generate(u64::try_from(now_secs).unwrap()).to_string()
    }

    async fn verify(&self, api: &Api, session: &Session, code: &str) -> Answer {
        let challenge = challenge(api, session, &self.id).await;
        answer(api, session, (&self.id, &challenge), code).await
    }
}

async fn challenge(api: &Api, session: &Session, factor: &str) -> String {
    let answer = post(api, session, &format!("/factors/{factor}/challenge"), Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn answer(api: &Api, session: &Session, (factor, challenge): (&str, &str), code: &str) -> Answer {
    let body = json!({"challenge_id": challenge, "code": code});
    post(api, session, &format!("/factors/{factor}/verify"), body).await
}

/// The claims of an access token.
pub(crate) fn claims(session: &Session) -> Value {
    use base64::Engine as _;
    let payload = session.access.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn methods(session: &Session) -> Vec<String> {
    let claims = claims(session);
    claims["amr"].as_array().unwrap().iter().map(|it| it["method"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_app_makes_the_session_one_of_level_two_and_ends_the_others() {
    testkit::run(async {
        let api = Api::new("totp", with_factors()).await;
        let other = api.sign_up("ada@example.com").await;
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        assert_eq!(
            (claims(&session)["aal"].clone(), methods(&session)),
            (json!("aal1"), vec!["password".into()])
        );
        let body = json!({"factor_type": "totp", "friendly_name": "phone", "issuer": "Board"});
        let enrolled = post(&api, &session, "/factors", body).await;
        assert_eq!(
            (&enrolled.body["type"], &enrolled.body["friendly_name"]),
            (&json!("totp"), &json!("phone"))
        );
        let totp = &enrolled.body["totp"];
        assert!(totp["qr_code"].as_str().unwrap().starts_with("<svg "));
        assert!(totp["uri"].as_str().unwrap().starts_with("otpauth://totp/Board:ada%40example.com?"));
        let app = App {
            id: enrolled.body["id"].as_str().unwrap().into(),
            secret: totp["secret"].as_str().unwrap().into(),
        };
        let waiting = challenge(&api, &session, &app.id).await;
        let code = app.code(api.now_secs());
        let wrong = answer(&api, &session, (&app.id, &waiting), &other_code(&code)).await;
        assert_eq!(
            (wrong.refusal(), &wrong.body["msg"]),
            ((422, "mfa_verification_failed"), &json!("Invalid TOTP code entered"))
        );
        let right = answer(&api, &session, (&app.id, &waiting), &code).await;
        let strong = Session::of(&right);
        assert_eq!(claims(&strong)["aal"], "aal2");
        assert_eq!(claims(&strong)["session_id"], claims(&session)["session_id"]);
        let mut amr = methods(&strong);
        amr.sort();
        assert_eq!(amr, ["password", "totp"]);
        assert_eq!(right.body["user"]["factors"][0]["status"], "verified");
        assert!(right.body["user"]["factors"][0].get("secret").is_none());
        // Whoever has not shown the factor is out; this session went on.
        assert_eq!(api.get("/user", Some(&other.access)).await.refusal(), (403, "session_not_found"));
        let refreshed = Session::of(&api.refresh(&strong.refresh).await);
        assert_eq!(claims(&refreshed)["aal"], "aal2");
        // A challenge is answered once, and a code is good once.
        let again = answer(&api, &strong, (&app.id, &waiting), &code).await;
        assert_eq!(again.refusal(), (422, "mfa_ip_address_mismatch"));
        let replay = app.verify(&api, &strong, &code).await;
        assert_eq!(replay.refusal(), (422, "mfa_verification_failed"));
        api.wait(30);
        assert_eq!(app.verify(&api, &strong, &app.code(api.now_secs())).await.status, 200);
    });
}

#[test]
fn a_client_that_missed_the_new_tokens_gets_them_by_the_old_one() {
    testkit::run(async {
        let api = Api::new("missed", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let strong = Session::of(&app.verify(&api, &session, &app.code(api.now_secs())).await);
        // The old token, as if another tab had not heard: the same successor, at any time.
        api.wait(60);
        let repeated = Session::of(&api.refresh(&session.refresh).await);
        assert_eq!(repeated.refresh, strong.refresh);
        assert_eq!(claims(&repeated)["aal"], "aal2");
        let next = Session::of(&api.refresh(&strong.refresh).await);
        assert_ne!(next.refresh, strong.refresh);
        // Two steps back is a stolen token.
        api.wait(60);
        assert_eq!(api.refresh(&session.refresh).await.refusal(), (400, "refresh_token_already_used"));
        assert_eq!(api.refresh(&next.refresh).await.refusal(), (400, "refresh_token_not_found"));
    });
}

#[test]
fn secrets_are_sealed_and_imported_ones_become_so() {
    testkit::run(async {
        let api = Api::new("sealed", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let admin = api.test.admin().await;
        let stored = async || -> String {
            admin.query_one("select secret from auth.mfa_factors", &[]).await.unwrap().get(0)
        };
        assert!(!stored().await.contains(&app.secret));
        // As Supabase's own service stores it by default.
        admin.execute("update auth.mfa_factors set secret = $1", &[&app.secret]).await.unwrap();
        assert_eq!(app.verify(&api, &session, &app.code(api.now_secs())).await.status, 200);
        assert!(!stored().await.contains(&app.secret));
        api.wait(30);
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        assert_eq!(app.verify(&api, &session, &app.code(api.now_secs())).await.status, 200);
    });
}

#[test]
fn a_code_sent_twenty_times_at_once_is_good_once() {
    testkit::run(async {
        let api = Api::new("totprace", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let mut challenges = Vec::new();
        for _ in 0..5 {
            challenges.push(challenge(&api, &session, &app.id).await);
        }
        let code = app.code(api.now_secs());
        let answers = futures_util::future::join_all(
            challenges.iter().map(|it| answer(&api, &session, (&app.id, it), &code)),
        )
        .await;
        let right = answers.iter().filter(|it| it.status == 200).count();
        assert_eq!(right, 1, "{:?}", answers.iter().map(|it| it.body.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn guessing_at_a_factor_ends_after_ten_codes() {
    testkit::run(async {
        // What is bounded here is the factor, not the address.
        let settings = AuthSettings { rate_limit_mfa: 1000, ..with_factors() };
        let api = Api::new("totpguess", settings).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let code = app.code(api.now_secs());
        // Another challenge buys no other guesses, nor do many at once.
        let mut challenges = Vec::new();
        for _ in 0..3 {
            challenges.push(challenge(&api, &session, &app.id).await);
        }
        let wrong = other_code(&code);
        let guesses = (0..12).map(|it| answer(&api, &session, (&app.id, &challenges[it % 3]), &wrong));
        let answers = futures_util::future::join_all(guesses).await;
        let mut statuses: Vec<u16> = answers.iter().map(|it| it.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![422; 10], vec![429; 2]].concat());
        let limited = app.verify(&api, &session, &code).await;
        assert_eq!(limited.refusal(), (429, "over_request_rate_limit"));
        assert!(limited.headers.contains_key("retry-after"));
        api.wait(301);
        assert_eq!(app.verify(&api, &session, &app.code(api.now_secs())).await.status, 200);
    });
}

#[test]
fn a_code_by_sms_is_a_second_factor() {
    testkit::run(async {
        let api = Api::new("mfaphone", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let enroll = |body: Value| post(&api, &session, "/factors", body);
        let enrolled =
            enroll(json!({"factor_type": "phone", "friendly_name": "p", "phone": "+49 170 1"})).await;
        assert_eq!(enrolled.body["phone"], "491701", "{}", enrolled.body);
        // Nobody answered it: enrolling the number again stands in for it.
        let enrolled =
            enroll(json!({"factor_type": "phone", "friendly_name": "p", "phone": "+491701"})).await;
        let id = enrolled.body["id"].as_str().unwrap().to_owned();
        let waiting = challenge(&api, &session, &id).await;
        let code = sms_of(&api.mail());
        let wrong = answer(&api, &session, (&id, &waiting), &other_code(&code)).await;
        assert_eq!(
            (wrong.refusal(), &wrong.body["msg"]),
            ((422, "mfa_verification_failed"), &json!("Invalid MFA Phone code entered"))
        );
        let strong = Session::of(&answer(&api, &session, (&id, &waiting), &code).await);
        assert_eq!(claims(&strong)["aal"], "aal2");
        assert!(methods(&strong).contains(&"mfa/phone".to_owned()));
        let taken = json!({"factor_type": "phone", "friendly_name": "q", "phone": "+491701"});
        assert_eq!(
            post(&api, &strong, "/factors", taken).await.refusal(),
            (422, "mfa_verified_factor_exists")
        );
        let slow = api.with(AuthSettings { sms_max_frequency_secs: 60, ..with_factors() });
        let path = format!("/factors/{id}/challenge");
        let answer = post(&slow, &strong, &path, Value::Null).await;
        assert_eq!(answer.refusal(), (429, "over_sms_send_rate_limit"));
        let answer = post(&api, &strong, &path, json!({"channel": "pigeon"})).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn a_session_of_level_one_may_not_touch_the_account() {
    testkit::run(async {
        let api = Api::new("lowaal", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let strong = Session::of(&app.verify(&api, &session, &app.code(api.now_secs())).await);
        let weak = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        assert_eq!(claims(&weak)["aal"], "aal1");
        let put = |session: &Session, body: Value| {
            let access = session.access.clone();
            let api = &api;
            async move { api.call(Method::PUT, "/user", Some(&access), body).await }
        };
        for body in [json!({"email": "a@b.c"}), json!({"password": "another one"}), json!({"phone": "+1555"})]
        {
            assert_eq!(put(&weak, body).await.refusal(), (401, "insufficient_aal"));
        }
        assert_eq!(put(&weak, json!({"data": {"x": 1}})).await.status, 200);
        let second =
            post(&api, &weak, "/factors", json!({"factor_type": "totp", "friendly_name": "b"})).await;
        assert_eq!(second.refusal(), (403, "insufficient_aal"));
        let path = format!("/factors/{}", app.id);
        let removal = api.call(Method::DELETE, &path, Some(&weak.access), Value::Null).await;
        assert_eq!(removal.refusal(), (422, "insufficient_aal"));
        // Removed in a session that used it, which is of level 1 from then on.
        let removal = api.call(Method::DELETE, &path, Some(&strong.access), Value::Null).await;
        assert_eq!((removal.status, removal.body), (StatusCode::OK, json!({"id": app.id})));
        let after = Session::of(&api.refresh(&strong.refresh).await);
        assert_eq!(
            (claims(&after)["aal"].clone(), methods(&after)),
            (json!("aal1"), vec!["password".into()])
        );
        assert_eq!(put(&weak, json!({"password": "another one"})).await.status, 200);
    });
}

#[test]
fn factors_are_named_and_numbered() {
    testkit::run(async {
        let api = Api::new("limits", AuthSettings { mfa_max_factors: 2, ..with_factors() }).await;
        let session = api.sign_up("ada@example.com").await;
        let enroll = |name: &str| {
            post(&api, &session, "/factors", json!({"factor_type": "totp", "friendly_name": name}))
        };
        assert_eq!(enroll("a").await.status, 200);
        let taken = enroll("a").await;
        assert_eq!(taken.refusal(), (422, "mfa_factor_name_conflict"));
        assert_eq!(taken.body["msg"], "A factor with the friendly name \"a\" for this user already exists");
        assert_eq!(enroll("b").await.status, 200);
        assert_eq!(enroll("c").await.refusal(), (422, "too_many_enrolled_mfa_factors"));
        // What nobody answered within an hour makes room.
        api.wait(3601);
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        let body = json!({"factor_type": "totp", "friendly_name": "c"});
        assert_eq!(post(&api, &session, "/factors", body).await.status, 200);
        let none = json!({"factor_type": "totp", "friendly_name": "x".repeat(256)});
        assert_eq!(post(&api, &session, "/factors", none).await.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn twenty_enrollments_at_once_keep_the_limit() {
    testkit::run(async {
        let api = Api::new("enrollrace", AuthSettings { mfa_max_factors: 3, ..with_factors() }).await;
        let session = api.sign_up("ada@example.com").await;
        let enroll = |it: usize| {
            let body = json!({"factor_type": "totp", "friendly_name": format!("f{it}")});
            post(&api, &session, "/factors", body)
        };
        futures_util::future::join_all((0..20).map(enroll)).await;
        let admin = api.test.admin().await;
        let row = admin.query_one("select count(*) from auth.mfa_factors", &[]).await.unwrap();
        assert!((1..=3).contains(&row.get::<_, i64>(0)), "{}", row.get::<_, i64>(0));
    });
}

#[test]
fn challenges_expire_and_belong_to_one_factor() {
    testkit::run(async {
        let api = Api::new("challenges", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let (app, other) = (App::enroll(&api, &session, "a").await, App::enroll(&api, &session, "b").await);
        let waiting = challenge(&api, &session, &app.id).await;
        let code = app.code(api.now_secs());
        let foreign = answer(&api, &session, (&other.id, &waiting), &code).await;
        assert_eq!(foreign.refusal(), (422, "mfa_factor_not_found"));
        assert_eq!(foreign.body["msg"], "MFA factor with the provided challenge ID not found");
        let admin = api.test.admin().await;
        admin.execute("update auth.mfa_challenges set ip_address = '10.0.0.1'", &[]).await.unwrap();
        let moved = answer(&api, &session, (&app.id, &waiting), &code).await;
        assert_eq!(moved.refusal(), (422, "mfa_ip_address_mismatch"));
        let waiting = challenge(&api, &session, &app.id).await;
        api.wait(301);
        let late = answer(&api, &session, (&app.id, &waiting), &app.code(api.now_secs())).await;
        assert_eq!(late.refusal(), (422, "mfa_challenge_expired"));
        let told = format!(
            "MFA challenge {waiting} has expired, verify against another challenge or create a new challenge."
        );
        assert_eq!(late.body["msg"], told);
    });
}

#[test]
fn bad_requests_about_factors_are_refused() {
    testkit::run(async {
        let api = Api::new("badfactors", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let (verify, stranger) = (format!("/factors/{}/verify", app.id), Uuid::new_v4());
        let cases = [
            ("/factors".to_owned(), json!({}), 400, "factor_type needs to be totp, phone, or webauthn"),
            (
                "/factors".into(),
                json!({"factor_type": "phone"}),
                400,
                "Phone number required to enroll Phone factor",
            ),
            (
                "/factors".into(),
                json!({"factor_type": "phone", "phone": "x"}),
                400,
                "Invalid phone number format (E.164 required)",
            ),
            (verify.clone(), json!({"challenge_id": stranger}), 400, "Code needs to be non-empty"),
            ("/factors/x/verify".into(), json!({"code": "1"}), 404, "factor_id must be an UUID"),
            (format!("/factors/{stranger}/challenge"), json!({}), 404, "Factor not found"),
            (
                verify.clone(),
                json!({"code": "123456"}),
                422,
                "MFA factor with the provided challenge ID not found",
            ),
        ];
        for (path, body, status, message) in cases {
            let answer = post(&api, &session, &path, body).await;
            assert_eq!((answer.status.as_u16(), &answer.body["msg"]), (status, &json!(message)), "{path}");
        }
        let no_id = post(&api, &session, &verify, json!({"code": "1", "challenge_id": "x"})).await;
        assert_eq!(no_id.refusal(), (400, "bad_json"));
        assert_eq!(
            api.post("/factors", json!({"factor_type": "totp"})).await.refusal(),
            (401, "no_authorization")
        );
        let nobody = Session::of(&api.post("/signup", json!({})).await);
        let answer = post(&api, &nobody, "/factors", json!({"factor_type": "totp"})).await;
        assert_eq!(answer.refusal(), (403, "no_authorization"));
        assert_eq!(answer.body["msg"], "Anonymous user not allowed to perform these actions");
        // Factors of somebody else do not exist.
        let other = api.sign_up("bob@example.com").await;
        let theirs = post(&api, &other, &format!("/factors/{}/challenge", app.id), Value::Null).await;
        assert_eq!(theirs.refusal(), (404, "mfa_factor_not_found"));
    });
}

#[test]
fn kinds_of_factors_are_switched_off_one_by_one() {
    testkit::run(async {
        let api = Api::new("kinds", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let mut ids = Vec::new();
        for (kind, phone) in [("totp", None), ("phone", Some("+1555")), ("webauthn", None)] {
            let body = json!({"factor_type": kind, "friendly_name": kind, "phone": phone});
            ids.push((
                kind,
                post(&api, &session, "/factors", body).await.body["id"].as_str().unwrap().to_owned(),
            ));
        }
        let off = api.with(AuthSettings {
            mfa_totp: FactorUse::Off,
            mfa_phone: FactorUse::Off,
            mfa_webauthn: FactorUse::Off,
            ..with_factors()
        });
        let refusals = [
            (
                (422, "mfa_totp_enroll_not_enabled"),
                (422, "mfa_totp_verify_not_enabled"),
                (422, "mfa_totp_verify_not_enabled"),
            ),
            (
                (422, "mfa_phone_enroll_not_enabled"),
                (422, "mfa_phone_verify_not_enabled"),
                (422, "mfa_phone_verify_not_enabled"),
            ),
            // As GoTrue has it.
            (
                (422, "mfa_webauthn_enroll_not_enabled"),
                (422, "mfa_webauthn_verify_not_enabled"),
                (422, "mfa_webauthn_enroll_not_enabled"),
            ),
        ];
        for ((kind, id), refusals) in ids.into_iter().zip(refusals) {
            let enroll =
                post(&off, &session, "/factors", json!({"factor_type": kind, "friendly_name": "x"})).await;
            assert_eq!(enroll.refusal(), refusals.0);
            let challenge = post(&off, &session, &format!("/factors/{id}/challenge"), Value::Null).await;
            assert_eq!(challenge.refusal(), refusals.1);
            let body = json!({"challenge_id": Uuid::new_v4(), "code": "1"});
            let verify = post(&off, &session, &format!("/factors/{id}/verify"), body).await;
            assert_eq!(verify.refusal(), refusals.2);
            assert!(verify.body["msg"].as_str().unwrap().starts_with("MFA verification is disabled for "));
        }
        // Those that there are may still be used, new ones not.
        let old = api.with(AuthSettings { mfa_totp: FactorUse::Verify, ..with_factors() });
        let enroll = post(&old, &session, "/factors", json!({"factor_type": "totp"})).await;
        assert_eq!(enroll.refusal(), (422, "mfa_totp_enroll_not_enabled"));
    });
}

#[test]
fn a_hook_may_reject_an_answer_and_with_it_the_user() {
    testkit::run(async {
        let hook =
            HookSettings { enabled: true, uri: "pg-functions://postgres/public/judge".into(), secrets: None };
        let settings = AuthSettings { hook_mfa_verification_attempt: hook, ..with_factors() };
        let api = Api::new("factorhook", settings).await;
        let text = "create function public.judge(event jsonb) returns jsonb language sql as $$ select case \
                    when (event ->> 'valid')::boolean then '{\"decision\": \"continue\"}'::jsonb \
                    else '{\"decision\": \"reject\", \"message\": \"Enough\"}' end $$; \
                    grant execute on function public.judge(jsonb) to supabase_auth_admin; \
                    grant usage on schema public to supabase_auth_admin;";
        api.test.owner().await.batch_execute(text).await.unwrap();
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let code = app.code(api.now_secs());
        let session = Session::of(&app.verify(&api, &session, &code).await);
        let rejected = app.verify(&api, &session, &other_code(&code)).await;
        assert_eq!(rejected.refusal(), (403, "mfa_verification_rejected"));
        assert_eq!(rejected.body["msg"], "Enough");
        assert_eq!(api.get("/user", Some(&session.access)).await.refusal(), (403, "session_not_found"));
    });
}

#[test]
fn the_service_key_lists_renames_and_removes_factors() {
    testkit::run(async {
        let api = Api::new("adminfactors", with_factors()).await;
        let session = api.sign_up("ada@example.com").await;
        let app = App::enroll(&api, &session, "a").await;
        let strong = Session::of(&app.verify(&api, &session, &app.code(api.now_secs())).await);
        App::enroll(&api, &strong, "b").await;
        let base = format!("/admin/users/{}/factors", session.user_id);
        let path = format!("{base}/{}", app.id);
        let list = api.admin(Method::GET, &base, Value::Null).await;
        assert_eq!(
            (list.body[0]["id"].as_str(), list.body[0]["friendly_name"].as_str()),
            (Some(app.id.as_str()), Some("a"))
        );
        assert!(!list.body.to_string().contains("secret"), "{}", list.body);
        let renamed = api.admin(Method::PUT, &path, json!({"friendly_name": "c"})).await;
        assert_eq!((renamed.status.as_u16(), &renamed.body["friendly_name"]), (200, &json!("c")));
        let taken = api.admin(Method::PUT, &path, json!({"friendly_name": "b"})).await;
        assert_eq!(taken.refusal(), (422, "mfa_factor_name_conflict"));
        let gone = api.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!((gone.status.as_u16(), &gone.body["id"]), (200, &json!(app.id)));
        let after = Session::of(&api.refresh(&strong.refresh).await);
        assert_eq!(claims(&after)["aal"], "aal1");
        assert_eq!(
            api.admin(Method::DELETE, &path, Value::Null).await.refusal(),
            (404, "mfa_factor_not_found")
        );
        let cases = [
            (format!("{base}/x"), 404, "validation_failed"),
            (format!("/admin/users/{}/factors", Uuid::new_v4()), 404, "user_not_found"),
        ];
        for (path, status, code) in cases {
            let method = if path.ends_with("/x") { Method::DELETE } else { Method::GET };
            assert_eq!(api.admin(method, &path, Value::Null).await.refusal(), (status, code));
        }
        let user = format!("/admin/users/{}", session.user_id);
        let soft = json!({"should_soft_delete": true});
        let mine = api.call(Method::GET, &base, Some(&after.access), Value::Null).await;
        assert_eq!(mine.refusal(), (403, "not_admin"));
        assert_eq!(api.admin(Method::DELETE, &user, soft).await.status, 200);
        assert_eq!(api.admin(Method::GET, &base, Value::Null).await.body, json!([]));
    });
}
