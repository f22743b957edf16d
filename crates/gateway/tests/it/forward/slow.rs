//! Clients that send their bodies slowly or wrongly: they hold nobody up, and nothing of it is the worker's fault.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::{ServeSettings, WorkerSettings, Workers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::cluster::{listed, proxy, shelf, worker};
use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

/// A proxy with two lanes to one worker.
async fn cluster(body_timeout: Duration) -> (World, Workers, World) {
    let shelf = shelf();
    let worker = worker(&shelf, ServeSettings::default()).await;
    let wait = Duration::from_secs(2);
    let settings = WorkerSettings { max_connections: 2, wait, body_timeout, ..WorkerSettings::default() };
    let workers = Workers::new(settings);
    workers.set(vec![listed(worker.address)]);
    (proxy(&shelf, &workers).await, workers, worker)
}

/// A POST with this framing, and these bytes of its body.
async fn post(proxy: SocketAddr, framing: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let head = format!(
        "POST /rest/v1/length HTTP/1.1\r\nhost: localhost\r\napikey: sb_publishable_default\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection is closed, which it must be.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.expect("the connection stays open").unwrap();
    text
}

fn is_well(workers: &Workers) -> bool {
    let standings = workers.standings();
    standings.len() == 1 && standings.iter().all(|it| it.standing == "ready" && it.outstanding == 0)
}

#[tokio::test]
async fn small_bodies_that_do_not_come_hold_no_lane() {
    let (proxy, workers, _worker) = cluster(Duration::from_secs(1)).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..300 {
        slow.push(post(proxy.address, "content-length: 100", "x").await);
    }
    let quick = proxy.post("/rest/v1/length").body("12345").send().await.unwrap();
    assert_eq!((quick.status().as_u16(), quick.text().await.unwrap()), (200, "5".to_owned()));
    assert!(slow.len() > 2 && workers.standings()[0].outstanding <= 1, "they have turns of the worker");
    for stream in slow {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("proxy-status: PostgREST; error=request_body_timeout"), "{answer}");
        assert!(answer.contains(r#"{"code":"request_body_timeout","details":null,"hint":null,"#), "{answer}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(is_well(&workers), "{:?}", workers.standings());
}

#[tokio::test]
async fn a_body_that_stops_gives_its_lane_back() {
    let (proxy, workers, _worker) = cluster(Duration::from_millis(300)).await;
    for framing in ["content-length: 100000", "transfer-encoding: chunked"] {
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(post(proxy.address, framing, "5\r\nhello\r\n").await);
        }
        let quick = proxy.get("/rest/v1/x").send().await.unwrap();
        assert_eq!(quick.status(), 200, "{framing}: it waits for a lane, and gets one");
        for stream in slow {
            let answer = rest(stream).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{framing}: {answer}");
        }
        assert!(is_well(&workers), "{:?}", workers.standings());
    }
}

#[tokio::test]
async fn a_malformed_body_is_the_client_s_fault() {
    let (proxy, workers, _worker) = cluster(SOON).await;
    for _ in 0..10 {
        let answer =
            rest(post(proxy.address, "transfer-encoding: chunked", "5\r\nhello\r\nZ\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("proxy-status: PostgREST; error=request_body_unreadable"), "{answer}");
    }
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
    assert!(is_well(&workers), "{:?}", workers.standings());
}
