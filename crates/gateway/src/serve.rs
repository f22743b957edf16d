//! HTTP/1.1 and HTTP/2 on a listener, with or without TLS: bounded connections, no idle or stalled ones, and a graceful end (REQ H5).
//!
//! At the end: `/ready` turns 503, after [`ServeSettings::drain_delay`] the listener closes, requests in flight finish
//! within [`ServeSettings::drain_deadline`], and what is left is cut.

mod activity;
mod connection;
mod cores;
mod plain;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::NodeName;
use http::Version;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::activity::Requests;
use self::connection::{Connection, Signals};
use crate::events::{self, Event};
use crate::forwarded::Hop;
use crate::{Endpoint, Tls};

pub use self::cores::Cores;

/// How long to wait before accepting again after a failure, such as too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ServeSettings {
    /// Open connections; more wait in the kernel's queue (REQ H12). Those that became websockets do not count. Default
    /// 1024.
    pub max_connections: usize,
    /// Websockets that are passed on to workers; more are closed. Default 20,000.
    pub max_tunnels: usize,
    /// From the first byte of a request, or from the connection's start, to the end of the request's head. Default 10 s.
    pub head_timeout: Duration,
    /// How long a connection may stay open without a request. Default 75 s, more than clients' own pools allow.
    pub idle_timeout: Duration,
    /// How long a client may refuse to take what is sent to it. Default 60 s.
    pub write_timeout: Duration,
    /// From the shutdown signal to the closing of the listener, for balancers that watch `/ready`. Default none.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish after the listener closed. Default 30 s.
    pub drain_deadline: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_tunnels: 20_000,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(30),
        }
    }
}

impl ServeSettings {
    fn shortest_silence(&self) -> Duration {
        self.head_timeout.min(self.idle_timeout).min(self.write_timeout)
    }
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A port where TLS is spoken.
    Tls(TcpListener, Tls),
    /// A socket in the file system; its peers count as this machine.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(it: TcpListener) -> Self {
        Self::Tcp(it)
    }
}

impl From<(TcpListener, Tls)> for Listener {
    fn from((listener, tls): (TcpListener, Tls)) -> Self {
        Self::Tls(listener, tls)
    }
}

impl From<UnixListener> for Listener {
    fn from(it: UnixListener) -> Self {
        Self::Unix(it)
    }
}

/// A connection that was accepted.
enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Tls),
    Unix(UnixStream),
}

/// A connection that no runtime waits for.
enum Loose {
    Tcp(std::net::TcpStream),
    Tls(std::net::TcpStream, Tls),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    fn loosen(self) -> io::Result<Loose> {
        Ok(match self {
            Self::Tcp(it) => Loose::Tcp(it.into_std()?),
            Self::Tls(it, tls) => Loose::Tls(it.into_std()?, tls),
            Self::Unix(it) => Loose::Unix(it.into_std()?),
        })
    }
}

impl Loose {
    /// The connection, which the runtime of this thread waits for from now on.
    fn settle(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(it) => Stream::Tcp(TcpStream::from_std(it)?),
            Self::Tls(it, tls) => Stream::Tls(TcpStream::from_std(it)?, tls),
            Self::Unix(it) => Stream::Unix(UnixStream::from_std(it)?),
        })
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that finished after the shutdown signal.
    pub finished: usize,
    /// Requests that were cut at the deadline.
    pub cut: usize,
}

/// The connection that a request came by; an extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end: the client, or the proxy before us.
    pub address: SocketAddr,
    /// Whether the connection is TLS.
    pub encrypted: bool,
    /// The node of ours that it is, by its certificate.
    pub node: Option<Arc<NodeName>>,
    /// How often it looks after itself when nothing happens.
    looks: Duration,
    /// The server's shutdown; to ask its token would take a lock that all connections share.
    draining: Arc<AtomicBool>,
}

impl Peer {
    /// Whether the server is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How often a request that came by it is polled when nothing happens, if that is certain: those of HTTP/2 are tasks
    /// of their own.
    pub(crate) fn looks(&self, version: Version) -> Option<Duration> {
        (version != Version::HTTP_2).then_some(self.looks)
    }

