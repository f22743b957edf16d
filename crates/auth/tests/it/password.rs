//! `POST /token?grant_type=password`.

use std::sync::atomic::{AtomicUsize, Ordering};

use common::AuthSettings;
use http::Method;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Api, PASSWORD, Session};

#[test]
fn the_right_password_signs_in() {
    testkit::run(async {
        let api = Api::new("signin", AuthSettings::default()).await;
        let first = api.sign_up("ada@example.com").await;
        let answer = api.sign_in("Ada@Example.com", PASSWORD).await;
        assert_eq!(answer.status, 200);
        let second = Session::of(&answer);
        assert_eq!(first.user_id, second.user_id);
        assert_ne!(first.refresh, second.refresh);
        for session in [first, second] {
            assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
        }
    });
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    testkit::run(async {
        let api = Api::new("wrong", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let wrong = api.sign_in("ada@example.com", "wrong password").await;
        let unknown = api.sign_in("nobody@example.com", PASSWORD).await;
        assert_eq!(wrong.redacted(), unknown.redacted());
        assert_snapshot!(wrong.redacted(), @r#"
        400 {
          "code": 400,
          "error_code": "invalid_credentials",
          "msg": "Invalid login credentials"
        }
        "#);
        let empty = api.sign_in("ada@example.com", "").await;
        assert_eq!(empty.refusal(), (400, "invalid_credentials"));
        let nothing = api.post("/token?grant_type=password", json!({})).await;
        assert_eq!(nothing.refusal(), (400, "validation_failed"));
        let phone = api.post("/token?grant_type=password", json!({"phone": "49123", "password": "x"})).await;
        assert_eq!(phone.refusal(), (422, "phone_provider_disabled"));
        let grant = api.post("/token?grant_type=magic", json!({})).await;
        assert_eq!(grant.refusal(), (400, "invalid_credentials"));
        assert_eq!(grant.body["msg"], "unsupported_grant_type");
    });
}

#[test]
fn a_hash_of_supabase_opens_and_becomes_argon2id() {
    testkit::run(async {
        let api = Api::new("bcrypt", AuthSettings::default()).await;
        let owner = api.test.owner().await;
        let hash = bcrypt::hash("secret of old", 4).unwrap();
        // As fixtures written for Supabase insert users: by the project's owner, straight into the table.
        owner
            .execute(
                "insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, \
                 raw_app_meta_data, raw_user_meta_data, created_at, updated_at, confirmation_token, email_change, \
                 email_change_token_new, recovery_token) values ('00000000-0000-0000-0000-000000000000', \
                 gen_random_uuid(), 'authenticated', 'authenticated', 'old@example.com', $1, now(), '{}', '{}', now(), \
                 now(), '', '', '', '')",
                &[&hash],
            )
            .await
            .unwrap();
        assert_eq!(api.sign_in("old@example.com", "wrong").await.status, 400);
        assert_eq!(api.sign_in("old@example.com", "secret of old").await.status, 200);
        let row = owner.query_one("select encrypted_password from auth.users", &[]).await.unwrap();
        let stored: String = row.get(0);
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert_eq!(api.sign_in("old@example.com", "secret of old").await.status, 200);
    });
}

#[test]
fn a_banned_user_is_told_only_with_the_right_password() {
    testkit::run(async {
        let api = Api::new("banned", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let path = format!("/admin/users/{}", session.user_id);
        let banned = api.admin(Method::PUT, &path, json!({"ban_duration": "1h"})).await;
        assert_eq!(banned.status, 200, "{}", banned.body);
        assert_eq!(api.sign_in("ada@example.com", "wrong").await.refusal(), (400, "invalid_credentials"));
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.refusal(), (400, "user_banned"));
        assert_eq!(api.get("/user", Some(&session.access)).await.refusal(), (403, "user_banned"));
        assert_eq!(api.refresh(&session.refresh).await.refusal(), (400, "user_banned"));
        api.wait(3601);
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 200);
        let bad = api.admin(Method::PUT, &path, json!({"ban_duration": "soon"})).await;
        assert_eq!(bad.refusal(), (400, "validation_failed"));
    });
}

/// Who wants no hash does not wait for those who do.
#[test]
fn a_storm_of_sign_ins_stalls_nobody_else() {
    testkit::run(async {
        let api = Api::hashing("storm", 1).await;
        let session = api.sign_up("ada@example.com").await;
        let done = AtomicUsize::new(0);
        let storm = futures_util::future::join_all((0..30).map(|_| async {
            let answer = api.sign_in("ada@example.com", PASSWORD).await;
            done.fetch_add(1, Ordering::Relaxed);
            answer.status.as_u16()
        }));
        let others = async {
            // The storm is polled first, so it is under way.
            let answer = api.get("/user", Some(&session.access)).await;
            (answer.status.as_u16(), done.load(Ordering::Relaxed))
        };
        let (storm, (status, done_before)) = futures_util::future::join(storm, others).await;
        assert_eq!(storm, [200; 30]);
        assert_eq!(status, 200);
        assert!(done_before < 15, "{done_before} sign-ins went first");
    });
}

#[test]
fn no_sign_in_with_the_old_password_survives_a_change_of_it() {
    testkit::run(async {
        let api = Api::hashing("pwrace", 1).await;
        api.sign_up("ada@example.com").await;
        let owner = api.test.owner().await;
        let slow = bcrypt::hash("old password", 10).unwrap();
        owner.execute("update auth.users set encrypted_password = $1", &[&slow]).await.unwrap();
        let done = AtomicUsize::new(0);
        let storm = futures_util::future::join_all((0..8).map(|_| async {
            let answer = api.sign_in("ada@example.com", "old password").await;
            done.fetch_add(1, Ordering::Relaxed);
            answer.status.as_u16()
        }));
        // The others have read the old hash by now, and wait for their turn to compare.
        let change = async {
            while done.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let text =
                "begin; update auth.users set encrypted_password = 'x'; delete from auth.sessions; commit";
            owner.batch_execute(text).await.unwrap();
        };
        let (answers, ()) = futures_util::future::join(storm, change).await;
        assert!(answers.contains(&400), "{answers:?}");
        let row = owner.query_one("select count(*) from auth.sessions", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
        let row = owner.query_one("select encrypted_password from auth.users", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "x");
    });
}
