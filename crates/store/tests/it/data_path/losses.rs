//! Lost connections: reads are repeated, writes are told, the pool recovers by itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use store::{Database, End, Error, PoolSettings, Session};

use super::wire::Proxy;
use super::{code, commit_if, single, statement};
use crate::support::{Fixture, eventually, run};

async fn open(db: &Fixture, data_connections: usize) -> Arc<Database> {
    let settings = PoolSettings { data_connections, ..PoolSettings::default() };
    db.databases(settings).of(&db.project("one")).await
}

/// Kill the login's backends whose running statement matches `like`; returns how many.
async fn kill(db: &Fixture, like: &str) -> i64 {
    let text =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1 and query like $2";
    db.admin().await.query_one(text, &[&db.login(), &like]).await.unwrap().get(0)
}

async fn wait_until_running(db: &Fixture, like: &str) {
    let admin = db.admin().await;
    let text =
        "select count(*) from pg_stat_activity where usename = $1 and state = 'active' and query like $2";
    eventually("a running statement", async || match admin.query_one(text, &[&db.login(), &like]).await {
        Ok(row) if row.get::<_, i64>(0) > 0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[test]
fn a_read_in_flight_is_repeated_twice_at_most() {
    run(|db| async move {
        let database = open(&db, 2).await;
        let slow = statement("select pg_sleep(2), 'done'", &[]);
        let none = Session::default();
        let killer = async {
            wait_until_running(&db, "%pg_sleep(2)%").await;
            kill(&db, "%pg_sleep(2)%").await
        };
        let (answer, killed) = tokio::join!(database.read(&none, &slow), killer);
        assert_eq!((answer.unwrap().rows[0].text(1), killed), (Some("done"), 1));
        // Killed each time: told, not repeated for ever.
        let killer = async {
            for _ in 0..3 {
                wait_until_running(&db, "%pg_sleep(2)%").await;
                kill(&db, "%pg_sleep(2)%").await;
            }
        };
        let (answer, ()) = tokio::join!(database.read(&none, &slow), killer);
        assert!(matches!(answer, Err(Error::Lost(_))), "{answer:?}");
    });
}

#[test]
fn a_write_in_flight_is_lost_and_not_repeated() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 2).await;
        let insert = statement("insert into t select 1 from pg_sleep(2)", &[]);
        let none = Session::default();
        for end in [End::Commit, commit_if(true)] {
            let killer = async {
                wait_until_running(&db, "%pg_sleep(2)%").await;
                kill(&db, "%pg_sleep(2)%").await
            };
            let (answer, _) = tokio::join!(database.write(&none, &insert, end), killer);
            assert!(matches!(answer, Err(Error::Lost(_))), "{answer:?}");
        }
        let count = database.read(&none, &statement("select count(*) from t", &[])).await.unwrap();
        assert_eq!(single(&count), "0");
        database.write(&none, &insert, End::Commit).await.unwrap();
    });
}

#[test]
fn who_waits_for_a_lost_connection_gets_another_one() {
    run(|db| async move {
        let database = open(&db, 1).await;
        let none = Session::default();
        let slow = statement("select pg_sleep(20)", &[]);
        let work = async {
            wait_until_running(&db, "%pg_sleep(20)%").await;
            let ask = statement("select 1", &[]);
            let (answer, killed) = tokio::join!(database.read(&none, &ask), kill(&db, "%pg_sleep(20)%"));
            assert_eq!((single(&answer.unwrap()), killed), ("1", 1));
        };
        let (lost, ()) = tokio::join!(database.write(&none, &slow, End::Commit), work);
        assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    });
}

#[test]
fn a_decision_that_panics_costs_one_connection_and_commits_nothing() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 1).await;
        let none = Session::default();
        let insert = statement("insert into t values (1)", &[]);
        let panics = End::If(Box::new(|_| panic!("on purpose")));
        let outcome = database.write(&none, &insert, panics).await;
        assert!(matches!(outcome, Err(Error::Lost(_))), "{outcome:?}");
        let count = statement("select count(*) from t", &[]);
        assert_eq!(single(&database.read(&none, &count).await.unwrap()), "0");
    });
}

#[test]
fn connections_killed_while_idle_are_replaced_unnoticed() {
    run(|db| async move {
        let database = open(&db, 4).await;
        let none = Session::default();
        let ask = statement("select $1", &["x"]);
        for _ in 0..3 {
            let many = join_all((0..20).map(|_| database.read(&none, &ask))).await;
            assert!(many.iter().all(Result::is_ok), "{many:?}");
            db.wait_for_backends(4).await;
            assert_eq!(kill(&db, "%").await, 4);
            db.wait_for_backends(0).await;
            database.write(&none, &ask, End::Commit).await.unwrap();
        }
    });
}

#[test]
fn idle_connections_go_with_a_broken_one() {
    run(|db| async move {
        let database = open(&db, 4).await;
        let none = Session::default();
        let ask = statement("select $1 from pg_sleep(0.05)", &["x"]);
        let many = join_all((0..20).map(|_| database.read(&none, &ask))).await;
        assert!(many.iter().all(Result::is_ok), "{many:?}");
        db.wait_for_backends(4).await;
        let one = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 limit 1";
        db.admin().await.execute(one, &[&db.login()]).await.unwrap();
        db.wait_for_backends(0).await;
        database.read(&none, &ask).await.unwrap();
    });
}

