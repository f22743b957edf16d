//! Two processes' caches over one real Redis: shared, invalidated everywhere, and none the slower when Redis dies.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::{Cache, CacheSpec, Limit, Limiter, Notification, Redis, RedisSettings};
use testkit::RedisServer;
use tokio::time::Instant;

type Numbers = Cache<String, u32>;

fn open(server: &RedisServer) -> (Redis, Numbers) {
    let settings = RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() };
    let redis = Redis::open(settings).unwrap();
    let cache = Cache::new(&redis, spec());
    (redis, cache)
}

fn spec() -> CacheSpec {
    CacheSpec {
        name: "number".into(),
        label: "number",
        ttl: Duration::from_secs(3600),
        local_ttl: Duration::from_secs(60),
        local_entries: 100,
        absent_ttl: Duration::from_secs(1),
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn up(redis: &Redis) {
    until("redis answers", async || redis.is_up()).await;
    // The subscription is another connection.
    let mut messages = redis.subscribe("test");
    while messages.next().await != Some(Notification::Connected) {}
}

async fn load(cache: &Numbers, key: &str, value: u32) -> u32 {
    let key = key.to_owned();
    cache.get_or_load(&key, async { Ok::<_, Infallible>(Some(value)) }).await.unwrap().unwrap()
}

// REQ C1, C2
#[test]
fn a_value_of_one_process_is_found_by_another_until_it_is_invalidated() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let (one, a) = open(&server);
        let (other, b) = open(&server);
        up(&one).await;
        up(&other).await;
        let key = "x".to_owned();
        assert_eq!(load(&a, "x", 1).await, 1);
        assert_eq!(load(&b, "x", 2).await, 1, "found in Redis, not loaded");
        assert_eq!(b.peek(&key), Some(1));
        let ttl: u64 = server.cli(&["ttl", "number:x"]).parse().unwrap();
        assert!((3200..=3600).contains(&ttl), "{ttl}");
        a.invalidate(&key).await;
        assert_eq!(a.peek(&key), None);
        until("the other one hears", async || b.peek(&key).is_none()).await;
        // What was read before the invalidation is not written back after it.
        assert_eq!(load(&b, "x", 3).await, 3);
        assert_eq!(server.cli(&["get", "number:x"]), "");
        a.put(&key, 4).await;
        until("the new value arrives", async || b.get(&key).await == Some(4)).await;
    });
}

#[test]
fn nobody_waits_for_a_dead_redis_and_nothing_of_before_is_believed_after() {
    testkit::run(async {
        let mut server = RedisServer::start().await;
        let (redis, cache) = open(&server);
        up(&redis).await;
        assert_eq!(load(&cache, "x", 1).await, 1);
        let kept = server.cli(&["get", "number:x"]);
        assert!(kept.ends_with("\n1"), "{kept}");
        server.kill();
        until("the loss is noticed", async || !redis.is_up()).await;
        let started = Instant::now();
        for round in 0..100_u32 {
            assert_eq!(load(&cache, &format!("y{round}"), round).await, round);
        }
        // A tenth of what it is when each waits as long as Redis may take to answer.
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(load(&cache, "x", 9).await, 1, "L1 goes on");
        cache.invalidate(&"x".to_owned()).await;
        server.restart().await;
        // As if it had been saved: the invalidation never reached it.
        let _ = server.cli(&["set", "number:x", &kept]);
        until("redis is back", async || redis.is_up()).await;
        assert_eq!(load(&cache, "x", 2).await, 2, "the old value is of an older epoch");
        assert!(server.cli(&["get", "number:x"]).ends_with("\n2"));
    });
}

#[test]
fn without_redis_a_cache_is_the_process_alone() {
    testkit::run(async {
        let redis = Redis::none();
        let cache: Numbers = Cache::new(&redis, spec());
        assert_eq!(load(&cache, "x", 1).await, 1);
        assert_eq!(load(&cache, "x", 2).await, 1);
        cache.invalidate(&"x".to_owned()).await;
        assert_eq!(cache.get(&"x".to_owned()).await, None);
        let mut messages = redis.subscribe("news");
        assert_eq!(messages.next().await, Some(Notification::Connected));
        redis.publish("news", "one").await;
        assert_eq!(messages.next().await, Some(Notification::Message("one".into())));
    });
}

#[test]
fn who_asks_at_once_shares_one_load_and_its_failure_is_nobody_else_s() {
    testkit::run(async {
        let cache: Numbers = Cache::new(&Redis::none(), spec());
        let (loads, key) = (AtomicU32::new(0), "x".to_owned());
        let loads = &loads;
        let slow = |outcome: Result<Option<u32>, ()>| async move {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            outcome
        };
        let asks = (0..100).map(|_| cache.get_or_load(&key, slow(Ok(Some(7)))));
        let found = futures_util::future::join_all(asks).await;
        assert!(found.iter().all(|it| *it == Ok(Some(7))), "{found:?}");
        assert_eq!(loads.swap(0, Ordering::SeqCst), 1);
        let key = "y".to_owned();
        let ask = |outcome| cache.get_or_load(&key, slow(outcome));
        let (first, second) = tokio::join!(ask(Err(())), ask(Ok(Some(8))));
        assert_eq!((first, second), (Err(()), Ok(Some(8))));
        // Who asks after an invalidation is not told what was loaded before it.
        let key = "z".to_owned();
        let ask = |value| cache.get_or_load(&key, slow(Ok(Some(value))));
        let later = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cache.invalidate(&key).await;
            ask(2).await
        };
        assert_eq!(tokio::join!(ask(1), later), (Ok(Some(1)), Ok(Some(2))));
    });
}

