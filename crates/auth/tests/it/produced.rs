//! Errors that no other test produces: those of a database that is gone, of full queues, of rows that vanished.

use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};

use crate::idp::Idp;
use crate::smtp;
use crate::support::{Api, PASSWORD, Session, path_of, s256};

#[test]
fn without_e_mail_addresses_are_refused() {
    testkit::run(async {
        let api = Api::new("no_email", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let off = api.with(AuthSettings { email_enabled: false, ..AuthSettings::default() });
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "type": "signup"});
        for (path, status, message) in [
            ("/signup", 400, "Email signups are disabled"),
            ("/recover", 400, "Email logins are disabled"),
            ("/resend", 400, "Email logins are disabled"),
            ("/token?grant_type=password", 422, "Email logins are disabled"),
            ("/otp", 422, "Email logins are disabled"),
            ("/magiclink", 422, "Email logins are disabled"),
        ] {
            let answer = off.post(path, body.clone()).await;
            let expected = if status == 400 {
                (400, "email_provider_disabled")
            } else {
                (422, "email_provider_disabled")
            };
            assert_eq!(
                (answer.refusal(), answer.body["msg"].as_str().unwrap()),
                (expected, message),
                "{path}"
            );
        }
        assert_eq!(off.get("/settings", None).await.body["external"]["email"], false);
        assert_eq!(api.get("/settings", None).await.body["external"]["email"], true);
        let made = off.admin(Method::POST, "/admin/users", json!({"email": "bob@example.com"})).await;
        assert_eq!(made.status, 200, "the service key still makes such users: {}", made.body);
    });
}

#[test]
fn who_has_not_confirmed_has_no_password_yet() {
    testkit::run(async {
        let api =
            Api::new("unconfirmed", AuthSettings { mailer_autoconfirm: false, ..AuthSettings::default() })
                .await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let answer = api.sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(answer.refusal(), (400, "email_not_confirmed"));
    });
}

#[test]
fn a_session_past_its_time_box_opens_nothing() {
    testkit::run(async {
        let api = Api::new("boxed", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let boxed = api.with(AuthSettings { sessions_timebox: 600, ..AuthSettings::default() });
        api.wait(598);
        assert_eq!(boxed.get("/user", Some(&session.access)).await.status, 200);
        api.wait(3);
        let over = boxed.get("/user", Some(&session.access)).await;
        assert_eq!(over.refusal(), (403, "session_expired"));
        assert_eq!(over.body["msg"], "Session is no longer valid");
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
    });
}

#[test]
fn a_refresh_token_without_its_session_is_refused() {
    testkit::run(async {
        let api = Api::new("sessionless", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        admin.batch_execute("update auth.refresh_tokens set session_id = null").await.unwrap();
        let answer = api.refresh(&session.refresh).await;
        assert_eq!(answer.refusal(), (400, "session_not_found"));
        let missing = api.post("/token?grant_type=refresh_token", json!({})).await;
        assert_eq!(
            (missing.status.as_u16(), missing.body["error"].as_str().unwrap()),
            (400, "invalid_request")
        );
    });
}

#[test]
fn a_link_whose_flow_is_gone_says_so() {
    testkit::run(async {
        let api =
            Api::new("flowless", AuthSettings { mailer_autoconfirm: false, ..AuthSettings::default() }).await;
        let challenge = s256(&"v".repeat(64));
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "code_challenge": challenge,
            "code_challenge_method": "s256"});
        assert_eq!(api.post("/signup", body).await.status, 200);
        api.test.admin().await.batch_execute("delete from auth.flow_state").await.unwrap();
        let location = api.get(&path_of(&api.mail()), None).await.location();
        assert!(location.contains("error_code=flow_state_not_found"), "{location}");
    });
}

