//! Connections on threads of their own.

use std::collections::BTreeSet;
use std::thread::{available_parallelism, current};

use gateway::{Cores, Endpoint, ServeSettings, serve_on};
use http::Response;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_connection_stays_on_one_core_and_all_cores_have_some() {
    let name = || current().name().unwrap_or_default().to_owned();
    let endpoint = Endpoint::new(move |_| async move { Response::new(name().into()) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (ends, cores) = (CancellationToken::new(), Cores::start().unwrap());
    let serving = serve_on(Some(cores), listener, endpoint, ServeSettings::default(), ends.clone());
    let serving = tokio::spawn(serving);
    // Each client keeps one connection.
    let count = available_parallelism().unwrap().get();
    let clients: Vec<_> = (0..count).map(|_| reqwest::Client::new()).collect();
    let mut seen = BTreeSet::new();
    for client in &clients {
        let mut names = BTreeSet::new();
        for _ in 0..5 {
            names.insert(client.get(&url).send().await.unwrap().text().await.unwrap());
        }
        assert_eq!(names.len(), 1, "{names:?}");
        seen.append(&mut names);
    }
    assert_eq!(seen.len(), count, "{seen:?}");
    assert!(seen.iter().all(|it| it.starts_with("core-")), "{seen:?}");
    ends.cancel();
    drop(clients);
    assert_eq!(serving.await.unwrap().cut, 0);
}
