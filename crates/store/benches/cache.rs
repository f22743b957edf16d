//! What a look into a cache costs: L1 in this process under a microsecond, L2 in a real Redis one to two milliseconds or
//! better; and what a request's limits cost, far from them.
//!
//! `cargo bench -p store --bench cache` starts a Redis of its own.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on must stop")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use store::{Cache, CacheSpec, Redis, RedisSettings, Windows};
use testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn redis() -> (RedisServer, Redis) {
    let server = RedisServer::start().await;
    let settings = RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() };
    let redis = Redis::open(settings).unwrap();
    while !redis.is_up() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (server, redis)
}

fn spec(local_entries: u64) -> CacheSpec {
    CacheSpec {
        name: "bench".into(),
        label: "bench",
        ttl: Duration::from_secs(3600),
        local_ttl: Duration::from_secs(3600),
        local_entries,
        absent_ttl: Duration::ZERO,
    }
}

fn lookups(c: &mut Criterion) {
    let runtime = runtime();
    let (_server, redis) = runtime.block_on(redis());
    let value = "v".repeat(200);
    let load = |cache: Cache<String, String>, key: String| {
        let value = value.clone();
        async move { cache.get_or_load(&key, async { Ok::<_, Infallible>(Some(value)) }).await }
    };
    let near: Cache<String, String> = runtime.block_on(async { Cache::new(&redis, spec(1000)) });
    let key = "key".to_owned();
    runtime.block_on(load(near.clone(), key.clone())).unwrap();
    c.bench_function("l1_get", |it| it.iter(|| black_box(near.peek(black_box(&key)))));
    // It keeps nothing here: every look goes to Redis.
    let far: Cache<String, String> = runtime.block_on(async { Cache::new(&redis, spec(0)) });
    runtime.block_on(load(far.clone(), key.clone())).unwrap();
    c.bench_function("l2_get", |it| {
        it.to_async(&runtime).iter(|| async { assert!(far.get(black_box(&key)).await.is_some()) });
    });
}

fn limits(c: &mut Criterion) {
    let runtime = runtime();
    let (_server, redis) = runtime.block_on(redis());
    let windows = runtime.block_on(async { Windows::new(&redis, Duration::from_secs(60), 1000) });
    let take = |maxima: [u32; 3]| {
        let windows = windows.clone();
        async move {
            let now = tokio::time::Instant::now();
            let window = |name: &'static str, max: u32| {
                (windows.window((name, max), now, || format!("ratelimit:{name}:{max}")), max)
            };
            let [ip, user, project] = maxima;
            windows.take(&[window("ip", ip), window("user", user), window("project", project)]).await
        }
    };
    c.bench_function("three_limits_far", |it| {
        it.to_async(&runtime).iter(|| take([1_000_000_000, 1_000_000_001, 1_000_000_002]));
    });
    c.bench_function("three_limits_refused", |it| it.to_async(&runtime).iter(|| take([0, 1, 2])));
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = lookups, limits
}
criterion_main!(benches);
