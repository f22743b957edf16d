//! A proxy before workers: it keeps what they answer, and nothing that depended on what it wrote into the request or
//! that the client kept from the worker.

use std::net::IpAddr;
use std::time::Duration;

use gateway::{ResponseCache, ResponseCacheSettings};
use store::Versions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::board::{Ask, Board, Gate};

const NOTES: &str = "/rest/v1/notes?select=body&order=id";

fn cache(versions: Versions) -> ResponseCache {
    ResponseCache::new(ResponseCacheSettings::default(), versions)
}

async fn proxy(board: &Board) -> (Gate, Gate) {
    let worker = Gate::worker(&board.test, None).await;
    (Gate::proxy(&board.test, cache(Versions::alone()), &[&worker]).await, worker)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The body of the answer to `GET target`, sent just so.
async fn raw(gate: &Gate, target: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(gate.address).await.unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost:1\r\napikey: {}\r\nauthorization: Bearer {token}\r\n\r\n",
        gate.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.ends_with('}') && !text.ends_with(']') {
        let read = timeout(Duration::from_secs(30), stream.read(&mut part)).await.unwrap().unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn what_a_proxy_tells_its_worker_of_one_caller_is_no_answer_for_another() {
    testkit::run(async {
        let board = Board::new("places").await;
        board.test.owner().await.batch_execute(
            "create table public.places (address text); insert into public.places values ('127.0.0.1'), ('127.0.0.2'); \
             alter table public.places enable row level security; create policy here on public.places for select using \
             (address = current_setting('request.headers', true)::json->>'x-forwarded-for'); \
             create view public.seen as select current_setting('request.headers', true)::json->>'x-forwarded-host' as host; \
             grant select on public.places, public.seen to authenticated; notify pgrst",
        ).await.unwrap();
        let (proxy, _worker) = proxy(&board).await;
        let ada = board.user(1, &[]);
        let places = Ask::get("/rest/v1/places?select=address").by(&ada);
        until("the table is found", async || proxy.ask(&places).await.status == 200).await;
        for _ in 0..3 {
            for address in ["127.0.0.1", "127.0.0.2"] {
                let from: IpAddr = address.parse().unwrap();
                let seen = proxy.ask_from(from, &places).await;
                assert_eq!(seen.body, format!(r#"[{{"address":"{address}"}}]"#));
            }
            for (target, host) in [("http://127.0.0.9:81", "127.0.0.9:81"), ("", "localhost:1")] {
                let seen = raw(&proxy, &format!("{target}/rest/v1/seen?select=host"), &ada).await;
                assert_eq!(seen, format!(r#"[{{"host":"{host}"}}]"#));
            }
        }
    });
}

#[test]
fn what_connection_names_is_in_the_key_as_the_worker_sees_it() {
    testkit::run(async {
        let board = Board::new("hops").await;
        let (proxy, _worker) = proxy(&board).await;
        let (ada, bob) = (board.user(1, &[]), board.user(2, &[]));
        until("it is kept", async || proxy.ask(&Ask::get(NOTES).by(&bob)).await.header("x-cache") == "hit")
            .await;
        for (name, value) in [
            ("prefer", "count=exact"),
            ("accept", "text/csv"),
            ("accept", "application/vnd.pgrst.object+json"),
            ("range", "0-0"),
            ("accept-profile", "nowhere"),
            ("authorization", ""),
            ("apikey", ""),
            ("host", ""),
            ("x-mine", "1"),
        ] {
            let ask = Ask::get(NOTES).by(&ada);
            let ask = if value.is_empty() { ask } else { ask.header(name, value) };
            let fresh = board.plain.ask(&ask).await;
            for hides in [true, false, true] {
                let asked = ask.clone();
                let asked =
                    if hides { asked.header("connection", &format!("keep-alive, {name}")) } else { asked };
                assert_eq!(proxy.ask(&asked).await.essence(), fresh.essence(), "{name}: {value}, {hides}");
            }
        }
    });
}

#[test]
fn what_a_worker_says_of_one_request_is_not_said_of_another() {
    testkit::run(async {
        let board = Board::new("dressed").await;
        let (proxy, _worker) = proxy(&board).await;
        let ada = board.user(1, &[]);
        let ask = |id: &str| Ask::get(NOTES).by(&ada).header("x-request-id", id).header("x-trace", id);
        until("it is kept", async || proxy.ask(&ask("first")).await.header("x-cache") == "hit").await;
        let counters = Ask::write("PATCH", "/rest/v1/counters?id=eq.1", r#"{"value":1}"#).by(&ada);
        assert_eq!(proxy.ask(&counters).await.status, 204);
        let told = ["x-request-id", "sb-request-id", "x-trace"];
        let missed = proxy.ask(&ask("one")).await;
        assert_eq!(missed.header("x-cache"), "miss");
        assert_eq!(told.map(|it| missed.header(it)), ["one"; 3]);
        assert!(missed.header("server-timing").contains("transaction"), "{}", missed.header("server-timing"));
        let hit = proxy.ask(&ask("other")).await;
        assert_eq!(hit.header("x-cache"), "hit");
        assert_eq!(told.map(|it| hit.header(it)), ["other"; 3]);
        assert_eq!(hit.header("server-timing"), "-");
        let bare = proxy.ask(&Ask::get(NOTES).by(&ada)).await;
        assert_eq!((bare.header("x-cache"), bare.header("x-trace")), ("hit", "-"));
        // The same rows, the same tag, whenever and for whichever request they are read.
        assert_eq!(proxy.ask(&counters).await.status, 204);
        sleep(Duration::from_millis(1100)).await;
        let again = proxy.ask(&ask("third")).await;
        assert_eq!((again.header("x-cache"), again.header("etag")), ("miss", missed.header("etag")));
    });
}

#[test]
fn a_worker_tells_of_writes_that_its_proxy_cannot_tell_of() {
    testkit::run(async {
        let board = Board::new("cut_off").await;
        let (server, database) = (board.test.databases.server(), &board.test.project.database);
        let worker = Gate::worker(&board.test, Some(Versions::shared(server, database))).await;
        // This one never reaches those that listen.
        let lonely = Gate::proxy(&board.test, cache(Versions::shared(server, "nowhere")), &[&worker]).await;
        let other = Gate::proxy(&board.test, cache(Versions::shared(server, database)), &[&worker]).await;
        let ada = board.user(1, &[]);
        let counter = Ask::get("/rest/v1/counters?select=value&id=eq.1").by(&ada);
        for value in 1..4 {
            until("it is kept", async || other.ask(&counter).await.header("x-cache") == "hit").await;
            let body = format!(r#"{{"value":{value}}}"#);
            let write = Ask::write("PATCH", "/rest/v1/counters?id=eq.1", &body).by(&ada);
            assert_eq!(lonely.ask(&write).await.status, 204);
            let seen = other.ask(&counter).await;
            assert_eq!(
                (seen.body, lonely.ask(&counter).await.body),
                (format!("[{body}]"), format!("[{body}]"))
            );
        }
    });
}
