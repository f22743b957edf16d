//! Who gets a request: whoever has the fewest, any of them if they are equal, and nobody more than it may have.

use std::time::Duration;

use gateway::{WorkerSettings, Workers};
use tokio::time::sleep;

use super::cluster::{Manner, OK, Upstream, before, listed, until};
use crate::world::World;

async fn ask(proxy: &World, times: usize) {
    for _ in 0..times {
        assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn equal_workers_share_the_requests() {
    let (one, other) = (Upstream::new(Manner::Say(OK)).await, Upstream::new(Manner::Say(OK)).await);
    let (proxy, _) = before(&[one.address, other.address], WorkerSettings::default()).await;
    ask(&proxy, 100).await;
    assert!((20..=80).contains(&one.asked()), "{} and {}", one.asked(), other.asked());
    assert_eq!(one.asked() + other.asked(), 100);
}

#[tokio::test]
async fn a_worker_with_unanswered_requests_is_spared() {
    let (slow, quick) = (Upstream::new(Manner::Silent).await, Upstream::new(Manner::Say(OK)).await);
    let (proxy, workers) = before(&[slow.address], WorkerSettings::default()).await;
    let stuck: Vec<_> = (0..2).map(|_| tokio::spawn(proxy.get("/rest/v1/x").send())).collect();
    until("the slow one has two", || slow.asked() == 2).await;
    workers.set(vec![listed(slow.address), listed(quick.address)]);
    ask(&proxy, 50).await;
    assert_eq!((slow.asked(), quick.asked()), (2, 50));
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_worker_gets_no_more_connections_than_it_may_have() {
    let silent = Upstream::new(Manner::Silent).await;
    let wait = Duration::from_millis(300);
    let (proxy, workers) =
        before(&[silent.address], WorkerSettings { max_connections: 2, wait, ..WorkerSettings::default() })
            .await;
    let stuck: Vec<_> = (0..2).map(|_| tokio::spawn(proxy.get("/rest/v1/x").send())).collect();
    until("it has two", || silent.asked() == 2).await;
    assert_eq!(proxy.get("/rest/v1/x").send().await.unwrap().status(), 503, "the third waits in vain");
    assert_eq!(silent.asked(), 2);
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    until("the two are gone", || workers.standings()[0].outstanding == 0).await;
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let upstream = Upstream::new(Manner::Say(OK)).await;
    let workers = Workers::new(WorkerSettings::default());
    workers.set(vec![listed(upstream.address)]);
    let proxy = super::cluster::proxy(&super::cluster::shelf(), &workers).await;
    ask(&proxy, 50).await;
    workers.set(vec![listed(upstream.address)]);
    sleep(Duration::from_millis(20)).await;
    ask(&proxy, 50).await;
    // The check of `/ready` may have had one of its own.
    assert!(upstream.connections() <= 2, "{} connections for 100 requests", upstream.connections());
}
