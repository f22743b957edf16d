//! What holds for one transaction, and how it ends.

use std::sync::Arc;

use bytes::Bytes;
use store::{Database, End, PoolSettings, Session, Statement};

use super::{code, commit_if, session, single, statement};
use crate::support::{Fixture, run};

/// A database with one data-path connection, so that what leaks would be seen.
async fn narrow(db: &Fixture) -> Arc<Database> {
    let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
    let databases = db.databases(settings);
    databases.of(&db.project("one")).await
}

#[test]
fn settings_hold_for_the_statement_and_are_gone_after_it() {
    run(|db| async move {
        let database = narrow(&db).await;
        let show = statement(
            "select concat_ws('|', current_user, session_user, current_setting('request.x', true), \
             current_setting('transaction_read_only'), $1::text)",
            &["hello"],
        );
        let reader = session(&db.reader(), &[("request.x", "1")]);
        for _ in 0..3 {
            let seen = database.read(&reader, &show).await.unwrap();
            assert_eq!(single(&seen), format!("{}|{}|1|on|hello", db.reader(), db.login()));
            let seen = database.write(&session(&db.writer(), &[]), &show, End::Commit).await.unwrap();
            assert_eq!(single(&seen), format!("{}|{}||off|hello", db.writer(), db.login()));
            let seen = database.read(&Session::default(), &show).await.unwrap();
            assert_eq!(single(&seen), format!("{0}|{0}||on|hello", db.login()));
        }
        db.wait_for_backends(1).await;
    });
}

#[test]
fn a_read_cannot_write() {
    run(|db| async move {
        db.execute(&format!("create table t (id int); grant all on t to {}", db.writer())).await;
        let database = narrow(&db).await;
        let insert = statement("insert into t values ($1)", &["1"]);
        let writer = session(&db.writer(), &[]);
        assert_eq!(code(database.read(&writer, &insert).await), "25006");
        let answer = database.write(&writer, &insert, End::Commit).await.unwrap();
        assert_eq!((answer.affected, answer.rows.len()), (1, 0));
    });
}

#[test]
fn rights_and_row_security_follow_the_role_of_each_caller() {
    run(|db| async move {
        let (reader, writer) = (db.reader(), db.writer());
        db.execute(&format!(
            "create table notes (owner text, body text); alter table notes enable row level security; \
             insert into notes values ('ada', 'a'), ('bob', 'b'); \
             grant select on notes to {reader}; grant all on notes to {writer}; \
             create policy own on notes to {reader} using (owner = current_setting('request.user', true)); \
             create policy every on notes to {writer} using (true)"
        ))
        .await;
        let database = narrow(&db).await;
        let list = statement("select string_agg(body, '' order by body) from notes", &[]);
        for _ in 0..7 {
            for (role, user, seen) in [(&reader, "ada", "a"), (&writer, "ada", "ab"), (&reader, "bob", "b")] {
                let answer = database.read(&session(role, &[("request.user", user)]), &list).await.unwrap();
                assert_eq!(single(&answer), seen, "{role} {user}");
            }
        }
        let delete = statement("delete from notes", &[]);
        assert_eq!(code(database.write(&session(&reader, &[]), &delete, End::Commit).await), "42501");
        assert_eq!(code(database.read(&session("supabase_admin", &[]), &list).await), "42501");
        assert_eq!(code(database.read(&session("no_such_role", &[]), &list).await), "22023");
        assert_eq!(
            code(database.read(&Session::default(), &list).await),
            "42501",
            "the login itself sees nothing"
        );
    });
}

#[test]
fn an_error_is_told_in_full_and_leaves_the_connection_idle() {
    run(|db| async move {
        let database = narrow(&db).await;
        let writer = session(&db.writer(), &[]);
        let raise = statement(
            "do $$ begin raise 'no' using detail = 'd', hint = 'h', errcode = 'PT418'; end $$",
            &[],
        );
        for end in [End::Commit, End::Rollback, commit_if(true), commit_if(false)] {
            match database.write(&writer, &raise, end).await {
                Err(store::Error::Statement(error)) => {
                    assert_eq!((error.code.as_str(), error.message.as_str()), ("PT418", "no"));
                    assert_eq!((error.detail.as_deref(), error.hint.as_deref()), (Some("d"), Some("h")));
                }
                other => panic!("{other:?}"),
            }
            let idle = "select count(*)::text from pg_stat_activity where usename = session_user and \
                        pid <> pg_backend_pid()";
            let answer = database.read(&Session::default(), &statement(idle, &[])).await.unwrap();
            assert_eq!(single(&answer), "0", "still the same connection");
        }
        let state = "select string_agg(state, ',') from pg_stat_activity where usename = $1";
        let row = db.admin().await.query_one(state, &[&db.login()]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "idle");
    });
}