#[test]
fn a_user_whom_nobody_can_change_is_a_conflict() {
    testkit::run(async {
        let api = Api::new("stale", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        // As if another request changed the row before each of our attempts: no update finds what it read.
        let text = "create function public.skip() returns trigger language plpgsql as $$ begin return null; end $$; \
                    create trigger skip before update on auth.users for each row execute function public.skip()";
        api.test.owner().await.batch_execute(text).await.unwrap();
        let body = json!({"data": {"pet": "cat"}});
        let answer = api.call(Method::PUT, "/user", Some(&session.access), body).await;
        assert_eq!(answer.refusal(), (409, "conflict"), "{}", answer.body);
    });
}

#[test]
fn a_project_has_a_hundred_providers_of_its_own() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::trusting("quota", AuthSettings::default()).await;
        let url = &idp.url;
        for number in 0..=100 {
            let body = json!({"provider_type": "oauth2", "identifier": format!("custom:p{number}"), "name": "P",
                "client_id": "app", "client_secret": "hush", "authorization_url": format!("{url}/go"),
                "token_url": format!("{url}/token"), "userinfo_url": format!("{url}/me")});
            let answer = api.admin(Method::POST, "/admin/custom-providers", body).await;
            match number {
                100 => assert_eq!(answer.refusal(), (400, "over_custom_provider_quota")),
                _ => assert_eq!(answer.status, 201, "{number}: {}", answer.body),
            }
        }
    });
}

#[test]
fn a_full_queue_of_mails_refuses_before_anything_is_written() {
    testkit::run(async {
        // Takes connections and never says a word.
        let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let api = Api::narrow("queue", smtp::settings(silent.local_addr().unwrap().port())).await;
        let sign_up = |email: &str| api.post("/signup", json!({"email": email, "password": PASSWORD}));
        assert_eq!(sign_up("ada@example.com").await.status, 200);
        let busy = sign_up("bob@example.com").await;
        assert_eq!(busy.refusal(), (503, "server_busy"), "{}", busy.body);
        assert!(busy.headers.contains_key("retry-after"));
        let users = api.admin(Method::GET, "/admin/users", Value::Null).await;
        assert_eq!(users.body["users"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn without_the_database_answers_say_try_again() {
    testkit::run(async {
        let api = Api::new("gone", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let name = &api.project.database;
        let admin = api.test.databases.server().admin("postgres").await.unwrap();
        let text = format!(
            "alter database \"{name}\" with allow_connections false; select pg_terminate_backend(pid) \
             from pg_stat_activity where datname = '{name}'"
        );
        admin.batch_execute(&text).await.unwrap();
        let answer = api.get("/user", Some(&session.access)).await;
        assert_eq!(answer.refusal(), (503, "database_unavailable"), "{}", answer.body);
        let answer = api.sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(answer.refusal(), (503, "database_unavailable"), "{}", answer.body);
        assert!(!answer.body.to_string().contains(name.as_str()), "{}", answer.body);
        admin.batch_execute(&format!("alter database \"{name}\" with allow_connections true")).await.unwrap();
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
    });
}

/// Wait until somebody in the project's database waits for a lock, and end that connection.
async fn end_who_waits(admin: &store::postgres::Client) {
    let text = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = current_database() and wait_event_type = 'Lock'";
    while admin.query(text, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

// REQ H12
#[test]
fn a_lost_connection_is_no_matter_to_who_reads_and_told_to_who_writes() {
    testkit::run(async {
        let api = Api::new("lost", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let (locker, admin) = (api.test.admin().await, api.test.admin().await);
        let lock = "begin; lock table auth.users in access exclusive mode";
        let ending = async {
            end_who_waits(&admin).await;
            locker.batch_execute("rollback").await.unwrap();
        };
        locker.batch_execute(lock).await.unwrap();
        let (answer, ()) = tokio::join!(api.get("/user", Some(&session.access)), ending);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let ending = async {
            end_who_waits(&admin).await;
            locker.batch_execute("rollback").await.unwrap();
        };
        locker.batch_execute(lock).await.unwrap();
        let (answer, ()) = tokio::join!(api.refresh(&session.refresh), ending);
        assert_eq!(answer.status, 200, "a refresh may be repeated: {}", answer.body);
        let ending = async {
            end_who_waits(&admin).await;
            locker.batch_execute("rollback").await.unwrap();
        };
        locker.batch_execute(lock).await.unwrap();
        let change = json!({"data": {"name": "Ada"}});
        let (answer, ()) =
            tokio::join!(api.call(Method::PUT, "/user", Some(&session.access), change), ending);
        assert_eq!(answer.refusal(), (503, "database_unavailable"), "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
    });
}
