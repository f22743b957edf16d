//! Many callers at once: own answers, fair waiting, bounded waiting, and callers that leave.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use store::{Database, End, Error, PoolSettings, Session};
use tokio::time::{Instant, timeout};

use super::{code, commit_if, session, single, statement};
use crate::support::{Fixture, eventually, run};

async fn open(db: &Fixture, data_connections: usize) -> Arc<Database> {
    let settings = PoolSettings { data_connections, ..PoolSettings::default() };
    db.databases(settings).of(&db.project("one")).await
}

#[test]
fn a_thousand_readers_on_four_connections_get_their_own_answers() {
    run(|db| async move {
        let database = &open(&db, 4).await;
        let db = &db;
        let asks = (0..1000).map(|number: u32| async move {
            let (role, claim) = (if number.is_multiple_of(2) { db.reader() } else { db.writer() }, number.to_string());
            let session = match number % 3 {
                0 => session(&role, &[]),
                _ => session(&role, &[("request.claim", &claim)]),
            };
            let text =
                "select concat_ws('|', current_user, nullif(current_setting('request.claim', true), ''), $1::text)";
            let seen = if number % 50 == 7 {
                // Errors in between concern nobody else.
                assert_eq!(
                    code(database.read(&session, &statement("select 1/($1::int - $1::int)", &["7"])).await),
                    "22012"
                );
                return;
            } else if number % 10 == 3 {
                database.write(&session, &statement(text, &[&claim]), End::Commit).await
            } else {
                database.read(&session, &statement(text, &[&claim])).await
            };
            let expected =
                if number.is_multiple_of(3) { format!("{role}|{claim}") } else { format!("{role}|{claim}|{claim}") };
            assert_eq!(single(&seen.unwrap()), expected);
        });
        join_all(asks).await;
        assert!(db.backends(&db.admin().await).await <= 4);
    });
}

#[test]
fn a_slow_read_keeps_nobody_waiting_while_another_connection_is_idle() {
    run(|db| async move {
        let database = &open(&db, 2).await;
        let quick = statement("select 1", &[]);
        let slow = statement("select pg_sleep(20)", &[]);
        let none = Session::default();
        let work = async {
            // Let the slow one be under way.
            tokio::time::sleep(Duration::from_millis(300)).await;
            for _ in 0..50 {
                join_all((0..5).map(|_| database.read(&none, &quick))).await;
            }
        };
        tokio::select! {
            slow = database.read(&none, &slow) => panic!("the others waited for the slow one: {slow:?}"),
            () = work => {}
        }
    });
}

/// Who waits this long would wait for ever.
const STARVED: Duration = Duration::from_secs(20);

#[test]
fn writes_get_their_turn_among_many_reads_and_reads_among_many_writes() {
    run(|db| async move {
        let database = open(&db, 2).await;
        let none = Session::default();
        let reading = |_| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                loop {
                    database.read(&Session::default(), &statement("select 1", &[])).await.unwrap();
                }
            })
        };
        let readers: Vec<_> = (0..16).map(reading).collect();
        for _ in 0..20 {
            let ask = statement("select 2", &[]);
            let write = database.write(&none, &ask, End::Commit);
            timeout(STARVED, write).await.expect("a write is not starved").unwrap();
        }
        readers.iter().for_each(tokio::task::JoinHandle::abort);
        // Writes that wait for a lock leave a connection to reads.
        db.execute("create table t (id int); grant all on t to public").await;
        let mut holder = db.admin().await;
        let lock = holder.transaction().await.unwrap();
        lock.execute("lock table t", &[]).await.unwrap();
        let insert = statement("insert into t values (1)", &[]);
        let writes = join_all((0..5).map(|_| database.write(&none, &insert, End::Commit)));
        let reads = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let ask = statement("select 3", &[]);
            let read = database.read(&none, &ask);
            timeout(STARVED, read).await.expect("a read is not starved").unwrap();
            lock.rollback().await.unwrap();
        };
        let (writes, ()) = tokio::join!(writes, reads);
        assert!(writes.iter().all(Result::is_ok), "{writes:?}");
    });
}

