//! Who sees what: the caller's role and claims decide, row by row.

use uuid::Uuid;

use crate::support::shared;

fn user(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn rows_of_others_are_invisible() {
    testkit::run(async {
        let api = shared().await;
        let ids = |caller| api.ask(caller, "GET /secrets?select=id", "");
        assert!(ids(api.test.user(user(1))).await.ends_with(r#"[{"id":1}]"#));
        assert!(ids(api.test.user(user(2))).await.ends_with(r#"[{"id":2}]"#));
        assert!(ids(api.test.caller("anon")).await.ends_with("[]"));
        assert!(ids(api.test.caller("service_role")).await.contains("[{\"id\":1}, \n {\"id\":2}]"));
    });
}

#[test]
fn writes_against_a_policy_are_403_and_401() {
    testkit::run(async {
        let api = shared().await;
        let row = r#"{"id": 3, "owner": "00000000-0000-0000-0000-000000000002"}"#;
        let stolen = api.ask(api.test.user(user(1)), "POST /secrets", row).await;
        assert!(stolen.starts_with("403") && stolen.contains(r#""code":"42501""#), "{stolen}");
        let anonymous = api.ask(api.test.caller("anon"), "POST /secrets", row).await;
        assert!(
            anonymous.starts_with("401") && anonymous.contains("www-authenticate: Bearer"),
            "{anonymous}"
        );
        let own = api.ask(api.test.user(user(2)), "POST /secrets", row).await;
        assert!(own.starts_with("201"), "{own}");
    });
}

#[test]
fn an_unknown_role_is_401() {
    testkit::run(async {
        let api = shared().await;
        let answer = api.ask(api.test.caller("nobody_at_all"), "GET /people", "").await;
        assert!(answer.starts_with("401"), "{answer}");
    });
}
