//! Large answers: in pieces, with bounded memory, and never at the cost of others.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use store::{
    Answer, Cut, Database, Databases, Delivery, End, Error, PoolSettings, Session, Spool, Statement, Tail,
};
use tokio::time::{Instant, timeout};

use super::wire::Proxy;
use super::{code, commit_if, session, single, statement};
use crate::support::{Fixture, eventually, run};

/// Far more than sockets and queues hold.
const ROWS: usize = 1_500_000;

/// `count` numbers of eight digits each, and before them how many.
fn numbers(count: usize) -> Statement {
    let count = count.to_string();
    let text =
        "select $1::text, null, string_agg(to_char(i, 'fm00000000'), '') from generate_series(1, $1::int) i";
    statement(text, &[&count])
}

fn streamed(db: &Fixture) -> Session {
    Session { delivery: Delivery::Streamed, ..session(&db.reader(), &[]) }
}

struct Pool {
    _directory: tempfile::TempDir,
    spool: Spool,
    _databases: Databases,
    database: Arc<Database>,
}

async fn open(db: &Fixture, data_connections: usize, spool_bytes: u64) -> Pool {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path(), spool_bytes);
    let settings = PoolSettings { data_connections, spool: spool.clone(), ..PoolSettings::default() };
    let databases = db.databases(settings);
    let database = databases.of(&db.project("one")).await;
    Pool { _directory: directory, spool, _databases: databases, database }
}

async fn next(tail: &mut Tail) -> Option<Result<bytes::Bytes, Cut>> {
    timeout(Duration::from_secs(20), poll_fn(|cx| tail.poll_next(cx))).await.expect("a piece in time")
}

/// The rest of `tail`, which are eight-digit numbers up to `count`; the largest piece.
async fn check_numbers(mut tail: Tail, count: usize) -> usize {
    assert_eq!(tail.left(), count * 8);
    let (mut rest, mut expected, mut largest) = (Vec::new(), 1, 0);
    while let Some(piece) = next(&mut tail).await {
        let piece = piece.unwrap();
        assert!(!piece.is_empty());
        largest = largest.max(piece.len());
        rest.extend_from_slice(&piece);
        let whole = rest.len() / 8 * 8;
        for number in rest.drain(..whole).as_slice().chunks(8) {
            assert_eq!(number, format!("{expected:08}").as_bytes());
            expected += 1;
        }
    }
    assert_eq!((expected, rest.len(), tail.left()), (count + 1, 0, 0));
    largest
}

/// Take everything as fast as it comes.
async fn drain(mut tail: Tail) {
    while let Some(piece) = next(&mut tail).await {
        piece.unwrap();
    }
    assert_eq!(tail.left(), 0);
}

/// Pieces until the answer is cut.
async fn until_cut(mut tail: Tail) -> Cut {
    loop {
        match next(&mut tail).await.expect("an answer that is cut says so") {
            Ok(_) => assert!(tail.left() > 0, "a cut answer is never complete"),
            Err(cut) => {
                assert!(next(&mut tail).await.is_none());
                return cut;
            }
        }
    }
}

/// The columns before the large one, and the large one.
fn parts(answer: Answer) -> (String, Tail) {
    let row = answer.rows.first().unwrap();
    assert!(row.text(1).is_none() && row.text(2).is_none());
    (row.text(0).unwrap().to_owned(), answer.tail.expect("a large answer comes in pieces"))
}

#[test]
fn a_large_answer_comes_in_pieces_and_a_small_one_whole() {
    run(|db| async move {
        let pool = open(&db, 1, 1 << 30).await;
        let session = streamed(&db);
        for count in [ROWS, 40_000] {
            let (head, tail) = parts(pool.database.read(&session, &numbers(count)).await.unwrap());
            assert_eq!(head, count.to_string());
            let largest = check_numbers(tail, count).await;
            assert!(largest < 512 * 1024, "a piece of {largest} bytes");
        }
        let small = pool.database.read(&session, &numbers(10_000)).await.unwrap();
        assert_eq!(
            (small.rows.first().unwrap().text(2).unwrap().len(), small.tail.is_none()),
            (80_000, true)
        );
        // Who does not ask for pieces gets none.
        let whole = Session { delivery: Delivery::Whole, ..session.clone() };
        let whole = pool.database.read(&whole, &numbers(100_000)).await.unwrap();
        assert_eq!(
            (whole.rows.first().unwrap().text(2).unwrap().len(), whole.tail.is_none()),
            (800_000, true)
        );
        // A large column that is not the last one comes whole too.
        let first = statement("select repeat('x', 1000000), 1", &[]);
        let first = pool.database.read(&session, &first).await.unwrap();
        assert_eq!(first.rows.first().unwrap().text(0).unwrap().len(), 1_000_000);
        assert_eq!(first.rows.first().unwrap().text(1), Some("1"));
    });
}

