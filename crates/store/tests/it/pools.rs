//! REQ H7: pools by project, closed when idle, the least recently used one first, never under a borrower.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use store::{Error, PoolSettings};

use crate::support::{quickest, run};

// REQ H7: a project without use for the idle time closes its connections.
#[test]
fn test_connection_pool_ttl_eviction() {
    run(|db| async move {
        let idle_timeout = Duration::from_millis(300);
        let databases = db.databases(PoolSettings { idle_timeout, ..PoolSettings::default() });
        let database = databases.of(&db.project("one")).await;
        let client = database.services().await.unwrap();
        client.simple_query("select 1").await.unwrap();
        drop(database);
        tokio::time::sleep(3 * idle_timeout).await;
        // The borrower is not cut off by the eviction …
        client.simple_query("select 1").await.unwrap();
        assert_eq!(db.backends(&db.admin().await).await, 1);
        // … and once it is done, nothing stays open.
        drop(client);
        db.wait_for_backends(0).await;
        let again = databases.of(&db.project("one")).await;
        again.services().await.unwrap().simple_query("select 1").await.unwrap();
    });
}

// REQ H7: over the limit, the least recently used project goes first.
#[test]
fn test_connection_pool_lru_eviction() {
    run(|db| async move {
        let databases = db.databases(PoolSettings { max_projects: 2, ..PoolSettings::default() });
        let [one, two, three] = ["one", "two", "three"].map(|it| db.project(it));
        let first = Arc::downgrade(&databases.of(&one).await);
        let second = Arc::downgrade(&databases.of(&two).await);
        drop(databases.of(&one).await.services().await.unwrap());
        drop(databases.of(&two).await.services().await.unwrap());
        // Uses within a quarter of a second count as one.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(databases.of(&one).await.services().await.unwrap());
        db.wait_for_backends(2).await;
        drop(databases.of(&three).await.services().await.unwrap());
        db.wait_for_backends(2).await;
        assert!(second.upgrade().is_none(), "the least recently used one is closed");
        assert!(first.upgrade().is_some(), "the others stay");
    });
}

#[test]
fn another_password_opens_anew_and_the_same_project_does_not() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let project = db.project("one");
        let first = databases.of(&project).await;
        let mut renamed = project.clone();
        renamed.version = 2;
        renamed.name = "another name".to_owned();
        assert!(Arc::ptr_eq(&first, &databases.of(&renamed).await));
        let mut changed = project;
        changed.logins.authenticator.password = "another".into();
        assert!(!Arc::ptr_eq(&first, &databases.of(&changed).await));
    });
}

#[test]
fn waiting_for_a_service_connection_is_bounded() {
    run(|db| async move {
        let acquire_timeout = Duration::from_millis(100);
        let settings = PoolSettings { service_connections: 1, acquire_timeout, ..PoolSettings::default() };
        let databases = db.databases(settings);
        let database = databases.of(&db.project("one")).await;
        let held = database.services().await.unwrap();
        assert!(matches!(database.services().await, Err(Error::PoolTimeout)));
        drop(held);
        drop(database.services().await.unwrap());
    });
}

#[test]
fn a_refused_login_is_a_connect_error() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let mut project = db.project("one");
        project.logins.services.user = "nobody_of_that_name".to_owned();
        let error = databases.of(&project).await.services().await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
    });
}

#[test]
fn closing_lets_borrowers_finish_and_takes_no_new_ones() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let client = database.services().await.unwrap();
        let working =
            tokio::spawn(async move { client.simple_query("select pg_sleep(0.3)").await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(50)).await;
        databases.close(Duration::from_secs(5)).await;
        working.await.unwrap().unwrap();
        assert!(matches!(database.services().await, Err(Error::Connect(_))));
        db.wait_for_backends(0).await;
    });
}

