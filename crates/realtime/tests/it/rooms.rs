//! Private topics and members as clients meet them: what policies allow, who is shown where, what is replayed.

use realtime::Config;
use serde_json::{Value, json};
use store::{Redis, RedisSettings};
use testkit::{RedisServer, TestProject};
use tokio::time::{Duration, Instant, sleep};
use uuid::Uuid;

use crate::world::{Client, World, open, secs, token};

const TOPIC: &str = "realtime:room";

/// `user` joins `topic` privately, with more `config`: the reply.
async fn enter(world: &World, client: &mut Client, (topic, user): (&str, Uuid), mut config: Value) -> Value {
    let claims = json!({"role": "authenticated", "sub": user, "exp": secs(3600)});
    config["private"] = json!(true);
    client.join(topic, json!({"config": config, "access_token": token(&world.project, &claims)})).await
}

async fn policies(test: &TestProject, text: &str) {
    test.owner().await.batch_execute(text).await.unwrap();
}

#[test]
fn private_topics_are_open_to_whom_policies_name() {
    testkit::run(async {
        let test = testkit::project("private").await;
        let (ada, ben, eve) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        policies(
            &test,
            &format!(
                "create policy a on realtime.messages for select to authenticated
                    using (realtime.topic() = 'room' and auth.uid() in ('{ada}', '{ben}'));
                 create policy b on realtime.messages for insert to authenticated
                    with check (realtime.topic() = 'room' and auth.uid() = '{ada}');"
            ),
        )
        .await;
        let world = World::new(&test).await;
        let mut clients = Vec::new();
        for user in [ada, ben] {
            let mut client = world.connect("2.0.0").await;
            let reply = enter(&world, &mut client, (TOPIC, user), json!({"broadcast": {"ack": true}})).await;
            assert_eq!(reply["status"], "ok", "{reply}");
            clients.push(client);
        }
        let refused = json!({"status": "error", "response": {
            "reason": "Unauthorized: You do not have permissions to read from this Channel topic: room",
        }});
        let mut outside = world.connect("2.0.0").await;
        assert_eq!(enter(&world, &mut outside, (TOPIC, eve), json!({})).await, refused);
        assert_eq!(
            outside.join(TOPIC, json!({"config": {"private": true}})).await,
            refused,
            "nobody in particular"
        );
        // The public topic of that name is another one.
        assert_eq!(outside.join(TOPIC, json!({"config": {}})).await["status"], "ok");

        let [mut one, mut two] = clients.try_into().unwrap_or_else(|_| panic!("two clients"));
        one.broadcast(TOPIC, json!({"from": "ada"})).await;
        assert_eq!(two.event().await.payload["payload"], json!({"from": "ada"}));
        two.broadcast(TOPIC, json!({"from": "ben"})).await;
        one.hears_own_reply().await;
        outside.broadcast(TOPIC, json!({"from": "outside"})).await;
        outside.hears_nothing().await;
        one.hears_nothing().await;
    });
}

impl Client {
    /// The reply to what was sent last, and nothing else.
    async fn hears_own_reply(&mut self) {
        assert_eq!(self.next().await.event, "phx_reply");
    }
}

#[test]
fn rights_that_were_taken_away_end_an_open_channel() {
    testkit::run(async {
        let test = testkit::project("recheck").await;
        policies(
            &test,
            "create policy a on realtime.messages for select to authenticated using (realtime.topic() = 'room');
             create policy b on realtime.messages for select to authenticated using (realtime.topic() = 'stays')",
        )
        .await;
        let config = Config { check_every: Duration::from_secs(1), ..Config::default() };
        let world = World::with(&test, open(), config, &Redis::none()).await;
        let (mut client, user) = (world.connect("2.0.0").await, Uuid::new_v4());
        for topic in [TOPIC, "realtime:stays"] {
            assert_eq!(enter(&world, &mut client, (topic, user), json!({})).await["status"], "ok");
        }
        policies(&test, "drop policy a on realtime.messages").await;
        let told = client.event().await;
        let message = "You do not have permissions to read from this Channel topic: room";
        assert_eq!((told.topic.as_str(), &told.payload["message"]), (TOPIC, &json!(message)));
        assert_eq!(client.event().await.event, "phx_close");
        sleep(Duration::from_secs(2)).await;
        client.hears_nothing().await;
    });
}

