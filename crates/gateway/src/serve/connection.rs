//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, InFlight, Requests, Verdict, Watched};
use super::plain::Plain;
use super::{Peer, ServeSettings};
use crate::events::{self, Event};
use crate::forward::Tunnel;
use crate::{Endpoint, Tls};

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// By how much a look may come late on a busy machine.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// What ends connections from outside.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    /// Finish what is in flight, take nothing new.
    pub(super) draining: CancellationToken,
    /// Stop now.
    pub(super) cut: CancellationToken,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) settings: ServeSettings,
    pub(super) endpoint: Endpoint,
    pub(super) requests: Arc<Requests>,
    /// Its place among the connections, until it ends or is a tunnel.
    pub(super) slot: Option<OwnedSemaphorePermit>,
    /// Places for tunnels.
    pub(super) tunnels: Arc<Semaphore>,
}

impl Connection {
    /// As [`Self::run`], after the handshake; a signal ends that at once, for nothing was asked yet.
    pub(super) async fn run_encrypted<S>(mut self, stream: S, tls: Tls, signals: Signals)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let met = tokio::select! {
            met = tls.accept(stream, self.peer.address.ip()) => met,
            () = signals.draining.cancelled() => None,
        };
        let Some(met) = met else { return };
        self.peer.encrypted = true;
        self.peer.node = met.node.map(Arc::new);
        if let Some(stranger) = &met.stranger {
            let settings = &mut self.settings;
            settings.idle_timeout = settings.idle_timeout.min(stranger.timeout);
            settings.write_timeout = settings.write_timeout.min(stranger.timeout);
        }
        self.run(met.stream, signals).await;
    }

    /// Serve `stream` until its end, or until a signal or a silence ends it.
    pub(super) async fn run<S>(self, stream: S, signals: Signals)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new(self.requests);
        let stream = Watched { stream, activity: Arc::clone(&activity), unread: Bytes::new() };
        let (endpoint, peer, ending) = (Arc::new(self.endpoint), Arc::new(self.peer), AtomicBool::new(false));
        let mut connection = std::pin::pin!(talk(stream, (&endpoint, &peer), &ending));
        let mut asides = signals.asides(first_look(&activity, &self.settings));
        loop {
            let aside = tokio::select! {
                biased;
                end = connection.as_mut() => match end {
                    Ok(()) => break,
                    Err(error) => return events::emit(Event::ConnectionFailed(error.as_ref())),
                },
                Some(aside) = asides.next() => aside,
            };
            let verdict = match aside {
                Aside::Cut => return,
                Aside::Drain => Verdict::Idle,
                Aside::Look => activity.judge(&self.settings),
            };
            let next_look = match verdict {
                Verdict::Wait(until) => until,
                Verdict::Idle if !ending.swap(true, Relaxed) => Instant::now() + self.settings.head_timeout,
                // It is ending already.
                Verdict::Idle if matches!(aside, Aside::Drain) => continue,
                Verdict::Idle | Verdict::Stalled => return,
            };
            if matches!(aside, Aside::Look) {
                asides.push(look(next_look));
            }
        }
        if let Some(tunnel) = activity.tunnel()
            && let Ok(_place) = self.tunnels.try_acquire_owned()
        {
            drop(self.slot);
            tokio::select! {
                () = tunnel.run() => {}
                () = signals.cut.cancelled() => {}
                () = one_after_the_other(&signals.draining, self.settings.drain_deadline) => {}
            }
        }
    }
}

/// Answer what comes by `stream`, until its end, or until it may end because `ending` is set.
async fn talk<S>(
    stream: Watched<S>,
    (endpoint, peer): (&Arc<Endpoint>, &Arc<Peer>),
    ending: &AtomicBool,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // By itself in memory: hyper's connections and websockets need none of it, and most connections none of theirs.
    let rest = Box::pin(Plain::new(stream, (endpoint, peer), ending).run()).await?;
    match rest {
        None => Ok(()),
        Some(stream) => Box::pin(talk_of_everything(stream, (endpoint, peer), ending)).await,
    }
}

