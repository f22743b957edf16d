//! Read replicas over HTTP: which requests they answer, and that nobody misses what he wrote.

use std::time::Duration;

use testkit::TestStandby;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::support::{Api, body};

const SCHEMA: &str = "
    create table notes (id int primary key, owner text default (current_setting('request.jwt.claims')::json ->> 'sub'));
    create view here as select case when pg_is_in_recovery() then 'replica' else 'primary' end as place;
    create function looks() returns text stable language sql as $$ select place from here $$;
    create function acts() returns text volatile language sql as $$ select place from here $$;
    grant all on notes, here to anon, authenticated;
    notify pgrst, 'reload schema'";

const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

async fn api(name: &str, standby: &TestStandby) -> Api {
    let api = Api::replicated(name, standby, SCHEMA).await;
    until(&api, BOB, "replica").await;
    api
}

async fn place(api: &Api, user: Uuid) -> String {
    let answer = api.ask(api.test.user(user), "GET /here", "").await;
    answer.split('"').nth(3).unwrap_or(&answer).to_owned()
}

async fn until(api: &Api, user: Uuid, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while place(api, user).await != wanted {
        assert!(Instant::now() < deadline, "never answered by the {wanted}");
        sleep(Duration::from_millis(10)).await;
    }
}

// REQ H3: what only reads goes to a replica, the rest to the primary.
#[test]
fn reads_and_read_only_functions_are_answered_by_a_replica() {
    testkit::run(async {
        let standby = testkit::standby().await;
        let api = api("routes", &standby).await;
        for (head, expected) in [
            ("GET /here", r#"[{"place":"replica"}]"#),
            ("GET /here?place=eq.replica&limit=1", r#"[{"place":"replica"}]"#),
            ("GET /rpc/looks", r#""replica""#),
            ("POST /rpc/looks", r#""replica""#),
            ("POST /rpc/acts", r#""primary""#),
        ] {
            let answer = api.ask(api.test.user(BOB), head, "").await;
            assert!(answer.starts_with("200") && body(&answer) == expected, "{head}: {answer}");
        }
        let counted = api.ask(api.test.user(BOB), "HEAD /notes\nPrefer: count=exact", "").await;
        assert_eq!(counted, "200\ncontent-range: */0\npreference-applied: count=exact");
    });
}

// REQ H3: reads after writes.
#[test]
fn a_user_sees_what_he_wrote_while_a_replica_is_paused() {
    testkit::run(async {
        let standby = testkit::standby().await;
        let api = api("paused", &standby).await;
        standby.pause().await;
        let ids = async |user| {
            let answer = api.ask(api.test.user(user), "GET /notes?select=id&order=id", "").await;
            body(&answer).matches("\"id\"").count()
        };
        for id in 1..=5 {
            let written = api.ask(api.test.user(ADA), "POST /notes", &format!(r#"{{"id": {id}}}"#)).await;
            assert!(written.starts_with("201"), "{written}");
            assert_eq!((ids(ADA).await, ids(BOB).await), (id, 0));
        }
        assert_eq!((place(&api, ADA).await, place(&api, BOB).await), ("primary".into(), "replica".into()));
        let changed = api.ask(api.test.user(BOB), "PATCH /notes?id=eq.3", r#"{"owner": "bob"}"#).await;
        assert!(changed.starts_with("204"), "{changed}");
        assert_eq!(ids(BOB).await, 5);
        // Everybody without a name is one caller.
        let anonymous = api.ask(api.test.caller("anon"), "DELETE /notes?id=eq.5", "").await;
        assert!(anonymous.starts_with("204"), "{anonymous}");
        let left = api.ask(api.test.caller("anon"), "GET /notes?select=id", "").await;
        assert_eq!(body(&left).matches("\"id\"").count(), 4);
        standby.resume().await;
        until(&api, ADA, "replica").await;
        assert_eq!(ids(ADA).await, 4);
    });
}

#[test]
fn a_table_that_a_replica_has_not_got_yet_is_read_on_the_primary() {
    testkit::run(async {
        let standby = testkit::standby().await;
        let api = api("ddl", &standby).await;
        standby.pause().await;
        let made =
            "create table late (id int); insert into late values (7); grant select on late to authenticated;
            notify pgrst, 'reload schema'";
        api.test.owner().await.batch_execute(made).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = api.ask(api.test.user(BOB), "GET /late", "").await;
            if answer.starts_with("200") {
                assert_eq!(body(&answer), r#"[{"id":7}]"#);
                break;
            }
            // Until the new schema is loaded.
            assert!(answer.starts_with("404") && Instant::now() < deadline, "{answer}");
            sleep(Duration::from_millis(20)).await;
        }
        standby.resume().await;
    });
}