#[test]
fn waiting_for_a_connection_is_bounded() {
    run(|db| async move {
        let acquire_timeout = Duration::from_secs(1);
        let settings = PoolSettings { data_connections: 1, acquire_timeout, ..PoolSettings::default() };
        let databases = db.databases(settings);
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        let slow = statement("select pg_sleep(6)", &[]);
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let started = Instant::now();
            let outcome = database.read(&none, &statement("select 1", &[])).await;
            (outcome, started.elapsed())
        };
        let (slow, (late, waited)) = tokio::join!(database.write(&none, &slow, End::Commit), late);
        assert!(slow.is_ok(), "what runs is not bounded by the wait: {slow:?}");
        assert!(matches!(late, Err(Error::PoolTimeout)), "{late:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        database.read(&none, &statement("select 1", &[])).await.unwrap();
    });
}

#[test]
fn callers_that_leave_take_nothing_with_them() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 2).await;
        let none = &Session::default();
        let insert = statement("insert into t select 1 from pg_sleep(0.02)", &[]);
        let nap = statement("select pg_sleep(0.02)", &[]);
        for round in 0..40_u64 {
            let patience = Duration::from_micros(500 * (round % 13));
            let reads = join_all((0..6).map(|_| timeout(patience, database.read(none, &nap))));
            let write = |end| timeout(patience, database.write(none, &insert, end));
            let writes = join_all([End::Commit, End::Rollback, commit_if(true)].map(write));
            tokio::join!(reads, writes);
        }
        // All slots are there, and no transaction is open.
        let whole = join_all((0..50).map(|_| database.read(none, &nap))).await;
        assert!(whole.iter().all(Result::is_ok));
        database.write(none, &insert, commit_if(true)).await.unwrap();
        let admin = db.admin().await;
        let open = "select count(*) from pg_stat_activity where usename = $1 and state <> 'idle'";
        eventually("transactions left open", async || match admin.query_one(open, &[&db.login()]).await {
            Ok(row) if row.get::<_, i64>(0) == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert!(db.backends(&admin).await <= 2);
    });
}

#[test]
fn what_was_not_sent_before_its_caller_left_is_not_sent() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 1).await;
        let none = Session::default();
        let insert = statement("insert into t values (1)", &[]);
        let busy = statement("select pg_sleep(0.5)", &[]);
        let leave = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let outcome =
                timeout(Duration::from_millis(50), database.write(&none, &insert, End::Commit)).await;
            assert!(outcome.is_err(), "left before its turn");
        };
        let (busy, ()) = tokio::join!(database.read(&none, &busy), leave);
        busy.unwrap();
        let count = database.read(&none, &statement("select count(*) from t", &[])).await.unwrap();
        assert_eq!(single(&count), "0");
    });
}

#[test]
fn a_long_read_is_cancelled_when_its_caller_leaves_and_others_do_not_notice() {
    run(|db| async move {
        let database = open(&db, 1).await;
        let none = Session::default();
        let endless = statement("select pg_sleep(60)", &[]);
        let quick = statement("select $1", &["quick"]);
        for end in [None, Some(End::Rollback), Some(commit_if(true))] {
            let leave = async {
                let patience = Duration::from_millis(300);
                match end {
                    None => timeout(patience, database.read(&none, &endless)).await.unwrap_err(),
                    Some(end) => timeout(patience, database.write(&none, &endless, end)).await.unwrap_err(),
                }
            };
            database.read(&none, &quick).await.unwrap();
            let others = async {
                // One right behind the endless one, on the same connection; the others later.
                let follower = database.read(&none, &quick).await;
                assert_eq!(single(&follower.unwrap()), "quick");
                tokio::time::sleep(Duration::from_millis(100)).await;
                join_all((0..20).map(|_| database.read(&none, &quick))).await
            };
            let both = async { tokio::join!(leave, others).1 };
            let others = timeout(STARVED, both).await.expect("nobody waits for the endless one");
            assert!(others.into_iter().all(|it| single(&it.unwrap()) == "quick"));
        }
        let admin = db.admin().await;
        let text = "select count(*) from pg_stat_activity where usename = $1 and state = 'active'";
        eventually("endless statements", async || match admin.query_one(text, &[&db.login()]).await {
            Ok(row) if row.get::<_, i64>(0) == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}

#[test]
fn a_write_that_may_commit_is_not_cancelled_when_its_caller_leaves() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let database = open(&db, 1).await;
        let none = Session::default();
        let insert = statement("insert into t select 1 from pg_sleep(1.5)", &[]);
        let count = statement("select count(*) from t", &[]);
        database.read(&none, &count).await.unwrap();
        timeout(Duration::from_millis(500), database.write(&none, &insert, End::Commit)).await.unwrap_err();
        assert_eq!(single(&database.read(&none, &count).await.unwrap()), "1");
    });
}
