//! `POST /token?grant_type=refresh_token`: rotation and reuse.

use common::AuthSettings;
use serde_json::json;

use crate::support::{Api, Session};

#[test]
fn each_refresh_gives_a_new_token_of_the_same_session() {
    testkit::run(async {
        let api = Api::new("rotate", AuthSettings::default()).await;
        let mut session = api.sign_up("ada@example.com").await;
        for _ in 0..3 {
            let answer = api.refresh(&session.refresh).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let next = Session::of(&answer);
            assert_ne!(next.refresh, session.refresh);
            assert_eq!(api.get("/user", Some(&next.access)).await.status, 200);
            session = next;
        }
        let admin = api.test.admin().await;
        let rows = admin
            .query("select token, parent, revoked from auth.refresh_tokens order by id", &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 4);
        for row in &rows {
            // A reader of the database holds nothing that opens a session.
            let token: String = row.get(0);
            assert!(token.starts_with("sha256:") && !token.contains(&session.refresh), "{token}");
            assert_eq!(api.refresh(&token).await.refusal(), (400, "validation_failed"));
        }
        assert_eq!(rows.iter().filter(|it| !it.get::<_, bool>(2)).count(), 1);
        let sessions = admin.query_one("select count(*) from auth.sessions", &[]).await.unwrap();
        assert_eq!(sessions.get::<_, i64>(0), 1);
    });
}

#[test]
fn a_client_that_lost_the_answer_gets_the_same_token_again() {
    testkit::run(async {
        let api = Api::new("repeat", AuthSettings::default()).await;
        let first = api.sign_up("ada@example.com").await;
        let second = Session::of(&api.refresh(&first.refresh).await);
        // The parent of the current token works at any time.
        api.wait(600);
        let again = Session::of(&api.refresh(&first.refresh).await);
        assert_eq!(again.refresh, second.refresh);
        let third = Session::of(&api.refresh(&second.refresh).await);
        // An older one within the reuse interval leads to the current one.
        let again = Session::of(&api.refresh(&second.refresh).await);
        assert_eq!(again.refresh, third.refresh);
        assert_eq!(api.get("/user", Some(&again.access)).await.status, 200);
    });
}

#[test]
fn a_retired_token_ends_the_session_after_the_reuse_interval() {
    testkit::run(async {
        let api = Api::new("reuse", AuthSettings::default()).await;
        let first = api.sign_up("ada@example.com").await;
        let other = Session::of(&api.sign_in("ada@example.com", crate::support::PASSWORD).await);
        let second = Session::of(&api.refresh(&first.refresh).await);
        let third = Session::of(&api.refresh(&second.refresh).await);
        let within = Session::of(&api.refresh(&first.refresh).await);
        assert_eq!(within.refresh, third.refresh);
        api.wait(11);
        let answer = api.refresh(&first.refresh).await;
        assert_eq!(answer.refusal(), (400, "refresh_token_already_used"));
        assert_eq!(answer.body["msg"], "Invalid Refresh Token: Already Used");
        assert_eq!(api.refresh(&third.refresh).await.refusal(), (400, "refresh_token_not_found"));
        assert_eq!(api.get("/user", Some(&third.access)).await.refusal(), (403, "session_not_found"));
        // Other sessions of the user stand.
        assert_eq!(api.refresh(&other.refresh).await.status, 200);
    });
}

#[test]
fn concurrent_refreshes_all_succeed_with_one_new_token() {
    testkit::run(async {
        let api = Api::new("concurrent", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let answers = futures_util::future::join_all((0..20).map(|_| api.refresh(&session.refresh))).await;
        let tokens: Vec<String> = answers.iter().map(|it| Session::of(it).refresh).collect();
        assert!(tokens.iter().all(|it| *it == tokens[0]), "{tokens:?}");
        let admin = api.test.admin().await;
        let count = admin.query_one("select count(*) from auth.refresh_tokens", &[]).await.unwrap();
        assert_eq!(count.get::<_, i64>(0), 2);
    });
}

#[test]
fn without_rotation_a_token_stays() {
    testkit::run(async {
        let settings = AuthSettings { refresh_token_rotation: false, ..AuthSettings::default() };
        let api = Api::new("norotation", settings).await;
        let session = api.sign_up("ada@example.com").await;
        for _ in 0..2 {
            api.wait(60);
            assert_eq!(Session::of(&api.refresh(&session.refresh).await).refresh, session.refresh);
        }
    });
}

#[test]
fn a_session_imported_from_supabase_refreshes_into_one_of_ours() {
    testkit::run(async {
        let api = Api::new("imported", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        admin
            .batch_execute(
                "update auth.sessions set refresh_token_hmac_key = null; \
                 update auth.refresh_tokens set token = 'abcdefghijkl'",
            )
            .await
            .unwrap();
        let next = Session::of(&api.refresh("abcdefghijkl").await);
        assert_eq!(next.user_id, session.user_id);
        assert_eq!(Session::of(&api.refresh("abcdefghijkl").await).refresh, next.refresh);
        assert_eq!(api.refresh(&next.refresh).await.status, 200);
    });
}

#[test]
fn bad_refresh_tokens_are_refused() {
    testkit::run(async {
        let api = Api::new("badrefresh", AuthSettings::default()).await;
        let missing = api.post("/token?grant_type=refresh_token", json!({})).await;
        assert_eq!(missing.status, 400);
        assert_eq!(
            missing.body,
            json!({"error": "invalid_request", "error_description": "refresh_token required"})
        );
        assert_eq!(api.refresh("short").await.refusal(), (400, "validation_failed"));
        assert_eq!(api.refresh("abcdefghijkl").await.refusal(), (400, "refresh_token_not_found"));
        assert_eq!(api.refresh(&"a".repeat(43)).await.refusal(), (400, "refresh_token_not_found"));
    });
}
