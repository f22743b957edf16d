//! Strict sessions: a token whose session has ended joins nothing, and keeps nothing open.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Asking, Project, SessionCheck, SessionCheckError};
use realtime::Config;
use serde_json::{Value, json};
use store::Redis;
use testkit::TestProject;
use uuid::Uuid;

use crate::world::{Client, World, open, secs, token};

const TOPIC: &str = "realtime:room";
const ENDED: &str = "Session from session_id claim in JWT does not exist";

/// Sessions that stand; who is asked about another one in the list has no answer. Nothing is remembered.
#[derive(Debug, Default)]
struct Standing {
    stands: Mutex<BTreeSet<Uuid>>,
    unknown: Mutex<BTreeSet<Uuid>>,
}

impl SessionCheck for Standing {
    fn remembered(&self, _: &Project, _: Uuid) -> Option<bool> {
        None
    }

    fn ask<'a>(&'a self, _: &'a Arc<Project>, session: Uuid) -> Asking<'a> {
        Box::pin(async move {
            if self.unknown.lock().unwrap().contains(&session) {
                return Err(SessionCheckError("connection refused".into()));
            }
            Ok(self.stands.lock().unwrap().contains(&session))
        })
    }
}

/// A process for a strict project, and sessions of it, which stand.
async fn strict<const N: usize>(test: &TestProject) -> (World, Arc<Standing>, [Uuid; N]) {
    let mut project = Project::clone(&test.project);
    project.auth.strict_sessions = true;
    let world =
        World::of(test, Project { realtime: open(), ..project }, Config::default(), &Redis::none()).await;
    let (standing, sessions) = (Arc::new(Standing::default()), [(); N].map(|()| Uuid::new_v4()));
    standing.stands.lock().unwrap().extend(sessions);
    world.realtime.check_sessions(Arc::clone(&standing) as Arc<dyn SessionCheck>);
    (world, standing, sessions)
}

fn of(world: &World, session: Uuid) -> String {
    let claims = json!({"role": "authenticated", "sub": "ada", "exp": secs(3600), "session_id": session});
    token(&world.project, &claims)
}

async fn join(client: &mut Client, topic: &str, token: &str, is_private: bool) -> Value {
    client.join(topic, json!({"config": {"private": is_private}, "access_token": token})).await
}

/// The channel ends, because its session has.
async fn ends(client: &mut Client, topic: &str) {
    let told = client.event().await;
    assert_eq!((told.topic.as_str(), told.payload["message"].as_str()), (topic, Some(ENDED)), "{told:?}");
    let told = client.event().await;
    assert_eq!((told.topic.as_str(), told.event.as_str()), (topic, "phx_close"));
}

#[test]
fn a_token_whose_session_has_ended_joins_nothing_and_replaces_no_other() {
    testkit::run(async {
        let test = testkit::project("strictjoin").await;
        let (world, standing, [alive]) = strict(&test).await;
        let (gone, unknown) = (Uuid::new_v4(), Uuid::new_v4());
        standing.unknown.lock().unwrap().insert(unknown);
        let mut client = world.connect("2.0.0").await;
        for is_private in [false, true] {
            let refused = join(&mut client, TOPIC, &of(&world, gone), is_private).await;
            assert_eq!(refused["response"]["reason"], format!("InvalidJWTToken: {ENDED}"));
        }
        let refused = join(&mut client, TOPIC, &of(&world, unknown), false).await;
        let reason = "UnableToCheckAuthorization: the token's session cannot be checked right now";
        assert_eq!(refused["response"]["reason"], reason);
        assert_eq!(join(&mut client, TOPIC, &of(&world, alive), false).await["status"], "ok");
        client.send(TOPIC, "access_token", json!({"access_token": of(&world, gone)})).await;
        ends(&mut client, TOPIC).await;
        // Tokens of no session, such as keys, are nobody's.
        let without = token(&world.project, &json!({"role": "authenticated", "exp": secs(3600)}));
        assert_eq!(join(&mut client, TOPIC, &without, false).await["status"], "ok");
    });
}

#[test]
fn an_open_channel_ends_with_its_session_and_others_stay() {
    testkit::run(async {
        let test = testkit::project("strictopen").await;
        let all = "create policy a on realtime.messages for select to authenticated using (true)";
        test.owner().await.batch_execute(all).await.unwrap();
        let (world, standing, [first, second]) = strict(&test).await;
        let mut client = world.connect("2.0.0").await;
        let mut other = world.connect("1.0.0").await;
        for (client, session) in [(&mut client, first), (&mut other, second)] {
            let reply = join(client, TOPIC, &of(&world, session), true).await;
            assert_eq!(reply["status"], "ok", "{reply}");
        }
        // The second channel of the socket shows another session's token now.
        assert_eq!(join(&mut client, "realtime:b", &of(&world, first), false).await["status"], "ok");
        client.send("realtime:b", "access_token", json!({"access_token": of(&world, second)})).await;
        client.hears_nothing().await;
        standing.stands.lock().unwrap().remove(&first);
        let asked = tokio::time::Instant::now();
        ends(&mut client, TOPIC).await;
        assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
        client.hears_nothing().await;
        other.hears_nothing().await;
        standing.stands.lock().unwrap().remove(&second);
        ends(&mut client, "realtime:b").await;
        ends(&mut other, TOPIC).await;
    });
}
