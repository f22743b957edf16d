//! Members over several workers and one Redis: who is seen where, and what stands in Redis (REQ C4, C8, C12).

use std::collections::BTreeSet;
use std::time::Duration;

use common::ProjectRef;
use realtime::{PresenceManager, PresenceSettings};
use serde_json::{Value, json};
use store::{Redis, RedisSettings};
use testkit::{RedisServer, run};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// As in production, twenty times as fast.
fn settings() -> PresenceSettings {
    PresenceSettings {
        ttl: Duration::from_secs(3),
        beat: Duration::from_millis(250),
        ..PresenceSettings::default()
    }
}

fn default_project() -> ProjectRef {
    ProjectRef::DEFAULT.parse().unwrap()
}

fn open(server: &RedisServer) -> Redis {
    Redis::open(RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() }).unwrap()
}

fn worker(server: &RedisServer, project: &ProjectRef) -> PresenceManager {
    PresenceManager::new(&open(server), project, settings())
}

/// A worker that can be killed: its tasks end, and nothing of it is done any more.
async fn doomed_worker(server: &RedisServer) -> (PresenceManager, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = server.url();
    let made = runtime.spawn(async move {
        let redis = Redis::open(RedisSettings { url: Some(url.into()), ..RedisSettings::default() }).unwrap();
        PresenceManager::new(&redis, &default_project(), settings())
    });
    (made.await.unwrap(), runtime)
}