#[test]
fn a_service_connection_to_a_read_only_server_is_not_handed_out_again() {
    run(|db| async move {
        let settings = PoolSettings { service_connections: 1, ..PoolSettings::default() };
        let databases = db.databases(settings);
        let database = databases.of(&db.project("one")).await;
        let pid = async |client: &store::ServiceClient| -> i32 {
            client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let client = database.services().await.unwrap();
        let first = pid(&client).await;
        client.batch_execute("select 1/0").await.unwrap_err();
        drop(client);
        let mut client = database.services().await.unwrap();
        assert_eq!(pid(&client).await, first, "an error of a statement's own changes nothing");
        let transaction = client.build_transaction().read_only(true).start().await.unwrap();
        let error = Error::from(transaction.batch_execute("create table t ()").await.unwrap_err());
        assert!(matches!(&error, Error::Statement(it) if it.code == "25006"), "{error:?}");
        drop(transaction);
        drop(client);
        let client = database.services().await.unwrap();
        assert_ne!(pid(&client).await, first);
        let kill = "select pg_terminate_backend($1)";
        let current = pid(&client).await;
        let asleep = client.batch_execute("select pg_sleep(10)");
        let killer = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            db.admin().await.execute(kill, &[&current]).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(asleep, killer);
        let error = Error::from(outcome.unwrap_err());
        assert!(matches!(error, Error::Lost(_)), "{error:?}");
        drop(client);
        let client = database.services().await.unwrap();
        assert_ne!(pid(&client).await, current);
    });
}

#[test]
fn a_server_that_must_be_writable_is_looked_for_among_the_hosts() {
    run(|db| async move {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = url::Url::parse(&db.url).unwrap();
        let port = url.port().unwrap_or(5432);
        let hosts = format!("host=127.0.0.1,127.0.0.1 port={nobody},{port} target_session_attrs=read-write");
        let databases = db.through(&format!("{hosts} user={}", url.username()), PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        drop(database.services().await.unwrap());
        let ask = store::Statement { text: "select 1".into(), params: vec![] };
        database.read(&store::Session::default(), &ask).await.unwrap();
        drop(database);
        databases.close(Duration::from_secs(5)).await;
        // A login that may only read is refused, as a standby would be.
        db.execute(&format!("alter role {} set default_transaction_read_only = on", db.login())).await;
        let impatient =
            PoolSettings { acquire_timeout: Duration::from_millis(300), ..PoolSettings::default() };
        let database = db.through(&format!("{hosts} user={}", url.username()), impatient);
        let mut project = db.project("one");
        project.version = 2;
        let database = database.of(&project).await;
        assert!(matches!(database.services().await, Err(Error::Connect(_))));
    });
}

// REQ H7, H12: whatever projects ask for, the server sees no more connections than this process may have.
#[test]
fn many_projects_share_the_connections_of_one_process() {
    run(|db| async move {
        // Connections take their time to open on a busy machine, and thirty projects wait for eight.
        let acquire_timeout = Duration::from_secs(60);
        let settings = PoolSettings { max_connections: 8, acquire_timeout, ..PoolSettings::default() };
        let databases = db.databases(settings);
        let (most, done) = (Arc::new(AtomicI64::new(0)), tokio_util::sync::CancellationToken::new());
        let watching = {
            let (db, most, done) = (db.clone(), Arc::clone(&most), done.clone());
            tokio::spawn(async move {
                let admin = db.admin().await;
                while !done.is_cancelled() {
                    most.fetch_max(db.backends(&admin).await, Ordering::SeqCst);
                }
            })
        };
        let project = |idx: usize| {
            let (databases, db) = (databases.clone(), db.clone());
            tokio::spawn(async move {
                for round in 0..4 {
                    let database = databases.of(&db.project(&format!("p{idx}"))).await;
                    let ask = store::Statement { text: "select pg_sleep(0.005)".into(), params: vec![] };
                    let session = store::Session::default();
                    if round % 2 == 0 {
                        let read = database.read(&session, &ask).await;
                        read.unwrap_or_else(|it| panic!("{idx} {round}: {it:?}"));
                    } else {
                        let service = database.services().await;
                        let service = service.unwrap_or_else(|it| panic!("{idx} {round}: {it:?}"));
                        service.simple_query("select 1").await.unwrap();
                    }
                }
            })
        };
        let started = tokio::time::Instant::now();
        for work in (0..30).map(project).collect::<Vec<_>>() {
            work.await.unwrap();
        }
        done.cancel();
        watching.await.unwrap();
        // A backend outlives its socket by a moment.
        let most = most.load(Ordering::SeqCst);
        assert!((4..=8 + 4).contains(&most), "{most} connections, {:?}", started.elapsed());
        // Nobody lacks anything now, and who is asked for keeps what it has.
        drop(databases.of(&db.project("p1")).await.services().await.unwrap());
        databases.close(Duration::from_secs(5)).await;
        db.wait_for_backends(0).await;
    });
}

// REQ H7: projects that each have one connection and lack another one do not wait for each other.
#[test]
fn borrowers_that_lack_a_second_connection_do_not_wait_for_each_other() {
    // Far from the longest wait for a place.
    const SHORT: Duration = Duration::from_millis(1500);
    run(|db| async move {
        let took = quickest(SHORT, async || {
            let databases = db.databases(PoolSettings { max_connections: 4, ..PoolSettings::default() });
            let ask = store::Statement { text: "select 1".into(), params: vec![] };
            let mut borrowed = Vec::new();
            for idx in 0..4 {
                let database = databases.of(&db.project(&format!("p{idx}"))).await;
                database.read(&store::Session::default(), &ask).await.unwrap();
                borrowed.push(database);
            }
            let started = tokio::time::Instant::now();
            let asked = borrowed.iter().map(|it| async { it.services().await.map(drop) });
            for (idx, it) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
                it.unwrap_or_else(|error| panic!("{idx}: {error:?}"));
            }
            let took = started.elapsed();
            drop(borrowed);
            databases.close(Duration::from_secs(5)).await;
            took
        });
        let took = took.await;
        assert!(took < SHORT, "{took:?}");
    });
}
