//! The catalog follows the schema.

use std::time::Duration;

use crate::support::Api;

#[test]
fn a_new_table_appears_after_notify() {
    testkit::run(async {
        let api = Api::new("reload", "commit").await;
        let ask = || api.ask(api.test.caller("service_role"), "GET /fresh", "");
        let before = ask().await;
        assert!(before.starts_with("404") && before.contains("PGRST205"), "{before}");
        let owner = api.test.owner().await;
        owner.batch_execute("create table fresh (id int); notify pgrst, 'reload schema'").await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let answer = ask().await;
            if answer.starts_with("200") {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn changes_made_while_the_listener_was_away_are_seen() {
    testkit::run(async {
        let api = Api::new("idle", "commit").await;
        let ask = || api.ask(api.test.caller("service_role"), "GET /later?select=id", "");
        assert!(ask().await.starts_with("404"));
        let owner = api.test.owner().await;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and usename like 'authenticator%'";
        api.test.admin().await.batch_execute(end).await.unwrap();
        owner.batch_execute("create table later (id int)").await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !ask().await.starts_with("200") {
            assert!(tokio::time::Instant::now() < deadline, "the new table was never seen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

// REQ H7: an idle project has no connections; its catalog must not outlive the listener.
#[test]
fn a_catalog_ends_with_the_connections_of_an_idle_project() {
    testkit::run(async {
        let api = Api::idling("idle", Duration::from_millis(300)).await;
        let ask = || api.ask(api.test.caller("service_role"), "GET /later?select=id", "");
        assert!(ask().await.starts_with("404"));
        let admin = api.test.admin().await;
        let count = "select count(*) from pg_stat_activity
            where datname = current_database() and usename like 'authenticator%'";
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while admin.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(tokio::time::Instant::now() < deadline, "the connections stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        api.test.owner().await.batch_execute("create table later (id int)").await.unwrap();
        let answer = ask().await;
        assert!(answer.starts_with("200"), "{answer}");
    });
}

#[test]
fn many_first_requests_load_the_catalog_and_all_succeed() {
    testkit::run(async {
        let api = Api::new("herd", "commit").await;
        let ask = || api.ask(api.test.caller("service_role"), "GET /people?select=id&id=eq.1", "");
        let (one, two, three, four) = tokio::join!(ask(), ask(), ask(), ask());
        for answer in [one, two, three, four] {
            assert!(answer.starts_with("200"), "{answer}");
        }
    });
}

/// 1,000 tables, 3,000 foreign keys, 500 views, 500 functions.
const LARGE: &str = "do $$ begin
    for i in 1..1000 loop
        execute format('create table t%s (id int primary key, a text not null, b text default ''x'', c int, d jsonb,
            e timestamptz default now(), f1 int, f2 int, f3 int)', i);
    end loop;
    for i in 1..1000 loop
        for j in 1..3 loop
            execute format('alter table t%s add constraint t%s_f%s foreign key (f%s) references t%s',
                i, i, j, j, 1 + (i * 7 + j * 131) % 1000);
        end loop;
    end loop;
    for i in 1..500 loop
        execute format('create view v%s as select t.id, t.a, t.b, t.f1, u.a as ua, u.f2 from t%s t
            join t%s u on u.id = t.f1', i, i, 1 + (i * 7 + 131) % 1000);
        execute format('create function f%s(x int, y text default null) returns setof t%s language sql stable
            as ''select * from t%s where id = x''', i, i, i);
    end loop;
end $$";

// 1,000 tables in 2 s; 0.7 s were measured unoptimised on two idle cores. Unoptimised beside other tests gets more room.
#[test]
fn a_thousand_tables_load_within_two_seconds() {
    testkit::run(async {
        let mut api = Api::new("many", "commit").await;
        api.test.owner().await.batch_execute(LARGE).await.unwrap();
        let mut best = Duration::MAX;
        for _ in 0..5 {
            // Another version of the project loads anew.
            api.set(|_| {});
            let start = tokio::time::Instant::now();
            let request = "GET /t1000?select=id,one:t132!t1000_f1(a),v132(ua)";
            let answer = api.ask(api.test.caller("service_role"), request, "").await;
            assert!(answer.starts_with("200"), "{answer}");
            best = best.min(start.elapsed());
        }
        let limit = if cfg!(debug_assertions) { 5 } else { 2 };
        assert!(best < Duration::from_secs(limit), "{best:?}");
    });
}