/// As [`talk`], by hyper.
async fn talk_of_everything<S>(
    stream: Watched<S>,
    (endpoint, peer): (&Arc<Endpoint>, &Arc<Peer>),
    ending: &AtomicBool,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&stream.activity);
    let service = service_fn(move |request| {
        let in_flight = activity.begin(request.version() == Version::HTTP_2);
        answer(Arc::clone(endpoint), Arc::clone(peer), in_flight, request)
    });
    let builder = builder();
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut told = false;
    poll_fn(|context| {
        let mut polled = connection.as_mut().poll(context);
        if polled.is_pending() && ending.load(Relaxed) && !std::mem::replace(&mut told, true) {
            connection.as_mut().graceful_shutdown();
            polled = connection.as_mut().poll(context);
        }
        polled
    })
    .await
}

/// When the listener drains, at any moment in the first half of its time: tunnels do not end by themselves, and their
/// clients, which come back elsewhere, shall not do so all at once.
async fn one_after_the_other(draining: &CancellationToken, deadline: Duration) {
    draining.cancelled().await;
    let lot = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    sleep_until(Instant::now() + deadline / 2 * lot / 1000).await;
}

/// What may happen to a connection beside its bytes.
#[derive(Debug, Clone, Copy)]
enum Aside {
    Cut,
    Drain,
    /// It is time to look whether it is silent.
    Look,
}

/// Polled only when one of them has something to say, not with every byte.
type Asides = FuturesUnordered<Pin<Box<dyn Future<Output = Aside> + Send>>>;

impl Signals {
    fn asides(&self, first_look: Instant) -> Asides {
        let (cut, draining) = (self.cut.clone(), self.draining.clone());
        let asides = Asides::new();
        asides.push(Box::pin(cut.cancelled_owned().map(|()| Aside::Cut)));
        asides.push(Box::pin(draining.cancelled_owned().map(|()| Aside::Drain)));
        asides.push(look(first_look));
        asides
    }
}

fn look(at: Instant) -> Pin<Box<dyn Future<Output = Aside> + Send>> {
    Box::pin(sleep_until(at).map(|()| Aside::Look))
}

fn first_look(activity: &Activity, settings: &ServeSettings) -> Instant {
    match activity.judge(settings) {
        Verdict::Wait(until) => until,
        Verdict::Idle | Verdict::Stalled => Instant::now(),
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // `Activity` keeps the time of heads.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

async fn answer(
    endpoint: Arc<Endpoint>,
    peer: Arc<Peer>,
    in_flight: InFlight,
    request: Request<Incoming>,
) -> Result<Response<Answering>, Infallible> {
    let request = request.map(|it| if it.is_end_stream() { Body::empty() } else { Body::new(it) });
    let head_only = request.method() == Method::HEAD;
    let multiplexed = request.version() == Version::HTTP_2;
    let one_by_one = request.version() == Version::HTTP_11;
    let begun = endpoint.begin();
    // hyper keeps memory for the next answer, too.
    let mut response = Box::pin(endpoint.answer_to(&peer, request)).await;
    drop(begun);
    if let Some(tunnel) = response.extensions_mut().remove::<Tunnel>() {
        in_flight.becomes(tunnel);
    } else if one_by_one && peer.is_draining() {
        // Whoever keeps connections, such as a proxy before us, goes elsewhere at once.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // axum measures the empty body of a service's answer to HEAD; that is not the length of the answer to GET.
    if head_only && response.headers().get(header::CONTENT_LENGTH) == Some(&HeaderValue::from_static("0")) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if head_only && multiplexed {
        response = without_body(response);
    }
    Ok(response.map(|body| Answering { body, _in_flight: in_flight }))
}

/// An answer to HEAD by HTTP/2, where hyper would send the body too. By HTTP/1 hyper leaves it out itself.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact().filter(|it| *it > 0) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Body::empty())
}

/// A response body; its request is in flight until the last byte is handed over.
#[derive(Debug)]
struct Answering {
    body: Body,
    _in_flight: InFlight,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
