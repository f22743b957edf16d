//! What these tests share: workers that are gateways, workers that are bare sockets, and a proxy before them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::{Endpoint, ServeSettings, WorkerAddress, WorkerSettings, Workers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{Shelf, World, project, service};

/// Projects that proxy and workers share.
pub(crate) fn shelf() -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::default());
    shelf.put(project("default", 1));
    shelf
}

/// A worker: the same gateway, with the data API in its own process.
pub(crate) async fn worker(shelf: &Arc<Shelf>, settings: ServeSettings) -> World {
    World::node(shelf, Endpoint::behind(service("data_api")), settings).await
}

/// A proxy before `workers`.
pub(crate) async fn proxy(shelf: &Arc<Shelf>, workers: &Workers) -> World {
    World::node(shelf, workers.clone().into(), ServeSettings::default()).await
}

/// A proxy before these addresses.
pub(crate) async fn before(addresses: &[SocketAddr], settings: WorkerSettings) -> (World, Workers) {
    let workers = Workers::new(settings);
    workers.set(addresses.iter().map(|it| listed(*it)).collect());
    (proxy(&shelf(), &workers).await, workers)
}

/// `address` as an entry of a list.
pub(crate) fn listed(address: SocketAddr) -> WorkerAddress {
    format!("http://{address}").parse().unwrap()
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Poll until `holds`, for half a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happened that {what}");
}

/// An upstream that is a bare socket; dropped it stops.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// Requests with another path than `/ready`.
    asked: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

/// What an upstream does with a request after its head was read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Write this and keep the connection.
    Say(&'static str),
    /// Write this and close, without having said so.
    SayAndClose(&'static str),
    /// Close without an answer.
    Hang,
    /// The same, after this time.
    HangAfter(Duration),
    /// Never answer.
    Silent,
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(crate) const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nsick";

impl Upstream {
    /// Answers `/ready` with 200, all else in its manner.
    pub(crate) async fn new(manner: Manner) -> Self {
        Self::with(move |_| manner).await
    }

    /// In the manner that `choose` makes of the request's head.
    pub(crate) async fn with(choose: impl Fn(&str) -> Manner + Clone + Send + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), choose).await
    }

    /// At an address of the test's choice.
    pub(crate) async fn at(
        address: SocketAddr,
        choose: impl Fn(&str) -> Manner + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, accepted) = (Arc::clone(&asked), Arc::clone(&connections));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                conversations.spawn(converse(stream, choose.clone(), Arc::clone(&counted)));
            }
        });
        Self { address, asked, connections, _serving: serving }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn converse(mut stream: TcpStream, choose: impl Fn(&str) -> Manner, asked: Arc<AtomicUsize>) {
    while let Some(head) = read_head(&mut stream).await {
        let manner = if head.starts_with("GET /ready ") {
            Manner::Say(OK)
        } else {
            asked.fetch_add(1, Ordering::SeqCst);
            choose(&head)
        };
        match manner {
            Manner::Say(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Manner::SayAndClose(answer) => return stream.write_all(answer.as_bytes()).await.unwrap(),
            Manner::Hang => return,
            Manner::HangAfter(time) => return tokio::time::sleep(time).await,
            Manner::Silent => std::future::pending().await,
        }
    }
}

/// Up to the empty line; what follows it must be nothing, or is waited for by the caller.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}
