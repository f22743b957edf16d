//! Migrations: once, in order, one node at a time, nothing kept of a failed one.

use refinery::{Migration, Runner};
use store::{Error, migrate};

use crate::support::run;

fn runner(texts: &[(&str, &str)]) -> Runner {
    let migrations: Vec<_> =
        texts.iter().map(|(name, sql)| Migration::unapplied(name, sql).unwrap()).collect();
    Runner::new(&migrations)
}

const FIRST: (&str, &str) = ("V1__people", "create table app.people (id int)");
const SECOND: (&str, &str) = ("V2__age", "alter table app.people add age int");

#[test]
fn migrations_run_once_and_are_recorded_in_their_schema() {
    run(|db| async move {
        let mut client = db.admin().await;
        client.batch_execute("create schema app").await.unwrap();
        assert_eq!(migrate(&mut client, "app", runner(&[FIRST])).await.unwrap(), 1);
        assert_eq!(migrate(&mut client, "app", runner(&[FIRST, SECOND])).await.unwrap(), 1);
        assert_eq!(migrate(&mut client, "app", runner(&[FIRST, SECOND])).await.unwrap(), 0);
        let text = "select string_agg(version::text, ',' order by version) from app.schema_migrations";
        assert_eq!(client.query_one(text, &[]).await.unwrap().get::<_, String>(0), "1,2");
        client.batch_execute("select age from app.people").await.unwrap();
        let text = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
        assert_eq!(client.query_one(text, &[]).await.unwrap().get::<_, i64>(0), 0, "nothing else is made");
    });
}

#[test]
fn a_failed_migration_leaves_nothing_and_frees_the_lock() {
    run(|db| async move {
        let mut client = db.admin().await;
        client.batch_execute("create schema app").await.unwrap();
        let broken = ("V2__broken", "create table app.half (id int); select 1/0");
        let error = migrate(&mut client, "app", runner(&[FIRST, broken])).await.unwrap_err();
        assert!(matches!(error, Error::Migration { schema: "app", .. }), "{error:?}");
        let text = "select to_regclass('app.half') is null and to_regclass('app.people') is not null";
        assert!(client.query_one(text, &[]).await.unwrap().get::<_, bool>(0));
        let mut other = db.admin().await;
        assert_eq!(migrate(&mut other, "app", runner(&[FIRST, SECOND])).await.unwrap(), 1);
    });
}

#[test]
fn two_nodes_take_turns() {
    run(|db| async move {
        db.execute("create schema app").await;
        let slow = ("V1__slow", "select pg_sleep(0.3); create table app.slow (id int)");
        let (mut one, mut two) = (db.admin().await, db.admin().await);
        let (first, second) = tokio::join!(
            migrate(&mut one, "app", runner(&[slow])),
            migrate(&mut two, "app", runner(&[slow]))
        );
        assert_eq!(first.unwrap() + second.unwrap(), 1);
    });
}
