//! Quick reads of one caller that come together share a transaction, and nothing else: each has its own answer, its own
//! failure and its own end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use store::{Answer, Database, Delivery, PoolSettings, Session, Statement};

use tokio::time::{Instant, sleep, timeout};

use super::{code, session, single, statement};
use crate::support::{Fixture, quickest, run};

/// Who runs it, a claim of theirs, the question's number, and when the transaction began.
const WHO: &str = "select concat_ws('|', current_user, current_setting('request.claim', true), $1::text), \
    transaction_timestamp()::text";

/// One connection, so that reads meet there.
async fn open(db: &Fixture) -> Arc<Database> {
    let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
    db.databases(settings).of(&db.project("one")).await
}

fn sociable(role: &str, claim: &str) -> Session {
    Session { is_sociable: true, ..session(role, &[("request.claim", claim)]) }
}

/// Let the pool learn that the statement is quick.
async fn learn(database: &Database, session: &Session, statement: &Statement) {
    for _ in 0..20 {
        let _ = database.read(session, statement).await;
    }
}

fn columns(answer: &Answer) -> (String, String) {
    let row = answer.rows.first().unwrap();
    (row.text(0).unwrap().to_owned(), row.text(1).unwrap().to_owned())
}

/// When the transactions of `count` reads of each session, all at once, began.
async fn begun(database: &Database, sessions: &[Session], count: usize) -> Vec<BTreeSet<String>> {
    let read = async |session: &Session, idx: usize| {
        let number = idx.to_string();
        let (seen, begun) = columns(&database.read(session, &statement(WHO, &[&number])).await.unwrap());
        let who: Vec<_> = session.settings.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(seen, format!("{}|{number}", who.join("|")));
        begun
    };
    let reads =
        (0..count * sessions.len()).filter_map(|idx| Some(read(sessions.get(idx % sessions.len())?, idx)));
    let all = join_all(reads).await;
    let of = |who: usize| all.iter().skip(who).step_by(sessions.len()).cloned().collect();
    (0..sessions.len()).map(of).collect()
}

#[test]
fn reads_of_one_caller_that_come_together_share_transactions() {
    run(|db| async move {
        let (database, alone) = (&open(&db).await, session(&db.reader(), &[("request.claim", "a")]));
        let together = sociable(&db.reader(), "a");
        learn(database, &together, &statement(WHO, &["0"])).await;
        let seen = begun(database, &[together], 200).await;
        assert!(seen[0].len() < 100, "{} transactions", seen[0].len());
        // Who may leave something behind in the transaction has it alone.
        assert_eq!(begun(database, &[alone], 200).await[0].len(), 200);
    });
}

#[test]
fn callers_never_share_a_transaction() {
    run(|db| async move {
        let database = &open(&db).await;
        let sessions = [(db.reader(), "a"), (db.reader(), "b"), (db.writer(), "a"), (db.writer(), "b")]
            .map(|(role, claim)| sociable(&role, claim));
        for session in &sessions {
            learn(database, session, &statement(WHO, &["0"])).await;
        }
        for _ in 0..10 {
            let seen = begun(database, &sessions, 100).await;
            let mut owners: BTreeMap<&String, usize> = BTreeMap::new();
            for (who, at) in
                seen.iter().enumerate().flat_map(|(who, all)| all.iter().map(move |at| (who, at)))
            {
                assert_eq!(*owners.entry(at).or_insert(who), who, "a transaction of two callers");
            }
        }
    });
}

#[test]
fn a_failure_concerns_nobody_else() {
    run(|db| async move {
        let (database, session) = (&open(&db).await, &sociable(&db.reader(), "a"));
        let ask = |number: i32| statement("select (100 / $1::int)::text", &[&number.to_string()]);
        learn(database, session, &ask(1)).await;
        let reads = (0..300).map(async |it: i32| (it, database.read(session, &ask(it % 7 - 2)).await));
        for (it, outcome) in join_all(reads).await {
            match it % 7 - 2 {
                0 => assert_eq!(code(outcome), "22012"),
                number => assert_eq!(super::single(&outcome.unwrap()), (100 / number).to_string()),
            }
        }
    });
}

#[test]
fn large_and_small_answers_come_whole() {
    run(|db| async move {
        let database = &open(&db).await;
        let session = &Session { delivery: Delivery::Streamed, ..sociable(&db.reader(), "a") };
        let ask = |size: usize| statement("select repeat('x', $1::int)", &[&size.to_string()]);
        learn(database, session, &ask(1)).await;
        let reads = (0..64).map(async |it: usize| {
            let size = if it.is_multiple_of(5) { 400_000 + it } else { it };
            let mut answer = database.read(session, &ask(size)).await.unwrap();
            let mut length = answer.rows[0].bytes(0).map_or(0, |it| it.len());
            while let Some(tail) = &mut answer.tail {
                match std::future::poll_fn(|cx| tail.poll_next(cx)).await {
                    Some(piece) => length += piece.unwrap().len(),
                    None => break,
                }
            }
            assert_eq!(length, size);
        });
        join_all(reads).await;
    });
}

