//! Who has an account is nobody's business: the same answers, with the same headers, at the same time.

use std::time::Duration;

use common::AuthSettings;
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::confirming;
use crate::support::{Answer, Api, PASSWORD, code_of};

const KNOWN: &str = "ada@example.com";
const UNKNOWN: &str = "nobody@example.com";

/// A project in which `KNOWN` has an account and a confirmed address, and nobody else has.
async fn project(name: &str, grid: Duration) -> Api {
    let settings = AuthSettings { conceal_accounts: true, ..confirming() };
    let api = Api::even(name, settings, grid).await;
    api.post("/signup", json!({"email": KNOWN, "password": PASSWORD})).await;
    let body = json!({"type": "signup", "email": KNOWN, "token": code_of(&api.mail())});
    assert_eq!(api.post("/verify", body).await.status, 200);
    api
}

/// What can be asked about an address without proving anything.
fn questions(email: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("/token?grant_type=password", json!({"email": email, "password": "wrong password"})),
        ("/recover", json!({"email": email})),
        ("/resend", json!({"email": email, "type": "signup"})),
        ("/resend", json!({"email": email, "type": "email_change"})),
        ("/verify", json!({"email": email, "type": "email", "token": "abcdef"})),
        ("/verify", json!({"email": email, "type": "recovery", "token": "abcdef"})),
        ("/otp", json!({"email": email, "create_user": false})),
        ("/magiclink", json!({"email": email, "create_user": false})),
        ("/otp", json!({"email": email})),
        ("/magiclink", json!({"email": email})),
        ("/signup", json!({"email": email, "password": PASSWORD})),
    ]
}

/// An answer as a client sees it; the address that was asked about stands in some.
fn shown(answer: &Answer, email: &str) -> String {
    let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    format!("{names:?} {}", answer.redacted().replace(email, "[email]"))
}

#[test]
fn known_and_unknown_addresses_get_the_same_answers() {
    testkit::run(async {
        let api = project("hostile_same", Duration::from_millis(1)).await;
        for (known, unknown) in questions(KNOWN).into_iter().zip(questions(UNKNOWN)) {
            let (first, second) = (api.post(known.0, known.1).await, api.post(unknown.0, unknown.1).await);
            assert_eq!(shown(&first, KNOWN), shown(&second, UNKNOWN), "{}", known.0);
        }
    });
}

#[test]
fn a_second_sign_up_tells_no_more_than_the_first() {
    testkit::run(async {
        let api = project("hostile_again", Duration::from_millis(1)).await;
        for email in [KNOWN, UNKNOWN] {
            let sign_up = async |name: &str| {
                let body = json!({"email": email, "password": PASSWORD, "data": {"name": name}});
                api.post("/signup", body).await
            };
            let (first, second) = (sign_up("a").await, sign_up("b").await);
            assert_eq!(shown(&first, email).replace("\"a\"", "\"b\""), shown(&second, email), "{email}");
            assert_ne!(first.body["id"], second.body["id"], "{email}");
            assert_ne!(first.body["created_at"], second.body["created_at"], "{email}");
            assert_eq!(second.body["user_metadata"]["name"], "b", "{email}");
        }
    });
}

#[test]
fn known_and_unknown_addresses_are_refused_as_often() {
    testkit::run(async {
        for (name, disable_signup) in [("hostile_pace", false), ("hostile_closed", true)] {
            let api = project(name, Duration::from_millis(1)).await;
            let settings =
                AuthSettings { mail_max_frequency_secs: 60, disable_signup, ..api.project.auth.clone() };
            let api = api.with(settings);
            for (known, unknown) in questions(KNOWN).into_iter().zip(questions(UNKNOWN)) {
                for _ in 0..3 {
                    let first = api.post(known.0, known.1.clone()).await;
                    let second = api.post(unknown.0, unknown.1.clone()).await;
                    assert_eq!(shown(&first, KNOWN), shown(&second, UNKNOWN), "{}", known.0);
                }
            }
        }
    });
}

#[test]
fn known_and_unknown_addresses_get_their_answers_at_the_same_time() {
    testkit::run(async {
        // Wide enough for what a slow machine needs, so that all answers leave at the first multiple.
        let grid = Duration::from_millis(1500);
        let api = project("hostile_time", grid).await;
        let timed = async |(path, body): (&str, Value)| {
            let started = Instant::now();
            api.post(path, body).await;
            started.elapsed()
        };
        let quiet = |it: &(&str, Value)| !it.0.starts_with("/token");
        let pairs = questions(KNOWN).into_iter().zip(questions(UNKNOWN)).filter(|it| quiet(&it.0));
        for (known, unknown) in pairs {
            let path = known.0;
            let (first, second) = join(timed(known), timed(unknown)).await;
            assert!(first >= grid && second >= grid, "{path}: {first:?}, {second:?}: not held back");
            assert!(first.abs_diff(second) < grid / 3, "{path}: {first:?}, {second:?}");
        }
    });
}

#[test]
fn a_password_takes_the_same_time_whoever_it_is_tried_on() {
    testkit::run(async {
        let api = project("hostile_hash", Duration::ZERO).await;
        let median = async |email: &str| {
            let mut took = Vec::new();
            for _ in 0..9 {
                let started = Instant::now();
                api.sign_in(email, "wrong password").await;
                took.push(started.elapsed());
            }
            took.sort_unstable();
            took[4]
        };
        // Another process may have the cores meanwhile: one quiet moment is enough to see the same work.
        let mut seen = Vec::new();
        for _ in 0..5 {
            let (known, unknown) = (median(KNOWN).await, median(UNKNOWN).await);
            if known.abs_diff(unknown) < known.max(unknown) / 4 {
                return;
            }
            seen.push((known, unknown));
        }
        panic!("{seen:?}");
    });
}
