//! The connection for commands, with a breaker: while it is open every command answers `None` at once.
//!
//! A failed command opens the breaker; a task closes it again when Redis answers. Because commands may have been lost
//! meanwhile, all caches distrust what they had left in Redis before it is closed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, ScriptInvocation};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{RedisSettings, measures};
use crate::cache::Registry;

/// Slow answers in a row after which Redis counts as away.
const MAX_SLOW: u32 = 3;
/// Between checks of a connection that nothing else uses.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Between questions about its memory.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Commands to Redis, or nothing.
#[derive(Debug)]
pub(crate) struct Link {
    settings: RedisSettings,
    slot: RwLock<Option<MultiplexedConnection>>,
    up: AtomicBool,
    slow: AtomicU32,
    lost: Notify,
}

impl Link {
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self {
            settings,
            slot: RwLock::default(),
            up: AtomicBool::new(false),
            slow: AtomicU32::new(0),
            lost: Notify::new(),
        }
    }

    pub(super) fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Run `pipe`; `None` when Redis is away, slow or refuses. One round trip.
    pub(crate) async fn ask<T: FromRedisValue>(&self, pipe: &Pipeline) -> Option<T> {
        self.ask_within(pipe, self.settings.answer_timeout).await
    }

    /// As [`Link::ask`], with another patience.
    pub(crate) async fn ask_within<T: FromRedisValue>(&self, pipe: &Pipeline, limit: Duration) -> Option<T> {
        let mut connection = self.connection()?;
        self.judge(timeout(limit, pipe.query_async(&mut connection)).await)
    }

    /// As [`Link::ask`], for what must not get lost: without an answer the breaker opens, so that all caches distrust
    /// Redis before it is used again.
    pub(crate) async fn insist<T: FromRedisValue>(&self, pipe: &Pipeline) -> Option<T> {
        let answer = self.ask(pipe).await;
        if answer.is_none() {
            self.open_breaker();
        }
        answer
    }

    /// Run a script; `None` as for [`Link::ask`].
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let mut connection = self.connection()?;
        self.judge(timeout(self.settings.answer_timeout, call.invoke_async(&mut connection)).await)
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        if !self.is_up() {
            return None;
        }
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge<T>(&self, answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>) -> Option<T> {
        match answer {
            Ok(Ok(value)) => {
                self.slow.store(0, Ordering::Relaxed);
                return Some(value);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "redis failed");
                // It is there; what it holds is not what was thought.
                if error.code() != Some("WRONGTYPE") {
                    self.open_breaker();
                }
            }
            Err(_elapsed) => {
                if self.slow.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_SLOW {
                    self.open_breaker();
                }
            }
        }
        metrics::counter!("redis_failures_total").increment(1);
        None
    }

    fn open_breaker(&self) {
        if self.up.swap(false, Ordering::AcqRel) {
            metrics::gauge!("redis_up").set(0.0);
            tracing::warn!("redis is away: caches stay in this process");
        }
        self.lost.notify_one();
    }

    fn close_breaker(&self, connection: MultiplexedConnection) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        self.slow.store(0, Ordering::Relaxed);
        self.up.store(true, Ordering::Release);
        metrics::gauge!("redis_up").set(1.0);
        tracing::info!("redis answers");
    }
}

/// Connect, and connect again, until `ends`.
pub(super) fn keep_up(link: Arc<Link>, client: Client, caches: Arc<Registry>, ends: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            () = ends.cancelled() => {}
            () = supervise(&link, &client, &caches) => {}
        }
    });
}

async fn supervise(link: &Link, client: &Client, caches: &Registry) {
    let mut first = true;
    loop {
        if let Some(connection) = connect(link.settings(), client, caches, first).await {
            first = false;
            link.close_breaker(connection);
            watch(link).await;
            link.open_breaker();
        }
        tokio::time::sleep(link.settings().retry).await;
    }
}

async fn connect(
    settings: &RedisSettings,
    client: &Client,
    caches: &Registry,
    first: bool,
) -> Option<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.connect_timeout));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = timeout(settings.connect_timeout * 2, connecting).await.ok()?.ok()?;
    let mut pipe = redis::pipe();
    pipe.cmd("PING").ignore();
    // What was to be invalidated while Redis was away may still stand there.
    let names = if first { Vec::new() } else { caches.forget_all() };
    for name in names {
        crate::cache::begin_epoch(&mut pipe, &name);
    }
    let asking = pipe.query_async::<()>(&mut connection);
    timeout(settings.connect_timeout, asking).await.ok()?.ok()?;
    Some(connection)
}

/// Until the breaker opens or the connection fails a check.
async fn watch(link: &Link) {
    let mut ping = redis::pipe();
    ping.cmd("PING").ignore();
    let mut measured: Option<Instant> = None;
    loop {
        if measured.is_none_or(|it| it.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            if let Some(answer) = link.ask(&measures::question()).await {
                measures::tell(&answer);
            }
        }
        tokio::select! {
            () = link.lost.notified() => if !link.is_up() { return },
            () = tokio::time::sleep(CHECK_EVERY) => {
                link.ask::<()>(&ping).await;
            }
        }
    }
}
