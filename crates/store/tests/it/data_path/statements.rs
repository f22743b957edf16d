//! Prepared statements: kept, bounded, renewed when they are stale.

use std::sync::Arc;

use store::{Database, End, PoolSettings, Session};

use super::{code, commit_if, session, single, statement};
use crate::support::{Fixture, run};

async fn narrow(db: &Fixture, statements_per_connection: usize) -> Arc<Database> {
    let settings = PoolSettings { data_connections: 1, statements_per_connection, ..PoolSettings::default() };
    db.databases(settings).of(&db.project("one")).await
}

/// How many statements the (only) connection has prepared, this one included.
async fn prepared(database: &Database) -> usize {
    let count = statement("select count(*) from pg_prepared_statements", &[]);
    single(&database.read(&Session::default(), &count).await.unwrap()).parse().unwrap()
}

#[test]
fn statements_are_prepared_once_and_at_most_so_many() {
    run(|db| async move {
        let database = narrow(&db, 10).await;
        for round in 0..3 {
            for number in 0..30 {
                let text = format!("select {number}");
                let answer = database.read(&Session::default(), &statement(&text, &[])).await.unwrap();
                assert_eq!(single(&answer), number.to_string(), "round {round}");
            }
            assert_eq!(prepared(&database).await, 10);
        }
        let often = statement("select $1", &["x"]);
        for _ in 0..10 {
            database.read(&Session::default(), &often).await.unwrap();
        }
        let text =
            "select generic_plans + custom_plans from pg_prepared_statements where statement = 'select $1'";
        let used = database.read(&Session::default(), &statement(text, &[])).await.unwrap();
        assert_eq!(single(&used), "10");
    });
}

#[test]
fn a_statement_that_failed_to_parse_is_parsed_again() {
    run(|db| async move {
        let database = narrow(&db, 64).await;
        let list = statement("select id from later", &[]);
        assert_eq!(code(database.read(&session(&db.reader(), &[]), &list).await), "42P01");
        db.execute(&format!(
            "create table later as select 5 as id; grant select on later to {}",
            db.reader()
        ))
        .await;
        for _ in 0..2 {
            let answer = database.read(&session(&db.reader(), &[]), &list).await.unwrap();
            assert_eq!(single(&answer), "5");
        }
    });
}

#[test]
fn a_stale_plan_is_renewed_without_the_caller_noticing() {
    run(|db| async move {
        db.execute(&format!(
            "create table t (a int); insert into t values (1); grant all on t to {}",
            db.writer()
        ))
        .await;
        let database = narrow(&db, 64).await;
        let writer = session(&db.writer(), &[]);
        let list = statement("select * from t", &[]);
        let update = statement("update t set a = a + 1 returning *", &[]);
        for column in ["b", "c", "d"] {
            let wide = |it: &store::Answer| it.rows[0].bytes(1).is_some();
            let before = database.read(&writer, &list).await.unwrap();
            for end in [End::Commit, End::Rollback, commit_if(true), commit_if(false)] {
                database.write(&writer, &update, end).await.unwrap();
            }
            db.execute(&format!("alter table t add {column} int default 0")).await;
            let after = database.read(&writer, &list).await.unwrap();
            assert!(column != "b" || (!wide(&before) && wide(&after)));
            for end in [commit_if(true), End::Rollback, End::Commit] {
                assert!(wide(&database.write(&writer, &update, end).await.unwrap()));
                let drop_and_add =
                    format!("alter table t drop {column}; alter table t add {column} bigint default 1");
                db.execute(&drop_and_add).await;
            }
        }
        let answer = database.read(&writer, &statement("select a from t", &[])).await.unwrap();
        assert_eq!(single(&answer), "13", "each update that was to commit did so once");
    });
}

#[test]
fn statements_deallocated_behind_our_back_are_parsed_again() {
    run(|db| async move {
        let database = narrow(&db, 64).await;
        let ask = statement("select $1", &["x"]);
        for _ in 0..2 {
            for end in [End::Commit, End::Rollback, commit_if(true)] {
                database
                    .write(&Session::default(), &statement("deallocate all", &[]), End::Commit)
                    .await
                    .unwrap();
                assert_eq!(single(&database.write(&Session::default(), &ask, end).await.unwrap()), "x");
            }
            database
                .write(&Session::default(), &statement("deallocate all", &[]), End::Commit)
                .await
                .unwrap();
            assert_eq!(single(&database.read(&Session::default(), &ask).await.unwrap()), "x");
        }
    });
}

#[test]
fn many_at_once_on_a_cold_connection_all_get_answers() {
    run(|db| async move {
        let database = narrow(&db, 8).await;
        let database = &database;
        let asks = (0..200).map(|number| async move {
            let text = format!("select {}", number % 20);
            let answer = database.read(&Session::default(), &statement(&text, &[])).await.unwrap();
            assert_eq!(single(&answer), (number % 20).to_string());
        });
        futures_util::future::join_all(asks).await;
    });
}
