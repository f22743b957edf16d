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
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
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
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
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

#[test]
fn a_thousand_tables_load_within_two_seconds() {
    testkit::run(async {
        let api = Api::new("many", "commit").await;
        let owner = api.test.owner().await;
        let create = "do $$ begin for i in 1..1000 loop
            execute format('create table t%s (id int primary key, a text, b text, c int references teams, d jsonb)', i);
            end loop; end $$";
        owner.batch_execute(create).await.unwrap();
        let start = tokio::time::Instant::now();
        let answer = api.ask(api.test.caller("service_role"), "GET /t1000?select=id,teams(name)", "").await;
        assert!(answer.starts_with("200"), "{answer}");
        // REQ: 1,000 tables in 2 s on an idle machine; the bound here leaves room for a busy one.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    });
}
