//! What the REST interface does: projects, keys, settings, inbox, audit log.

use axum::Router;
use common::jwt::{KeyRing, Rules};
use common::{CapturedMail, Directory as _, ProjectRef};
use control_plane::{ControlPlane, router};
use futures_util::future::join;
use http::Method;
use serde_json::{Value, json};
use testkit::{connect, run};

use crate::{Installation, Reply, TOKEN, outcome, send, unique};

struct Admin {
    installation: Installation,
    plane: ControlPlane,
    router: Router,
}

impl Admin {
    async fn new() -> Self {
        let installation = Installation::new();
        let plane = installation.start(Vec::new()).await.unwrap();
        Self { router: router(plane.clone()), plane, installation }
    }

    async fn get(&self, path: &str) -> Reply {
        send(&self.router, Some(TOKEN), (Method::GET, &format!("/api/v1{path}")), None).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Reply {
        let body = (!body.is_null()).then_some(body);
        send(&self.router, Some(TOKEN), (method, &format!("/api/v1{path}")), body).await
    }

    async fn create(&self, reference: &ProjectRef) -> Reply {
        self.call(Method::POST, "/projects", &json!({"ref": reference, "name": "Team board"})).await
    }
}

#[test]
fn a_project_is_created_shown_and_listed() {
    run(async {
        let (it, reference) = (Admin::new().await, unique("board"));
        let mut made = it.create(&reference).await;
        assert_eq!(made.short(), "201");
        let shown = it.get(&format!("/projects/{reference}")).await;
        assert_eq!(shown.body, made.body);
        for field in ["id", "version", "created_at", "updated_at", "settings"] {
            assert!(!made.body[field].take().is_null(), "{field}");
        }
        let wanted = json!({
            "id": null, "ref": reference, "name": "Team board", "status": "ready", "default": false,
            "database": format!("project_{}", reference.as_str().replace('-', "_")),
            "api_url": format!("http://{reference}.localhost:8000"),
            "version": null, "created_at": null, "updated_at": null, "settings": null,
        });
        assert_eq!(made.body, wanted);
        let list = it.get("/projects").await;
        let refs: Vec<&Value> =
            list.body["projects"].as_array().unwrap().iter().map(|it| &it["ref"]).collect();
        assert_eq!(refs, [&json!("default"), &json!(reference)]);
    });
}

#[test]
fn one_of_two_simultaneous_creations_wins() {
    run(async {
        let (it, reference) = (Admin::new().await, unique("race"));
        let (one, other) = join(it.create(&reference), it.create(&reference)).await;
        let mut answers = [one.short(), other.short()];
        answers.sort();
        assert_eq!(answers, ["201", "409 CP303"]);
        assert_eq!(it.create(&reference).await.short(), "409 CP303");
    });
}

#[test]
fn a_database_that_belongs_to_something_else_is_left_alone() {
    run(async {
        let (it, reference) = (Admin::new().await, unique("taken"));
        let database = format!("project_{}", reference.as_str().replace('-', "_"));
        let control = it.installation.control().await;
        control.batch_execute(&format!("create database {database}")).await.unwrap();
        assert_eq!(it.create(&reference).await.short(), "409 CP307");
        assert_eq!(it.get(&format!("/projects/{reference}")).await.short(), "404 CP302");
        control.batch_execute(&format!("drop database {database}")).await.unwrap();
        assert_eq!(it.create(&reference).await.short(), "201");
    });
}

#[test]
fn a_deleted_project_leaves_nothing_and_ends_its_connections() {
    run(async {
        let (it, reference) = (Admin::new().await, unique("delete"));
        it.create(&reference).await;
        let project = it.plane.find(&reference).await.unwrap().unwrap();
        let owner = connect(&project.database, &project.logins.owner).await.unwrap();
        // Streams of its changes: one that rests, and one that is read.
        let readers = [crate::admin(&project.database).await, crate::admin(&project.database).await];
        for (reader, is_read) in readers.iter().zip([false, true]) {
            let make = "select pg_create_logical_replication_slot($1, 'pgoutput', $2)";
            let name = format!("{}_{is_read}", reference.as_str().replace('-', "_"));
            reader.execute(make, &[&name, &is_read]).await.unwrap();
        }
        let path = format!("/projects/{reference}");
        assert_eq!(it.call(Method::DELETE, &path, &Value::Null).await.short(), "204");
        assert_ne!(outcome(&owner, "select 1").await, "ok");
        assert!(connect(&project.database, &project.logins.owner).await.is_err());
        assert!(it.plane.find(&reference).await.unwrap().is_none());
        for call in [it.call(Method::DELETE, &path, &Value::Null).await, it.get(&path).await] {
            assert_eq!(call.short(), "404 CP302");
        }
        let left = it
            .installation
            .control()
            .await
            .query_one(
                "select (select count(*) from pg_database where datname = $1), \
                 (select count(*) from pg_roles where rolname = any($2)), \
                 (select length(secrets) from madbase.projects where ref = $3)",
                &[
                    &project.database,
                    &[
                        &project.logins.owner.user,
                        &project.logins.authenticator.user,
                        &project.logins.services.user,
                    ]
                    .as_slice(),
                    &reference.as_str(),
                ],
            )
            .await
            .unwrap();
        assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1), left.get::<_, i32>(2)), (0, 0, 0));
        assert_eq!(it.create(&reference).await.short(), "201", "the reference is free again");
    });
}

