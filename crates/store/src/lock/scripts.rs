//! What stands in Redis about a lock: `lock:{name}`, the owner's token, for its time to live. Only a hint to others.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use crate::Redis;

/// The token of the lock's owner; `None` also while Redis is away.
pub(super) async fn owner(redis: &Redis, key: &str) -> Option<String> {
    let mut pipe = redis::pipe();
    pipe.get(key);
    redis.link().ask::<(Option<String>,)>(&pipe).await.and_then(|(it,)| it)
}

/// Put `token` there, whatever stood there: PostgreSQL has decided.
pub(super) async fn set(redis: &Redis, key: &str, token: &str, ttl: Duration) {
    let mut pipe = redis::pipe();
    pipe.cmd("SET").arg(key).arg(token).arg("PX").arg(millis(ttl)).ignore();
    redis.link().ask::<()>(&pipe).await;
}

/// Give `token` its full time again; put it back if Redis lost it. Another one's is left alone.
pub(super) async fn renew(redis: &Redis, key: &str, token: &str, ttl: Duration) {
    run(&RENEW, redis, key, (token, millis(ttl))).await;
}

/// Remove `token`, and nobody else's.
pub(super) async fn remove(redis: &Redis, key: &str, token: &str) {
    run(&REMOVE, redis, key, (token, 0)).await;
}

async fn run(script: &Script, redis: &Redis, key: &str, (token, ttl_ms): (&str, u64)) {
    let mut call = script.prepare_invoke();
    call.key(key).arg(token).arg(ttl_ms);
    redis.link().run::<i64>(&call).await;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local owner = redis.call('GET', KEYS[1]) \
         if owner and owner ~= ARGV[1] then return 0 end \
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
         return 1",
    )
});

static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         return redis.call('DEL', KEYS[1])",
    )
});
