//! Answers of 100 MB: they stream with bounded memory, slow or absent clients cost others nothing, and what is cut looks
//! cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rest::{PLAIN, Rest, free_port};
use crate::server::{Home, Server, read, until};

/// What the largest answer adds to resident memory at most.
const MAX_GROWTH_KIB: usize = 32 * 1024;
/// What [`LARGE`] is as JSON, about.
const LARGE_BYTES: usize = 105_000_000;

/// 1,000 rows of 105 kB each, to be read and to be had from a function that may write.
const LARGE: &str = "
    create view heavy as
        select i as id, repeat(md5(i::text), 3281) as pad from generate_series(1, 1000) i;
    create function heavy_rows() returns setof heavy language sql volatile as 'select * from heavy';
    create table light (id int primary key);
    insert into light select generate_series(1, 100);
    grant select on heavy, light to service_role;
    grant execute on function heavy_rows to service_role";

/// A line of the process's status, in KiB.
fn memory_kib(server: &Server, name: &str) -> usize {
    let status = read(std::path::Path::new(&format!("/proc/{}/status", server.pid())));
    let line = status.lines().find_map(|it| it.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// What resident memory grew by at its peak while `work` was done.
async fn growth_kib(server: &Server, work: impl Future<Output = ()>) -> usize {
    // Forgets the peak so far (proc(5)).
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").unwrap();
    let before = memory_kib(server, "VmRSS");
    work.await;
    memory_kib(server, "VmHWM").saturating_sub(before)
}

/// Take a whole answer, whose length must be the one that was announced; how long it was.
async fn take(mut answer: Response) -> usize {
    let announced = answer.content_length();
    let mut length = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        length += piece.len();
    }
    assert!(announced.is_none_or(|it| it == length as u64), "{announced:?} announced, {length} came");
    length
}

async fn ok(request: RequestBuilder) -> Response {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    answer
}

/// Backends of the data path that are not idle.
async fn busy(server: &Server) -> i64 {
    let text = "select count(*) from pg_stat_activity where usename = 'authenticator' and state <> 'idle'";
    server.owner("").await.query_one(text, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_100_mb_streams_with_bounded_memory_and_disturbs_nobody() {
    let server = Home::new().start();
    server.owner(LARGE).await;
    let client = Client::new();
    let (heavy, light) = (server.url("/rest/v1/heavy"), server.url("/rest/v1/light?id=eq.7"));
    server.until_ok(|| client.get(&light)).await;
    let get = |url: &str| server.service(client.get(url));

    let whole = growth_kib(&server, async {
        let answer = ok(get(&heavy)).await;
        assert!(answer.content_length().unwrap() > LARGE_BYTES as u64);
        assert!(take(answer).await > LARGE_BYTES);
    });
    let whole = whole.await;
    let compressed = growth_kib(&server, async {
        let answer = ok(get(&heavy).header("accept-encoding", "gzip")).await;
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert!(take(answer).await < LARGE_BYTES / 2);
    });
    let compressed = compressed.await;
    let written = growth_kib(&server, async {
        let call = server.service(client.post(server.url("/rest/v1/rpc/heavy_rows"))).json(&json!({}));
        assert!(take(ok(call).await).await > LARGE_BYTES);
    });
    let written = written.await;
    let head = growth_kib(&server, async {
        let answer = ok(server.service(client.head(&heavy))).await;
        assert_eq!(answer.headers()["content-range"], "0-999/*");
    });
    let head = head.await;
    let growths = [whole, compressed, written, head];
    assert!(growths.iter().all(|it| *it < MAX_GROWTH_KIB), "grew by {growths:?} KiB");

    // Twenty clients that take nothing, which is more than there are connections: others do not notice.
    let stalled_growth = growth_kib(&server, async {
        let mut stalled = Vec::new();
        for number in 0..20 {
            let rows = heavy.clone() + if number == 0 { "" } else { "?limit=100" };
            stalled.push(ok(get(&rows)).await);
        }
        let started = Instant::now();
        for _ in 0..50 {
            assert_eq!(ok(get(&light)).await.json::<Value>().await.unwrap(), json!([{ "id": 7 }]));
        }
        assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
        // The first one has the rest of its answer all the same; the others leave.
        assert!(take(stalled.swap_remove(0)).await > LARGE_BYTES);
    });
    let stalled_growth = stalled_growth.await;
    assert!(stalled_growth < MAX_GROWTH_KIB, "grew by {stalled_growth} KiB");
    until("nothing is busy", async || busy(&server).await == 0).await;
    let spooled = || std::fs::read_dir(server.home().data().join("spool")).unwrap().count();
    assert_eq!(spooled(), 0, "files in the spool have no names");
    ok(get(&light)).await;
    server.stop().await;
}

/// A way to PostgreSQL that ends once so many bytes came back; 0 is for ever.
fn proxy(target: String, ends_after: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&target).unwrap());
            let ends_after = Arc::clone(&ends_after);
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || pass(&server, &client, &ends_after));
        }
    });
    port
}

fn pass(mut server: &TcpStream, mut client: &TcpStream, ends_after: &AtomicUsize) {
    let (mut passed, mut buffer) = (0, vec![0; 64 * 1024]);
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        passed += length;
        let limit = ends_after.load(Ordering::Relaxed);
        if (limit > 0 && passed > limit) || client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

#[tokio::test]
async fn an_answer_that_is_cut_never_looks_complete() {
    let search = state::postgres::Search { only: None, path: std::env::var_os("PATH") };
    let cluster = state::postgres::ephemeral(&search).await.unwrap();
    let (administrator, connection) =
        tokio_postgres::connect(cluster.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    administrator.batch_execute(PLAIN).await.unwrap();
    let heavy = "create view shop.heavy as
            select i as id, repeat(md5(i::text), 3281) as pad from generate_series(1, 300) i;
        grant select on shop.heavy to visitor; alter role rest_login reset pgrst.db_max_rows";
    administrator.batch_execute(heavy).await.unwrap();
    let (_, place) = cluster.url().split_once('@').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    let ends_after = Arc::new(AtomicUsize::new(0));
    let through = proxy(address.to_owned(), Arc::clone(&ends_after));
    let home = &Home::new();
    std::fs::write(home.file("rest.conf"), "db-schemas = \"shop\"\ndb-anon-role = \"visitor\"\n").unwrap();
    let rest = Rest::start(home, free_port(), |command| {
        command.env("PGRST_DB_URI", format!("postgres://rest_login:pw@127.0.0.1:{through}/{database}"));
    });
    rest.until_answered(home, "/items?id=eq.1", json!([{ "id": 1, "name": "hat" }])).await;

    let client = Client::new();
    let url = format!("{}/heavy", rest.url);
    assert!(take(ok(client.get(&url)).await).await > 30_000_000);
    ends_after.store(10_000_000, Ordering::Relaxed);
    for encoding in ["identity", "gzip"] {
        let mut answer = ok(client.get(&url).header("accept-encoding", encoding)).await;
        let cut = loop {
            match answer.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(cut, "{encoding}: a cut answer ended as if it were whole");
    }
    ends_after.store(0, Ordering::Relaxed);
    let mut last = None;
    for _ in 0..100 {
        let answer = client.get(&url).send().await.unwrap();
        last = Some(answer.status());
        if last == Some(StatusCode::OK) {
            assert!(take(answer).await > 30_000_000);
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("not answered again: {last:?}");
}
