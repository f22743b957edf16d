//! Codes and links: guessed, replayed, opened at once, bent from one flow into another, read in the database.

use common::AuthSettings;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::confirming;
use crate::support::{Api, PASSWORD, Session, code_of, other_code, path_of, s256, token_of};

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-it-is";

fn guess(email: &str, code: &str) -> Value {
    json!({"type": "email", "email": email, "token": code})
}

#[test]
fn guesses_at_once_are_no_more_than_guesses_one_by_one() {
    testkit::run(async {
        let api = Api::new("hostile_guess", confirming()).await;
        api.post("/otp", json!({"email": "ada@example.com"})).await;
        let code = code_of(&api.mail());
        let wrong = guess("ada@example.com", &other_code(&code));
        let answers = join_all((0..25).map(|it| api.from([10, 0, 0, it], "/verify", &wrong))).await;
        assert!(answers.iter().all(|it| it.refusal() == (403, "otp_expired")));
        let admin = api.test.admin().await;
        let row = admin.query_one("select attempts::int from auth.one_time_tokens", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 10, "so many were compared, and no more");
        let right = api.post("/verify", guess("ada@example.com", &code)).await;
        assert_eq!(right.refusal(), (403, "otp_expired"), "the code is void");
    });
}

#[test]
fn new_codes_bring_no_new_guesses() {
    testkit::run(async {
        let api = Api::new("hostile_address", confirming()).await;
        let (mut compared, mut limited) = (0, 0);
        for round in 0..5 {
            api.post("/otp", json!({"email": "ada@example.com"})).await;
            let wrong = other_code(&code_of(&api.mail()));
            for number in 0..9 {
                // From another address each time.
                let answer =
                    api.from([10, 1, round, number], "/verify", &guess("ADA@example.com", &wrong)).await;
                match answer.refusal() {
                    (403, "otp_expired") => compared += 1,
                    (429, "over_request_rate_limit") => {
                        assert!(answer.headers.contains_key("retry-after"));
                        limited += 1;
                    }
                    other => panic!("{other:?}: {}", answer.body),
                }
            }
        }
        assert_eq!((compared, limited), (30, 15));
        // Somebody who has no account is limited alike, others are not, and a link is no guess.
        for number in 0..31 {
            let answer =
                api.from([10, 2, 0, number], "/verify", &guess("nobody@example.com", "123456")).await;
            assert_eq!(answer.status.as_u16(), if number < 30 { 403 } else { 429 });
        }
        api.post("/otp", json!({"email": "bob@example.com"})).await;
        let body = guess("bob@example.com", &code_of(&api.mail()));
        assert_eq!(api.post("/verify", body).await.status, 200);
        api.post("/otp", json!({"email": "ada@example.com"})).await;
        let location = api.get(&path_of(&api.mail()), None).await.location();
        assert!(location.contains("#access_token="), "{location}");
    });
}

