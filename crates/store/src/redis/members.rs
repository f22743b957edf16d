//! Members that must be renewed: each has a key with a time to live and stands in a set, for people and other programs to
//! look at. Nothing here decides anything: whoever keeps members keeps them in memory too.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Pipeline, Script};

use super::Redis;

/// Members that are told of at once: Redis does nothing else meanwhile.
const BATCH: usize = 128;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key of the set that it stands in.
    pub set: String,
    /// What stands in the set.
    pub id: String,
    /// Its own key.
    pub key: String,
    /// What stands there.
    pub value: String,
}

impl Redis {
    /// `members` stand in their sets, and their keys and sets live for `ttl` from now. Whether Redis was told.
    pub async fn keep_members(&self, members: &[Member], ttl: Duration) -> bool {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.for_members(members, |pipe, it| {
            pipe.cmd("SADD").arg(&it.set).arg(&it.id).ignore();
            pipe.cmd("SET").arg(&it.key).arg(&it.value).arg("PX").arg(ttl_ms).ignore();
            pipe.cmd("PEXPIRE").arg(&it.set).arg(ttl_ms).ignore();
        })
        .await
    }

    /// `members` are neither in their sets nor have they keys. Whether Redis was told.
    pub async fn drop_members(&self, members: &[Member]) -> bool {
        self.for_members(members, |pipe, it| {
            pipe.cmd("SREM").arg(&it.set).arg(&it.id).ignore();
            pipe.cmd("DEL").arg(&it.key).ignore();
        })
        .await
    }

    /// Whoever stands in `set` and has no key any more (`key_prefix` and its id) leaves it. Looks at a few hundred members,
    /// picked at random, so that one call takes little time however many there are.
    pub async fn prune_members(&self, set: &str, key_prefix: &str) -> bool {
        let mut call = PRUNE.prepare_invoke();
        call.key(set).arg(key_prefix).arg(512);
        self.inner.link.run::<i64>(&call).await.is_some()
    }

    async fn for_members(&self, members: &[Member], add: impl Fn(&mut Pipeline, &Member)) -> bool {
        let mut told = true;
        for batch in members.chunks(BATCH) {
            let mut pipe = redis::pipe();
            batch.iter().for_each(|it| add(&mut pipe, it));
            told &= self.inner.link.ask::<()>(&pipe).await.is_some();
        }
        told
    }
}

static PRUNE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local gone = 0 \
         for _, id in ipairs(redis.call('SRANDMEMBER', KEYS[1], ARGV[2])) do \
           if redis.call('EXISTS', ARGV[1] .. id) == 0 then gone = gone + redis.call('SREM', KEYS[1], id) end \
         end \
         return gone",
    )
});
