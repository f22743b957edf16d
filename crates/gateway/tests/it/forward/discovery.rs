//! Workers that come and go while the proxy runs (REQ H6).

use std::time::Duration;

use futures_util::stream;
use gateway::{ServeSettings, WorkerAddress, WorkerSettings, Workers};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Manner, OK, Upstream, before, listed, proxy, shelf, until, worker};

/// A discovery that the test feeds.
fn discovery(workers: &Workers) -> mpsc::Sender<Vec<WorkerAddress>> {
    let (feed, lists) = mpsc::channel(1);
    let lists = stream::unfold(lists, |mut lists| async { Some((lists.recv().await?, lists)) });
    tokio::spawn(workers.clone().follow(lists));
    feed
}

// REQ H6
#[tokio::test]
async fn test_dynamic_worker_discovery() {
    let shelf = shelf();
    let (first, second) =
        (worker(&shelf, ServeSettings::default()).await, Upstream::new(Manner::Say(OK)).await);
    let workers = Workers::new(WorkerSettings::default());
    let feed = discovery(&workers);
    let proxy = proxy(&shelf, &workers).await;
    let began = Instant::now();
    let waiting = tokio::spawn(proxy.get("/rest/v1/x").send());
    feed.send(vec![listed(first.address)]).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);

    let last_words = tokio::spawn(proxy.get("/rest/v1/sleep/700").send());
    until("the first works", || workers.standings()[0].outstanding > 0).await;
    feed.send(vec![listed(first.address), listed(second.address)]).await.unwrap();
    while second.asked() == 0 {
        assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
        assert!(began.elapsed() < Duration::from_secs(20), "a new worker is not found");
    }

    feed.send(vec![listed(second.address)]).await.unwrap();
    until("the first has left", || workers.standings().len() == 1).await;
    let before = second.asked();
    for _ in 0..20 {
        assert_eq!(proxy.post("/rest/v1/x").send().await.unwrap().text().await.unwrap(), "ok");
    }
    assert_eq!(second.asked() - before, 20, "the one that left gets nothing new");
    assert!(!last_words.is_finished());
    let answer = last_words.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "slept"));
    // Nothing holds its connections now; it can stop at once.
    first.shutdown.cancel();
    let drained = timeout(Duration::from_secs(20), first.server).await.unwrap().unwrap();
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn a_worker_that_the_list_calls_draining_gets_nothing_new() {
    let (one, other) = (Upstream::new(Manner::Say(OK)).await, Upstream::new(Manner::Say(OK)).await);
    let (proxy, workers) = before(&[one.address, other.address], WorkerSettings::default()).await;
    let draining = WorkerAddress { draining: true, ..listed(one.address) };
    workers.set(vec![draining, listed(other.address)]);
    for _ in 0..20 {
        assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
    }
    assert_eq!((one.asked(), other.asked()), (0, 20));
}

#[tokio::test]
async fn a_worker_that_says_so_itself_gets_nothing_new() {
    const LEAVING: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let upstream = Upstream::with(|_| Manner::SayAndClose(LEAVING)).await;
    let (proxy, _) = before(&[upstream.address], WorkerSettings::default()).await;
    // `/ready` still says yes, so that it is believed again after the next check: nothing fails meanwhile.
    for _ in 0..10 {
        assert_eq!(proxy.post("/rest/v1/x").send().await.unwrap().status(), 200);
    }

    let shelf = shelf();
    let settings = ServeSettings { drain_delay: Duration::from_secs(3), ..ServeSettings::default() };
    let (leaving, staying) = (worker(&shelf, settings).await, Upstream::new(Manner::Say(OK)).await);
    // So seldom that only the answers can tell.
    let rarely = WorkerSettings { check_every: Duration::from_secs(60), ..WorkerSettings::default() };
    let workers = Workers::new(rarely);
    workers.set(vec![listed(leaving.address), listed(staying.address)]);
    let proxy = super::cluster::proxy(&shelf, &workers).await;
    sleep(Duration::from_millis(100)).await;
    leaving.shutdown.cancel();
    let mut last = Value::Null;
    for _ in 0..100 {
        let answer = proxy.get("/rest/v1/x").send().await.unwrap().text().await.unwrap();
        last = serde_json::from_str(&answer).unwrap_or(Value::String(answer));
    }
    assert_eq!(last, "ok");
    let standings = workers.standings();
    assert_eq!(standings[0].standing, "draining");
    assert!(staying.asked() >= 90, "{}", staying.asked());
}