#[test]
fn keys_open_the_project_and_rotate() {
    run(async {
        let (it, reference) = (Admin::new().await, unique("keys"));
        it.create(&reference).await;
        let path = format!("/projects/{reference}/keys");
        let keys = it.get(&path).await.body;
        let project = it.plane.find(&reference).await.unwrap().unwrap();
        for (field, key) in [("anon", &project.keys.anon), ("secret", &project.keys.secret)] {
            assert_eq!(keys[field], secrecy::ExposeSecret::expose_secret(key), "{field}");
        }
        assert_eq!(keys["jwks"]["keys"][0]["alg"], "ES256");
        let start = format!("postgresql://{}:", project.logins.owner.user);
        assert!(keys["database_url"].as_str().unwrap().starts_with(&start));
        assert!(keys["publishable"].as_str().unwrap().starts_with("sb_publishable_"));

        let rotated = it.call(Method::POST, &format!("{path}/rotate"), &Value::Null).await.body;
        assert_eq!(rotated, it.get(&path).await.body);
        assert!(rotated["secret"] != keys["secret"] && rotated["publishable"] != keys["publishable"]);
        assert_eq!((&rotated["anon"], &rotated["jwt_secret"]), (&keys["anon"], &keys["jwt_secret"]));
        let after = it.plane.find(&reference).await.unwrap().unwrap();
        assert!(after.version > project.version);

        // A service key that got about is good for ten years: unless the secret goes.
        let now_secs = jiff::Timestamp::now().as_second();
        let rules = Rules { now_secs, leeway_secs: 30, audience: None, default_role: "" };
        let replaced = it.call(Method::POST, &format!("{path}/replace-jwt-secret"), &Value::Null).await.body;
        let after = it.plane.find(&reference).await.unwrap().unwrap();
        for name in ["anon", "service_role"] {
            let (old, new) = (rotated[name].as_str().unwrap(), replaced[name].as_str().unwrap());
            assert!(
                project.jwt.verify(old, &rules).is_ok() && after.jwt.verify(old, &rules).is_err(),
                "{name}"
            );
            assert_eq!(after.jwt.verify(new, &rules).unwrap().role, name);
        }
        assert_ne!(replaced["jwt_secret"], rotated["jwt_secret"]);
        assert_eq!((&replaced["secret"], &replaced["jwks"]), (&rotated["secret"], &rotated["jwks"]));
    });
}

#[test]
fn a_secret_of_another_server_is_taken_over_with_the_keys_that_it_signed() {
    run(async {
        let it = Admin::new().await;
        let path = "/projects/default/keys/replace-jwt-secret";
        let secret = "the secret of a project that comes from elsewhere";
        let claims = json!({"iss": "elsewhere", "role": "anon", "exp": 4_000_000_000_i64});
        let old_key =
            KeyRing::from_jwt_secret(secret).unwrap().sign_hs256(claims.as_object().unwrap()).unwrap();
        let reference = "default".parse().unwrap();
        for bad in [
            json!({"jwt_secret": "short"}),
            json!({"jwt_secret": "x".repeat(513)}),
            json!({"secret": secret}),
        ] {
            assert_eq!(it.call(Method::POST, path, &bad).await.short(), "400 CP101");
        }
        let now_secs = jiff::Timestamp::now().as_second();
        let rules = Rules { now_secs, leeway_secs: 30, audience: None, default_role: "" };
        let before = it.plane.find(&reference).await.unwrap().unwrap();
        assert!(before.jwt.verify(&old_key, &rules).is_err(), "what was refused changed nothing");
        let replaced = it.call(Method::POST, path, &json!({"jwt_secret": secret})).await.body;
        assert_eq!(replaced["jwt_secret"], secret);
        let after = it.plane.find(&reference).await.unwrap().unwrap();
        assert_eq!(after.jwt.verify(&old_key, &rules).unwrap().role, "anon");
        assert_eq!(
            after.jwt.verify(replaced["service_role"].as_str().unwrap(), &rules).unwrap().role,
            "service_role"
        );
        let audit = it.get("/audit").await.body.to_string();
        assert!(audit.contains("keys.replace_jwt_secret") && !audit.contains(secret), "{audit}");
    });
}

