//! Callers see what they wrote, however far behind the replicas are.

use std::time::Duration;

use store::{CallerKey, Databases, End, Error, PoolSettings, Redis, RedisSettings, ReplicaSettings, Session};

use super::{BOB, caller, note, notes, place, seen, until, with_notes};
use crate::data_path::{commit_if, statement};
use crate::support::{eventually, run_replicated};

// REQ H3: reads after writes.
#[test]
fn a_caller_reads_its_own_writes_while_a_replica_s_replay_is_paused() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        standby.pause().await;
        for id in 1..=20 {
            note(&database, "ada", id).await;
            assert_eq!(notes(&database, "ada").await, seen(id, "primary"));
            assert_eq!(
                notes(&database, BOB).await,
                seen(0, "replica"),
                "he wrote nothing and is not kept waiting"
            );
        }
        standby.resume().await;
        until(&database, "ada", "replica").await;
        assert_eq!(notes(&database, "ada").await, seen(20, "replica"));
        eventually("others see it too", async || {
            let found = notes(&database, BOB).await;
            if found == seen(20, "replica") { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    });
}

#[test]
fn every_kind_of_commit_is_remembered_and_a_rollback_is_not() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        standby.pause().await;
        let insert = |id: u32| statement(&format!("insert into notes values ({id})"), &[]);
        let write = async |name: &str, id, end| database.write(&caller(name), &insert(id), end).await;
        write("asked", 1, commit_if(true)).await.unwrap();
        assert_eq!(notes(&database, "asked").await, seen(1, "primary"));
        write("undone", 2, End::Rollback).await.unwrap();
        write("refused", 3, commit_if(false)).await.unwrap();
        assert!(
            matches!(write("failed", 1, End::Commit).await, Err(Error::Statement(it)) if it.code == "23505")
        );
        for name in ["undone", "refused", "failed"] {
            assert_eq!(place(&database, name).await, "replica", "{name}");
        }
        // Whoever only says a role shares the mark of all who do.
        let role = |name| Session { caller: Some(CallerKey::of_role(name)), ..Session::default() };
        database.write(&role("anon"), &insert(4), End::Commit).await.unwrap();
        let count = statement("select count(*) from notes", &[]);
        let answer = database.read(&role("anon"), &count).await.unwrap();
        assert_eq!(answer.rows[0].text(0), Some("2"));
        assert_eq!(place(&database, BOB).await, "replica");
        standby.resume().await;
    });
}

#[test]
fn a_deferred_constraint_still_fails_the_write() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        db.execute(
            "create table links (note int references notes deferrable initially deferred);
            grant all on links to public",
        )
        .await;
        let insert = statement("insert into links values (77)", &[]);
        for end in [End::Commit, commit_if(true)] {
            let outcome = database.write(&caller("ada"), &insert, end).await;
            assert!(matches!(outcome, Err(Error::Statement(ref it)) if it.code == "23503"), "{outcome:?}");
        }
        note(&database, "ada", 77).await;
        database.write(&caller("ada"), &insert, End::Commit).await.unwrap();
    });
}

#[test]
fn a_write_with_an_unknown_outcome_is_looked_for_on_the_primary() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        standby.pause().await;
        // Its connection is lost while it commits.
        db.execute(
            "create function cut_off() returns trigger language plpgsql security definer as
                $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
            create table trap (id int); grant all on trap to public;
            create constraint trigger goes after insert on trap deferrable initially deferred
                for each row execute function cut_off()",
        )
        .await;
        let insert = statement("insert into trap values (1)", &[]);
        let outcome = database.write(&caller("ada"), &insert, End::Commit).await;
        assert!(matches!(outcome, Err(Error::Lost(_))), "{outcome:?}");
        for _ in 0..10 {
            assert_eq!(place(&database, "ada").await, "primary");
        }
        assert_eq!(place(&database, BOB).await, "replica");
        standby.resume().await;
        until(&database, "ada", "replica").await;
    });
}

#[test]
fn under_load_nobody_ever_misses_a_write() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        db.execute(
            "create table counters (name text primary key, value int); grant all on counters to public",
        )
        .await;
        standby.catch_up().await;
        let workers = (0..8).map(|number| {
            let database = std::sync::Arc::clone(&database);
            tokio::spawn(async move {
                let name = format!("worker-{number}");
                let (mut near, own) = (0, caller(&name));
                for value in 1..=150_u64 {
                    let text = "insert into counters values ($1, $2::int)
                        on conflict (name) do update set value = excluded.value";
                    let write = statement(text, &[&name, &value.to_string()]);
                    database.write(&own, &write, End::Commit).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(value % 7)).await;
                    let text = "select value, pg_is_in_recovery() from counters where name = $1";
                    let answer = database.read(&own, &statement(text, &[&name])).await.unwrap();
                    let row = answer.rows.first().unwrap();
                    assert_eq!(row.text(0), Some(value.to_string().as_str()), "{name}");
                    near += u32::from(row.text(1) == Some("t"));
                }
                near
            })
        });
        let mut near = 0;
        for worker in workers.collect::<Vec<_>>() {
            near += worker.await.unwrap();
        }
        assert!(near > 0, "replicas answered none of 1200 reads");
    });
}

// REQ H3, with several processes: Redis carries who wrote.
#[test]
fn a_caller_reads_what_it_wrote_through_another_process() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let redis = testkit::RedisServer::start().await;
        let database = with_notes(&db, &standby).await;
        let share = async || {
            let servers = vec![db.server.replica(standby.url()).unwrap()];
            let replicas = ReplicaSettings { servers, max_lag: ReplicaSettings::MAX_LAG };
            let databases = Databases::with_replicas(db.server.clone(), replicas, PoolSettings::default());
            let url = Some(redis.url().into());
            let link = Redis::open(RedisSettings { url, ..RedisSettings::default() }).unwrap();
            databases.share_writes(&link);
            eventually("Redis answers", async || if link.is_up() { Ok(()) } else { Err("down".into()) })
                .await;
            (databases.of(&db.project("one")).await, databases, link)
        };
        let ((here, ..), (there, ..)) = (share().await, share().await);
        // Whoever has just connected may have missed something: the primary serves until its word is there.
        until(&here, BOB, "replica").await;
        until(&there, BOB, "replica").await;
        standby.pause().await;
        for id in 1..=20 {
            note(&here, "ada", id).await;
            // The message was sent before the answer; here nothing is as slow as a client's next request.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(notes(&there, "ada").await, seen(id, "primary"));
        }
        assert_eq!(notes(&there, BOB).await, seen(0, "replica"), "he wrote nothing");
        assert_eq!(notes(&database, "ada").await, seen(0, "replica"), "a process that shares nothing");
        standby.resume().await;
        until(&there, "ada", "replica").await;
        assert_eq!(notes(&there, "ada").await, seen(20, "replica"));
    });
}
