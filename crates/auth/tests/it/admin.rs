//! What the service key may do.

use common::AuthSettings;
use http::Method;
use insta::assert_snapshot;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, PASSWORD, Session, path_of};

#[test]
fn only_the_service_key_manages_users() {
    testkit::run(async {
        let api = Api::new("notadmin", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let user = format!("/admin/users/{}", session.user_id);
        let routes = [
            (Method::GET, "/admin/audit"),
            (Method::GET, "/admin/users"),
            (Method::POST, "/admin/users"),
            (Method::GET, user.as_str()),
            (Method::PUT, user.as_str()),
            (Method::DELETE, user.as_str()),
            (Method::POST, "/admin/generate_link"),
            (Method::POST, "/invite"),
        ];
        for (method, path) in routes {
            let body = if method == Method::GET { Value::Null } else { json!({}) };
            let nobody = api.call(method.clone(), path, None, body.clone()).await;
            assert_eq!(nobody.refusal(), (401, "no_authorization"), "{method} {path}");
            let someone = api.call(method.clone(), path, Some(&session.access), body).await;
            assert_eq!(someone.refusal(), (403, "not_admin"), "{method} {path}");
        }
        // Opaque keys stand for what the gateway made of them.
        assert_eq!(api.opaque(Method::GET, "/admin/users", "service_role").await.status, 200);
        assert_eq!(api.opaque(Method::GET, "/admin/users", "anon").await.refusal(), (403, "not_admin"));
    });
}

#[test]
fn a_user_is_made_and_read() {
    testkit::run(async {
        let api = Api::new("crud", AuthSettings::default()).await;
        let body = json!({"email": "Ada@example.com", "password": PASSWORD, "email_confirm": true,
            "user_metadata": {"name": "Ada"}, "app_metadata": {"team": "x"}});
        let made = api.admin(Method::POST, "/admin/users", body.clone()).await;
        assert_snapshot!(made.redacted(), @r#"
        200 {
          "app_metadata": {
            "provider": "email",
            "providers": [
              "email"
            ],
            "team": "x"
          },
          "aud": "authenticated",
          "confirmed_at": "[time]",
          "created_at": "[time]",
          "email": "ada@example.com",
          "email_confirmed_at": "[time]",
          "id": "[id]",
          "identities": [
            {
              "created_at": "[time]",
              "email": "ada@example.com",
              "id": "[id]",
              "identity_data": {
                "email": "ada@example.com",
                "email_verified": true,
                "phone_verified": false,
                "sub": "[id]"
              },
              "identity_id": "[id]",
              "last_sign_in_at": "[time]",
              "provider": "email",
              "updated_at": "[time]",
              "user_id": "[id]"
            }
          ],
          "is_anonymous": false,
          "phone": "",
          "role": "authenticated",
          "updated_at": "[time]",
          "user_metadata": {
            "email_verified": true,
            "name": "Ada"
          }
        }
        "#);
        assert_eq!(api.admin(Method::POST, "/admin/users", body).await.refusal(), (422, "email_exists"));
        let path = format!("/admin/users/{}", made.body["id"].as_str().unwrap());
        assert_eq!(api.admin(Method::GET, &path, Value::Null).await.body, made.body);
    });
}

#[test]
fn a_changed_user_is_signed_out_and_a_deleted_one_is_gone() {
    testkit::run(async {
        let api = Api::new("update", AuthSettings::default()).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "email_confirm": true,
            "app_metadata": {"team": "x"}});
        let made = api.admin(Method::POST, "/admin/users", body).await;
        let path = format!("/admin/users/{}", made.body["id"].as_str().unwrap());
        let session = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        let body =
            json!({"email": "ada@new.com", "app_metadata": {"team": null}, "password": "another password"});
        let changed = api.admin(Method::PUT, &path, body).await;
        assert_eq!(changed.body["email"], "ada@new.com");
        assert_eq!(changed.body["app_metadata"], json!({"provider": "email", "providers": ["email"]}));
        assert_eq!(changed.body["identities"][0]["email"], "ada@new.com");
        assert_eq!(api.get("/user", Some(&session.access)).await.refusal(), (403, "session_not_found"));
        assert_eq!(api.sign_in("ada@new.com", "another password").await.status, 200);
        assert_eq!(api.admin(Method::DELETE, &path, Value::Null).await.body, json!({}));
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(api.admin(method, &path, Value::Null).await.refusal(), (404, "user_not_found"));
        }
        let nobody = format!("/admin/users/{}", Uuid::new_v4());
        assert_eq!(api.admin(Method::PUT, &nobody, json!({})).await.refusal(), (404, "user_not_found"));
        assert_eq!(
            api.admin(Method::GET, "/admin/users/ada", Value::Null).await.refusal(),
            (404, "validation_failed")
        );
    });
}

