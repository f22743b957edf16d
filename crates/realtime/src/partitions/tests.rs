//! Partitions of a real PostgreSQL: kept by one process of several, and never in the way of messages.

use std::sync::Arc;

use store::{Databases, PoolSettings, Redis, postgres::Client};
use testkit::{TestProject, project, run};
use tokio::time::Instant;

use super::*;

/// The days of the partitions, counted from today.
async fn days(client: &Client) -> Vec<i32> {
    let text = "select to_date(substr(c.relname, 10), 'YYYY_MM_DD') - (now() at time zone 'utc')::date
        from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'realtime.messages'::regclass order by 1";
    client.query(text, &[]).await.unwrap().iter().map(|it| it.get(0)).collect()
}

/// As if the last look had been `days` ago: the partitions of then, with messages.
async fn let_pass(admin: &Client, days: i32) {
    let text = "do $$
        declare
            today date := (now() at time zone 'utc')::date - $days;
            place name;
        begin
            for place in
                select c.relname from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
                where i.inhparent = 'realtime.messages'::regclass
            loop
                execute format('drop table realtime.%I', place);
            end loop;
            for idx in -1..4 loop
                execute format(
                    'create table realtime.%I partition of realtime.messages for values from (%L) to (%L)',
                    'messages_' || to_char(today + idx, 'YYYY_MM_DD'), today + idx, today + idx + 1
                );
                insert into realtime.messages (topic, extension, inserted_at) values ('old', 'broadcast', today + idx);
            end loop;
        end $$";
    let text = text.replace("$days", &days.to_string());
    admin.batch_execute(&format!("set role supabase_realtime_admin; {text}; reset role")).await.unwrap();
}

fn locks(project: &TestProject) -> Locks {
    Locks::new(&Redis::none(), project.databases.server(), &project.project.database)
}

#[test]
fn days_to_come_are_made_and_days_long_past_dropped() {
    run(async {
        let project = project("parts").await;
        let admin = project.admin().await;
        let_pass(&admin, 5).await;
        assert_eq!(days(&admin).await, [-6, -5, -4, -3, -2, -1]);
        keep(&project.databases, &locks(&project), &project.project).await;
        assert_eq!(days(&admin).await, [-3, -2, -1, 0, 1, 2, 3, 4]);
        let left: i64 = admin.query_one("select count(*) from realtime.messages", &[]).await.unwrap().get(0);
        assert_eq!(left, 3, "messages of the last three days are kept");
    });
}

#[test]
fn whoever_reads_old_messages_is_waited_for_next_time() {
    run(async {
        let project = project("partsbusy").await;
        let admin = project.admin().await;
        let_pass(&admin, 5).await;
        admin.batch_execute("begin; select from realtime.messages").await.unwrap();
        let begun = Instant::now();
        keep(&project.databases, &locks(&project), &project.project).await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        // The days to come are there all the same.
        assert_eq!(days(&project.admin().await).await, [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4]);
        project.owner().await.batch_execute("select realtime.send('{}', 'e', 't')").await.unwrap();
        admin.batch_execute("commit").await.unwrap();
        keep(&project.databases, &locks(&project), &project.project).await;
        assert_eq!(days(&admin).await, [-3, -2, -1, 0, 1, 2, 3, 4]);
    });
}

#[test]
fn one_process_looks_after_them_and_another_takes_over() {
    run(async {
        let project = project("partslock").await;
        let admin = project.admin().await;
        let_pass(&admin, 5).await;
        let name = format!("realtime:partitions:{}", project.project.reference);
        let other = DistributedLock::new(&locks(&project), &name, LOCK_TTL_SECS);
        assert!(other.acquire().await);
        let ends = CancellationToken::new();
        let (databases, every) =
            (Databases::new(project.databases.server().clone(), PoolSettings::default()), 100);
        let keeping = keep_up(
            databases,
            locks(&project),
            Arc::clone(&project.project),
            Duration::from_millis(every),
            ends.clone(),
        );
        let keeping = tokio::spawn(keeping);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(days(&admin).await, [-6, -5, -4, -3, -2, -1], "another process has the lock");
        other.release().await;
        let deadline = Instant::now() + Duration::from_secs(15);
        while days(&admin).await != [-3, -2, -1, 0, 1, 2, 3, 4] {
            assert!(Instant::now() < deadline, "nobody took over");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ends.cancel();
        keeping.await.unwrap();
    });
}