#[test]
fn new_nonces_bring_no_new_guesses() {
    testkit::run(async {
        let settings = AuthSettings {
            password_require_reauthentication: true,
            jwt_expiry_secs: 200_000,
            ..confirming()
        };
        let api = Api::new("hostile_nonce", AuthSettings { mailer_autoconfirm: true, ..settings }).await;
        let session = api.sign_up("ada@example.com").await;
        api.wait(24 * 3600 + 1);
        let (mut compared, mut limited) = (0, 0);
        for _ in 0..5 {
            api.get("/reauthenticate", Some(&session.access)).await;
            let wrong = other_code(&code_of(&api.mail()));
            for _ in 0..9 {
                let body = json!({"password": "a new password", "nonce": wrong});
                match api.call(Method::PUT, "/user", Some(&session.access), body).await.refusal() {
                    (422, "reauthentication_not_valid") => compared += 1,
                    (429, "over_request_rate_limit") => limited += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((compared, limited), (30, 15));
    });
}

#[test]
fn a_code_typed_twenty_times_at_once_opens_one_session() {
    testkit::run(async {
        let api = Api::new("hostile_once", confirming()).await;
        api.post("/otp", json!({"email": "ada@example.com"})).await;
        let body = guess("ada@example.com", &code_of(&api.mail()));
        let answers = join_all((0..20).map(|_| api.post("/verify", body.clone()))).await;
        assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 1);
        let admin = api.test.admin().await;
        let row = admin.query_one("select count(*) from auth.sessions", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
        assert_eq!(api.post("/verify", body).await.refusal(), (403, "otp_expired"));
    });
}

/// Sign up with a challenge; the mailed link's path.
async fn begin(api: &Api, email: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD, "code_challenge": s256(VERIFIER),
        "code_challenge_method": "s256"});
    assert_eq!(api.post("/signup", body).await.status, 200);
    path_of(&api.mail())
}

#[test]
fn a_pkce_flow_is_not_bent_into_another() {
    testkit::run(async {
        let api = Api::new("hostile_pkce", confirming()).await;
        let path = begin(&api, "ada@example.com").await;
        // Without the prefix that says PKCE the link would end in a session: it is another link then.
        let bare = path.replace("token=pkce_", "token=");
        assert_ne!(bare, path);
        let location = api.get(&bare, None).await.location();
        assert!(
            location.contains("error_code=otp_expired") && !location.contains("access_token"),
            "{location}"
        );
        let location = api.get(&path, None).await.location();
        assert!(!location.contains("access_token"), "{location}");
        let code = location.strip_prefix("https://app.test?code=").unwrap().to_owned();
        let challenge = s256(VERIFIER);
        for (body, refusal) in [
            // The challenge, which was seen on the way, is no verifier, whatever method the request names.
            (json!({"auth_code": code, "code_verifier": challenge}), (400, "bad_code_verifier")),
            (
                json!({"auth_code": code, "code_verifier": challenge, "code_challenge_method": "plain"}),
                (400, "bad_code_verifier"),
            ),
            (
                json!({"auth_code": code, "code_verifier": "x", "code_challenge": "x", "code_challenge_method": "plain"}),
                (400, "bad_code_verifier"),
            ),
            (json!({"auth_code": code, "code_verifier": ""}), (400, "validation_failed")),
            (json!({"auth_code": code}), (400, "validation_failed")),
            (json!({"auth_code": code, "code_verifier": null}), (400, "validation_failed")),
            (json!({"auth_code": code, "code_verifier": ["x"]}), (400, "bad_json")),
        ] {
            let answer = api.post("/token?grant_type=pkce", body.clone()).await;
            assert_eq!(answer.refusal(), refusal, "{body}");
        }
        // Twenty at once: one session.
        let right = json!({"auth_code": code, "code_verifier": VERIFIER});
        let answers = join_all((0..20).map(|_| api.post("/token?grant_type=pkce", right.clone()))).await;
        let opened: Vec<_> = answers.iter().filter(|it| it.status == 200).map(Session::of).collect();
        assert_eq!(opened.len(), 1);
        // Half a challenge begins nothing at all.
        let half = json!({"email": "b@example.com", "password": PASSWORD, "code_challenge": s256(VERIFIER)});
        assert_eq!(api.post("/signup", half).await.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn no_table_holds_what_opens() {
    testkit::run(async {
        let api = Api::new("hostile_tables", confirming()).await;
        let secrets = collect_secrets(&api).await;
        let admin = api.test.admin().await;
        let tables = admin
            .query(
                "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'auth'",
                &[],
            )
            .await
            .unwrap();
        assert!(tables.len() > 15, "{}", tables.len());
        for table in tables {
            let name: String = table.get(0);
            let text = format!("select coalesce(string_agg(t::text, chr(10)), '') from {name} t");
            let rows: String = admin.query_one(&text, &[]).await.unwrap().get(0);
            for (what, secret) in &secrets {
                let found = rows.match_indices(secret.as_str()).any(|(at, _)| {
                    // Six digits stand in a time by accident; a code that is kept stands alone.
                    let before = rows[..at].chars().next_back();
                    let after = rows[at + secret.len()..].chars().next();
                    let joins = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '.');
                    !joins(before) && !joins(after)
                });
                assert!(!found, "{name} holds a {what}");
            }
        }
    });
}

/// One of everything that opens an account, all of them in force.
async fn collect_secrets(api: &Api) -> Vec<(&'static str, String)> {
    let mut secrets = vec![("password", PASSWORD.to_owned())];
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    api.post("/signup", body).await;
    let session = Session::of(&api.post("/verify", guess("ada@example.com", &code_of(&api.mail()))).await);
    let next = Session::of(&api.refresh(&session.refresh).await);
    secrets.extend([("refresh token", session.refresh), ("refresh token", next.refresh)]);
    secrets.push(("access token", next.access.clone()));
    for (path, body) in [
        ("/recover", json!({"email": "ada@example.com"})),
        ("/otp", json!({"email": "bob@example.com"})),
        ("/signup", json!({"email": "eve@example.com", "password": PASSWORD})),
    ] {
        assert_eq!(api.post(path, body).await.status, 200);
        secrets.push(("code", code_of(&api.mail())));
        secrets.push(("link", token_of(&api.mail())));
    }
    api.call(Method::GET, "/reauthenticate", Some(&next.access), Value::Null).await;
    secrets.push(("nonce", code_of(&api.mail())));
    let body = json!({"email": "ada@new.com"});
    assert_eq!(api.call(Method::PUT, "/user", Some(&next.access), body).await.status, 200);
    for mail in &api.inbox.list()[..2] {
        secrets.extend([("code", code_of(mail)), ("link", token_of(mail))]);
    }
    let location = api.get(&begin(api, "pkce@example.com").await, None).await.location();
    secrets.push(("PKCE code", location.rsplit("code=").next().unwrap().to_owned()));
    assert!(secrets.iter().all(|it| it.1.len() >= 6), "{secrets:?}");
    secrets
}