#[test]
fn readers_under_fire_all_get_answers() {
    run(|db| async move {
        let database = open(&db, 4).await;
        let none = &Session::default();
        let readers = join_all((0..400).map(|number: u32| {
            let database = &database;
            async move {
                tokio::time::sleep(Duration::from_millis(u64::from(number % 20) * 10)).await;
                let number = number.to_string();
                let answer =
                    database.read(none, &statement("select $1 from pg_sleep(0.001)", &[&number])).await;
                assert_eq!(single(&answer.unwrap()), number);
            }
        }));
        let fire = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            kill(&db, "%").await;
        };
        tokio::join!(readers, fire);
    });
}

#[test]
fn a_server_that_is_away_for_a_while_is_waited_for() {
    run(|db| async move {
        let proxy = Proxy::start(&db).await;
        let databases = db.through(&proxy.url(), PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        let ask = statement("select 1", &[]);
        database.read(&none, &ask).await.unwrap();
        proxy.refuse(true).await;
        let back = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            proxy.refuse(false).await;
        };
        let (read, write, ()) =
            tokio::join!(database.read(&none, &ask), database.write(&none, &ask, End::Commit), back);
        read.unwrap();
        write.unwrap();
    });
}

#[test]
fn a_server_that_stays_away_is_told_in_time_and_its_return_needs_no_restart() {
    run(|db| async move {
        let proxy = Proxy::start(&db).await;
        let acquire_timeout = Duration::from_secs(1);
        let settings = PoolSettings { acquire_timeout, ..PoolSettings::default() };
        let databases = db.through(&proxy.url(), settings);
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        let ask = statement("select 1", &[]);
        proxy.refuse(true).await;
        for _ in 0..3 {
            let outcome = database.read(&none, &ask).await;
            assert!(matches!(outcome, Err(Error::Connect(_))), "{outcome:?}");
        }
        proxy.refuse(false).await;
        database.read(&none, &ask).await.unwrap();
    });
}

#[test]
fn a_refused_login_is_told_at_once_with_the_servers_words() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let mut project = db.project("one");
        project.logins.authenticator.user = "nobody_of_that_name".to_owned();
        let database = databases.of(&project).await;
        let outcome = database.read(&Session::default(), &statement("select 1", &[])).await;
        match outcome {
            Err(Error::Connect(source)) => {
                assert!(source.to_string().contains("nobody_of_that_name"), "{source}");
            }
            other => panic!("{other:?}"),
        }
        let mut project = db.project("two");
        project.database = "no_such_database".to_owned();
        let outcome =
            databases.of(&project).await.read(&Session::default(), &statement("select 1", &[])).await;
        assert!(matches!(outcome, Err(Error::Connect(_))), "{outcome:?}");
    });
}

#[test]
fn a_connection_that_became_read_only_is_replaced() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 1).await;
        let none = Session::default();
        // What a demoted primary looks like to a session.
        let demote = statement("select set_config('default_transaction_read_only', 'on', false)", &[]);
        database.write(&none, &demote, End::Commit).await.unwrap();
        let insert = statement("insert into t values (1)", &[]);
        assert_eq!(code(database.write(&none, &insert, End::Commit).await), "25006");
        database.write(&none, &insert, End::Commit).await.unwrap();
    });
}

#[test]
fn closing_lets_running_statements_finish() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        let slow = statement("select pg_sleep(2)", &[]);
        let close = async {
            wait_until_running(&db, "%pg_sleep(2)%").await;
            databases.close(Duration::from_secs(5)).await;
            let outcome = database.read(&none, &statement("select 1", &[])).await;
            assert!(matches!(outcome, Err(Error::Connect(_))), "{outcome:?}");
        };
        let (slow, ()) = tokio::join!(database.read(&none, &slow), close);
        slow.unwrap();
        db.wait_for_backends(0).await;
    });
}

#[test]
fn closing_does_not_wait_longer_than_its_limit() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        let slow = statement("select pg_sleep(30)", &[]);
        let close = async {
            wait_until_running(&db, "%pg_sleep(30)%").await;
            databases.close(Duration::from_millis(100)).await;
        };
        let both = async { tokio::join!(database.write(&none, &slow, End::Commit), close) };
        let (slow, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert!(matches!(slow, Err(Error::Lost(_))), "{slow:?}");
        kill(&db, "%pg_sleep(30)%").await;
    });
}

#[test]
fn a_unix_socket_is_preferred_and_unused_connections_end() {
    run(|db| async move {
        let directory = tempfile::tempdir().unwrap();
        let socket = Proxy::start_unix(&db, directory.path()).await;
        let (host, port) = (directory.path().display(), socket.port());
        let url = format!("host=127.0.0.1,{host} port={port} user=any");
        let idle_timeout = Duration::from_millis(400);
        let databases = db.through(&url, PoolSettings { idle_timeout, ..PoolSettings::default() });
        let database = databases.of(&db.project("one")).await;
        let ask = statement("select 1", &[]);
        for _ in 0..2 {
            assert_eq!(socket.take(), (0, 0));
            database.read(&Session::default(), &ask).await.unwrap();
            db.wait_for_backends(0).await;
            assert_ne!(socket.take(), (0, 0));
        }
    });
}
