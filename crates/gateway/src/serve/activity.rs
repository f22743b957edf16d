//! What a connection is doing, seen from its bytes and its requests; decides when it has been silent for too long.
//!
//! hyper's own head timeout also counts while a kept-alive connection waits for its next request, so it cannot tell a slow
//! head from an idle client. This can, and it sees answers that nobody takes.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use store::PerCore;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ServeSettings;
use crate::forward::Tunnel;

/// A head and a body up to this size are written from one piece of memory: the system takes longer to go through several
/// pieces than it takes to join them.
pub(super) const MAX_JOINED_BYTES: usize = 4096;

thread_local! {
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Requests of all connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Requests(PerCore<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    finished: AtomicUsize,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) in_flight: usize,
    pub(super) finished: usize,
}

impl Requests {
    pub(super) fn count(&self) -> Count {
        let finished = self.0.all().map(|it| it.finished.load(Relaxed)).sum();
        let begun: usize = self.0.all().map(|it| it.begun.load(Relaxed)).sum();
        Count { in_flight: begun.saturating_sub(finished), finished }
    }
}

/// One connection's state; times are milliseconds since it began.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    in_flight: AtomicUsize,
    /// When the last request ended, or the first byte of the next one came.
    since_ms: AtomicU64,
    /// Whether bytes of a request's head have come.
    reading: AtomicBool,
    /// HTTP/2 sends frames of its own while it idles; bytes say nothing there.
    multiplexed: AtomicBool,
    /// Since when a write waits for the client; 0 when none does.
    blocked_ms: AtomicU64,
    requests: Arc<Requests>,
    /// Where the bytes go once HTTP has ended on the connection.
    tunnel: Mutex<Option<Tunnel>>,
}

/// What to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// Nothing has happened for the idle timeout: say good-bye.
    Idle,
    /// The client does not go on with a head, or does not take its answer: cut.
    Stalled,
}

impl Activity {
    /// A new connection; it owes us a head.
    pub(super) fn new(requests: Arc<Requests>) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            in_flight: AtomicUsize::new(0),
            since_ms: AtomicU64::new(0),
            reading: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            blocked_ms: AtomicU64::new(0),
            requests,
            tunnel: Mutex::default(),
        })
    }

    /// What the connection goes on as, if its last answer said so.
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A request's head is complete; it counts until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.0.here().begun.fetch_add(1, Relaxed);
        self.reading.store(false, Relaxed);
        self.multiplexed.store(multiplexed, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Whether the connection has been silent for too long, and if not, when to ask again.
    pub(super) fn judge(&self, settings: &ServeSettings) -> Verdict {
        let (since_ms, allowed, verdict) = match self.blocked_ms.load(Relaxed) {
            0 if self.in_flight.load(Relaxed) > 0 => (self.now_ms(), Duration::MAX, Verdict::Idle),
            0 if self.reading.load(Relaxed) => {
                (self.since_ms.load(Relaxed), settings.head_timeout, Verdict::Stalled)
            }
            0 => (self.since_ms.load(Relaxed), settings.idle_timeout, Verdict::Idle),
            blocked_ms => (blocked_ms, settings.write_timeout, Verdict::Stalled),
        };
        let silent = Duration::from_millis(self.now_ms().saturating_sub(since_ms));
        match allowed.checked_sub(silent) {
            None | Some(Duration::ZERO) => verdict,
            // Another silence may begin at any moment, and be a shorter one.
            Some(left) => Verdict::Wait(Instant::now() + left.min(settings.shortest_silence())),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn end(&self) {
        self.requests.0.here().finished.fetch_add(1, Relaxed);
        self.since_ms.store(self.now_ms(), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Bytes came; those of a request that is complete with them need not be told.
    pub(super) fn arrived(&self) {
        let waiting = self.in_flight.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed);
        if waiting && !self.reading.swap(true, Relaxed) {
            self.since_ms.store(self.now_ms(), Relaxed);
        }
    }

    fn wrote<T>(&self, outcome: &Poll<T>) {
        if outcome.is_ready() {
            self.blocked_ms.store(0, Relaxed);
        } else if self.blocked_ms.load(Relaxed) == 0 {
            self.blocked_ms.store(self.now_ms().max(1), Relaxed);
        }
    }
}

/// A request that is not answered to its last byte yet.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    /// The connection goes on as `tunnel` when the answer is written.
    pub(super) fn becomes(&self, tunnel: Tunnel) {
        *self.0.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A stream whose bytes are noticed.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
    /// Bytes that were read already, and are to be read again.
    pub(super) unread: Bytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            self.activity.arrived();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.arrived();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let few = parts.len() > 1 && parts.iter().map(|it| it.len()).sum::<usize>() <= MAX_JOINED_BYTES;
        let outcome = if few {
            JOINED.with_borrow_mut(|joined| {
                joined.clear();
                parts.iter().for_each(|it| joined.extend_from_slice(it));
                Pin::new(&mut self.stream).poll_write(context, joined)
            })
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(context, parts)
        };
        self.activity.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes bytes that the client does not: then it is here that they wait.
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.activity.wrote(&outcome);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SETTINGS: ServeSettings = ServeSettings {
        max_connections: 1,
        max_tunnels: 1,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(60),
        drain_delay: Duration::ZERO,
        drain_deadline: Duration::ZERO,
    };

    async fn after(activity: &Activity, secs: u64) -> Verdict {
        advance(Duration::from_secs(secs)).await;
        match activity.judge(&SETTINGS) {
            Verdict::Wait(until) => {
                assert!(until > Instant::now(), "a look in the past would spin");
                Verdict::Wait(activity.began)
            }
            verdict => verdict,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_owes_a_head() {
        let activity = Activity::new(Arc::default());
        assert!(matches!(after(&activity, 9).await, Verdict::Wait(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_may_wait_longer_than_a_slow_head() {
        let activity = Activity::new(Arc::default());
        drop(activity.begin(false));
        assert!(matches!(after(&activity, 74).await, Verdict::Wait(_)));
        activity.arrived();
        assert!(matches!(after(&activity, 9).await, Verdict::Wait(_)));
        activity.arrived();
        assert_eq!(after(&activity, 1).await, Verdict::Stalled);
        drop(activity.begin(false));
        assert_eq!(after(&activity, 75).await, Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_an_idle_http2_connection_are_no_head() {
        let activity = Activity::new(Arc::default());
        drop(activity.begin(true));
        activity.arrived();
        assert!(matches!(after(&activity, 70).await, Verdict::Wait(_)));
        assert_eq!(after(&activity, 5).await, Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_its_time_but_its_answer_must_be_taken() {
        let activity = Activity::new(Arc::default());
        let request = activity.begin(false);
        assert!(matches!(after(&activity, 1000).await, Verdict::Wait(_)));
        activity.wrote(&Poll::<()>::Pending);
        assert!(matches!(after(&activity, 59).await, Verdict::Wait(_)));
        activity.wrote(&Poll::<()>::Pending);
        assert_eq!(after(&activity, 1).await, Verdict::Stalled);
        activity.wrote(&Poll::Ready(()));
        assert!(matches!(after(&activity, 1).await, Verdict::Wait(_)));
        drop(request);
        assert_eq!(activity.requests.count().finished, 1);
    }
}
