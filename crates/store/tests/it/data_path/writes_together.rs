//! Quick writes of one caller that come together share a transaction, and nobody can tell: each is answered when it is
//! kept, each has its own failure, and none is done twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use store::{Database, End, Error, PoolSettings, Session, Statement};
use tokio::time::sleep;

use super::{code, session, single, statement};
use crate::support::{Fixture, eventually, run};

/// The value, and the transaction that wrote it.
const INSERT: &str = "insert into kept (id) values ($1::int) returning pg_current_xact_id()::text";

const TABLES: &str = "\
    create table parents (id int primary key); \
    insert into parents select generate_series(0, 999); \
    create table kept (\
        id int primary key, \
        parent int references parents deferrable initially deferred, \
        small int check (small < 100)); \
    grant select, insert on kept, parents to public";

/// So many connections, of which all but one may write: writes meet there.
async fn open(db: &Fixture, data_connections: usize) -> Arc<Database> {
    db.execute(TABLES).await;
    let settings = PoolSettings { data_connections, ..PoolSettings::default() };
    db.databases(settings).of(&db.project("one")).await
}

fn sociable(db: &Fixture) -> Session {
    Session { is_sociable: true, ..session(&db.writer(), &[]) }
}

fn insert(id: i32) -> Statement {
    statement(INSERT, &[&id.to_string()])
}

/// Let the pool learn that the statement is quick; ids below zero.
async fn learn(database: &Database, session: &Session) {
    for id in 1..=20 {
        database.write(session, &insert(-id), End::Commit).await.unwrap();
    }
}

async fn ids(db: &Fixture) -> Vec<i32> {
    let rows = db.admin().await.query("select id from kept where id >= 0 order by id", &[]).await.unwrap();
    rows.iter().map(|it| it.get(0)).collect()
}

/// How many transactions wrote ids from `range`, all at once.
async fn transactions(database: &Database, session: &Session, range: std::ops::Range<i32>) -> usize {
    let writes = range.map(async |id| {
        let answer = database.write(session, &insert(id), End::Commit).await.unwrap();
        (single(&answer).to_owned(), answer.affected)
    });
    let all = join_all(writes).await;
    assert!(all.iter().all(|(_, affected)| *affected == 1));
    all.into_iter().map(|(it, _)| it).collect::<BTreeSet<_>>().len()
}

#[test]
fn inserts_of_one_caller_that_come_together_share_transactions() {
    run(|db| async move {
        let (database, together) = (&open(&db, 2).await, &sociable(&db));
        learn(database, together).await;
        let shared = transactions(database, together, 0..200).await;
        assert!(shared < 100, "{shared} transactions");
        assert_eq!(transactions(database, &session(&db.writer(), &[]), 200..400).await, 200);
        assert_eq!(ids(&db).await, (0..400).collect::<Vec<_>>());
    });
}

#[test]
fn what_fails_takes_nothing_else_with_it() {
    run(|db| async move {
        let (database, session) = (&open(&db, 2).await, &sociable(&db));
        learn(database, session).await;
        // Every tenth once more.
        let wanted = (0..300).chain((0..300).step_by(10));
        let writes = wanted.map(async |id| (id, database.write(session, &insert(id), End::Commit).await));
        let mut refused = 0;
        for (id, outcome) in join_all(writes).await {
            if outcome.is_err() {
                assert_eq!((code(outcome).as_str(), id % 10), ("23505", 0));
                refused += 1;
            }
        }
        assert_eq!(refused, 30);
        assert_eq!(ids(&db).await, (0..300).collect::<Vec<_>>());
    });
}

#[test]
fn what_fails_at_the_commit_is_told_to_whom_it_concerns() {
    run(|db| async move {
        let (database, session) = (&open(&db, 2).await, &sociable(&db));
        let text = "insert into kept (id, parent, small) values ($1::int, $2::int, $3::int)";
        let insert = |id: i32| {
            let (parent, small) = (if id % 7 == 3 { 5000 } else { 1 }, if id % 11 == 5 { 100 } else { 1 });
            statement(text, &[&id.to_string(), &parent.to_string(), &small.to_string()])
        };
        for id in -22..0 {
            let _ = database.write(session, &insert(id), End::Commit).await;
        }
        let writes = (0..300).map(async |id| (id, database.write(session, &insert(id), End::Commit).await));
        let mut kept = Vec::new();
        for (id, outcome) in join_all(writes).await {
            match (id % 11 == 5, id % 7 == 3) {
                (true, _) => assert_eq!(code(outcome), "23514"),
                (false, true) => assert_eq!(code(outcome), "23503"),
                (false, false) => {
                    outcome.unwrap();
                    kept.push(id);
                }
            }
        }
        assert_eq!(ids(&db).await, kept);
    });
}

#[test]
fn a_write_that_waits_for_a_lock_keeps_nobody_waiting() {
    run(|db| async move {
        let (database, session) = (&open(&db, 3).await, &sociable(&db));
        learn(database, session).await;
        let admin = db.admin().await;
        admin.batch_execute("begin; insert into kept (id) values (7)").await.unwrap();
        let answered = AtomicUsize::new(0);
        let writes = (0..40).map(async |id| {
            let outcome = database.write(session, &insert(id), End::Commit).await;
            answered.fetch_add(1, Ordering::SeqCst);
            (id, outcome)
        });
        // The lock is there until all others have their answers.
        let owner = async {
            eventually("answers, all but one", async || match answered.load(Ordering::SeqCst) {
                39 => Ok(()),
                other => Err(other.to_string()),
            })
            .await;
            admin.batch_execute("commit").await.unwrap();
        };
        let (all, ()) = tokio::join!(join_all(writes), owner);
        for (id, outcome) in all {
            if id == 7 {
                assert_eq!(code(outcome), "23505");
            } else {
                outcome.unwrap();
            }
        }
        assert_eq!(ids(&db).await, (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_acknowledged_is_kept_and_nothing_is_done_twice_when_connections_break() {
    run(|db| async move {
        let (database, session) = (&open(&db, 2).await, &sociable(&db));
        // Without a key, so that twice would be seen.
        db.execute("create table log (id int); grant select, insert on log to public").await;
        let insert = |id: i32| statement("insert into log (id) values ($1::int)", &[&id.to_string()]);
        for _ in 0..20 {
            database.write(session, &insert(-1), End::Commit).await.unwrap();
        }
        let killer = async {
            let admin = db.admin().await;
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
            for _ in 0..5 {
                sleep(Duration::from_millis(20)).await;
                admin.execute(kill, &[&db.login()]).await.unwrap();
            }
        };
        let writers = (0..30).map(async |writer: i32| {
            let mut kept = Vec::new();
            for id in writer * 100..writer * 100 + 50 {
                match database.write(session, &insert(id), End::Commit).await {
                    Ok(_) => kept.push(id),
                    Err(Error::Lost(_) | Error::Connect(_) | Error::PoolTimeout) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            kept
        });
        let (kept, ()) = tokio::join!(join_all(writers), killer);
        let rows = db.admin().await.query("select id from log where id >= 0", &[]).await.unwrap();
        let all: Vec<i32> = rows.iter().map(|it| it.get(0)).collect();
        let found: BTreeSet<i32> = all.iter().copied().collect();
        assert_eq!(found.len(), all.len(), "something was done twice");
        let kept: BTreeSet<i32> = kept.into_iter().flatten().collect();
        assert!(kept.is_subset(&found), "acknowledged and lost: {:?}", kept.difference(&found));
        assert!(kept.len() > 500, "{}", kept.len());
    });
}
