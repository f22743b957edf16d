//! One process: what comes, and what happens when the stream is interrupted.

use super::*;

#[test]
fn changes_and_messages_come_while_a_project_is_followed() {
    testkit::run(async {
        let project = project("feed").await;
        let node = Node::start(&project, None, quick()).live().await;
        let rows = insert(&project, 0..3).await;
        node.saw(&rows).await;
        let text = "select realtime.send('{\"a\": 1}', 'shout', 'room', false); \
            select realtime.send_binary('\\x00ff', 'raw', 'room', true)";
        project.owner().await.batch_execute(text).await.unwrap();
        eventually(async || {
            let messages = node.seen.lock().unwrap().messages.clone();
            let [json, raw] = messages.as_slice() else { return Err(format!("{messages:?}")) };
            assert_eq!(
                (&*json.topic, &*json.event, json.is_private, json.is_json),
                ("room", "shout", false, true)
            );
            let payload: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
            assert_eq!((payload.get("a"), payload.get("id").is_some()), (Some(&1.into()), true));
            assert_eq!(
                (&*raw.event, raw.is_private, raw.is_json, &*raw.body),
                ("raw", true, false, &[0, 255][..])
            );
            Ok(())
        })
        .await;
        node.saw(&rows).await;
        node.close().await;
        no_slot(&project).await;
    });
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_when_the_stream_breaks() {
    testkit::run(async {
        let project = project("break").await;
        let node = Node::start(&project, None, quick()).live().await;
        let mut rows = insert(&project, 0..50).await;
        for round in 1..4 {
            let text = "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()";
            project.admin().await.batch_execute(text).await.unwrap();
            rows.extend(insert(&project, round * 50..round * 50 + 50).await);
        }
        node.saw(&rows).await;
        assert_eq!(node.gaps(), 0);
        node.close().await;
    });
}

#[test]
fn nothing_is_lost_when_postgres_restarts() {
    testkit::run(async {
        let mut server = testkit::TestServer::start().await;
        let project = testkit::project_on(&server, "restart").await;
        publish(&project).await;
        let node = Node::start(&project, None, quick()).live().await;
        let mut rows = insert(&project, 0..20).await;
        server.restart(Duration::from_millis(300)).await;
        rows.extend(insert(&project, 20..40).await);
        node.saw(&rows).await;
        assert_eq!((node.gaps(), node.status.borrow().clone()), (0, Status::Live));
        node.close().await;
    });
}

#[test]
fn a_publication_that_is_made_again_is_read_again() {
    testkit::run(async {
        let project = project("again").await;
        let mut node = Node::start(&project, None, quick()).live().await;
        let mut rows = insert(&project, 0..2).await;
        node.saw(&rows).await;
        let owner = project.owner().await;
        let text = "begin; drop publication supabase_realtime; create publication supabase_realtime for table notes; commit";
        owner.batch_execute(text).await.unwrap();
        rows.extend(insert(&project, 2..4).await);
        node.saw(&rows).await;
        // The messages' publication is still there.
        owner.batch_execute("drop publication supabase_realtime").await.unwrap();
        sleep(Duration::from_millis(600)).await;
        owner.batch_execute("create publication supabase_realtime for table notes").await.unwrap();
        eventually(async || {
            let text = "insert into notes select coalesce(max(id), 0) + 1 from notes";
            project.owner().await.batch_execute(text).await.unwrap();
            sleep(Duration::from_millis(100)).await;
            if node.rows().len() > rows.len() { Ok(()) } else { Err("nothing came".to_owned()) }
        })
        .await;
        node.wait_for(|it| *it == Status::Live).await;
        node.close().await;
    });
}

// What is written meanwhile comes, or a gap is told.
#[test]
fn nothing_is_lost_in_silence_when_a_publication_is_made_again() {
    testkit::run(async {
        let project = project("anew").await;
        let node = Node::start(&project, None, quick()).live().await;
        let rows = insert(&project, 0..1).await;
        node.saw(&rows).await;
        let owner = project.owner().await;
        for (round, pause) in [(1, 0), (2, 0), (3, 3)] {
            let (seen, gaps) = (node.rows().len(), node.gaps());
            owner.batch_execute("drop publication supabase_realtime").await.unwrap();
            if round > 1 {
                // Long enough to be noticed, or with something written meanwhile.
                insert(&project, -round..1 - round).await;
                sleep(quick().check_every * pause).await;
            }
            owner.batch_execute("create publication supabase_realtime for table notes").await.unwrap();
            insert(&project, round..round + 1).await;
            eventually(async || {
                let came = node.rows().len() - seen;
                if came == 2 || node.gaps() > gaps { Ok(()) } else { Err(format!("{round}: {came} came")) }
            })
            .await;
        }
        // And then they come again.
        let after = format!("+{}", 1000);
        insert(&project, 1000..1001).await;
        eventually(async || if node.rows().contains(&after) { Ok(()) } else { Err("nothing".to_owned()) })
            .await;
        node.close().await;
    });
}

// A publication that people made themselves does not say so.
#[test]
fn rows_of_partitions_are_told_as_rows_of_the_published_table() {
    testkit::run(async {
        let project = project("parts").await;
        let owner = project.owner().await;
        let text = "create table logs (id int, kind text, primary key (kind, id)) partition by list (kind);
            create table logs_a (kind text not null, id int not null);
            alter table logs attach partition logs_a for values in ('a');
            create table alone (id int primary key) partition by range (id);
            create table alone_1 partition of alone for values from (0) to (10);
            drop publication supabase_realtime;
            create publication supabase_realtime for table logs, alone_1";
        owner.batch_execute(text).await.unwrap();
        let node = Node::start(&project, None, quick()).live().await;
        // Other columns in another order, and a partition that comes later.
        owner.batch_execute("insert into logs values (1, 'a')").await.unwrap();
        let later =
            "create table logs_b partition of logs for values in ('b'); insert into logs values (2, 'b');
            update logs set id = 3 where id = 2; insert into alone values (4)";
        owner.batch_execute(later).await.unwrap();
        node.saw(&["+logs:1|a", "+logs:2|b", "*logs:3|b", "+alone_1:4"].map(str::to_owned)).await;
        node.close().await;
    });
}

// REQ C12: kept answers are not older than what the stream has told.
#[test]
fn caches_hear_of_what_is_written_by_sql() {
    testkit::run(async {
        let project = project("caches").await;
        let versions = Versions::alone();
        let node = Node::start_with(&project, None, quick(), Some(versions.clone())).live().await;
        let before = versions.of(&project.project.reference).unwrap();
        let rows = insert(&project, 0..1).await;
        node.saw(&rows).await;
        assert_ne!(versions.of(&project.project.reference), Some(before));
        let between = versions.of(&project.project.reference);
        project.owner().await.batch_execute("truncate notes").await.unwrap();
        eventually(async || {
            let now = versions.of(&project.project.reference);
            if now == between { Err("truncation is not told".to_owned()) } else { Ok(()) }
        })
        .await;
        node.close().await;
    });
}