#[test]
fn that_there_is_no_value_is_remembered_for_a_while_in_both_tiers() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let (one, a) = open(&server);
        let (other, b) = open(&server);
        up(&one).await;
        up(&other).await;
        let key = "x".to_owned();
        let none = async || a.get_or_load(&key, async { Ok::<_, Infallible>(None) }).await.unwrap();
        assert_eq!(none().await, None);
        let never = async { panic!("nobody asks for what does not exist") };
        assert_eq!(b.get_or_load::<Infallible, _>(&key, never).await, Ok(None));
        assert_eq!((b.peek(&key), b.get(&key).await), (None, None));
        let ttl: u64 = server.cli(&["pttl", "number:x"]).parse().unwrap();
        assert!(ttl <= 1000, "{ttl}");
        // It exists from now on, and everybody knows.
        a.invalidate(&key).await;
        let five = async || b.get_or_load(&key, async { Ok::<_, Infallible>(Some(5)) }).await;
        until("the other one hears", async || five().await == Ok(Some(5))).await;
        let _ = server.cli(&["flushall"]);
        assert_eq!(a.get_or_load(&"y".to_owned(), async { Ok::<_, Infallible>(None) }).await, Ok(None));
        let six = async || a.get_or_load(&"y".to_owned(), async { Ok::<_, Infallible>(Some(6)) }).await;
        until("it is forgotten", async || six().await == Ok(Some(6))).await;
    });
}

#[test]
fn a_subscriber_hears_of_the_gap_when_redis_comes_back() {
    testkit::run(async {
        let mut server = RedisServer::start().await;
        let (one, _) = open(&server);
        let (other, _) = open(&server);
        up(&one).await;
        up(&other).await;
        let mut messages = one.subscribe("news");
        assert_eq!(messages.next().await, Some(Notification::Connected));
        other.publish("news", "a\nb").await;
        assert_eq!(messages.next().await, Some(Notification::Message("a\nb".into())));
        server.restart().await;
        assert_eq!(messages.next().await, Some(Notification::Connected));
        // The other process may notice the loss by this very message.
        let speaking = async {
            loop {
                other.publish("news", "c").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(30), messages.next());
        let heard = tokio::select! { it = heard => it.unwrap(), () = speaking => None };
        assert_eq!(heard, Some(Notification::Message("c".into())));
    });
}

// REQ C7
#[test]
fn the_operator_s_limit_holds_for_every_value() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let cache_ttl = Duration::from_secs(1);
        let url = Some(server.url().into());
        let redis = Redis::open(RedisSettings { url, cache_ttl, ..RedisSettings::default() }).unwrap();
        let cache: Numbers = Cache::new(&redis, spec());
        up(&redis).await;
        assert_eq!(load(&cache, "x", 1).await, 1);
        let ttl_ms: u64 = server.cli(&["pttl", "number:x"]).parse().unwrap();
        assert!((1..=1000).contains(&ttl_ms), "{ttl_ms}");
        until("it is loaded again", async || load(&cache, "x", 2).await == 2).await;
    });
}

// REQ C6
#[test]
fn a_limit_counts_all_processes_together_and_each_alone_when_redis_is_dead() {
    testkit::run(async {
        let mut server = RedisServer::start().await;
        let (one, _) = open(&server);
        let (other, _) = open(&server);
        up(&one).await;
        up(&other).await;
        let limit = Limit { max: 10, per: Duration::from_secs(100), burst: 10 };
        let (a, b) = (Limiter::new(&one, 100), Limiter::new(&other, 100));
        let mut passed = 0;
        for _ in 0..10 {
            passed += u32::from(a.take("ratelimit:t", limit).await.is_ok());
            passed += u32::from(b.take("ratelimit:t", limit).await.is_ok());
        }
        assert_eq!(passed, 10);
        let wait = a.take("ratelimit:t", limit).await.unwrap_err().retry_after_secs();
        assert!((8..=10).contains(&wait), "{wait}");
        server.kill();
        until("the loss is noticed", async || !one.is_up() && !other.is_up()).await;
        let mut passed = 0;
        for _ in 0..20 {
            passed += u32::from(a.take("ratelimit:other", limit).await.is_ok());
        }
        assert_eq!(passed, 10);
    });
}

#[test]
fn a_url_that_cannot_be_read_is_refused_without_repeating_it() {
    testkit::run(async {
        let settings = RedisSettings { url: Some("nope://:hush@x".into()), ..RedisSettings::default() };
        let error = Redis::open(settings).unwrap_err().to_string();
        assert!(error.contains("Redis URL") && !error.contains("hush"), "{error}");
    });
}