#[test]
fn a_policy_that_fails_refuses_its_topic_and_no_other() {
    testkit::run(async {
        let test = testkit::project("broken").await;
        policies(
            &test,
            "create policy a on realtime.messages for select to authenticated
                using (1 / length(replace(realtime.topic(), 'broken', '')) > -1)",
        )
        .await;
        let world = World::new(&test).await;
        let mut client = world.connect("1.0.0").await;
        let user = Uuid::new_v4();
        assert_eq!(enter(&world, &mut client, (TOPIC, user), json!({})).await["status"], "ok");
        let reply = enter(&world, &mut client, ("realtime:broken", user), json!({})).await;
        let reason = reply["response"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("UnableToCheckAuthorization: ") && reason.contains("22012"), "{reason}");
        assert_eq!(enter(&world, &mut client, ("realtime:other", user), json!({})).await["status"], "ok");
    });
}

#[test]
fn the_last_messages_are_replayed_to_who_joins() {
    testkit::run(async {
        let test = testkit::project("replays").await;
        let all = "create policy a on realtime.messages for select to authenticated using (true)";
        policies(&test, all).await;
        policies(&test, "select realtime.send(format('{\"n\": %s}', it)::jsonb, 'e', 'room') from generate_series(1, 3) as it")
            .await;
        let world = World::new(&test).await;
        let mut client = world.connect("2.0.0").await;
        let since = (secs(0) - 3600) * 1000;
        let config = json!({"broadcast": {"replay": {"since": since, "limit": 2}}});
        assert_eq!(enter(&world, &mut client, (TOPIC, Uuid::new_v4()), config).await["status"], "ok");
        for _ in 0..2 {
            let told = client.event().await;
            assert_eq!((told.event.as_str(), &told.payload["event"]), ("broadcast", &json!("e")));
            assert_eq!(told.payload["meta"], json!({"replayed": true, "id": told.payload["payload"]["id"]}));
        }
        client.hears_nothing().await;
        let public = json!({"config": {"broadcast": {"replay": {"since": since}}}});
        let reply = client.join("realtime:public", public).await;
        assert!(
            reply["response"]["reason"].as_str().unwrap().starts_with("UnableToReplayMessages: "),
            "{reply}"
        );
    });
}

