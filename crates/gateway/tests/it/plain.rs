//! Requests of the usual kind have a way of their own through a connection: nobody can tell.

use std::future::pending;
use std::io;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use futures_util::{StreamExt as _, stream};
use gateway::{Drained, Endpoint, ServeSettings, serve};
use http::{Method, Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);
/// hyper takes the connection from here on.
const UNUSUAL: &str = "GET /empty HTTP/1.1\r\nconnection: keep-alive, x-unusual\r\n\r\n";
const LAST: &str = "GET /echo HTTP/1.1\r\nconnection: close\r\n\r\n";

struct World {
    address: std::net::SocketAddr,
    end: CancellationToken,
    server: JoinHandle<Drained>,
    /// Requests for `/never` that nobody waits for any longer.
    given_up: mpsc::UnboundedReceiver<()>,
}

struct GivenUp(mpsc::UnboundedSender<()>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl World {
    async fn new() -> Self {
        Self::with(ServeSettings::default()).await
    }

    async fn with(settings: ServeSettings) -> Self {
        let (gives_up, given_up) = mpsc::unbounded_channel();
        let endpoint = Endpoint::new(move |request| answer(request, gives_up.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = tokio::spawn(serve(listener, endpoint, settings, end.clone()));
        Self { address, end, server, given_up }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// All that is answered to `pieces`, sent one by one, without dates.
    async fn talk(&self, pieces: impl Iterator<Item = &[u8]>) -> String {
        let (mut reads, mut writes) = self.connect().await.into_split();
        let mut text = Vec::new();
        let reading = async { timeout(SOON, reads.read_to_end(&mut text)).await.unwrap().unwrap() };
        let writing = async {
            for piece in pieces {
                writes.write_all(piece).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(reading, writing);
        without_dates(&text)
    }

    async fn stop(self) {
        self.end.cancel();
        timeout(SOON, self.server).await.unwrap().unwrap();
    }
}

async fn answer(request: Request<Body>, gives_up: mpsc::UnboundedSender<()>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let (parts, body) = request.into_parts();
    // All of it: else it depends on the moment whether the connection goes on.
    let Ok(body) = to_bytes(body, 1 << 20).await else {
        return Response::builder().status(400).body(Body::empty()).unwrap();
    };
    let pieces = |pieces: &[&'static str]| {
        let pieces = pieces.iter().map(|it| Ok::<_, io::Error>(*it)).collect::<Vec<_>>();
        // Now and then a piece lets wait for itself.
        Body::from_stream(stream::iter(pieces).then(async |it| {
            tokio::task::yield_now().await;
            it
        }))
    };
    let response = Response::builder().header("x-path", parts.uri.path());
    let response = match parts.uri.path() {
        "/empty" => response.status(204).body(Body::empty()),
        "/same" => response.status(304).header("etag", "\"1\"").body(Body::empty()),
        "/large" => response.body("0123456789abcdef".repeat(8000).into()),
        "/stream" => response.body(pieces(&["one", "", "two and three"])),
        "/declared" => response.header("content-length", "6").body(pieces(&["one", "two"])),
        "/short" => response.header("content-length", "7").body(pieces(&["one", "two"])),
        "/long" => response.header("content-length", "5").body(pieces(&["one", "two"])),
        "/fails" => response.body(Body::from_stream(stream::iter([Err::<&str, _>(io::Error::other("no"))]))),
        "/stalls" => response.body(Body::from_stream(
            stream::once(async { Ok::<_, io::Error>("one") }).chain(stream::once(async move {
                let _given_up = GivenUp(gives_up);
                pending().await
            })),
        )),
        "/never" => {
            let _given_up = GivenUp(gives_up);
            pending().await
        }
        _ => {
            let told = format!("{} {} {:?} {}", parts.method, parts.uri, parts.headers, body.len());
            response.body(if head { Body::empty() } else { told.into() })
        }
    };
    response.unwrap()
}

fn without_dates(answers: &[u8]) -> String {
    let text = String::from_utf8_lossy(answers);
    let (dates, rest): (Vec<_>, Vec<_>) = text.split("\r\n").partition(|it| it.starts_with("date: "));
    assert_eq!(dates.len(), text.matches("HTTP/1.1 ").count(), "each answer has a date");
    let mut lines: Vec<_> = rest.into_iter().map(str::to_owned).collect();
    // Heads are compared without their order.
    for head in lines.split_mut(String::is_empty) {
        head.sort_unstable();
    }
    lines.join("\r\n")
}

fn request() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec!["/echo?a=%2F", "/empty", "/same", "/stream", "/declared", "/large"]);
    let headers =
        prop::sample::select(vec!["", "x-a: 1\r\nX-A: 2\r\n", "connection: Keep-Alive\r\nx-empty:\r\n"]);
    let rest = prop_oneof![
        4 => Just(("GET", "\r\n".to_owned())),
        1 => Just(("HEAD", "\r\n".to_owned())),
        1 => Just(("DELETE", "content-length: 0\r\n\r\n".to_owned())),
        2 => (0..5000_usize).prop_map(|it| ("POST", format!("content-length: {it}\r\n\r\n{}", "b".repeat(it)))),
        1 => Just(("POST", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned())),
        1 => Just(("PUT", "expect: 100-continue\r\ncontent-length: 0\r\n\r\n".to_owned())),
    ];
    (path, headers, rest).prop_map(|(path, headers, (method, rest))| {
        format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{headers}{rest}")
    })
}

/// Where a text is cut.
fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<prop::sample::Index>(), 1..12)]
}

fn pieces<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|it| it.index(text.len())).chain([text.len()]).collect();
    ends.sort_unstable();
    let starts = [0].into_iter().chain(ends.clone());
    starts
        .zip(ends.clone())
        .filter(|(from, to)| from < to)
        .map(|(from, to)| &text.as_bytes()[from..to])
        .collect()
}