#[test]
fn bad_users_are_refused() {
    testkit::run(async {
        let api = Api::new("badusers", AuthSettings::default()).await;
        let cases = [
            (json!({}), "Cannot create a user without either an email or phone"),
            (
                json!({"email": "a@b.c", "password": PASSWORD, "password_hash": "x"}),
                "Only a password or a password hash should be provided",
            ),
            (
                json!({"email": "a@b.c", "password_hash": "plain"}),
                "The password hash is neither bcrypt nor argon2",
            ),
            (json!({"email": "a@b.c", "id": "x"}), "ID must conform to the uuid v4 format"),
            (json!({"email": "a@b.c", "id": Uuid::nil()}), "ID cannot be a nil uuid"),
            (
                json!({"email": "a@b.c", "ban_duration": "1x"}),
                "invalid format for ban duration: time: invalid duration \"1x\"",
            ),
            (json!({"phone": "abc"}), "Invalid phone number format (E.164 required)"),
        ];
        for (body, message) in cases {
            let answer = api.admin(Method::POST, "/admin/users", body.clone()).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{body}");
            assert_eq!(answer.body["msg"], message, "{body}");
        }
        let id = Uuid::new_v4();
        let body = json!({"phone": "+4912345", "phone_confirm": true, "id": id, "role": "editor"});
        let made = api.admin(Method::POST, "/admin/users", body.clone()).await;
        assert_eq!(
            (&made.body["id"], &made.body["role"], &made.body["phone"]),
            (&json!(id), &json!("editor"), &json!("4912345"))
        );
        let body = json!({"phone": "4912345"});
        assert_eq!(api.admin(Method::POST, "/admin/users", body).await.refusal(), (422, "phone_exists"));
    });
}

#[test]
fn a_soft_deleted_user_leaves_a_shell_and_frees_the_address() {
    testkit::run(async {
        let api = Api::new("soft", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let path = format!("/admin/users/{}", session.user_id);
        let body = json!({"should_soft_delete": true});
        assert_eq!(api.admin(Method::DELETE, &path, body).await.status, 200);
        let shell = api.admin(Method::GET, &path, Value::Null).await.body;
        assert!(shell["deleted_at"].is_string());
        assert!(!shell.to_string().contains("ada@"), "{shell}");
        assert_eq!(api.get("/user", Some(&session.access)).await.refusal(), (403, "user_not_found"));
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.refusal(), (400, "invalid_credentials"));
        assert_ne!(api.sign_up("ada@example.com").await.user_id, session.user_id);
    });
}

