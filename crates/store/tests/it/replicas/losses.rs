//! Replicas that lag, crash, hang, are promoted or cancel reads: no read fails for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use store::Database;
use tokio::task::JoinHandle;

use super::{BOB, caller, note, notes, place, seen, until, with_notes};
use crate::data_path::{single, statement};
use crate::support::{eventually, run_replicated};

/// Readers that never stop, until they are told to.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    readers: Vec<JoinHandle<Result<(), store::Error>>>,
}

impl Load {
    fn start(database: &Arc<Database>, readers: u32) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let reader = |number: u32| {
            let (database, stop, answered) = (Arc::clone(database), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let read = statement("select count(*) from notes", &[]);
                let session = caller(&format!("reader-{number}"));
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(single(&database.read(&session, &read).await?), "1");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        let readers = (0..readers).map(reader).collect();
        Self { stop, answered, readers }
    }

    /// Wait for so many more answers.
    async fn more(&self, count: u32) {
        let wanted = self.answered.load(Ordering::SeqCst) + count;
        eventually("answers under load", async || match self.answered.load(Ordering::SeqCst) {
            it if it >= wanted => Ok(()),
            it => Err(format!("{it} of {wanted}")),
        })
        .await;
    }

    /// Every reader was always answered.
    async fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        for reader in self.readers {
            reader.await.unwrap().unwrap();
        }
    }
}

// REQ H3, H11: a replica goes without a word, and no read fails.
#[test]
fn no_read_fails_when_a_replica_is_killed_under_load() {
    run_replicated(|db| async move {
        let mut standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        note(&database, "ada", 1).await;
        standby.catch_up().await;
        let load = Load::start(&database, 16);
        for _ in 0..2 {
            until(&database, BOB, "replica").await;
            load.more(200).await;
            standby.crash().await;
            load.more(200).await;
            assert_eq!(place(&database, BOB).await, "primary");
            standby.start().await;
        }
        until(&database, BOB, "replica").await;
        load.finish().await;
    });
}

#[test]
fn reads_on_a_replica_that_hangs_are_answered_by_the_primary() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        note(&database, "ada", 1).await;
        standby.catch_up().await;
        let load = Load::start(&database, 8);
        load.more(100).await;
        standby.freeze();
        // What hangs is found to hang within seconds; until then reads wait, but none fails.
        load.more(500).await;
        assert_eq!(place(&database, BOB).await, "primary");
        standby.thaw();
        until(&database, BOB, "replica").await;
        load.finish().await;
    });
}

#[test]
fn a_lagging_replica_is_left_out_and_comes_back_by_itself() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        db.execute("create table notes (id int primary key); grant all on notes to public").await;
        standby.catch_up().await;
        let database = db.replicated(&[standby.url()], Duration::from_secs(1)).await;
        until(&database, BOB, "replica").await;
        // An idle primary makes nobody lag, however long it is idle.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(place(&database, BOB).await, "replica");
        standby.pause().await;
        note(&database, "ada", 1).await;
        assert_eq!(notes(&database, BOB).await, seen(0, "replica"), "not over the limit yet");
        until(&database, BOB, "primary").await;
        assert_eq!(notes(&database, BOB).await, seen(1, "primary"));
        standby.resume().await;
        until(&database, BOB, "replica").await;
        assert_eq!(notes(&database, BOB).await, seen(1, "replica"));
    });
}

#[test]
fn a_replica_that_was_behind_from_the_start_is_not_read_from() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        db.execute("create table notes (id int primary key); grant all on notes to public").await;
        standby.catch_up().await;
        standby.pause().await;
        db.execute("insert into notes values (1)").await;
        let database = db.replicated(&[standby.url()], Duration::from_secs(3600)).await;
        for _ in 0..50 {
            assert_eq!(notes(&database, BOB).await, seen(1, "primary"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        standby.resume().await;
        until(&database, BOB, "replica").await;
    });
}

#[test]
fn a_promoted_replica_is_left_out_and_reads_go_on() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        note(&database, "ada", 1).await;
        standby.catch_up().await;
        let load = Load::start(&database, 4);
        load.more(100).await;
        standby.promote().await;
        // A history of its own from now on: nothing that is written on the primary will ever be there.
        let port = url::Url::parse(&db.url).unwrap().port().unwrap().to_string();
        let asked = statement("select inet_server_port()", &[]);
        eventually("the promoted server is left out", async || {
            for _ in 0..20 {
                let answer = database.read(&caller(BOB), &asked).await.unwrap();
                if single(&answer) != port {
                    return Err("it is still asked".to_owned());
                }
            }
            Ok(())
        })
        .await;
        load.more(100).await;
        load.finish().await;
        note(&database, "ada", 2).await;
        for name in ["ada", BOB] {
            assert_eq!(notes(&database, name).await, seen(2, "primary"));
        }
    });
}

#[test]
fn a_read_that_recovery_cancels_is_answered_by_the_primary() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        standby.execute("alter system set max_standby_streaming_delay = 0").await;
        standby.execute("select pg_reload_conf()").await;
        let database = with_notes(&db, &standby).await;
        for id in 1..=20 {
            note(&database, "ada", id).await;
        }
        standby.catch_up().await;
        until(&database, BOB, "replica").await;
        let text = "select case when pg_is_in_recovery() then 'replica' else 'primary' end, count(*)
            from notes where pg_sleep(0.5) is not null";
        let slow = statement(text, &[]);
        let session = caller(BOB);
        let conflict = async {
            let near = standby.admin(&db.name).await;
            let running = "select count(*) from pg_stat_activity where query like '%pg_sleep(0.5)%'
                and state = 'active' and pid <> pg_backend_pid()";
            eventually("the slow read runs on the replica", async || {
                match near.query_one(running, &[]).await.unwrap().get::<_, i64>(0) {
                    0 => Err("not yet".to_owned()),
                    _ => Ok(()),
                }
            })
            .await;
            // What the read still needs is cleaned up on the primary, and replay does not wait.
            let admin = db.admin().await;
            admin.batch_execute("delete from notes where id > 1").await.unwrap();
            admin.batch_execute("vacuum notes").await.unwrap();
        };
        let (answer, ()) = tokio::join!(database.read(&session, &slow), conflict);
        let answer = answer.unwrap();
        assert_eq!((answer.rows[0].text(0), answer.rows[0].text(1)), (Some("primary"), Some("1")));
    });
}
