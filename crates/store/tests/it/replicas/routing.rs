//! Where reads and writes go while everything is well, and when no replica can be used.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use store::{CallerKey, End, Isolation, ReplicaSettings, Session};
use tokio::time::Instant;

use super::{BOB, HERE, caller, place, until, with_notes};
use crate::data_path::wire::Proxy;
use crate::data_path::{code, commit_if, single, statement};
use crate::support::run_replicated;

// REQ H3, H10: reads go to the replicas, everything else to the primary.
#[test]
fn test_read_replica_routing() {
    run_replicated(|db| async move {
        let (one, two) = tokio::join!(testkit::standby(), testkit::standby());
        db.execute("create table notes (id int); grant all on notes to public").await;
        one.catch_up().await;
        two.catch_up().await;
        let database = db.replicated(&[one.url(), two.url()], ReplicaSettings::MAX_LAG).await;
        until(&database, BOB, "replica").await;
        let here = statement(HERE, &[]);
        let ada = caller("ada");
        let write = |end| database.write(&ada, &here, end);
        for end in [End::Commit, End::Rollback, commit_if(true)] {
            assert_eq!(single(&write(end).await.unwrap()), "primary");
        }
        let nobody = Session::default();
        assert_eq!(
            single(&database.read(&nobody, &here).await.unwrap()),
            "primary",
            "catalogs are read there"
        );
        for isolation in [Isolation::RepeatableRead, Isolation::Serializable] {
            let session = Session { isolation: Some(isolation), ..caller(BOB) };
            assert_eq!(single(&database.read(&session, &here).await.unwrap()), "primary");
        }
        // Both have a share.
        let port = statement("select inet_server_port()", &[]);
        let mut ports = BTreeSet::new();
        let deadline = Instant::now() + super::Duration::from_secs(30);
        while ports.len() < 2 && Instant::now() < deadline {
            ports.insert(single(&database.read(&caller(BOB), &port).await.unwrap()).to_owned());
        }
        let expected = [&one, &two].map(|it| url::Url::parse(it.url()).unwrap().port().unwrap().to_string());
        assert_eq!(ports, BTreeSet::from(expected));
    });
}

// REQ H3, H10: without a usable replica the primary answers, at once.
#[test]
fn test_read_replica_fallback() {
    run_replicated(|db| async move {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let away = format!("postgres://127.0.0.1:{nobody}");
        let database = db.replicated(&[&away], ReplicaSettings::MAX_LAG).await;
        for _ in 0..20 {
            assert_eq!(place(&database, BOB).await, "primary");
        }
        // Gone and back, on the same address.
        let mut standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        standby.crash().await;
        for _ in 0..20 {
            assert_eq!(place(&database, BOB).await, "primary");
        }
        standby.start().await;
        until(&database, BOB, "replica").await;
    });
}

#[test]
fn a_new_user_reads_on_the_primary_what_others_wrote_for_him() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let here = statement(HERE, &[]);
        for (age, places) in [(0, ["primary"].as_slice()), (5, &["primary", "replica"]), (3600, &["replica"])]
        {
            let caller = Some(CallerKey::of_subject("new", Some(now - age)));
            let answer = database.read(&Session { caller, ..Session::default() }, &here).await.unwrap();
            assert!(places.contains(&single(&answer)), "{age} s");
        }
    });
}

#[test]
fn what_a_replica_refuses_is_told_as_the_primary_tells_it() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        let database = with_notes(&db, &standby).await;
        db.execute(
            "create function writes() returns int language plpgsql as
                $$ begin insert into notes values (1); return 1; end $$;
            create unlogged table scratch (id int); insert into scratch values (5);
            grant all on scratch to public",
        )
        .await;
        standby.catch_up().await;
        let read = async |text| database.read(&caller(BOB), &statement(text, &[])).await;
        assert_eq!(code(read("select writes()").await), "25006");
        assert_eq!(code(read("select 1/0").await), "22012", "told by the replica");
        assert_eq!(code(read("select * from nothing").await), "42P01");
        assert_eq!(single(&read("select id from scratch").await.unwrap()), "5", "a standby has no such rows");
        // A table that has not arrived yet.
        standby.pause().await;
        db.execute("create table late (id int); insert into late values (7); grant all on late to public")
            .await;
        assert_eq!(place(&database, BOB).await, "replica");
        assert_eq!(single(&read("select id from late").await.unwrap()), "7");
        standby.resume().await;
    });
}

// A write's position costs no round trip, nor does a replica's.
#[test]
fn a_warm_request_is_one_write_and_one_read_with_replicas_too() {
    run_replicated(|db| async move {
        let standby = testkit::standby().await;
        db.execute("create table notes (id int); grant all on notes to public").await;
        standby.catch_up().await;
        let proxy = Proxy::start(&db).await;
        let server = store::Server::from_url(&proxy.url()).unwrap();
        let near = Proxy::to(standby.url()).await;
        let servers = vec![server.replica(&near.url()).unwrap()];
        let replicas = ReplicaSettings { servers, max_lag: ReplicaSettings::MAX_LAG };
        let databases = store::Databases::with_replicas(server, replicas, store::PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        until(&database, BOB, "replica").await;
        let (insert, here) = (statement("insert into notes values (1)", &[]), statement(HERE, &[]));
        // The watchers' own questions pass too, now and then: the least of many counts.
        let mut least = [(9, 9); 3];
        let mut keep = |idx: usize, (to, from): (usize, usize)| {
            let kept: &mut (usize, usize) = &mut least[idx];
            *kept = (kept.0.min(to), kept.1.min(from));
        };
        for _ in 0..30 {
            proxy.take();
            database.write(&caller("ada"), &insert, End::Commit).await.unwrap();
            keep(0, proxy.take());
            database.write(&caller("ada"), &insert, commit_if(true)).await.unwrap();
            keep(1, proxy.take());
            near.take();
            let answer = database.read(&caller(BOB), &here).await.unwrap();
            if single(&answer) == "replica" {
                keep(2, near.take());
            }
        }
        assert_eq!(least, [(1, 1), (2, 2), (1, 1)]);
    });
}