#[test]
fn users_are_listed_in_pages_that_clients_can_follow() {
    testkit::run(async {
        let api = Api::new("list", AuthSettings::default()).await;
        for idx in 0..5 {
            api.sign_up(&format!("user{idx}@example.com")).await;
        }
        let page = api.admin(Method::GET, "/admin/users?page=2&per_page=2", Value::Null).await;
        let emails: Vec<&str> =
            page.body["users"].as_array().unwrap().iter().map(|it| it["email"].as_str().unwrap()).collect();
        assert_eq!(emails, ["user2@example.com", "user1@example.com"]);
        assert_eq!(page.headers["x-total-count"], "5");
        assert_eq!(
            page.headers["link"],
            "</admin/users?page=3&per_page=2>; rel=\"next\", </admin/users?page=3&per_page=2>; rel=\"last\""
        );
        assert_eq!(page.body["aud"], "authenticated");
        let last = api.admin(Method::GET, "/admin/users?page=3&per_page=2", Value::Null).await;
        assert_eq!(last.headers["link"], "</admin/users?page=3&per_page=2>; rel=\"last\"");
        let some = api.admin(Method::GET, "/admin/users?filter=user3", Value::Null).await;
        assert_eq!(some.headers["x-total-count"], "1");
        let none = api.admin(Method::GET, "/admin/users?filter=%25", Value::Null).await;
        assert_eq!(none.headers["x-total-count"], "0");
        let bad = api.admin(Method::GET, "/admin/users?page=x", Value::Null).await;
        assert_eq!(bad.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn the_audit_log_is_read_in_pages_and_searched() {
    testkit::run(async {
        let api = Api::new("audit", AuthSettings::default()).await;
        let ada = api.sign_up("ada@example.com").await;
        api.sign_up("bob@example.com").await;
        assert_eq!(api.sign_in("ada@example.com", PASSWORD).await.status, 200);
        let read = async |query: &str| {
            let path = format!("/admin/audit?{query}");
            api.admin(Method::GET, &path, Value::Null).await
        };
        let actions = |page: &Value| -> Vec<String> {
            let entries = page.as_array().unwrap().iter();
            entries.map(|it| it["payload"]["action"].as_str().unwrap().to_owned()).collect()
        };
        let all = read("").await;
        assert_eq!(all.headers["x-total-count"].to_str().unwrap(), actions(&all.body).len().to_string());
        assert_eq!(actions(&all.body)[0], "login", "newest first");
        let entry = &all.body[0];
        assert_eq!(entry["payload"]["actor_id"], ada.user_id.as_str());
        assert!(entry["created_at"].is_string() && entry["id"].is_string(), "{entry}");
        let second = read("page=2&per_page=1").await;
        assert_eq!(second.body, json!([all.body[1]]));
        let link = second.headers["link"].to_str().unwrap();
        assert!(link.starts_with("</admin/audit?page=3&per_page=1>; rel=\"next\""), "{link}");
        assert_eq!(actions(&read("query=action:user_signedup").await.body), ["user_signedup"; 2]);
        let bobs = read("query=author:bob@").await.body;
        assert!(
            bobs.as_array().unwrap().iter().all(|it| it["payload"]["actor_username"] == "bob@example.com")
        );
        assert!(!actions(&bobs).is_empty());
        assert_eq!(actions(&read("query=type:%25").await.body), [""; 0], "no pattern of the client's");
        for bad in ["query=action", "query=payload:x", "page=x"] {
            assert_eq!(read(bad).await.refusal(), (400, "validation_failed"), "{bad}");
        }
    });
}

#[test]
fn an_invitation_is_mailed_and_accepted() {
    testkit::run(async {
        let api = Api::new(
            "invite",
            AuthSettings { site_url: "https://app.test".into(), ..AuthSettings::default() },
        )
        .await;
        let body = json!({"email": "ada@example.com", "data": {"team": "x"}});
        let answer = api.admin(Method::POST, "/invite", body.clone()).await;
        assert!(answer.body["invited_at"].is_string(), "{}", answer.body);
        assert_eq!(api.mail().subject, "You have been invited");
        assert!(api.get(&path_of(&api.mail()), None).await.location().contains("type=invite"));
        assert_eq!(api.admin(Method::POST, "/invite", body).await.refusal(), (422, "email_exists"));
    });
}

#[test]
fn a_generated_link_signs_a_new_user_up() {
    testkit::run(async {
        let api = Api::new(
            "links",
            AuthSettings { site_url: "https://app.test".into(), ..AuthSettings::default() },
        )
        .await;
        let link = |body: Value| api.admin(Method::POST, "/admin/generate_link", body);
        let unknown = link(json!({"type": "recovery", "email": "ada@example.com"})).await;
        assert_eq!(unknown.refusal(), (404, "user_not_found"));
        let bad = link(json!({"type": "sorcery", "email": "ada@example.com"})).await;
        assert_eq!(bad.refusal(), (400, "validation_failed"));
        let signup = link(json!({"type": "signup", "email": "ada@example.com", "password": PASSWORD})).await;
        assert_snapshot!(signup.redacted(), @r#"
        200 {
          "action_link": "[action_link]",
          "app_metadata": {
            "provider": "email",
            "providers": [
              "email"
            ]
          },
          "aud": "authenticated",
          "confirmation_sent_at": "[time]",
          "created_at": "[time]",
          "email": "ada@example.com",
          "email_otp": "[email_otp]",
          "hashed_token": "[hashed_token]",
          "id": "[id]",
          "identities": [
            {
              "created_at": "[time]",
              "email": "ada@example.com",
              "id": "[id]",
              "identity_data": {
                "email": "ada@example.com",
                "email_verified": false,
                "phone_verified": false,
                "sub": "[id]"
              },
              "identity_id": "[id]",
              "last_sign_in_at": "[time]",
              "provider": "email",
              "updated_at": "[time]",
              "user_id": "[id]"
            }
          ],
          "is_anonymous": false,
          "phone": "",
          "redirect_to": "https://app.test",
          "role": "authenticated",
          "updated_at": "[time]",
          "user_metadata": {},
          "verification_type": "signup"
        }
        "#);
        let body = json!({"type": "signup", "token_hash": signup.body["hashed_token"]});
        assert_eq!(api.post("/verify", body).await.status, 200);
    });
}

#[test]
fn links_for_known_users_work_once_and_are_not_mailed() {
    testkit::run(async {
        let settings = AuthSettings { site_url: "https://app.test".into(), ..AuthSettings::default() };
        let api = Api::new("knownlinks", settings).await;
        api.sign_up("ada@example.com").await;
        let link = |body: Value| api.admin(Method::POST, "/admin/generate_link", body);
        for kind in ["magiclink", "recovery"] {
            let answer =
                link(json!({"type": kind, "email": "ada@example.com", "redirect_to": "https://evil.test"}))
                    .await;
            assert_eq!(answer.body["redirect_to"], "https://app.test");
            let body = json!({"type": kind, "email": "ada@example.com", "token": answer.body["email_otp"]});
            assert_eq!(api.post("/verify", body).await.status, 200, "{kind}");
            let path =
                answer.body["action_link"].as_str().unwrap().strip_prefix("http://api.test/auth/v1").unwrap();
            assert!(api.get(path, None).await.location().contains("error_code=otp_expired"));
        }
        let taken = link(json!({"type": "signup", "email": "ada@example.com", "password": PASSWORD})).await;
        assert_eq!(taken.refusal(), (422, "email_exists"));
        let new = link(json!({"type": "magiclink", "email": "new@example.com"})).await;
        assert_eq!(new.body["verification_type"], "signup");
        let change =
            link(json!({"type": "email_change_new", "email": "ada@example.com", "new_email": "ada@new.com"}))
                .await;
        assert_eq!(change.body["new_email"], "ada@new.com");
        assert!(api.inbox.list().is_empty());
    });
}
