//! Bounds: bodies, times, heads, connections; and a service that panics.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use gateway::{Config, ServeSettings, ServiceLimits};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{World, show};

const MIB: usize = 1024 * 1024;

fn streamed(bytes: usize) -> reqwest::Body {
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    let chunks = (0..bytes / chunk.len()).map(move |_| Ok::<_, std::io::Error>(Frame::data(chunk.clone())));
    reqwest::Body::wrap(StreamBody::new(stream::iter(chunks)))
}

#[tokio::test]
async fn a_body_over_10_mib_is_413_in_the_service_s_words() {
    let world = World::new().await;
    let shown = async |path: &str, body: reqwest::Body| {
        let request = world.post(path).header("x-request-id", "one").body(body);
        show(request.send().await.unwrap(), &["content-type", "proxy-status", "x-sb-error-code"]).await
    };
    let announced = shown("/rest/v1/length", vec![b'x'; 11 * MIB].into()).await;
    insta::assert_snapshot!(announced, @r#"
    413
    content-type: application/json; charset=utf-8
    proxy-status: PostgREST; error=request_entity_too_large
    x-sb-error-code: -
    {"code":"request_entity_too_large","details":null,"hint":null,"message":"Request body too large (max 10485760 bytes)"}
    "#);
    assert_eq!(shown("/rest/v1/length", streamed(11 * MIB)).await, announced);
    insta::assert_snapshot!(shown("/auth/v1/length", vec![b'x'; 11 * MIB].into()).await, @r#"
    413
    content-type: application/json; charset=utf-8
    proxy-status: -
    x-sb-error-code: request_entity_too_large
    {"code":413,"error_code":"request_entity_too_large","msg":"Request body too large (max 1048576 bytes)"}
    "#);
    insta::assert_snapshot!(shown("/auth/v1/length", streamed(2 * MIB)).await, @r#"
    413
    content-type: application/json; charset=utf-8
    proxy-status: -
    x-sb-error-code: request_entity_too_large
    {"code":413,"error_code":"request_entity_too_large","msg":"Request body too large (max 1048576 bytes)"}
    "#);
}

#[tokio::test]
async fn a_body_of_the_limit_passes() {
    let limits = ServiceLimits { max_body_bytes: 3 * MIB, timeout: Duration::from_secs(30) };
    let world = World::with(Config { data_api: limits, ..Config::default() }, ServeSettings::default()).await;
    for body in [reqwest::Body::from(vec![b'x'; 3 * MIB]), streamed(3 * MIB)] {
        let response = world.post("/rest/v1/length").body(body).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), (3 * MIB).to_string());
    }
}

#[tokio::test]
async fn who_waits_for_100_continue_is_refused_before_it_sends() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /rest/v1/length HTTP/1.1\r\nhost: x\r\napikey: sb_publishable_default\r\n\
        content-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn a_service_that_takes_too_long_is_504_in_its_own_words() {
    let limits = ServiceLimits { max_body_bytes: MIB, timeout: Duration::from_millis(100) };
    let config = Config { data_api: limits, auth: limits, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let shown = async |path: &str, version: &str| {
        let request = world.get(path).header("x-supabase-api-version", version);
        let headers = ["retry-after", "x-sb-error-code", "x-supabase-api-version", "proxy-status"];
        show(request.send().await.unwrap(), &headers).await
    };
    insta::assert_snapshot!(shown("/rest/v1/sleep/60000", "2024-01-01").await, @r#"
    504
    retry-after: 1
    x-sb-error-code: -
    x-supabase-api-version: -
    proxy-status: PostgREST; error=request_timeout
    {"code":"request_timeout","details":null,"hint":null,"message":"Processing this request timed out, please retry after a moment."}
    "#);
    insta::assert_snapshot!(shown("/auth/v1/sleep/60000", "").await, @r#"
    504
    retry-after: 1
    x-sb-error-code: request_timeout
    x-supabase-api-version: -
    proxy-status: -
    {"code":504,"error_code":"request_timeout","msg":"Processing this request timed out, please retry after a moment."}
    "#);
    insta::assert_snapshot!(shown("/auth/v1/sleep/60000", "2024-01-01").await, @r#"
    504
    retry-after: 1
    x-sb-error-code: request_timeout
    x-supabase-api-version: 2024-01-01
    proxy-status: -
    {"code":"request_timeout","message":"Processing this request timed out, please retry after a moment."}
    "#);
}

#[tokio::test]
async fn a_panic_is_500_and_the_next_request_is_served() {
    let world = World::new().await;
    let response = world.get("/rest/v1/panic").send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type", "access-control-allow-origin"]).await, @r#"
    500
    content-type: application/json; charset=utf-8
    access-control-allow-origin: *
    {"code":"unexpected_failure","details":null,"hint":null,"message":"Unexpected failure, please check server logs for more information"}
    "#);
    let response = world.get("/auth/v1/panic").send().await.unwrap();
    insta::assert_snapshot!(show(response, &["x-sb-error-code"]).await, @r#"
    500
    x-sb-error-code: unexpected_failure
    {"code":500,"error_code":"unexpected_failure","msg":"Unexpected failure, please check server logs for more information"}
    "#);
    assert_eq!(world.get("/rest/v1/x").send().await.unwrap().status(), 200);
}

/// Whether the server closes the connection within `limit`, after sending nothing.
async fn is_cut(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(limit, stream.read_to_end(&mut rest)).await;
    read.is_ok() && rest.is_empty()
}

#[tokio::test]
async fn silent_clients_and_slow_heads_are_cut() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(200), ..ServeSettings::default() };
    let world = World::with(Config::default(), settings).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nx-slow: ").await.unwrap();
    let mut patient = TcpStream::connect(world.address).await.unwrap();
    patient.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut status = vec![0; 12];
    patient.read_exact(&mut status).await.unwrap();
    assert!(is_cut(&mut silent, Duration::from_secs(20)).await);
    assert!(is_cut(&mut slow, Duration::from_secs(20)).await);
    // A kept-alive connection without a new request is older than the head's time by now, and still open.
    patient.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    patient.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let settings = ServeSettings { idle_timeout: Duration::from_millis(200), ..ServeSettings::default() };
    let world = World::with(Config::default(), settings).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_a_place() {
    let settings = ServeSettings { max_connections: 2, ..ServeSettings::default() };
    let world = World::with(Config::default(), settings).await;
    let ask = async |stream: &mut TcpStream, ms: u64| {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut status = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_millis(ms), stream.read_exact(&mut status)).await;
        read.is_ok()
    };
    let mut first = TcpStream::connect(world.address).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    assert!(ask(&mut first, 20_000).await && ask(&mut second, 20_000).await);
    let mut third = TcpStream::connect(world.address).await.unwrap();
    assert!(!ask(&mut third, 300).await, "a third connection was served beside two");
    drop(first);
    let mut status = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(20), third.read_exact(&mut status)).await.unwrap().unwrap();
}

/// REQ H12: a thousand connections at once, each answered, none refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_are_held_and_answered() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        streams.push(TcpStream::connect(world.address).await.unwrap());
    }
    for stream in &mut streams {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    }
    for stream in &mut streams {
        let mut status = [0; 12];
        tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut status)).await.unwrap().unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn http2_without_tls_is_spoken() {
    let world = World::new().await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request =
        http::Request::get("http://board.localhost:8000/rest/v1/x").header("apikey", "sb_secret_board");
    let response = sender.send_request(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(seen["project"], "board");
    assert_eq!(seen["url"], "http://board.localhost:8000");
    drop(sender);
    connection.await.unwrap().unwrap();
}
