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