#[test]
fn a_client_that_does_not_read_keeps_no_connection() {
    run(|db| async move {
        let pool = open(&db, 1, 1 << 30).await;
        let (session, quick) = (streamed(&db), statement("select $1", &["quick"]));
        let large = numbers(ROWS);
        // Some are sent right behind the large one, on its only connection.
        let (large, others) = tokio::join!(
            pool.database.read(&session, &large),
            join_all((0..10).map(|_| pool.database.read(&session, &quick)))
        );
        assert!(others.into_iter().all(|it| single(&it.unwrap()) == "quick"));
        let started = Instant::now();
        for _ in 0..50 {
            assert_eq!(single(&pool.database.read(&session, &quick).await.unwrap()), "quick");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        let on_disk = pool.spool.used_bytes();
        assert!(on_disk > (ROWS * 8 - 4 * 1024 * 1024) as u64, "{on_disk} bytes in the spool");
        let (_, tail) = parts(large.unwrap());
        check_numbers(tail, ROWS).await;
        eventually("the spool to be empty", async || match pool.spool.used_bytes() {
            0 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
    });
}

#[test]
fn a_client_that_reads_needs_no_disk() {
    run(|db| async move {
        // No room at all, and nowhere to put it.
        let settings =
            PoolSettings { data_connections: 1, spool: Spool::new("/nowhere", 0), ..PoolSettings::default() };
        let databases = db.databases(settings);
        let database = databases.of(&db.project("one")).await;
        // Little more than what waits in memory, lest a busy machine make the reader look slow.
        let answer = database.read(&streamed(&db), &numbers(100_000)).await.unwrap();
        drain(parts(answer).1).await;
    });
}

#[test]
fn a_client_that_leaves_costs_neither_connection_nor_disk() {
    run(|db| async move {
        let pool = open(&db, 1, 1 << 30).await;
        let (session, pid) = (streamed(&db), statement("select pg_backend_pid()", &[]));
        let before = single(&pool.database.read(&session, &pid).await.unwrap()).to_owned();
        for waits in [false, true] {
            let (_, mut tail) = parts(pool.database.read(&session, &numbers(ROWS)).await.unwrap());
            next(&mut tail).await.unwrap().unwrap();
            if waits {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            drop(tail);
            let after = pool.database.read(&session, &pid).await.unwrap();
            assert_eq!(single(&after), before, "the connection is still there");
        }
        // Before the answer begins it is cancelled, or thrown away.
        let large = numbers(ROWS);
        let leave = timeout(Duration::from_millis(20), pool.database.read(&session, &large));
        assert!(leave.await.is_err());
        pool.database.read(&session, &pid).await.unwrap();
        let admin = db.admin().await;
        let text = "select count(*) from pg_stat_activity where usename = $1 and state <> 'idle'";
        eventually("busy backends", async || match admin.query_one(text, &[&db.login()]).await {
            Ok(row) if row.get::<_, i64>(0) == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        eventually("the spool to be empty", async || match pool.spool.used_bytes() {
            0 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
    });
}

#[test]
fn a_write_is_answered_once_its_transaction_has_ended() {
    run(|db| async move {
        db.execute("create table t (id int unique deferrable initially deferred); grant all on t to public")
            .await;
        let pool = open(&db, 2, 1 << 30).await;
        let session = streamed(&db);
        let insert = |values: &str| {
            let text = format!(
                "with w as (insert into t values {values} returning id) \
                 select count(*), null, (select string_agg(to_char(i, 'fm00000000'), '') from generate_series(1, 500000) i) from w"
            );
            statement(&text, &[])
        };
        let count = statement("select count(*) from t", &[]);
        let count = async || single(&pool.database.read(&session, &count).await.unwrap()).to_owned();
        for (end, id) in [(End::Commit, "(1)"), (End::Rollback, "(7)"), (commit_if(false), "(8)")] {
            let (head, tail) = parts(pool.database.write(&session, &insert(id), end).await.unwrap());
            // Nobody has read the body: the transaction does not wait for that.
            assert_eq!((head.as_str(), count().await.as_str()), ("1", "1"));
            check_numbers(tail, 500_000).await;
        }
        // What decides sees the columns before the body.
        let decide = End::If(Box::new(|it| it.rows.first().and_then(|it| it.text(0)) == Some("2")));
        let (_, tail) = parts(pool.database.write(&session, &insert("(2), (3)"), decide).await.unwrap());
        assert_eq!(count().await, "3");
        check_numbers(tail, 500_000).await;
        // The commit fails, after PostgreSQL has sent the whole row.
        assert_eq!(code(pool.database.write(&session, &insert("(1)"), End::Commit).await), "23505");
        assert_eq!(count().await, "3");
    });
}

#[test]
fn an_answer_whose_statement_fails_after_all_is_cut() {
    run(|db| async move {
        let pool = open(&db, 1, 1 << 30).await;
        let session = streamed(&db);
        let text = "select 'a', null, repeat('x', 3000000 / (2 - i)) from generate_series(1, 2) i";
        for _ in 0..2 {
            let answer = pool.database.read(&session, &statement(text, &[])).await.unwrap();
            match until_cut(parts(answer).1).await {
                Cut::Statement(error) => assert_eq!(error.code, "22012"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(code(pool.database.write(&session, &statement(text, &[]), End::Commit).await), "22012");
        single(&pool.database.read(&session, &statement("select 1", &[])).await.unwrap());
    });
}

#[test]
fn an_answer_whose_connection_breaks_is_cut_and_not_repeated() {
    run(|db| async move {
        let proxy = Proxy::start(&db).await;
        let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
        let databases = db.through(&proxy.url(), settings);
        let database = databases.of(&db.project("one")).await;
        let session = streamed(&db);
        let (_, mut tail) = parts(database.read(&session, &numbers(ROWS)).await.unwrap());
        next(&mut tail).await.unwrap().unwrap();
        proxy.refuse(true).await;
        assert!(matches!(until_cut(tail).await, Cut::Lost));
        proxy.refuse(false).await;
        // A write whose answer does not come whole has an unknown outcome, as always.
        let write = statement("select 'a', null, repeat('x', 30000000) from pg_sleep(0.1)", &[]);
        let cut = async {
            let admin = db.admin().await;
            let text = "select count(*) from pg_stat_activity where usename = $1 and state = 'active'";
            eventually("the write", async || match admin.query_one(text, &[&db.login()]).await {
                Ok(row) if row.get::<_, i64>(0) > 0 => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await;
            proxy.refuse(true).await;
        };
        let (write, ()) = tokio::join!(database.write(&session, &write, End::Commit), cut);
        assert!(matches!(write, Err(Error::Lost(_))), "{write:?}");
        proxy.refuse(false).await;
        single(&database.read(&session, &statement("select 1", &[])).await.unwrap());
    });
}

#[test]
fn a_spool_without_room_cuts_who_does_not_read_and_nobody_else() {
    run(|db| async move {
        let pool = open(&db, 1, 1 << 20).await;
        let session = streamed(&db);
        let (_, tail) = parts(pool.database.read(&session, &numbers(ROWS)).await.unwrap());
        tokio::time::sleep(Duration::from_millis(500)).await;
        single(&pool.database.read(&session, &statement("select 1", &[])).await.unwrap());
        assert!(matches!(until_cut(tail).await, Cut::Spool(_)));
        let (_, tail) = parts(pool.database.read(&session, &numbers(100_000)).await.unwrap());
        drain(tail).await;
    });
}

#[test]
fn many_large_answers_at_once_come_whole() {
    run(|db| async move {
        let pool = open(&db, 3, 1 << 30).await;
        let session = &streamed(&db);
        let tasks = (0..12_u64).map(|number| {
            let database = &pool.database;
            async move {
                let count = 100_000 + 100_000 * usize::try_from(number).unwrap();
                let answer = if number.is_multiple_of(3) {
                    database.write(session, &numbers(count), End::Commit).await
                } else {
                    database.read(session, &numbers(count)).await
                };
                let (_, tail) = parts(answer.unwrap());
                tokio::time::sleep(Duration::from_millis(100 * (number % 5))).await;
                check_numbers(tail, count).await;
            }
        });
        join_all(tasks).await;
    });
}
