//! Workers behind TLS: both ends show certificates of the cluster's authority, and names of hosts count for nothing.

use std::net::SocketAddr;
use std::time::Duration;

use common::Pillar;
use futures_util::future::join_all;
use gateway::{ServeSettings, Tls, TlsSettings, WorkerAddress, WorkerSettings, Workers};
use serde_json::Value;
use store::mtls::{Clients, Credentials};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::cluster::{proxy, shelf};
use crate::tls::Authority;
use crate::world::World;

/// A worker that lets proxies of its authority in, and where.
struct Worker {
    address: SocketAddr,
    _world: World,
}

async fn worker(credentials: &Credentials) -> Worker {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = credentials.server(Clients::required(&[Pillar::Proxy])).unwrap();
    let tls = Tls::between_nodes(config, TlsSettings::default());
    let endpoint = gateway::endpoint(world.gateway.clone());
    tokio::spawn(gateway::serve((listener, tls), endpoint, ServeSettings::default(), world.shutdown.clone()));
    Worker { address, _world: world }
}

async fn before(worker: &Worker, proxy_is: Option<&Credentials>) -> World {
    let tls = proxy_is.map(|it| it.client(&[Pillar::Worker]).unwrap());
    let wait = Duration::from_millis(300);
    let workers = Workers::new(WorkerSettings { tls, wait, ..WorkerSettings::default() });
    let address: WorkerAddress = format!("https://{}", worker.address).parse().unwrap();
    workers.set(vec![address]);
    proxy(&shelf(), &workers).await
}

#[tokio::test]
async fn a_worker_believes_the_proxy_that_it_knows_by_its_certificate() {
    let authority = Authority::new();
    let worker = worker(&authority.node("spiffe://madbase/worker/w")).await;
    let proxy = before(&worker, Some(&authority.node("spiffe://madbase/proxy/p"))).await;
    for _ in 0..20 {
        let request = proxy.post("/rest/v1/x").header("x-forwarded-for", "203.0.113.9").body("{}");
        let told: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!((&told["service"], &told["client"]), (&"data_api".into(), &"203.0.113.9".into()));
    }
    let large = proxy.post("/rest/v1/length").body(vec![b'x'; 3_000_000]).send().await.unwrap();
    assert_eq!(large.text().await.unwrap(), "3000000");
    assert_eq!(
        proxy.get("/rest/v1/rows/3000000").send().await.unwrap().bytes().await.unwrap().len(),
        3_000_000
    );
}

/// A way to `worker` that stands still for a moment when much is sent on it.
async fn jam(worker: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((proxy, _)) = listener.accept().await {
            let (mut proxy_sends, mut proxy_gets) = proxy.into_split();
            let worker = TcpStream::connect(worker).await.unwrap();
            let (mut worker_sends, mut worker_gets) = worker.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut worker_sends, &mut proxy_gets).await });
            tokio::spawn(async move {
                tokio::io::copy(&mut (&mut proxy_sends).take(100_000), &mut worker_gets).await?;
                sleep(Duration::from_secs(3)).await;
                tokio::io::copy(&mut proxy_sends, &mut worker_gets).await
            });
        }
    });
    address
}

// TLS keeps what the socket does not take; nobody may forget to write it when the body's last byte was among it.
#[tokio::test]
async fn the_end_of_a_body_reaches_a_worker_that_was_slow_to_read_it() {
    let authority = Authority::new();
    let mut worker = worker(&authority.node("spiffe://madbase/worker/w")).await;
    worker.address = jam(worker.address).await;
    let proxy = before(&worker, Some(&authority.node("spiffe://madbase/proxy/p"))).await;
    // Among so many sizes some end where the socket is full.
    let sending = (0..48).map(async |idx| {
        let size = 2_600_000 + idx * 50_000;
        let sent = proxy.post("/rest/v1/length").body(vec![b'x'; size]).send();
        let told = timeout(Duration::from_secs(30), sent).await.expect("it hangs").unwrap();
        assert_eq!(told.text().await.unwrap(), size.to_string());
    });
    join_all(sending).await;
}

#[tokio::test]
async fn nothing_is_forwarded_to_or_from_strangers() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let our_proxy = ours.node("spiffe://madbase/proxy/p");
    let our_worker = worker(&ours.node("spiffe://madbase/worker/w")).await;
    assert_eq!(
        before(&our_worker, Some(&our_proxy)).await.get("/rest/v1/x").send().await.unwrap().status(),
        200
    );
    let refused = async |worker: &Worker, proxy: Option<&Credentials>, why: &str| {
        let status = before(worker, proxy).await.get("/rest/v1/x").send().await.unwrap().status();
        assert!(matches!(status.as_u16(), 502 | 503), "{why}: {status}");
    };
    let their_worker = worker(&theirs.node("spiffe://madbase/worker/w")).await;
    refused(&their_worker, Some(&our_proxy), "a worker of another cluster").await;
    let no_worker = worker(&ours.node("spiffe://madbase/proxy/q")).await;
    refused(&no_worker, Some(&our_proxy), "a proxy that says it is a worker").await;
    refused(&our_worker, Some(&ours.node("spiffe://madbase/worker/x")), "a worker that says it is a proxy")
        .await;
    refused(&our_worker, None, "nobody without a certificate").await;
}
