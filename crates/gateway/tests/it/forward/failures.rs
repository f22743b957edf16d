//! Workers that refuse, hang up, stay silent or leave: what moves on, and what the client hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway::{Config, ServeSettings, ServiceLimits, WorkerSettings, Workers};
use tokio::time::{Instant, sleep};

use super::cluster::{Manner, OK, SICK, Upstream, before, listed, nobody, proxy, shelf, until, worker};
use crate::world::{World, show};

const HEADERS: [&str; 3] = ["content-type", "retry-after", "proxy-status"];

fn impatient() -> WorkerSettings {
    WorkerSettings { wait: Duration::from_millis(300), ..WorkerSettings::default() }
}

#[tokio::test]
async fn nothing_is_lost_when_nobody_listens_at_an_address() {
    let upstream = Upstream::new(Manner::Say(OK)).await;
    let (proxy, _) = before(&[nobody().await, nobody().await, upstream.address], impatient()).await;
    for _ in 0..20 {
        assert_eq!(proxy.post("/rest/v1/x").body("{}").send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_read_moves_on_when_its_worker_hangs_up_and_a_write_does_not() {
    let (bad, good) = (Upstream::new(Manner::Hang).await, Upstream::new(Manner::Say(OK)).await);
    let (proxy, workers) = before(&[bad.address], impatient()).await;
    let write = proxy.post("/rest/v1/x").header("x-request-id", "one").send().await.unwrap();
    insta::assert_snapshot!(show(write, &HEADERS).await, @r#"
    502
    content-type: application/json; charset=utf-8
    retry-after: 1
    proxy-status: PostgREST; error=worker_lost
    {"code":"worker_lost","details":null,"hint":null,"message":"The worker was lost before it answered, the request may have been done; please check and retry."}
    "#);
    assert_eq!(bad.asked(), 1, "a write is sent once");
    for method in [http::Method::GET, http::Method::HEAD, http::Method::OPTIONS] {
        // Both are new to the proxy, so that either may be asked first.
        workers.set(vec![]);
        workers.set(vec![listed(bad.address), listed(good.address)]);
        for _ in 0..8 {
            let request = proxy.client.request(method.clone(), proxy.url("/rest/v1/x"));
            let response = request.header("apikey", "sb_publishable_default").send().await.unwrap();
            assert_eq!(response.status(), 200, "{method}");
        }
    }
    assert!(bad.asked() > 1, "none of the reads was given to the bad one first");
}

#[tokio::test]
async fn a_read_with_a_body_is_not_repeated() {
    let bad = Upstream::new(Manner::Hang).await;
    let (proxy, _) = before(&[bad.address], impatient()).await;
    let body = reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from("{}")));
    assert_eq!(proxy.get("/rest/v1/x").body(body).send().await.unwrap().status(), 502);
    assert_eq!(bad.asked(), 1);
}

#[tokio::test]
async fn a_read_is_not_repeated_for_ever() {
    let bad = Upstream::new(Manner::Hang).await;
    let (proxy, _) = before(&[bad.address], impatient()).await;
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 502);
    assert_eq!(bad.asked(), 1 + WorkerSettings::default().max_repeats);
}

#[tokio::test]
async fn an_answer_whose_end_is_in_doubt_is_502_and_ends_its_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "no answer\r\n\r\n",
    ] {
        let bad = Upstream::new(Manner::Say(answer)).await;
        let (proxy, _) = before(&[bad.address], impatient()).await;
        let response = proxy.post("/rest/v1/x").body("{}").send().await.unwrap();
        assert_eq!(response.status(), 502, "{answer}");
    }
    // Bytes behind an answer are no answer to the next request.
    let trailing =
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let bad = Upstream::new(Manner::Say(trailing)).await;
    let (proxy, _) = before(&[bad.address], impatient()).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().text().await.unwrap(), "ok");
    }
    assert!(bad.connections() >= 3, "{}", bad.connections());
}

#[tokio::test]
async fn a_write_is_not_sent_into_a_connection_that_was_closed_meanwhile() {
    let upstream = Upstream::new(Manner::SayAndClose(OK)).await;
    let (proxy, _) = before(&[upstream.address], impatient()).await;
    for _ in 0..50 {
        assert_eq!(proxy.post("/rest/v1/x").send().await.unwrap().status(), 200);
        // The close is on its way, and nobody waits for it.
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(upstream.asked(), 50);
}

#[tokio::test]
async fn a_read_on_a_kept_connection_that_ends_is_sent_once_more_by_a_new_one() {
    let tired = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let once = WorkerSettings { max_repeats: 1, ..impatient() };
    for ending in [Manner::Hang, Manner::SayAndClose(tired)] {
        let ended = Arc::new(AtomicBool::new(false));
        let upstream = Upstream::with(move |head| {
            let ends = head.contains("/rest/v1/end") && !ended.swap(true, Ordering::SeqCst);
            if ends { ending } else { Manner::Say(OK) }
        })
        .await;
        let (proxy, _) = before(&[upstream.address], once.clone()).await;
        for path in ["/rest/v1/x", "/rest/v1/end", "/rest/v1/x"] {
            assert_eq!(proxy.get(path).send().await.unwrap().status(), 200, "{path} {ending:?}");
        }
        assert_eq!(upstream.asked(), 4, "{ending:?}");
    }
    let bad = Upstream::with(|head| if head.contains("/end") { Manner::Hang } else { Manner::Say(OK) }).await;
    let (proxy, _) = before(&[bad.address], once).await;
    for (path, status) in [("/rest/v1/x", 200), ("/rest/v1/end", 502)] {
        assert_eq!(proxy.get(path).send().await.unwrap().status(), status, "{path}");
    }
    assert_eq!(bad.asked(), 3, "once more, and not for ever");
}

#[tokio::test]
async fn a_read_whose_worker_dies_late_is_answered_by_another_one() {
    let late = Manner::HangAfter(Duration::from_millis(1200));
    let bad = Upstream::with(move |head| if head.contains("/late") { late } else { Manner::Say(OK) }).await;
    let (proxy, workers) = before(&[bad.address], impatient()).await;
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200, "it keeps a connection");
    let request = tokio::spawn(proxy.get("/rest/v1/late").send());
    until("the read is under way", || bad.asked() == 2).await;
    let good = Upstream::new(Manner::Say(OK)).await;
    workers.set(vec![listed(bad.address), listed(good.address)]);
    // By then it has waited longer than a request may wait for a worker.
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    assert_eq!((bad.asked(), good.asked()), (2, 1));
}

