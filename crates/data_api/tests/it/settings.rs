//! Settings that a project's database makes over the stored ones, and how often what is known is loaded.

use std::time::Duration;

use store::{Notification, Notifications};
use tokio::time::{Instant, timeout};

use crate::support::Api;

const LIMIT: Duration = Duration::from_secs(20);

/// Ask again and again until the answer fits.
async fn until(api: &Api, head: &str, fits: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = api.ask(api.test.caller("service_role"), head, "").await;
        if fits(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{head}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a project's owner writes: as the authenticator, and then the word to the data API.
async fn configure(api: &Api, statements: &[&str]) {
    let owner = api.test.owner().await;
    let role = &api.test.project.logins.authenticator.user;
    let database = &api.test.project.database;
    owner.batch_execute(&format!("set role {role}")).await.unwrap();
    for statement in statements {
        let statement = statement.replace("$role", role).replace("$database", database);
        owner.batch_execute(&statement).await.unwrap();
    }
    owner.batch_execute("notify pgrst, 'reload config'").await.unwrap();
}

#[test]
fn the_owner_s_settings_count_over_the_stored_ones_without_a_restart() {
    testkit::run(async {
        let api = Api::new("settings", "commit").await;
        let count = "GET /people?select=count()";
        until(&api, count, |it| it.starts_with("200")).await;
        configure(
            &api,
            &[
                "alter role $role set pgrst.db_aggregates_enabled = 'false'",
                "alter role $role set pgrst.db_max_rows = '2'",
                "alter role $role in database $database set pgrst.db_max_rows = '1'",
                "alter role $role set pgrst.client_error_verbosity = 'minimal'",
            ],
        )
        .await;
        until(&api, count, |it| it.starts_with("400") && it.contains("PGRST123")).await;
        // What holds for this database counts more than what holds for all.
        until(&api, "GET /people?select=id&order=id", |it| it.contains("content-range: 0-0/*")).await;
        let refused = api.ask(api.test.caller("service_role"), "GET /nobody", "").await;
        assert!(refused.starts_with("404") && !refused.contains("hint"), "{refused}");

        configure(
            &api,
            &[
                "alter role $role reset all",
                "alter role $role in database $database reset all",
                "alter role $role set pgrst.db_schemas = 'other'",
            ],
        )
        .await;
        until(&api, "GET /people?select=id", |it| it.starts_with("404")).await;
    });
}

#[test]
fn plans_and_the_end_of_transactions_are_switched_in_the_database() {
    testkit::run(async {
        let api = Api::new("switches", "commit").await;
        let plan = "GET /people?id=eq.1\nAccept: application/vnd.pgrst.plan+json";
        until(&api, plan, |it| it.starts_with("406")).await;
        configure(
            &api,
            &[
                "alter role $role set pgrst.db_plan_enabled = 'true'",
                "alter role $role set pgrst.db_tx_end = 'rollback'",
            ],
        )
        .await;
        until(&api, plan, |it| it.starts_with("200")).await;
        let patch = "PATCH /people?id=eq.1\nPrefer: return=representation";
        let changed = api.ask(api.test.caller("service_role"), patch, r#"{"name":"changed"}"#).await;
        assert!(changed.starts_with("200") && changed.contains("changed"), "{changed}");
        let after = api.ask(api.test.caller("service_role"), "GET /people?id=eq.1", "").await;
        assert!(after.starts_with("200") && !after.contains("changed"), "{after}");
    });
}

#[test]
fn what_cannot_be_meant_is_left_out_and_the_rest_counts() {
    testkit::run(async {
        let api = Api::new("nonsense", "commit").await;
        until(&api, "GET /people?select=id", |it| it.starts_with("200")).await;
        configure(
            &api,
            &[
                "alter role $role set pgrst.db_tx_end = 'never'",
                "alter role $role set pgrst.db_schemas = 'public, pg_catalog'",
                "alter role $role set pgrst.db_pre_config = 'public.nowhere'",
                "alter role $role set pgrst.db_max_rows = '1'",
            ],
        )
        .await;
        until(&api, "GET /people?select=id", |it| it.contains("content-range: 0-0/*")).await;
    });
}

/// Where a function of `db-pre-config` tells of every load, and sets `db_max_rows` besides.
async fn told_of_loads(api: &Api) -> Notifications {
    let create = "create function told() returns void language plpgsql as $$ begin
        perform pg_notify('loads', ''); perform set_config('pgrst.db_max_rows', '1', true); end $$;
        grant execute on function told to public;";
    api.test.owner().await.batch_execute(create).await.unwrap();
    let mut loads = api.test.databases.of(&api.test.project).await.listen("loads");
    assert_eq!(loads.next().await, Some(Notification::Connected));
    loads
}

/// How many loads there are until none comes for a while.
async fn count(loads: &mut Notifications) -> usize {
    let mut count = 0;
    let mut limit = LIMIT;
    while let Ok(Some(_)) = timeout(limit, loads.next()).await {
        count += 1;
        limit = Duration::from_secs(2);
    }
    count
}

#[test]
fn a_herd_of_first_requests_and_a_hundred_notifications_load_few_times() {
    testkit::run(async {
        let mut api = Api::new("herd", "commit").await;
        api.set(|it| it.db_pre_config = Some("public.told".into()));
        let mut loads = told_of_loads(&api).await;
        let ask = || api.ask(api.test.caller("service_role"), "GET /people?select=id", "");
        let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
        // What the function set counts as well.
        assert!(answers.0.contains("content-range: 0-0/*"), "{}", answers.0);
        assert_eq!(count(&mut loads).await, 1, "the herd loads once");

        let owner = api.test.owner().await;
        for _ in 0..100 {
            owner.batch_execute("notify pgrst, 'reload schema'").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let loads = count(&mut loads).await;
        assert!((1..=3).contains(&loads), "100 notifications loaded {loads} times");
    });
}

#[test]
fn requests_during_a_reload_are_answered_from_the_old_catalog() {
    testkit::run(async {
        let api = Api::new("meanwhile", "commit").await;
        api.test.owner().await.batch_execute("create view in_the_way as select 1 as id").await.unwrap();
        until(&api, "GET /in_the_way", |it| it.starts_with("200")).await;
        // Whoever looks at the view's rules waits for this transaction: the reload does.
        let mut owner = api.test.owner().await;
        let transaction = owner.transaction().await.unwrap();
        transaction.batch_execute("lock table in_the_way in access exclusive mode").await.unwrap();
        let other = api.test.owner().await;
        other.batch_execute("create table fresh (id int)").await.unwrap();
        let waits = "select exists (select from pg_stat_activity where datname = current_database()
            and wait_event_type = 'Lock' and usename like 'authenticator%')";
        let deadline = Instant::now() + LIMIT;
        while !other.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(Instant::now() < deadline, "the reload never waited");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let start = Instant::now();
        for _ in 0..20 {
            let old = api.ask(api.test.caller("service_role"), "GET /people?select=id&id=eq.1", "").await;
            assert!(old.starts_with("200"), "{old}");
        }
        let fresh = api.ask(api.test.caller("service_role"), "GET /fresh", "").await;
        assert!(fresh.starts_with("404"), "the old catalog answers: {fresh}");
        assert!(start.elapsed() < LIMIT, "requests waited for the reload");
        transaction.commit().await.unwrap();
        until(&api, "GET /fresh", |it| it.starts_with("200")).await;
    });
}
