//! REQ H5: stop accepting, finish what is in flight, then close.

use std::time::Duration;

use gateway::{Config, Drained, ServeSettings};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{World, asleep, show};

const SOON: Duration = Duration::from_secs(20);

/// A request that a service works on now, for `ms`, which no other test asks for.
async fn slow_request(world: &World, ms: u64) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let request = tokio::spawn(world.get(&format!("/rest/v1/sleep/{ms}")).send());
    asleep(ms).await;
    request
}

#[tokio::test]
async fn test_graceful_shutdown_completes_inflight() {
    let world = World::new().await;
    let request = slow_request(&world, 301).await;
    world.shutdown.cancel();
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "slept");
    let report = timeout(SOON, world.server).await.unwrap().unwrap();
    assert_eq!(report, Drained { finished: 1, cut: 0 });
}

#[tokio::test]
async fn test_graceful_shutdown_rejects_new() {
    let world = World::new().await;
    let request = slow_request(&world, 501).await;
    world.shutdown.cancel();
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(world.address).await.is_ok() {
        assert!(Instant::now() < deadline && !request.is_finished(), "connections are taken to the end");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    timeout(SOON, world.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let world = World::new().await;
    assert_eq!(world.get("/rest/v1/x").send().await.unwrap().status(), 200);
    let _never_used = TcpStream::connect(world.address).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    world.shutdown.cancel();
    assert_eq!(timeout(SOON, world.server).await.unwrap().unwrap(), Drained { finished: 0, cut: 0 });
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let settings = ServeSettings { drain_deadline: Duration::from_millis(100), ..ServeSettings::default() };
    let world = World::with(Config::default(), settings).await;
    let request = slow_request(&world, 60_001).await;
    world.shutdown.cancel();
    assert_eq!(timeout(SOON, world.server).await.unwrap().unwrap(), Drained { finished: 0, cut: 1 });
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn balancers_see_the_end_coming() {
    let settings = ServeSettings { drain_delay: Duration::from_millis(500), ..ServeSettings::default() };
    let world = World::with(Config::default(), settings).await;
    let ready = async || world.client.get(world.url("/ready")).send().await.unwrap();
    assert_eq!(ready().await.status(), 200);
    world.shutdown.cancel();
    insta::assert_snapshot!(show(ready().await, &["content-type"]).await, @r#"
    503
    content-type: application/json; charset=utf-8
    {"status":"draining"}
    "#);
    assert_eq!(world.get("/rest/v1/x").send().await.unwrap().status(), 200, "traffic goes on meanwhile");
    timeout(SOON, world.server).await.unwrap().unwrap();
}
