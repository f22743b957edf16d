//! What a worker sees, and how bodies pass: as they come, no faster than they are taken, and until the client leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use gateway::{Endpoint, ServeSettings, WorkerSettings, Workers};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::cluster::{listed, proxy, read_head, shelf, until, worker};
use crate::world::{World, now, token};

const SOON: Duration = Duration::from_secs(20);

/// A proxy before one worker with these routes.
async fn cluster(routes: Router) -> (World, World) {
    let shelf = shelf();
    let worker = World::node(&shelf, Endpoint::behind(routes), ServeSettings::default()).await;
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(worker.address)]);
    (proxy(&shelf, &workers).await, worker)
}

#[tokio::test]
async fn a_worker_sees_what_a_gateway_alone_would_see() {
    let shelf = shelf();
    let worker = worker(&shelf, ServeSettings::default()).await;
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(worker.address)]);
    let proxy = proxy(&shelf, &workers).await;
    let claims = json!({ "role": "authenticated", "sub": "ada", "exp": now() + 60 });
    let bearer = token(&shelf.get("default"), &claims);
    let told = async |world: &World| {
        let request = world
            .post("/rest/v1/a%20b?select=*&apikey=sb_publishable_default")
            .bearer_auth(&bearer)
            .header("host", "localhost:9")
            .header("x-request-id", "one")
            .header("x-forwarded-for", "203.0.113.9")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .header("madbase-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .body("{}");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-request-id"], "one");
        response.json::<Value>().await.unwrap()
    };
    let (mut alone, mut forwarded) = (told(&worker).await, told(&proxy).await);
    let (own, passed) = (alone["headers"].take(), forwarded["headers"].take());
    assert_eq!(forwarded, alone);
    assert_eq!((&alone["uri"], &alone["client"]), (&json!("/a%20b?select=*"), &json!("203.0.113.9")));
    for name in ["traceparent", "x-request-id", "x-forwarded-for", "host", "authorization", "content-length"]
    {
        assert_eq!(passed[name], own[name], "{name}");
    }
    assert_eq!((&passed["connection"], &passed["x-hop"]), (&Value::Null, &Value::Null));
    assert_eq!(passed["madbase-traceparent"], Value::Null);
    assert_eq!(passed["x-forwarded-host"], "localhost:9");
}

#[tokio::test]
async fn an_opaque_key_opens_the_same_doors_behind_a_proxy() {
    let (proxy, _worker) = cluster(crate::world::service("data_api")).await;
    let key = |name: &'static str| proxy.client.get(proxy.url("/rest/v1/x")).header("apikey", name);
    let told: Value = key("sb_secret_default").send().await.unwrap().json().await.unwrap();
    assert_eq!(told["caller"]["role"], "service_role");
    assert_eq!(key("sb_secret_board").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn an_answer_keeps_its_status_headers_and_length() {
    let (proxy, worker) = cluster(crate::world::service("data_api")).await;
    let shown = async |world: &World, method: http::Method, path: &str| {
        let request =
            world.client.request(method, world.url(path)).header("apikey", "sb_publishable_default");
        let request = request.header("x-request-id", "one").header("accept-encoding", "gzip");
        let response = request.send().await.unwrap();
        let mut headers = response.headers().clone();
        headers.remove("date");
        (response.status(), headers, response.bytes().await.unwrap())
    };
    for path in ["/rest/v1/rows", "/rest/v1/rows/9", "/rest/v1/nothing", "/rest/v1/empty", "/rest/v1/events"]
    {
        for method in [http::Method::GET, http::Method::HEAD] {
            let alone = shown(&worker, method.clone(), path).await;
            assert_eq!(shown(&proxy, method, path).await, alone, "{path}");
        }
    }
}

#[tokio::test]
async fn an_answer_arrives_piece_by_piece() {
    let slow = || async {
        let pieces = stream::iter(["a", "b"]).then(|it| async move {
            if it == "b" {
                sleep(Duration::from_secs(60)).await;
            }
            Ok::<_, std::io::Error>(Bytes::from(it))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(pieces))
    };
    let (proxy, _worker) = cluster(Router::new().route("/slow", get(slow))).await;
    let mut response = proxy.get("/rest/v1/slow").send().await.unwrap();
    let first = timeout(SOON, response.chunk()).await.expect("the first piece waits for the second").unwrap();
    assert_eq!(first.unwrap(), "a");
}

#[tokio::test]
async fn a_body_is_sent_on_while_it_comes() {
    let got = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&got);
    let take = move |body: Body| async move {
        let mut pieces = body.into_data_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
        "taken"
    };
    let (proxy, _worker) = cluster(Router::new().route("/take", post(take))).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /rest/v1/take HTTP/1.1\r\nhost: localhost\r\napikey: sb_publishable_default\r\n\
        transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"5\r\nhello\r\n").await.unwrap();
    until("the worker has the first piece", || got.load(Ordering::SeqCst) == 5).await;
    stream.write_all(b"5\r\nagain\r\n0\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(got.load(Ordering::SeqCst), 10);
}

// The worker answers while the body still comes; then the body breaks.
#[tokio::test]
async fn a_part_of_a_body_is_never_taken_for_the_whole() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let take = move |body: Body| async move {
        tokio::spawn(async move {
            let mut pieces = body.into_data_stream();
            let mut got = 0;
            let is_whole = loop {
                match pieces.next().await {
                    Some(Ok(piece)) => got += piece.len(),
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            tell.send((got, is_whole)).unwrap();
        });
        let beginning = stream::once(async { Ok::<_, std::io::Error>(Bytes::from("begun")) });
        Body::from_stream(beginning.chain(stream::pending()))
    };
    let (proxy, _worker) = cluster(Router::new().route("/take", post(take))).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /rest/v1/take HTTP/1.1\r\nhost: localhost\r\napikey: sb_publishable_default\r\n\
        transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
    stream.write_all(b"no chunk\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, told.recv()).await.unwrap(), Some((5, false)));
}

#[tokio::test]
async fn what_the_client_does_not_take_is_not_asked_of_the_worker() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let flood = move || async move {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let pieces = stream::repeat_with(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(piece.clone())
        });
        Body::from_stream(pieces.take(4096))
    };
    let (proxy, _worker) = cluster(Router::new().route("/flood", get(flood))).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "GET /rest/v1/flood HTTP/1.1\r\nhost: localhost\r\napikey: sb_publishable_default\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    let mut before = 0;
    for _ in 0..100 {
        sleep(Duration::from_millis(50)).await;
        let now = made.load(Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
    }
    // Of 256 MiB; the rest is what sockets hold.
    assert!(before < 1024, "{before} pieces of 64 KiB were made for a client that took none");
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work() {
    let (began, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (beginning, ending) = (Arc::clone(&began), Arc::clone(&ended));
    let work = move || async move {
        let _dropped = Dropped(ending);
        beginning.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(60)).await;
    };
    let (proxy, _worker) = cluster(Router::new().route("/work", get(work))).await;
    let request = tokio::spawn(proxy.get("/rest/v1/work").send());
    until("the work began", || began.load(Ordering::SeqCst)).await;
    request.abort();
    until("the work ended", || ended.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_and_says_nothing_about_the_worker() {
    let (proxy, _worker) = cluster(crate::world::service("data_api")).await;
    let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
    let pieces =
        stream::iter((0..12).map(move |_| Ok::<_, std::io::Error>(http_body::Frame::data(piece.clone()))));
    let body = reqwest::Body::wrap(http_body_util::StreamBody::new(pieces));
    let response = proxy.post("/rest/v1/length").body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
}