#[test]
fn callers_that_leave_and_connections_that_break_cost_nobody_an_answer() {
    run(|db| async move {
        let (database, session) = (&open(&db).await, &sociable(&db.reader(), "a"));
        learn(database, session, &statement(WHO, &["0"])).await;
        let killer = async {
            let admin = db.admin().await;
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                admin
                    .execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1",
                        &[&db.login()],
                    )
                    .await
                    .unwrap();
            }
        };
        let reads = (0..20).map(async |round: usize| {
            for idx in 0..20 {
                let number = (round * 100 + idx).to_string();
                let ask = statement(WHO, &[&number]);
                let read = database.read(session, &ask);
                if idx % 4 == 1 {
                    let _left = tokio::time::timeout(Duration::from_micros(200), read).await;
                    continue;
                }
                // Repeated once; killed twice in a row it may be told.
                if let Ok(answer) = read.await {
                    assert!(columns(&answer).0.ends_with(&format!("|a|{number}")));
                }
            }
        });
        tokio::join!(join_all(reads), killer);
        assert_eq!(begun(database, std::slice::from_ref(session), 50).await.len(), 1);
    });
}

/// Keep the connection busy for a while, so that what comes meanwhile goes together.
async fn occupy(database: &Database, db: &Fixture) {
    database.read(&session(&db.reader(), &[]), &statement("select pg_sleep(0.1)", &[])).await.unwrap();
}

/// Later than a read can join what runs: it waits for the connection.
const LATER: Duration = Duration::from_millis(30);

#[test]
fn a_read_that_was_put_behind_another_is_not_overtaken_for_ever() {
    run(|db| async move {
        let (database, session) = (&open(&db).await, &session(&db.reader(), &[]));
        let nap = |seconds: &str| statement("select pg_sleep($1::float8)", &[seconds]);
        database.read(session, &nap("0")).await.unwrap();
        let (first, behind) = (nap("0.1"), statement("select 'behind'", &[]));
        let overtaking = AtomicUsize::new(0);
        let behind = async {
            sleep(Duration::from_millis(1)).await;
            assert_eq!(single(&database.read(session, &behind).await.unwrap()), "behind");
            overtaking.load(Ordering::SeqCst)
        };
        let others = (0..8).map(async |_| {
            sleep(LATER).await;
            for _ in 0..50 {
                database.read(session, &nap("0.005")).await.unwrap();
                overtaking.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (_, overtaken, _) = tokio::join!(database.read(session, &first), behind, join_all(others));
        assert!(overtaken < 80, "by {overtaken} of 400");
    });
}

#[test]
fn nobody_waits_for_the_client_of_a_large_answer() {
    run(|db| async move {
        let database = &open(&db).await;
        let session = &Session { delivery: Delivery::Streamed, ..sociable(&db.reader(), "a") };
        let ask = |size: usize| statement("select repeat('x', $1::int)", &[&size.to_string()]);
        learn(database, session, &ask(1)).await;
        let limit = Duration::from_millis(200);
        let behind = quickest(limit, async || {
            let reads = (0..5).map(async |it: usize| {
                sleep(LATER).await;
                let size = if it == 0 { 4_000_000 } else { 1 };
                let answer = database.read(session, &ask(size)).await.unwrap();
                (Instant::now(), answer)
            });
            let (_, answers) = tokio::join!(occupy(database, &db), join_all(reads));
            let (large, others) = answers.split_first().unwrap();
            assert!(large.1.tail.is_some());
            others.iter().map(|it| it.0.duration_since(large.0)).max().unwrap()
        });
        let behind = behind.await;
        assert!(behind < limit, "{behind:?}");
    });
}

#[test]
fn nobody_waits_for_the_locks_of_another() {
    run(|db| async move {
        let database = &open(&db).await;
        let session = &sociable(&db.reader(), "a");
        let admin = db.admin().await;
        let tables = "create table a (id int); create table b (id int); grant select on a, b to public";
        admin.batch_execute(tables).await.unwrap();
        let (of_a, of_b) =
            (statement("select count(*) from a", &[]), statement("select count(*) from b", &[]));
        learn(database, session, &of_a).await;
        learn(database, session, &of_b).await;
        admin.batch_execute("begin; lock table b in access exclusive mode").await.unwrap();
        let read = async |statement: &Statement| {
            sleep(LATER).await;
            single(&database.read(session, statement).await.unwrap()).to_owned()
        };
        let change = async {
            let first = timeout(Duration::from_secs(20), read(&of_a)).await;
            assert_eq!(first.expect("not behind the lock"), "0");
            // A deadlock, if the other one still held its lock while it waits for ours.
            admin.batch_execute("lock table a in access exclusive mode; commit").await.unwrap();
        };
        let ((), (), (before, after)) =
            tokio::join!(occupy(database, &db), change, async { (read(&of_b).await, read(&of_a).await) });
        assert_eq!((before.as_str(), after.as_str()), ("0", "0"));
    });
}
