//! A server that comes back, or answers at another host: who wants a connection waits, and finds it.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use store::{Error, Notification, PoolSettings, Session, Statement};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::{Fixture, quickest, run};

/// An address that nobody listens at.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Pass connections at `address` on to the server of `db`.
async fn serve(db: Fixture, address: SocketAddr) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(db.address()).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
    }
}

fn ask() -> Statement {
    Statement { text: "select 1".into(), params: vec![] }
}

// REQ H12: nothing was sent yet, so nobody need hear of it.
#[test]
fn who_wants_a_connection_waits_for_a_server_that_comes_back() {
    run(|db| async move {
        let address = nowhere();
        let url = format!("postgres://{address}/postgres");
        let impatient =
            PoolSettings { acquire_timeout: Duration::from_millis(300), ..PoolSettings::default() };
        let database = db.through(&url, impatient).of(&db.project("one")).await;
        let began = Instant::now();
        assert!(matches!(database.services().await, Err(Error::Connect(_))));
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(8), "less than others wait: {waited:?}");

        let database = db.through(&url, PoolSettings::default()).of(&db.project("one")).await;
        let back = {
            let db = db.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(700)).await;
                serve(db, address).await;
            })
        };
        let none = Session::default();
        let statement = ask();
        let (service, read) = tokio::join!(database.services(), database.read(&none, &statement));
        service.unwrap().simple_query("select 1").await.unwrap();
        read.unwrap();

        let mut project = db.project("two");
        project.logins.services.user = "nobody_of_that_name".to_owned();
        let database = db.through(&url, PoolSettings::default()).of(&project).await;
        let began = Instant::now();
        assert!(matches!(database.services().await, Err(Error::Connect(_))));
        assert!(began.elapsed() < Duration::from_secs(8), "who is refused for good need not wait");
        back.abort();
    });
}

// A machine that hangs still accepts connections.
#[test]
fn a_host_that_hangs_does_not_keep_the_others_waiting() {
    // Less than one connection after the other waits for a host until it is given up.
    const SHORT: Duration = Duration::from_secs(2);
    run(|db| async move {
        let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
        let hosts = format!("{},{}", hangs.local_addr().unwrap(), db.address());
        let url = format!("postgres://{hosts}/postgres?target_session_attrs=read-write");
        let took = quickest(SHORT, async || {
            let databases = db.through(&url, PoolSettings::default());
            let database = databases.of(&db.project("one")).await;
            let began = Instant::now();
            database.services().await.unwrap().simple_query("select 1").await.unwrap();
            database.read(&Session::default(), &ask()).await.unwrap();
            let mut heard = database.listen("madbase_test");
            assert_eq!(heard.next().await, Some(Notification::Connected));
            began.elapsed()
        });
        let took = took.await;
        assert!(took < SHORT, "{took:?}");
    });
}
