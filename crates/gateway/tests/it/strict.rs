//! Strict sessions, and configurations that change while they are remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Asking, Project, SessionCheck, SessionCheckError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, now, project, show, token};

/// Sessions in memory: what was asked for once is remembered until it is forgotten.
#[derive(Debug, Default)]
struct Standing {
    truth: Mutex<BTreeMap<Uuid, bool>>,
    remembered: Mutex<BTreeMap<Uuid, bool>>,
    asked: AtomicUsize,
    silent: AtomicBool,
}

impl SessionCheck for Standing {
    fn remembered(&self, _: &Project, session: Uuid) -> Option<bool> {
        self.remembered.lock().unwrap().get(&session).copied()
    }

    fn ask<'a>(&'a self, _: &'a Arc<Project>, session: Uuid) -> Asking<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.silent.load(Ordering::SeqCst) {
                return Err(SessionCheckError("connection refused".into()));
            }
            let stands = self.truth.lock().unwrap().get(&session).copied().unwrap_or_default();
            self.remembered.lock().unwrap().insert(session, stands);
            Ok(stands)
        })
    }
}

fn strict() -> Project {
    let mut strict = project("default", 2);
    strict.auth.strict_sessions = true;
    strict
}

fn user(of: &Project, session: Option<Uuid>) -> String {
    let mut claims = json!({"sub": "ada", "role": "authenticated", "exp": now() + 3600});
    if let Some(session) = session {
        claims["session_id"] = session.to_string().into();
    }
    token(of, &claims)
}

#[tokio::test]
async fn a_token_whose_session_has_ended_opens_nothing_in_a_strict_project() {
    let world = World::new().await;
    let strict = strict();
    let standing = Arc::new(Standing::default());
    world.gateway.check_sessions(Arc::clone(&standing) as Arc<dyn SessionCheck>);
    let (alive, gone) = (Uuid::new_v4(), Uuid::new_v4());
    standing.truth.lock().unwrap().insert(alive, true);
    world.shelf.put(strict.clone());
    let get = async |path: &str, token: &str| world.get(path).bearer_auth(token).send().await.unwrap();
    for _ in 0..3 {
        assert_eq!(get("/rest/v1/x", &user(&strict, Some(alive))).await.status(), 200);
    }
    assert_eq!(standing.asked.load(Ordering::SeqCst), 1, "the second time it is remembered");
    let refused = get("/rest/v1/x", &user(&strict, Some(gone))).await;
    insta::assert_snapshot!(show(refused, &["www-authenticate"]).await, @r#"
    401
    www-authenticate: Bearer error="invalid_token"
    {"code":"session_not_found","details":null,"hint":null,"message":"Session from session_id claim in JWT does not exist"}
    "#);
    // Auth looks by itself; tokens without a session and keys are nobody's session.
    assert_eq!(get("/auth/v1/user", &user(&strict, Some(gone))).await.status(), 200);
    assert_eq!(get("/rest/v1/x", &user(&strict, None)).await.status(), 200);
    assert_eq!(world.get("/rest/v1/x").send().await.unwrap().status(), 200);
    // Nobody knows: an outage, not a bad token.
    standing.silent.store(true, Ordering::SeqCst);
    let unknown = get("/rest/v1/x", &user(&strict, Some(Uuid::new_v4()))).await;
    insta::assert_snapshot!(show(unknown, &["retry-after"]).await, @r#"
    503
    retry-after: 1
    {"code":"session_unavailable","details":null,"hint":null,"message":"The session cannot be checked right now"}
    "#);
}

#[tokio::test]
async fn by_default_nobody_is_asked_about_sessions() {
    let world = World::new().await;
    let standing = Arc::new(Standing::default());
    world.gateway.check_sessions(Arc::clone(&standing) as Arc<dyn SessionCheck>);
    let token = user(&world.shelf.get("default"), Some(Uuid::new_v4()));
    assert_eq!(world.get("/rest/v1/x").bearer_auth(token).send().await.unwrap().status(), 200);
    assert_eq!(standing.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_change_that_is_told_counts_at_once() {
    let world = World::new().await;
    let version = async || {
        let answer: Value = world.get("/rest/v1/x").send().await.unwrap().json().await.unwrap();
        answer["version"].as_i64().unwrap()
    };
    let reference = "default".parse().unwrap();
    assert_eq!(version().await, 1);
    let changed = |version| Project { version, ..(*world.shelf.get("default")).clone() };
    world.shelf.put(changed(2));
    assert_eq!(version().await, 1, "remembered for a minute");
    world.gateway.forget_project(&reference).await;
    assert_eq!(version().await, 2);
    world.shelf.put(changed(3));
    world.gateway.forget_projects();
    assert_eq!(version().await, 3);
    // What was being asked while the change was told may be old: it is not kept.
    *world.shelf.delay.lock().unwrap() = Duration::from_millis(200);
    world.gateway.forget_project(&reference).await;
    let (overtaken, ()) = tokio::join!(version(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.gateway.forget_project(&reference).await;
    });
    assert_eq!(overtaken, 3);
    world.shelf.put(changed(4));
    assert_eq!(version().await, 4);
}