#[test]
fn requests_are_answered_alike_by_either_way() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(requests in prop::collection::vec(request(), 1..6), cuts in cuts())| {
        let text = requests.concat() + LAST;
        let (here, by_hyper) = runtime.block_on(async {
            let here = world.talk(pieces(&text, &cuts).into_iter()).await;
            let forced = UNUSUAL.to_owned() + &text;
            (here, world.talk([forced.as_bytes()].into_iter()).await)
        });
        let by_hyper = by_hyper.split_once("\r\n\r\n").unwrap().1;
        prop_assert_eq!(here, by_hyper);
    });
    runtime.block_on(world.stop());
}

#[tokio::test]
async fn a_connection_goes_on_after_requests_of_every_kind() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let kinds = [
        "GET /empty HTTP/1.1\r\n\r\n",
        "POST /empty HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        "POST /empty HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET /empty HTTP/1.1\r\n\r\n",
    ];
    for kind in kinds {
        stream.write_all(kind.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{kind}: {answer}");
    }
    drop(stream);
    world.stop().await;
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut buffer = [0; 1024];
        let length = timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0, "{text:?} is all");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_body_of_another_length_than_its_head_tells_ends_the_connection() {
    let world = World::new().await;
    for (path, body) in [("/short", "onetwo"), ("/long", "one")] {
        let next = format!("GET {path} HTTP/1.1\r\n\r\nGET /echo HTTP/1.1\r\n\r\n");
        let text = world.talk([next.as_bytes()].into_iter()).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, body);
    }
    let nothing = world.talk([b"GET /fails HTTP/1.1\r\n\r\n".as_slice()].into_iter()).await;
    assert_eq!(nothing, "", "a proxy may ask again, or tell an error");
    world.stop().await;
}

#[tokio::test]
async fn a_body_may_come_later_than_its_head() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    for wait_ms in [5, 300, 5] {
        stream.write_all(b"POST /empty HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
        sleep(Duration::from_millis(wait_ms)).await;
        stream.write_all(b"def").await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 204"), "{wait_ms}");
    }
    drop(stream);
    world.stop().await;
}

#[tokio::test]
async fn an_empty_line_behind_a_request_is_no_beginning_of_another() {
    let settings = ServeSettings { head_timeout: Duration::from_millis(200), ..ServeSettings::default() };
    let world = World::with(settings).await;
    let mut stream = world.connect().await;
    for _ in 0..2 {
        stream.write_all(b"POST /empty HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc\r\n").await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
        // Longer than a head may take, looks of the connection included.
        sleep(Duration::from_millis(600)).await;
    }
    stream.write_all(b"\r").await.unwrap();
    sleep(Duration::from_millis(20)).await;
    stream.write_all(b"\n").await.unwrap();
    sleep(Duration::from_millis(600)).await;
    // What is a beginning is not waited for.
    stream.write_all(b"GET /empty HTTP/1.1\r\n\r\nGET").await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_connection_does_not_become_http2_in_the_middle() {
    let world = World::new().await;
    let text = "GET /empty HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let (mut reads, mut writes) = world.connect().await.into_split();
    writes.write_all(text.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let _ = timeout(SOON, reads.read_to_end(&mut answers)).await.unwrap();
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.starts_with("HTTP/1.1 204") && !answers.contains('\0'), "{answers:?}");
    world.stop().await;
}

#[tokio::test]
async fn who_takes_no_answers_is_cut() {
    let settings = ServeSettings { write_timeout: Duration::from_millis(200), ..ServeSettings::default() };
    let world = World::with(settings).await;
    let (_reads, mut writes) = world.connect().await.into_split();
    // 64 MiB of answers, more than any socket holds.
    let requests = "GET /large HTTP/1.1\r\n\r\n".repeat(512);
    let cut = async { while writes.write_all(requests.as_bytes()).await.is_ok() {} };
    timeout(SOON, cut).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn who_leaves_gives_up_his_request() {
    let mut world = World::new().await;
    for path in ["/never", "/stalls"] {
        let mut stream = world.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        if path == "/stalls" {
            read_until(&mut stream, "one\r\n").await;
        }
        sleep(Duration::from_millis(20)).await;
        assert!(world.given_up.is_empty(), "it waits");
        drop(stream);
        timeout(SOON, world.given_up.recv()).await.unwrap().unwrap();
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_sent_ahead_is_bounded() {
    let world = World::new().await;
    for byte in [b'x', b'\n'] {
        let (_reads, mut writes) = world.connect().await.into_split();
        writes.write_all(b"GET /never HTTP/1.1\r\n\r\n").await.unwrap();
        let bytes = vec![byte; 64 * 1024];
        let flood = async {
            for _ in 0..1024 {
                writes.write_all(&bytes).await.unwrap();
            }
        };
        assert!(timeout(Duration::from_secs(1), flood).await.is_err(), "64 MiB were read ahead");
    }
    let (_reads, mut writes) = world.connect().await.into_split();
    let lines = vec![b'\n'; 64 * 1024];
    let empty_lines = async { while writes.write_all(&lines).await.is_ok() {} };
    timeout(SOON, empty_lines).await.unwrap();
    world.end.cancel();
}

#[tokio::test]
async fn half_a_body_is_told_to_the_service() {
    let world = World::new().await;
    let (mut reads, mut writes) = world.connect().await.into_split();
    writes.write_all(b"POST /half HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    drop(writes);
    let mut text = Vec::new();
    timeout(SOON, reads.read_to_end(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&text));
    world.stop().await;
}
