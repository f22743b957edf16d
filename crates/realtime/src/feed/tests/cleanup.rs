//! Slots come and go: an idle system keeps no log for anybody (issue 6, Shows 4, accelerated).

use super::*;

/// Write so many mebibytes of log, and let PostgreSQL throw away what nobody needs.
async fn write_log(project: &TestProject, mebibytes: i32) {
    let admin = project.admin().await;
    for _ in 0..mebibytes {
        let text = "select pg_logical_emit_message(false, 'noise', repeat('x', 1048576))";
        admin.batch_execute(text).await.unwrap();
    }
    admin.batch_execute("checkpoint").await.unwrap();
}

// REQ C12
#[test]
fn a_project_that_nobody_follows_any_more_has_no_slot() {
    testkit::run(async {
        let project = project("idle").await;
        let mut node = Node::start(&project, None, quick()).live().await;
        assert_eq!(slots(&project).await.len(), 1);
        node.leave();
        no_slot(&project).await;
        // Somebody comes back.
        let entered = node.runtime.as_ref().unwrap().enter();
        let feed = node.feeds.follow(&project.project, sinks(&node.seen));
        drop(entered);
        node.status = feed.status();
        node.feed = Some(feed);
        let node = node.live().await;
        let rows = insert(&project, 0..1).await;
        node.saw(&rows).await;
        node.close().await;
        no_slot(&project).await;
    });
}

#[test]
fn who_comes_back_within_the_linger_finds_the_stream_going_on() {
    testkit::run(async {
        let project = project("linger").await;
        let settings = FeedSettings { linger: SOON, ..quick() };
        let mut node = Node::start(&project, None, settings).live().await;
        node.leave();
        let entered = node.runtime.as_ref().unwrap().enter();
        node.feed = Some(node.feeds.follow(&project.project, sinks(&node.seen)));
        drop(entered);
        assert_eq!(*node.feed.as_ref().unwrap().status().borrow(), Status::Live);
        let rows = insert(&project, 0..1).await;
        node.saw(&rows).await;
        node.close().await;
    });
}

// REQ C12
#[test]
fn an_idle_follower_lets_the_log_go_however_much_others_write() {
    testkit::run(async {
        let project = project("noise").await;
        let node = Node::start(&project, None, quick()).live().await;
        write_log(&project, 96).await;
        // PostgreSQL moves a slot's begin when it notes which transactions run.
        eventually(async || {
            write_log(&project, 1).await;
            match slots(&project).await.as_slice() {
                [(true, held)] if *held < 32 * 1024 * 1024 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(node.gaps(), 0);
        node.close().await;
    });
}

// REQ C12
#[test]
fn a_slot_of_a_killed_process_is_removed_by_another_one() {
    testkit::run(async {
        let (project, other) = (project("killed").await, project("other").await);
        let mut killed = Node::start(&project, None, quick()).live().await;
        killed.kill();
        eventually(async || match slots(&project).await.as_slice() {
            [(false, _)] => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        // It follows another project, and cleans up in the same place.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let (redis, server) = (Redis::none(), project.databases.server().clone());
        let locks = Locks::new(&redis, &server, &project.project.database);
        let feeds = Feeds::new(Ground { server, redis, locks, versions: None, settings: quick() });
        let feed = feeds.follow(&other.project, sinks(&Arc::default()));
        drop(entered);
        no_slot(&project).await;
        let status =
            tokio::time::timeout(SOON, feed.status().wait_for(|it| *it == Status::Live)).await.map(drop);
        assert!(status.is_ok(), "its own project is served");
        feeds.close(SOON).await;
        runtime.shutdown_background();
    });
}

// REQ C12
#[test]
fn a_slot_that_holds_too_much_while_nobody_reads_is_made_anew_and_the_gap_told() {
    testkit::run(async {
        let project = project("held").await;
        let settings = FeedSettings { linger: SOON * 10, max_held_bytes: 16 * 1024 * 1024, ..quick() };
        let mut killed = Node::start(&project, None, settings.clone()).live().await;
        killed.kill();
        write_log(&project, 40).await;
        // Nobody follows: a janitor of another process removes it long before the linger is over.
        let (redis, server) = (Redis::none(), project.databases.server().clone());
        let locks = Locks::new(&redis, &server, &project.project.database);
        let feeds = Feeds::new(Ground { server, redis, locks, versions: None, settings: settings.clone() });
        no_slot(&project).await;
        feeds.close(SOON).await;
        // A leader that finds its slot lost tells the gap.
        let node = Node::start(&project, None, settings).live().await;
        let rows = insert(&project, 0..1).await;
        node.saw(&rows).await;
        let admin = project.admin().await;
        eventually(async || {
            let text = "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database(); \
                select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()";
            admin.batch_execute(text).await.map_err(|it| it.to_string())
        })
        .await;
        eventually(async || if node.gaps() > 0 { Ok(()) } else { Err("no gap".to_owned()) }).await;
        let mut next = 100;
        eventually(async || {
            insert(&project, next..next + 1).await;
            next += 1;
            sleep(Duration::from_millis(50)).await;
            if node.rows().len() > rows.len() { Ok(()) } else { Err("nothing flows".to_owned()) }
        })
        .await;
        node.close().await;
    });
}