#[test]
fn settings_are_validated_merged_and_served() {
    run(async {
        let it = Admin::new().await;
        let path = "/projects/default/settings";
        let reference = "default".parse().unwrap();
        let before = it.plane.find(&reference).await.unwrap().unwrap();
        let good = json!({"auth": {"disable_signup": true}, "rest": {"db-max-rows": 7}});
        let changed = it.call(Method::PATCH, path, &good).await;
        assert_eq!(changed.short(), "200");
        assert_eq!(changed.body["settings"]["auth"]["disable_signup"], true);
        let after = it.plane.find(&reference).await.unwrap().unwrap();
        assert_eq!((after.auth.disable_signup, after.rest.db_max_rows), (true, Some(7)));
        assert!(after.version > before.version);
        for bad in
            [json!({"rest": {"db-max-row": 7}}), json!({"auth": {"site_url": "nowhere"}}), json!({"x": 1})]
        {
            assert_eq!(it.call(Method::PATCH, path, &bad).await.short(), "400 CP101", "{bad}");
        }
        let unchanged = it.plane.find(&reference).await.unwrap().unwrap();
        assert_eq!(unchanged.version, after.version);
    });
}

#[test]
fn simultaneous_changes_are_all_kept() {
    run(async {
        let it = Admin::new().await;
        let path = "/projects/default/settings";
        let (one, other) = (json!({"auth": {"disable_signup": true}}), json!({"rest": {"db-max-rows": 7}}));
        let (one, other) =
            join(it.call(Method::PATCH, path, &one), it.call(Method::PATCH, path, &other)).await;
        assert_eq!([one.short(), other.short()], ["200", "200"]);
        let after = it.plane.find(&"default".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((after.auth.disable_signup, after.rest.db_max_rows), (true, Some(7)));
    });
}

#[test]
fn what_is_done_is_in_the_audit_log_without_secrets() {
    run(async {
        let it = Admin::new().await;
        let smtp = json!({"host": "mail", "port": 25, "from": "a@b.c", "password": "hush-hush"});
        it.call(Method::PATCH, "/projects/default/settings", &json!({"auth": {"smtp": smtp}})).await;
        it.call(Method::PATCH, "/projects/default", &json!({"name": "Ours"})).await;
        it.call(Method::PATCH, "/projects/default", &json!({"name": "x".repeat(201)})).await;
        let lines = it.get("/audit?project=default").await.body;
        let actions: Vec<&str> =
            lines["audit"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["project.rename", "project.configure", "project.create"]);
        assert_eq!(lines["audit"][0]["who"], "admin");
        assert!(!lines.to_string().contains("hush-hush"), "{lines}");
        let newest = lines["audit"][0]["id"].as_i64().unwrap();
        let page = it.get(&format!("/audit?limit=1&before={newest}")).await.body;
        assert_eq!(page["audit"].as_array().unwrap().len(), 1);
        assert_eq!(page["audit"][0]["action"], "project.configure");
        let shown = it.get("/projects/default").await.body;
        assert_eq!(shown["settings"]["auth"]["smtp"]["password"], Value::Null);
        let project = it.plane.find(&"default".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(project.auth.smtp.as_ref().unwrap().password.as_deref(), Some("hush-hush"));
    });
}

#[test]
fn the_inbox_is_listed_filtered_and_emptied() {
    run(async {
        let it = Admin::new().await;
        for to in ["a@b.c", "d@e.f"] {
            it.installation.inbox.push(CapturedMail {
                project: "default".into(),
                to: to.into(),
                subject: "Confirm".into(),
                html: "<p></p>".into(),
                link: Some("http://x/verify".into()),
                captured_at: "2026-01-01T00:00:00Z".into(),
            });
        }
        let mails = it.get("/inbox").await.body;
        assert_eq!((&mails["mails"][0]["to"], &mails["mails"][1]["to"]), (&json!("d@e.f"), &json!("a@b.c")));
        let mine = it.get("/inbox?to=a@b.c&project=default").await.body;
        assert_eq!(mine["mails"].as_array().unwrap().len(), 1);
        assert_eq!(it.get("/inbox?too=a").await.short(), "400 CP105");
        assert_eq!(it.call(Method::DELETE, "/inbox", &Value::Null).await.short(), "204");
        assert_eq!(it.get("/inbox").await.body, json!({"mails": []}));
    });
}

#[test]
fn the_number_of_projects_is_bounded() {
    run(async {
        let mut installation = Installation::new();
        installation.config.max_projects = 1;
        let router = router(installation.start(Vec::new()).await.unwrap());
        let body = json!({"ref": unique("full")});
        let reply = send(&router, Some(TOKEN), (Method::POST, "/api/v1/projects"), Some(&body)).await;
        assert_eq!(reply.short(), "409 CP308");
    });
}