#[test]
fn what_asks_for_privacy_in_any_spelling_is_private_and_what_cannot_be_read_joins_nothing() {
    testkit::run(async {
        let test = testkit::project("spelling").await;
        let world = World::new(&test).await;
        let mut client = world.connect("2.0.0").await;
        for private in [json!(true), json!("true"), json!("True"), json!("TRUE")] {
            let reply = client.join(TOPIC, json!({"config": {"private": private}})).await;
            let reason = reply["response"]["reason"].as_str().unwrap_or_default();
            assert!(reason.starts_with("Unauthorized: "), "{private}: {reply}");
        }
        let half =
            r#"["1","9","realtime:room","phx_join",{"config":{"private":true,"presence":{"key":"\ud800"}}}]"#;
        let message = tokio_tungstenite::tungstenite::Message::text(half);
        futures_util::SinkExt::send(&mut client.stream, message).await.unwrap();
        let told = client.next().await;
        let reason = told.payload["response"]["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("InvalidJoinPayload: "), "{told:?}");
        for public in [json!(false), json!("False"), Value::Null] {
            let reply = client.join(TOPIC, json!({"config": {"private": public}})).await;
            assert_eq!(reply["status"], "ok", "{public}: {reply}");
        }
    });
}

// REQ C4: users of the program are members beside those of sockets.
#[test]
fn sockets_see_the_users_of_the_presence_manager() {
    testkit::run(async {
        let test = testkit::project("managed").await;
        let world = World::new(&test).await;
        let mut ada = world.joined(TOPIC, config("ada")).await;
        assert_eq!(ada.event().await.event, "presence_state");
        let manager = world.realtime.presence(&world.project);
        track(&mut ada, json!({})).await;
        assert_eq!(diff(&mut ada).await.0, ["ada"]);
        manager.join_channel("robot", "room", &json!({"kind": "program"})).unwrap();
        assert_eq!(diff(&mut ada).await.0, ["robot"]);
        assert_eq!(manager.get_channel_online_count("room"), 2);
        assert_eq!(manager.channel_state("room")["robot"]["metas"][0]["kind"], "program");
        assert!(manager.heartbeat("robot", "room") && !manager.heartbeat("ada", "room"));
        manager.leave_channel("robot", "room");
        assert_eq!(diff(&mut ada).await.1, ["robot"]);
        manager.join_channel("robot", "room", &json!({})).unwrap();
        diff(&mut ada).await;
        // Its end is the end of its users, not of the sockets' members.
        manager.close().await;
        assert_eq!(diff(&mut ada).await.1, ["robot"]);
        assert_eq!(manager.get_channel_online_count("room"), 1);
    });
}

/// Track `key` in the public room, and skip to the reply.
async fn track(client: &mut Client, meta: Value) -> Value {
    client.ask(TOPIC, "presence", json!({"type": "presence", "event": "track", "payload": meta})).await
}

fn config(key: &str) -> Value {
    json!({"presence": {"enabled": true, "key": key}})
}

/// The next `presence_diff`: keys that came, keys that left.
async fn diff(client: &mut Client) -> (Vec<String>, Vec<String>) {
    let mut told = client.event().await;
    // A busy Redis may have been given up for a moment; members are agreed upon again, broadcasts are not.
    while (told.event.as_str(), &told.payload["extension"]) == ("system", &json!("broadcast")) {
        told = client.event().await;
    }
    assert_eq!(told.event, "presence_diff", "{told:?}");
    let keys = |half: &str| told.payload[half].as_object().unwrap().keys().cloned().collect();
    (keys("joins"), keys("leaves"))
}

#[test]
fn members_of_two_workers_see_each_other_come_and_go() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let test = testkit::project("members").await;
        let redis = || {
            Redis::open(RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() }).unwrap()
        };
        let (here, there) = (redis(), redis());
        let one = World::with(&test, open(), Config::default(), &here).await;
        let two = World::with(&test, open(), Config::default(), &there).await;
        let (mut ada, mut ben) =
            (one.joined(TOPIC, config("ada")).await, two.joined(TOPIC, config("ben")).await);
        for client in [&mut ada, &mut ben] {
            let told = client.event().await;
            assert_eq!((told.event.as_str(), told.payload), ("presence_state", json!({})));
        }
        assert_eq!(track(&mut ada, json!({"mood": "good"})).await["status"], "ok");
        assert_eq!(diff(&mut ada).await, (vec!["ada".into()], vec![]));
        assert_eq!(diff(&mut ben).await, (vec!["ada".into()], vec![]));
        track(&mut ben, json!({})).await;
        assert_eq!(diff(&mut ada).await, (vec!["ben".into()], vec![]));
        assert_eq!(diff(&mut ben).await, (vec!["ben".into()], vec![]));

        // Who comes later is told of all.
        let mut late = two.joined(TOPIC, config("late")).await;
        let told = late.event().await;
        assert_eq!(told.event, "presence_state");
        assert_eq!(told.payload["ada"]["metas"][0]["mood"], "good");
        assert_eq!(told.payload.as_object().unwrap().keys().collect::<Vec<_>>(), ["ada", "ben"]);
        // Beside REQ C8's names, which are the default project's: those of others stand under their references.
        let set = format!("presence:project:{}:channel:room:users", test.project.reference);
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.cli(&["SCARD", &set]) != "2" {
            assert!(Instant::now() < deadline, "{}", server.cli(&["SMEMBERS", &set]));
            sleep(Duration::from_millis(20)).await;
        }

        drop(ben);
        assert_eq!(diff(&mut ada).await, (vec![], vec!["ben".into()]));
        assert_eq!(diff(&mut late).await, (vec![], vec!["ben".into()]));
        let not_a_map = track(&mut ada, json!("text")).await;
        assert_eq!(not_a_map["status"], "error", "{not_a_map}");
        ada.ask(TOPIC, "presence", json!({"type": "presence", "event": "untrack"})).await;
        assert_eq!(diff(&mut late).await, (vec![], vec!["ada".into()]));
        late.hears_nothing().await;
    });
}
