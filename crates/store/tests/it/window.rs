//! REQ C6: sliding windows that all processes count together, without a round trip while limits are far.

use std::time::Duration;

use futures_util::future::join_all;
use store::{Redis, RedisSettings, Window, Windows};
use testkit::RedisServer;
use tokio::time::{Instant, sleep};

use crate::support::eventually;

const MINUTE: Duration = Duration::from_secs(60);

async fn process(server: &RedisServer, per: Duration) -> (Redis, Windows) {
    let answer_timeout = Duration::from_secs(3);
    let settings =
        RedisSettings { url: Some(server.url().into()), answer_timeout, ..RedisSettings::default() };
    let redis = Redis::open(settings).unwrap();
    eventually("redis answers", async || redis.is_up().then_some(()).ok_or_else(String::new)).await;
    let windows = Windows::new(&redis, per, 1000);
    // Redis has the script from now on.
    assert!(windows.take(&[(window(&windows, "small"), 10)]).await.allowed);
    (redis, windows)
}

fn window(windows: &Windows, key: &str) -> Window {
    windows.window(key, Instant::now(), || format!("ratelimit:{key}"))
}

/// How many of `attempts` pass, one after the other.
async fn passed(windows: &Windows, key: &str, max: u32, attempts: u32) -> u32 {
    let wanted = [(window(windows, key), max)];
    let mut passed = 0;
    for _ in 0..attempts {
        passed += u32::from(windows.take(&wanted).await.allowed);
    }
    passed
}

/// How often Redis ran the script.
fn calls(server: &RedisServer) -> u64 {
    let stats = server.cli(&["info", "commandstats"]);
    let count = |name: &str| {
        let line = stats.lines().find_map(|it| it.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|it| it.split(',').next()).map_or(0, |it| it.parse().unwrap())
    };
    count("evalsha")
}

// REQ C6, C8
#[test]
fn small_limits_are_exact_over_processes_and_who_is_refused_costs_no_round_trip() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let ((_one, a), (_other, b)) = (process(&server, MINUTE).await, process(&server, MINUTE).await);
        assert_eq!(passed(&a, "ip:1.2.3.4", 30, 20).await, 20);
        assert_eq!(passed(&b, "ip:1.2.3.4", 30, 20).await, 10);
        let verdict = a.take(&[(window(&a, "ip:1.2.3.4"), 30)]).await;
        let [standing] = verdict.standings.as_slice() else { panic!("{verdict:?}") };
        assert!(!verdict.allowed && standing.left == 0);
        assert!(standing.wait > Duration::from_secs(50) && standing.wait <= MINUTE + MINUTE / 30);
        let ttl: u64 = server.cli(&["pttl", "ratelimit:ip:1.2.3.4"]).parse().unwrap();
        assert!((50_000..=60_000).contains(&ttl), "{ttl}");
        let before = calls(&server);
        assert_eq!(passed(&a, "ip:1.2.3.4", 30, 1000).await, 0);
        assert_eq!(calls(&server), before);
        assert_eq!(passed(&a, "ip:5.6.7.8", 30, 1).await, 1, "another key is another count");
    });
}

#[test]
fn over_admission_stays_under_a_thirty_second_of_the_limit_per_process() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let mut processes = Vec::new();
        for _ in 0..3 {
            processes.push(process(&server, MINUTE).await);
        }
        let (max, each) = (3200, 3000);
        let hammering = processes.iter().flat_map(|(_, it)| {
            (0..4).map(move |_| async move {
                let mut count = 0;
                for round in 0..each / 4 {
                    count += passed(it, "project", max, 1).await;
                    if round % 50 == 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                count
            })
        });
        let total: u32 = join_all(hammering).await.into_iter().sum();
        assert!((max..=max + 3 * max / 32).contains(&total), "{total}");
    });
}

#[test]
fn nobody_waits_for_redis_while_limits_are_far() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let (_redis, windows) = process(&server, MINUTE).await;
        let _ = server.cli(&["client", "pause", "20000", "write"]);
        let wanted = [(window(&windows, "a"), 1_000_000), (window(&windows, "b"), 1_000_000)];
        let started = Instant::now();
        for _ in 0..1000 {
            assert!(windows.take(&wanted).await.allowed);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let _ = server.cli(&["client", "unpause"]);
        let told = async || match server.cli(&["hvals", "ratelimit:a"]) {
            sum if sum.lines().map(|it| it.parse::<u32>().unwrap()).sum::<u32>() == 1000 => Ok(()),
            other => Err(other),
        };
        eventually("what was admitted is told", told).await;
        let before = calls(&server);
        assert_eq!(passed(&windows, "a", 1_000_000, 5000).await, 5000);
        sleep(Duration::from_millis(100)).await;
        assert!(calls(&server) - before < 20, "{} calls for 5000 requests", calls(&server) - before);
    });
}

#[test]
fn one_round_trip_asks_all_counters_and_counts_all_of_them_or_none() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let (_redis, windows) = process(&server, MINUTE).await;
        let wanted = [(window(&windows, "a"), 20), (window(&windows, "b"), 5), (window(&windows, "c"), 30)];
        let before = calls(&server);
        for _ in 0..5 {
            assert!(windows.take(&wanted).await.allowed);
        }
        assert_eq!(calls(&server) - before, 5);
        let verdict = windows.take(&wanted).await;
        let waits: Vec<bool> = verdict.standings.iter().map(|it| it.wait > Duration::ZERO).collect();
        assert_eq!((verdict.allowed, waits), (false, vec![false, true, false]));
        for key in ["a", "c"] {
            assert_eq!(server.cli(&["hvals", &format!("ratelimit:{key}")]), "5", "{key}");
        }
    });
}

#[test]
fn the_window_slides() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let per = Duration::from_millis(2400);
        let (_redis, windows) = process(&server, per).await;
        let wanted = [(window(&windows, "a"), 20)];
        let started = Instant::now();
        let mut passed = Vec::new();
        while started.elapsed() < per * 5 / 2 {
            if windows.take(&wanted).await.allowed {
                passed.push(started.elapsed());
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert!(passed.len() > 40, "{}", passed.len());
        for (idx, begin) in passed.iter().enumerate() {
            let inside = passed[idx..].iter().take_while(|it| **it < *begin + per).count();
            assert!(inside <= 20, "{inside} within a window from {begin:?}");
        }
    });
}

#[test]
fn an_outage_of_redis_refuses_nobody_and_hands_out_no_second_burst() {
    testkit::run(async {
        let mut server = RedisServer::start().await;
        let (redis, windows) = process(&server, MINUTE).await;
        assert_eq!(passed(&windows, "a", 10, 6).await, 6);
        server.kill();
        eventually("the loss is noticed", async || if redis.is_up() { Err(String::new()) } else { Ok(()) })
            .await;
        assert_eq!(passed(&windows, "a", 10, 20).await, 4);
        let (alone, none) = (Windows::new(&Redis::none(), MINUTE, 100), 100);
        assert_eq!(passed(&alone, "a", none, 300).await, none);
    });
}