#[test]
fn a_write_ends_as_the_caller_says() {
    run(|db| async move {
        db.execute(&format!("create table t (id int); grant all on t to {}", db.writer())).await;
        let database = narrow(&db).await;
        let writer = session(&db.writer(), &[]);
        let insert = statement("insert into t values ($1) returning id", &["1"]);
        let count = statement("select count(*) from t", &[]);
        let ask = End::If(Box::new(|answer| answer.affected == 1 && answer.rows.len() == 1));
        let ends = [
            (End::Commit, "1"),
            (End::Rollback, "1"),
            (commit_if(false), "1"),
            (commit_if(true), "2"),
            (ask, "3"),
        ];
        for (end, rows) in ends {
            let answer = database.write(&writer, &insert, end).await.unwrap();
            assert_eq!((single(&answer), answer.affected), ("1", 1));
            assert_eq!(single(&database.read(&writer, &count).await.unwrap()), rows);
        }
    });
}

#[test]
fn deferred_constraints_are_checked_at_every_end() {
    run(|db| async move {
        db.execute(&format!(
            "create table p (id int primary key); \
             create table c (p int references p deferrable initially deferred); grant all on p, c to {}",
            db.writer()
        ))
        .await;
        let database = narrow(&db).await;
        let writer = session(&db.writer(), &[]);
        let orphan = statement("insert into c values ($1)", &["7"]);
        for _ in 0..2 {
            assert_eq!(code(database.write(&writer, &orphan, End::Commit).await), "23503");
            assert_eq!(code(database.write(&writer, &orphan, End::Rollback).await), "23503");
            assert_eq!(code(database.write(&writer, &orphan, commit_if(true)).await), "23503");
            database.write(&writer, &orphan, commit_if(false)).await.unwrap();
        }
        let count = database.read(&writer, &statement("select count(*) from c", &[])).await.unwrap();
        assert_eq!(single(&count), "0");
    });
}

#[test]
fn the_statement_before_sees_the_settings_and_can_stop_the_request() {
    run(|db| async move {
        db.execute(
            "create function check_user() returns void language plpgsql as $$ begin \
             if current_setting('request.user', true) = 'eve' then raise 'banned' using errcode = 'PT403'; end if; \
             perform set_config('response.seen', current_user, true); end $$",
        )
        .await;
        let database = narrow(&db).await;
        let seen = statement("select current_setting('response.seen', true)", &[]);
        let mut ada = session(&db.reader(), &[("request.user", "ada")]);
        ada.before = Some("select check_user()".into());
        let mut eve = session(&db.reader(), &[("request.user", "eve")]);
        eve.before = ada.before.clone();
        for _ in 0..3 {
            assert_eq!(single(&database.read(&ada, &seen).await.unwrap()), db.reader());
            assert_eq!(code(database.read(&eve, &seen).await), "PT403");
            assert_eq!(code(database.write(&eve, &seen, commit_if(true)).await), "PT403");
            let answer = database.write(&ada, &seen, End::Rollback).await.unwrap();
            assert_eq!(single(&answer), db.reader());
        }
    });
}

#[test]
fn rows_of_every_shape_arrive_unchanged() {
    run(|db| async move {
        let database = narrow(&db).await;
        let text = "select g, null, '', repeat('é', g) from generate_series(1, $1::int) g";
        let answer = database.read(&Session::default(), &statement(text, &["3000"])).await.unwrap();
        assert_eq!((answer.rows.len(), answer.affected), (3000, 3000));
        let last = &answer.rows[2999];
        assert_eq!((last.text(0), last.text(1), last.text(2)), (Some("3000"), None, Some("")));
        assert_eq!(last.text(3).unwrap().chars().count(), 3000);
        let large = statement("select repeat($1, 50000000)", &["x"]);
        assert_eq!(single(&database.read(&Session::default(), &large).await.unwrap()).len(), 50_000_000);
        let params = vec![Some(Bytes::from(vec![b'y'; 20_000_000])), None];
        let echo = Statement { text: "select length($1), $2::text".into(), params };
        let answer = database.write(&Session::default(), &echo, End::Commit).await.unwrap();
        assert_eq!((single(&answer), answer.rows[0].bytes(1)), ("20000000", None));
        assert_eq!(
            single(&database.read(&Session::default(), &statement("select 1", &[])).await.unwrap()),
            "1"
        );
        let empty = database.read(&Session::default(), &statement("", &[])).await.unwrap();
        assert_eq!((empty.rows.len(), empty.affected), (0, 0));
    });
}

#[test]
fn copy_cannot_hang_a_connection() {
    run(|db| async move {
        db.execute(&format!("create table t (id int); grant all on t to {}", db.writer())).await;
        let database = narrow(&db).await;
        let copy = statement("copy t from stdin", &[]);
        let outcome = database.write(&session(&db.writer(), &[]), &copy, End::Commit).await;
        assert!(matches!(outcome, Err(store::Error::Lost(_))), "{outcome:?}");
        assert_eq!(
            single(&database.read(&Session::default(), &statement("select 1", &[])).await.unwrap()),
            "1"
        );
    });
}