/// Wait until `is` holds.
async fn until(what: &str, is: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

fn members(server: &RedisServer, set: &str) -> Vec<String> {
    let mut all: Vec<String> = server.cli(&["SMEMBERS", set]).lines().map(str::to_owned).collect();
    all.retain(|it| !it.is_empty());
    all.sort();
    all
}

#[test]
fn members_are_seen_on_every_worker_and_in_redis() {
    run(async {
        let server = RedisServer::start().await;
        let (one, two) = (worker(&server, &default_project()), worker(&server, &default_project()));
        one.join_channel("ada", "public", &json!({"mood": "good"})).unwrap();
        two.join_channel("ben", "public", &json!({})).unwrap();
        two.join_channel("ada", "public", &json!({"mood": "better"})).unwrap();
        two.join_channel("cleo", "other", &json!({})).unwrap();
        for (name, it) in [("one", &one), ("two", &two)] {
            until(name, || it.get_channel_online_count("public") == 2).await;
            until(name, || it.get_channel_online_count("other") == 1).await;
            until(name, || metas(it, "public", "ada").len() == 2).await;
        }
        assert_eq!(metas(&one, "public", "ada"), metas(&two, "public", "ada"));
        // REQ C8, C12: what people ask redis-cli for.
        until("the set", || members(&server, "presence:channel:public:users") == ["ada", "ben"]).await;
        assert_eq!(server.cli(&["TYPE", "presence:channel:public:users"]), "set");
        for key in [
            "presence:channel:public:user:ada",
            "presence:channel:public:user:ben",
            "presence:channel:public:users",
        ] {
            let left: u64 = server.cli(&["PTTL", key]).parse().unwrap();
            assert!((1..=3000).contains(&left), "{key} lives for {left} ms");
        }

        // One of two connections left: still there. The other one, too: gone.
        one.leave_channel("ada", "public");
        until("one meta", || metas(&two, "public", "ada").len() == 1).await;
        assert_eq!(two.get_channel_online_count("public"), 2);
        assert_eq!(members(&server, "presence:channel:public:users"), ["ada", "ben"]);
        two.leave_channel("ada", "public");
        until("ada left", || one.get_channel_online_count("public") == 1).await;
        until("the set without ada", || members(&server, "presence:channel:public:users") == ["ben"]).await;
        assert_eq!(server.cli(&["EXISTS", "presence:channel:public:user:ada"]), "0");
    });
}

/// The `phx_ref` of each meta.
fn metas(it: &PresenceManager, channel: &str, key: &str) -> Vec<Value> {
    let state = it.channel_state(channel);
    let mut all =
        state.pointer(&format!("/{key}/metas")).and_then(Value::as_array).cloned().unwrap_or_default();
    all.sort_by_key(ToString::to_string);
    all
}

#[test]
fn projects_do_not_see_each_other() {
    run(async {
        let server = RedisServer::start().await;
        let (shop, default) =
            (worker(&server, &"shop".parse().unwrap()), worker(&server, &default_project()));
        shop.join_channel("ada", "public", &json!({})).unwrap();
        until("the set", || members(&server, "presence:project:shop:channel:public:users") == ["ada"]).await;
        until("the key", || server.cli(&["EXISTS", "presence:project:shop:channel:public:user:ada"]) == "1")
            .await;
        default.join_channel("ben", "public", &json!({})).unwrap();
        until("ben", || members(&server, "presence:channel:public:users") == ["ben"]).await;
        assert_eq!(
            (shop.get_channel_online_count("public"), default.get_channel_online_count("public")),
            (1, 1)
        );
    });
}

#[test]
fn members_live_while_heartbeats_come() {
    run(async {
        let server = RedisServer::start().await;
        let (one, two) = (worker(&server, &default_project()), worker(&server, &default_project()));
        one.join_channel("ada", "public", &json!({})).unwrap();
        one.join_channel("ben", "public", &json!({})).unwrap();
        until("both", || two.get_channel_online_count("public") == 2).await;
        let begun = Instant::now();
        while begun.elapsed() < settings().ttl * 2 {
            assert!(one.heartbeat("ada", "public"));
            assert!(metas(&two, "public", "ada").len() == 1, "ada is there all the time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!one.heartbeat("ben", "public"), "ben must join again");
        until("ben left", || two.get_channel_online_count("public") == 1).await;
        until("ben's key", || members(&server, "presence:channel:public:users") == ["ada"]).await;
    });
}

#[test]
fn a_killed_workers_members_leave_within_the_ttl() {
    run(async {
        let server = RedisServer::start().await;
        let survivor = worker(&server, &default_project());
        let (victim, runtime) = doomed_worker(&server).await;
        survivor.join_channel("ada", "public", &json!({})).unwrap();
        for channel in ["public", "elsewhere"] {
            victim.join_channel("ben", channel, &json!({})).unwrap();
        }
        until("ben came", || survivor.get_channel_online_count("public") == 2).await;
        until("ben's keys", || members(&server, "presence:channel:elsewhere:users") == ["ben"]).await;
        runtime.shutdown_background();
        let killed = Instant::now();
        while killed.elapsed() < settings().ttl / 3 {
            assert!(survivor.heartbeat("ada", "public"));
            assert_eq!(survivor.get_channel_online_count("public"), 2, "a short silence is nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left = || {
            let _ = survivor.heartbeat("ada", "public");
            survivor.get_channel_online_count("public") == 1
        };
        until("ben left", left).await;
        until("the sets", || {
            members(&server, "presence:channel:public:users") == ["ada"]
                && members(&server, "presence:channel:elsewhere:users").is_empty()
        })
        .await;
        let took = killed.elapsed();
        assert!(took <= settings().ttl, "it took {took:?}");
        drop(victim);
    });
}

#[test]
fn nobody_survives_the_last_worker_in_redis() {
    run(async {
        let server = RedisServer::start().await;
        let (victim, runtime) = doomed_worker(&server).await;
        victim.join_channel("ben", "public", &json!({})).unwrap();
        until("ben's keys", || members(&server, "presence:channel:public:users") == ["ben"]).await;
        runtime.shutdown_background();
        // The next one meets what is left, and keeps the set alive.
        let next = worker(&server, &default_project());
        next.join_channel("ada", "public", &json!({})).unwrap();
        until("only ada", || {
            assert!(next.heartbeat("ada", "public"));
            members(&server, "presence:channel:public:users") == ["ada"]
        })
        .await;
    });
}

#[test]
fn an_ended_workers_members_leave_at_once() {
    run(async {
        let server = RedisServer::start().await;
        let slow = PresenceSettings::default();
        let (one, two, three) = (
            PresenceManager::new(&open(&server), &default_project(), slow.clone()),
            PresenceManager::new(&open(&server), &default_project(), slow.clone()),
            PresenceManager::new(&open(&server), &default_project(), slow),
        );
        for (it, user) in [(&one, "ada"), (&two, "ben"), (&three, "cleo"), (&two, "ada")] {
            it.join_channel(user, "public", &json!({})).unwrap();
        }
        until("all", || one.get_channel_online_count("public") == 3).await;
        until("all in Redis", || members(&server, "presence:channel:public:users").len() == 3).await;
        two.leave_channel("ben", "public");
        two.close().await;
        drop(three);
        let took = until("the others left", || one.get_channel_online_count("public") == 1).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        until("the set", || members(&server, "presence:channel:public:users") == ["ada"]).await;
        assert_eq!(server.cli(&["EXISTS", "presence:channel:public:user:ada"]), "1");
    });
}

#[test]
fn who_comes_later_learns_of_all() {
    run(async {
        let server = RedisServer::start().await;
        // More than fits into one message between workers, and may be sent to one who joins.
        let meta = json!({"about": "x".repeat(2000)});
        let roomy = || PresenceSettings { max_state_bytes: 4_000_000, ..settings() };
        let one = PresenceManager::new(&open(&server), &default_project(), roomy());
        for idx in 0..700 {
            one.join_channel(&format!("user-{idx}"), "crowd", &meta).unwrap();
        }
        let two = PresenceManager::new(&open(&server), &default_project(), roomy());
        let all = || {
            (0..700).for_each(|idx| assert!(one.heartbeat(&format!("user-{idx}"), "crowd")));
            two.get_channel_online_count("crowd") == 700
        };
        until("all are known", all).await;
        assert_eq!(one.channel_state("crowd"), two.channel_state("crowd"));
    });
}

#[test]
fn a_restarted_redis_is_filled_again_and_nobody_flickers() {
    run(async {
        let mut server = RedisServer::start().await;
        let (one, two) = (worker(&server, &default_project()), worker(&server, &default_project()));
        one.join_channel("ada", "public", &json!({})).unwrap();
        two.join_channel("ben", "public", &json!({})).unwrap();
        let beat = || assert!(one.heartbeat("ada", "public") && two.heartbeat("ben", "public"));
        until("both", || {
            one.get_channel_online_count("public") == 2 && two.get_channel_online_count("public") == 2
        })
        .await;
        server.kill();
        let killed = Instant::now();
        // Longer than silence is borne; who comes meanwhile is known here at once.
        one.join_channel("cleo", "public", &json!({})).unwrap();
        while killed.elapsed() < settings().ttl {
            beat();
            assert!(one.heartbeat("cleo", "public"));
            assert!(two.get_channel_online_count("public") >= 2, "nobody left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(one.get_channel_online_count("public"), 3);
        server.restart().await;
        let took = until("all again", || {
            beat();
            assert!(one.heartbeat("cleo", "public"));
            two.get_channel_online_count("public") == 3
                && members(&server, "presence:channel:public:users") == ["ada", "ben", "cleo"]
        })
        .await;
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn without_redis_this_process_is_all_there_is() {
    run(async {
        let redis = Redis::none();
        let one = PresenceManager::new(&redis, &default_project(), settings());
        one.join_channel("ada", "public", &json!({"a": 1})).unwrap();
        one.join_channel("ben", "public", &json!({})).unwrap();
        assert_eq!(one.get_channel_online_count("public"), 2);
        one.leave_channel("ada", "public");
        assert_eq!(one.get_channel_online_count("public"), 1);
        assert!(one.join_channel("cleo", "public", &json!("text")).is_err());
        until("ben's heartbeats do not come", || one.get_channel_online_count("public") == 0).await;
    });
}

#[test]
fn all_agree_after_a_storm_with_a_lost_redis() {
    run(async {
        let mut server = RedisServer::start().await;
        let workers: Vec<_> = (0..3).map(|_| worker(&server, &default_project())).collect();
        until("redis", || server.cli(&["PING"]) == "PONG").await;
        // More messages than a worker keeps for later, and none for a while.
        let mut joined = BTreeSet::new();
        for round in 0..60_u32 {
            for idx in 0..60_u32 {
                let (which, user) =
                    (((round + idx) % 3) as usize, format!("user-{}", (round * 7 + idx * 13) % 90));
                let channel = ["red", "green"][(idx % 2) as usize];
                let place = (which, user.clone(), channel);
                if joined.remove(&place) {
                    workers[which].leave_channel(&user, channel);
                } else {
                    workers[which].join_channel(&user, channel, &json!({"round": round})).unwrap();
                    joined.insert(place);
                }
            }
            match round {
                20 => server.kill(),
                40 => server.restart().await,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        for channel in ["red", "green"] {
            let expected: BTreeSet<&str> =
                joined.iter().filter(|it| it.2 == channel).map(|(_, user, _)| user.as_str()).collect();
            let metas = joined.iter().filter(|it| it.2 == channel).count();
            let agree = || {
                for (which, user, channel) in &joined {
                    let _ = workers[*which].heartbeat(user, channel);
                }
                workers.iter().all(|it| {
                    let state = it.channel_state(channel);
                    let state = state.as_object().unwrap();
                    let all = state.values().map(|it| it["metas"].as_array().unwrap().len()).sum::<usize>();
                    state.keys().map(String::as_str).collect::<BTreeSet<_>>() == expected && all == metas
                })
            };
            until(channel, agree).await;
            let set = format!("presence:channel:{channel}:users");
            until(&set, || {
                members(&server, &set).iter().map(String::as_str).collect::<BTreeSet<_>>() == expected
            })
            .await;
        }
    });
}
