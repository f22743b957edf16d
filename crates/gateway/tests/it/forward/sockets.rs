//! Websockets: an upgraded connection is a tunnel, with bounds of its own.

use std::time::Duration;

use gateway::{Drained, Endpoint, ServeSettings, WorkerSettings, Workers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::cluster::{Manner, Upstream, before, listed, read_head, shelf};
use crate::world::World;

const SOON: Duration = Duration::from_secs(20);
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: x\r\n\r\nfirst";

/// An upstream that accepts every upgrade and echoes what follows.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read_head(&mut stream).await?;
                if head.starts_with("GET /ready") {
                    stream.write_all(super::cluster::OK.as_bytes()).await.ok()?;
                    return Some(());
                }
                assert!(
                    head.contains("\r\nupgrade: websocket\r\n")
                        && head.contains("\r\nconnection: upgrade\r\n"),
                    "{head}"
                );
                assert!(head.contains("\r\nsec-websocket-key: k\r\n"), "{head}");
                stream.write_all(ACCEPTED.as_bytes()).await.ok()?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok()?;
                Some(())
            });
        }
    });
    address
}

async fn open(proxy: &World) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "GET /rest/v1/socket HTTP/1.1\r\nhost: localhost\r\napikey: sb_publishable_default\r\n\
        connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\nearly ";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await.unwrap();
    (stream, answer)
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut got)).await.expect("nothing came").unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), text);
}

#[tokio::test]
async fn a_websocket_passes_both_ways_until_an_end_closes() {
    let (proxy, workers) = before(&[echo().await], WorkerSettings::default()).await;
    let (mut stream, answer) = open(&proxy).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("\r\nupgrade: websocket\r\n") && answer.contains("\r\nsec-websocket-accept: x\r\n"),
        "{answer}"
    );
    expect(&mut stream, "firstearly ").await;
    for it in ["a", "longer than one byte"] {
        stream.write_all(it.as_bytes()).await.unwrap();
        expect(&mut stream, it).await;
    }
    assert_eq!(workers.standings()[0].outstanding, 0, "it was answered, and leaves the worker to requests");
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_refuses_the_upgrade_answers_as_usual() {
    let upstream = Upstream::new(Manner::Say(super::cluster::OK)).await;
    let (proxy, _) = before(&[upstream.address], WorkerSettings::default()).await;
    let (_stream, answer) = open(&proxy).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_upstream_cannot_make_a_socket_of_an_ordinary_request() {
    let upstream = Upstream::new(Manner::Say(ACCEPTED)).await;
    let (proxy, _) = before(&[upstream.address], WorkerSettings::default()).await;
    assert_eq!(proxy.post("/rest/v1/x").send().await.unwrap().status(), 502);
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let settings =
        WorkerSettings { tunnel_idle_timeout: Duration::from_secs(2), ..WorkerSettings::default() };
    let (proxy, _) = before(&[echo().await], settings).await;
    let (mut stream, _) = open(&proxy).await;
    expect(&mut stream, "firstearly ").await;
    for _ in 0..6 {
        sleep(Duration::from_millis(400)).await;
        stream.write_all(b"x").await.unwrap();
        expect(&mut stream, "x").await;
    }
    assert_eq!(timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn websockets_leave_connections_to_requests_and_end_before_the_deadline() {
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(echo().await)]);
    let settings = ServeSettings {
        max_connections: 1,
        max_tunnels: 1,
        drain_deadline: Duration::from_secs(2),
        ..ServeSettings::default()
    };
    let proxy = World::node(&shelf(), Endpoint::from(workers), settings).await;
    let (mut stream, _) = open(&proxy).await;
    expect(&mut stream, "firstearly ").await;
    let mut second = TcpStream::connect(proxy.address).await.unwrap();
    second.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let head = timeout(SOON, read_head(&mut second)).await.expect("there is room").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    drop(second);
    let (mut third, _) = open(&proxy).await;
    let closed = timeout(SOON, third.read_to_end(&mut Vec::new())).await.expect("two tunnels are too many");
    assert_eq!(closed.unwrap_or(0), 0);
    proxy.shutdown.cancel();
    let drained = timeout(SOON, proxy.server).await.unwrap().unwrap();
    assert_eq!(drained, Drained { finished: 0, cut: 0 });
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
}
