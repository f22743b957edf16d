//! Several processes: one leads, all hear, another takes over.

use super::*;

// REQ C12
#[test]
fn two_processes_see_the_same_and_a_killed_leader_is_replaced_within_seconds() {
    testkit::run(async {
        let (project, redis) = (project("takeover").await, RedisServer::start().await);
        let mut leader = Node::start(&project, Some(&redis), quick()).live().await;
        let follower = Node::start(&project, Some(&redis), quick()).live().await;
        let mut rows = insert(&project, 0..100).await;
        leader.saw(&rows).await;
        follower.saw(&rows).await;
        leader.kill();
        let killed = Instant::now();
        rows.extend(insert(&project, 100..200).await);
        follower.saw(&rows).await;
        assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
        assert_eq!(follower.gaps(), 0);
        let third = Node::start(&project, Some(&redis), quick()).live().await;
        let new = insert(&project, 200..210).await;
        third.saw(&new).await;
        rows.extend(new);
        follower.saw(&rows).await;
        // The leader leaves in order: the other one goes on at once.
        follower.close().await;
        let mut all = third.rows();
        all.extend(insert(&project, 210..220).await);
        third.saw(&all).await;
        third.close().await;
    });
}

#[test]
fn a_leader_waits_for_a_follower_whose_subscribers_are_slow() {
    testkit::run(async {
        let (project, redis) = (project("slowhalf").await, RedisServer::start().await);
        let leader = Node::start(&project, Some(&redis), quick()).live().await;
        let follower = Node::start(&project, Some(&redis), quick()).live().await;
        // Far more than Redis' messages are kept for, if one is sent for each commit.
        follower.seen.lock().unwrap().pause = Duration::from_millis(40);
        let rows = insert(&project, 0..3000).await;
        leader.saw(&rows).await;
        follower.saw(&rows).await;
        assert_eq!(follower.gaps(), 0);
        leader.close().await;
        follower.close().await;
    });
}

#[test]
fn a_leader_without_subscribers_hands_over_to_who_has_some() {
    testkit::run(async {
        let (project, redis) = (project("handover").await, RedisServer::start().await);
        let mut leader = Node::start(&project, Some(&redis), quick()).live().await;
        let follower = Node::start(&project, Some(&redis), quick()).live().await;
        leader.leave();
        let mut rows = Vec::new();
        for round in 0..20 {
            rows.extend(insert(&project, round * 10..round * 10 + 10).await);
            sleep(Duration::from_millis(100)).await;
        }
        follower.saw(&rows).await;
        assert_eq!(follower.gaps(), 0);
        assert!(leader.feeds.shared.entries().is_empty(), "it follows no more");
        assert_eq!(slots(&project).await.len(), 1);
        follower.close().await;
    });
}

#[test]
fn large_transactions_reach_all_processes_whole_and_in_order() {
    testkit::run(async {
        let (project, redis) = (project("large").await, RedisServer::start().await);
        let leader = Node::start(&project, Some(&redis), quick()).live().await;
        let follower = Node::start(&project, Some(&redis), quick()).live().await;
        let text = "insert into notes select generate_series(0, 19999)";
        project.owner().await.batch_execute(text).await.unwrap();
        let rows: Vec<String> = (0..20_000).map(|it| format!("+{it}")).collect();
        leader.saw(&rows).await;
        follower.saw(&rows).await;
        assert_eq!((leader.gaps(), follower.gaps()), (0, 0));
        leader.close().await;
        follower.close().await;
    });
}

#[test]
fn a_follower_is_told_of_the_gap_that_a_restart_of_redis_leaves() {
    testkit::run(async {
        let (project, mut redis) = (project("redis").await, RedisServer::start().await);
        let leader = Node::start(&project, Some(&redis), quick()).live().await;
        let follower = Node::start(&project, Some(&redis), quick()).live().await;
        let mut rows = insert(&project, 0..5).await;
        follower.saw(&rows).await;
        redis.kill();
        rows.extend(insert(&project, 5..10).await);
        leader.saw(&rows).await;
        redis.restart().await;
        let restarted = Instant::now();
        eventually(async || if follower.gaps() > 0 { Ok(()) } else { Err("no gap is told".to_owned()) })
            .await;
        let (before, mut next) = (follower.rows().len(), 10);
        eventually(async || {
            insert(&project, next..next + 1).await;
            next += 1;
            sleep(Duration::from_millis(50)).await;
            if follower.rows().len() > before { Ok(()) } else { Err("nothing flows".to_owned()) }
        })
        .await;
        assert!(restarted.elapsed() < Duration::from_secs(10), "{:?}", restarted.elapsed());
        assert_eq!(leader.gaps(), 0, "it reads the stream itself");
        leader.close().await;
        follower.close().await;
    });
}

#[test]
fn without_redis_a_second_process_says_that_it_hears_nothing_until_the_first_one_ends() {
    testkit::run(async {
        let project = project("alone").await;
        let first = Node::start(&project, None, quick()).live().await;
        let mut second = Node::start(&project, None, quick());
        second.wait_for(|it| matches!(it, Status::Unavailable(why) if why.contains("REDIS_URL"))).await;
        let rows = insert(&project, 0..5).await;
        first.saw(&rows).await;
        first.close().await;
        let second = second.live().await;
        assert!(second.rows().is_empty());
        let rows = insert(&project, 5..10).await;
        second.saw(&rows).await;
        second.close().await;
    });
}