    pub(crate) fn hop(&self) -> Hop {
        let Self { address, encrypted, ref node, .. } = *self;
        Hop { address: address.ip(), encrypted, is_node: node.is_some() }
    }
}

/// Serve `endpoint` on `listener` until `shutdown` is cancelled and every connection is closed.
pub async fn serve(
    listener: impl Into<Listener>,
    endpoint: impl Into<Endpoint>,
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> Drained {
    serve_on(None, listener, endpoint, settings, shutdown).await
}

/// As [`serve()`], with the connections on threads of their own, if there are any: for an endpoint that mostly waits for
/// other processes.
pub async fn serve_on(
    cores: Option<Cores>,
    listener: impl Into<Listener>,
    endpoint: impl Into<Endpoint>,
    settings: ServeSettings,
    shutdown: CancellationToken,
) -> Drained {
    let (listener, endpoint) = (listener.into(), endpoint.into());
    let requests = Arc::new(Requests::default());
    let signals = Signals { draining: CancellationToken::new(), cut: CancellationToken::new() };
    let connections = TaskTracker::new();
    let draining = Arc::new(AtomicBool::new(shutdown.is_cancelled()));
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let tunnels = Arc::new(Semaphore::new(settings.max_tunnels));
    let mut end = std::pin::pin!(async {
        shutdown.cancelled().await;
        draining.store(true, Ordering::Relaxed);
        sleep(settings.drain_delay).await;
    });
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (accept(&listener).await, slot)
        };
        let ((stream, address), slot) = tokio::select! {
            biased;
            () = &mut end => break,
            next = next => next,
        };
        let looks = settings.shortest_silence() + connection::LATE;
        let peer = Peer { address, encrypted: false, node: None, looks, draining: Arc::clone(&draining) };
        let (endpoint, requests, tunnels) = (endpoint.clone(), Arc::clone(&requests), Arc::clone(&tunnels));
        let connection = Connection { peer, settings, endpoint, requests, slot: slot.ok(), tunnels };
        let signals = signals.clone();
        let Some(cores) = &cores else {
            connections.spawn(run(connection, stream, signals));
            continue;
        };
        match stream.loosen() {
            Ok(loose) => cores.spawn(connections.track_future(async move {
                match loose.settle() {
                    Ok(stream) => run(connection, stream, signals).await,
                    Err(error) => events::emit(Event::AcceptFailed(&error)),
                }
            })),
            Err(error) => events::emit(Event::AcceptFailed(&error)),
        }
    }
    drop(listener);
    let before = requests.count();
    events::emit(Event::Draining { in_flight: before.in_flight });
    signals.draining.cancel();
    connections.close();
    let _late_ones_are_cut = timeout(settings.drain_deadline, connections.wait()).await;
    let after = requests.count();
    signals.cut.cancel();
    connections.wait().await;
    let report = Drained { finished: after.finished - before.finished, cut: after.in_flight };
    events::emit(Event::Drained(&report));
    report
}

async fn run(connection: Connection, stream: Stream, signals: Signals) {
    match stream {
        Stream::Tcp(stream) => connection.run(stream, signals).await,
        // By itself in memory: a connection without TLS need not be as large.
        Stream::Tls(stream, tls) => Box::pin(connection.run_encrypted(stream, tls, signals)).await,
        Stream::Unix(stream) => connection.run(stream, signals).await,
    }
}

/// The next connection; failures are told and waited out.
async fn accept(listener: &Listener) -> (Stream, SocketAddr) {
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, address)| (Stream::Tcp(prompt(stream)), address))
            }
            Listener::Tls(listener, tls) => listener
                .accept()
                .await
                .map(|(stream, address)| (Stream::Tls(prompt(stream), tls.clone()), address)),
            Listener::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| (Stream::Unix(stream), (Ipv4Addr::LOCALHOST, 0).into())),
        };
        match accepted {
            Ok(accepted) => return accepted,
            Err(error) => {
                events::emit(Event::AcceptFailed(&error));
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn prompt(stream: TcpStream) -> TcpStream {
    let _without_it_small_answers_wait = stream.set_nodelay(true);
    stream
}