#[tokio::test]
async fn without_workers_a_request_waits_and_hears_so() {
    let (proxy, workers) = before(&[], impatient()).await;
    let began = Instant::now();
    let response = proxy.get("/rest/v1/x").send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    insta::assert_snapshot!(show(response, &HEADERS).await, @r#"
    503
    content-type: application/json; charset=utf-8
    retry-after: 1
    proxy-status: PostgREST; error=worker_unavailable
    {"code":"worker_unavailable","details":null,"hint":null,"message":"No worker is available right now, please retry after a moment."}
    "#);
    let upstream = Upstream::new(Manner::Say(OK)).await;
    let request = tokio::spawn(proxy.post("/rest/v1/x").send());
    sleep(Duration::from_millis(100)).await;
    workers.set(vec![listed(upstream.address)]);
    assert_eq!(request.await.unwrap().unwrap().status(), 200, "it waited for the first worker");
}

#[tokio::test]
async fn a_worker_with_many_bad_answers_rests_for_a_while() {
    let (bad, good) = (Upstream::new(Manner::Say(SICK)).await, Upstream::new(Manner::Say(OK)).await);
    let (proxy, _) = before(&[bad.address, good.address], impatient()).await;
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(proxy.get("/rest/v1/x").send().await.unwrap().status() == 503);
    }
    assert_eq!((refused, bad.asked()), (5, 5), "five, and then the good one only");
    sleep(Duration::from_millis(600)).await;
    for _ in 0..40 {
        proxy.get("/rest/v1/x").send().await.unwrap();
    }
    assert!(bad.asked() > 5, "it was never tried again");
}

#[tokio::test]
async fn the_only_worker_is_asked_even_if_it_is_bad() {
    let bad = Upstream::new(Manner::Say(SICK)).await;
    let (proxy, _) = before(&[bad.address], impatient()).await;
    for _ in 0..20 {
        let response = proxy.get("/rest/v1/x").send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (503, "sick"));
    }
    assert_eq!(bad.asked(), 20);
}

#[tokio::test]
async fn a_worker_that_never_answers_is_504_in_time() {
    let silent = Upstream::new(Manner::Silent).await;
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(silent.address)]);
    let limits = ServiceLimits { timeout: Duration::from_millis(200), ..Config::default().data_api };
    let proxy = World::bounded(limits, &workers).await;
    let response = proxy.get("/rest/v1/x").send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (http::StatusCode::GATEWAY_TIMEOUT, &"1".parse().unwrap())
    );
    until("nothing is outstanding", || workers.standings().iter().all(|it| it.outstanding == 0)).await;
}

#[tokio::test]
async fn a_worker_that_comes_back_at_its_address_is_used_again() {
    let shelf = shelf();
    let first = worker(&shelf, ServeSettings::default()).await;
    let address = first.address;
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(address)]);
    let proxy = proxy(&shelf, &workers).await;
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
    first.shutdown.cancel();
    first.server.await.unwrap();
    until("it is gone", || workers.standings()[0].standing == "gone").await;
    let request = tokio::spawn(proxy.post("/rest/v1/x").send());
    sleep(Duration::from_millis(100)).await;
    let _second = Upstream::at(address, |_| Manner::Say(OK)).await;
    assert_eq!(request.await.unwrap().unwrap().status(), 200, "the write waited for it");
}

#[tokio::test]
async fn a_rolling_restart_of_workers_loses_no_request() {
    // REQ H5: who drains says so first, and closes later.
    let shelf = shelf();
    let settings = ServeSettings { drain_delay: Duration::from_millis(300), ..ServeSettings::default() };
    let mut running = vec![worker(&shelf, settings).await, worker(&shelf, settings).await];
    let workers =
        Workers::new(WorkerSettings { check_every: Duration::from_millis(100), ..WorkerSettings::default() });
    let list = |running: &[World]| running.iter().map(|it| listed(it.address)).collect::<Vec<_>>();
    workers.set(list(&running));
    let proxy = proxy(&shelf, &workers).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (client, url, stop) = (proxy.client.clone(), proxy.url("/rest/v1/sleep/3"), stop.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !stop.is_cancelled() {
                    let request = client.post(&url).header("apikey", "sb_publishable_default");
                    assert_eq!(request.send().await.unwrap().status(), 200, "after {done}");
                    done += 1;
                }
                done
            })
        })
        .collect();
    for _ in 0..4 {
        sleep(Duration::from_millis(200)).await;
        let old = running.remove(0);
        running.push(worker(&shelf, settings).await);
        workers.set([list(&running), vec![listed(old.address)]].concat());
        old.shutdown.cancel();
        assert_eq!(old.server.await.unwrap().cut, 0);
        workers.set(list(&running));
    }
    stop.cancel();
    for client in clients {
        assert!(client.await.unwrap() > 20, "there was hardly any load");
    }
}
