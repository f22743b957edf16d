//! Inserting, upserting, updating and deleting, with what is answered and what is kept.

use insta::assert_snapshot;

use crate::support::{Api, ask};

#[test]
fn inserts_answer_what_is_preferred() {
    let row = r#"{"id": 50, "name": "Eve", "age": 5}"#;
    assert_snapshot!(ask("POST /people", row), @r"
    201
    content-range: */*
    ");
    assert_snapshot!(ask("POST /people\nPrefer: return=headers-only", row), @r"
    201
    content-range: */*
    location: /people?id=eq.50
    preference-applied: return=headers-only
    ");
    assert_snapshot!(ask("POST /people?select=id,name,teams(name)\nPrefer: return=representation", r#"[{"id":51,"name":"Eve","team_id":2},{"id":52,"name":"Fay","team_id":null}]"#), @r#"
    201
    content-range: */*
    preference-applied: return=representation

    [{"id":51,"name":"Eve","teams":{"name": "blue"}}, 
     {"id":52,"name":"Fay","teams":null}]
    "#);
    assert_snapshot!(ask("POST /people?select=name\nPrefer: return=representation\nAccept: application/vnd.pgrst.object+json", row), @r#"
    201
    content-range: */*
    content-type: application/vnd.pgrst.object+json; charset=utf-8
    preference-applied: return=representation

    {"name":"Eve"}
    "#);
    assert_snapshot!(ask("POST /people\nPrefer: return=representation", "[]"), @r"
    201
    content-range: */*
    preference-applied: return=representation

    []
    ");
}

#[test]
fn bodies_may_be_csv_or_forms() {
    assert_snapshot!(ask("POST /skills?order=id\nContent-Type: text/csv\nPrefer: return=representation", "id,name\n8,\"a, b\"\n9,c"), @r#"
    201
    content-range: */*
    preference-applied: return=representation

    [{"id":8,"name":"a, b"}, 
     {"id":9,"name":"c"}]
    "#);
    assert_snapshot!(ask("POST /skills\nContent-Type: application/x-www-form-urlencoded\nPrefer: return=representation", "id=8&name=x+y"), @r#"
    201
    content-range: */*
    preference-applied: return=representation

    [{"id":8,"name":"x y"}]
    "#);
    assert_snapshot!(ask("POST /skills\nContent-Type: text/html", "x"), @r#"
    400

    {"code":"PGRST102","details":null,"hint":null,"message":"Content-Type not acceptable: text/html"}
    "#);
}

#[test]
fn columns_and_defaults_are_chosen() {
    assert_snapshot!(ask("POST /notes?columns=person_id,topic,body&order=topic\nPrefer: return=representation, missing=default", r#"[{"person_id":2,"topic":"x","junk":1},{"person_id":2,"topic":"y","body":"b"}]"#), @r#"
    201
    content-range: */*
    preference-applied: missing=default, return=representation

    [{"person_id":2,"topic":"x","body":"none"}, 
     {"person_id":2,"topic":"y","body":"b"}]
    "#);
    assert_snapshot!(ask("POST /notes?columns=person_id,nonsense", r#"{"person_id":1}"#), @r#"
    400

    {"code":"PGRST204","details":null,"hint":null,"message":"Could not find the 'nonsense' column of 'notes' in the schema cache"}
    "#);
}

#[test]
fn upserts_merge_or_ignore() {
    let rows = r#"[{"id":1,"name":"Red"},{"id":9,"name":"new"}]"#;
    assert_snapshot!(ask("POST /teams?order=id\nPrefer: return=representation, resolution=merge-duplicates", rows), @r#"
    201
    content-range: */*
    preference-applied: resolution=merge-duplicates, return=representation

    [{"id":1,"name":"Red"}, 
     {"id":9,"name":"new"}]
    "#);
    assert_snapshot!(ask("POST /teams\nPrefer: return=representation, resolution=ignore-duplicates", rows), @r#"
    201
    content-range: */*
    preference-applied: resolution=ignore-duplicates, return=representation

    [{"id":9,"name":"new"}]
    "#);
    assert_snapshot!(ask("POST /teams\nPrefer: resolution=merge-duplicates", r#"{"id":1,"name":"Red"}"#), @r"
    200
    content-range: */*
    preference-applied: resolution=merge-duplicates
    ");
    assert_snapshot!(ask("POST /teams?on_conflict=name\nPrefer: return=representation, resolution=merge-duplicates", r#"{"id":7,"name":"red"}"#), @r#"
    409

    {"code":"23503","details":"Key (id)=(1) is still referenced from table \"people\".","hint":null,"message":"update or delete on table \"teams\" violates foreign key constraint \"people_team_id_fkey\" on table \"people\""}
    "#);
    assert_snapshot!(ask("POST /teams", r#"{"id":1,"name":"x"}"#), @r#"
    409

    {"code":"23505","details":"Key (id)=(1) already exists.","hint":null,"message":"duplicate key value violates unique constraint \"teams_pkey\""}
    "#);
}

#[test]
fn put_writes_exactly_one_row() {
    assert_snapshot!(ask("PUT /teams?id=eq.9\nPrefer: return=representation", r#"{"id":9,"name":"new"}"#), @r#"
    201
    preference-applied: return=representation

    [{"id":9,"name":"new"}]
    "#);
    assert_snapshot!(ask("PUT /teams?id=eq.1\nPrefer: return=representation", r#"{"id":1,"name":"new"}"#), @r#"
    200
    preference-applied: return=representation

    [{"id":1,"name":"new"}]
    "#);
    assert_snapshot!(ask("PUT /teams?id=eq.1", r#"{"id":2,"name":"new"}"#), @r#"
    400

    {"code":"PGRST115","details":null,"hint":null,"message":"Payload values do not match URL in primary key column(s)"}
    "#);
    assert_snapshot!(ask("PUT /teams?id=gt.1", r#"{"id":2,"name":"new"}"#), @r#"
    405

    {"code":"PGRST105","details":null,"hint":null,"message":"Filters must include all and only primary key columns with 'eq' operators"}
    "#);
    assert_snapshot!(ask("PUT /teams?id=eq.1&limit=1", r#"{"id":1,"name":"new"}"#), @r#"
    400

    {"code":"PGRST114","details":null,"hint":null,"message":"limit/offset querystring parameters are not allowed for PUT"}
    "#);
}

#[test]
fn updates_and_deletes_touch_what_the_filters_find() {
    assert_snapshot!(ask("PATCH /people?age=gt.20", r#"{"age": 1}"#), @r"
    204
    content-range: 0-1/*
    ");
    assert_snapshot!(ask("PATCH /people?age=gt.20&select=name,age,teams(name)&order=name\nPrefer: return=representation, count=exact", r#"{"age": 1}"#), @r#"
    200
    content-range: 0-1/2
    preference-applied: return=representation, count=exact

    [{"name":"Ada","age":1,"teams":{"name": "red"}}, 
     {"name":"Dan","age":1,"teams":null}]
    "#);
    assert_snapshot!(ask("PATCH /people?id=eq.0\nPrefer: return=representation", r#"{"age": 1}"#), @r"
    200
    content-range: */*
    preference-applied: return=representation

    []
    ");
    assert_snapshot!(ask("PATCH /people?id=eq.1\nPrefer: return=representation", "{}"), @r"
    200
    content-range: */*
    preference-applied: return=representation

    []
    ");
    assert_snapshot!(ask("DELETE /notes?person_id=eq.1\nPrefer: return=representation, count=exact", ""), @r#"
    200
    content-range: */1
    preference-applied: return=representation, count=exact

    [{"person_id":1,"topic":"a","body":"one"}]
    "#);
    assert_snapshot!(ask("DELETE /notes?or=(topic.eq.a,topic.eq.b)", ""), @r"
    204
    content-range: */*
    ");
}

#[test]
fn limits_on_rows_undo_the_change() {
    testkit::run(async {
        let api = Api::new("limits", "commit").await;
        let service = || api.test.caller("service_role");
        let cut = api
            .ask(service(), "PATCH /people?id=gt.1\nPrefer: handling=strict, max-affected=2", r#"{"age":0}"#)
            .await;
        assert_snapshot!(cut, @r#"
        400

        {"code":"PGRST124","details":"The query affects 3 rows","hint":null,"message":"Query result exceeds max-affected preference constraint"}
        "#);
        let several =
            "DELETE /notes\nPrefer: return=representation\nAccept: application/vnd.pgrst.object+json";
        api.ask(service(), "POST /notes", r#"{"person_id":2,"topic":"z"}"#).await;
        assert_snapshot!(api.ask(service(), several, "").await, @r#"
        406

        {"code":"PGRST116","details":"The result contains 2 rows","hint":null,"message":"Cannot coerce the result to a single JSON object"}
        "#);
        let mismatch = api.ask(service(), "PUT /teams?id=eq.1", r#"{"id":2,"name":"new"}"#).await;
        assert!(mismatch.starts_with("400"), "{mismatch}");
        let left = api.ask(service(), "GET /people?select=id&age=eq.0", "").await;
        assert!(left.ends_with("[]"), "{left}");
        let left = api.ask(service(), "HEAD /notes\nPrefer: count=exact", "").await;
        assert!(left.contains("0-1/2"), "{left}");
    });
}

#[test]
fn transactions_end_as_preferred() {
    testkit::run(async {
        let api = Api::new("endings", "commit-allow-override").await;
        let service = || api.test.caller("service_role");
        let rolled = api.ask(service(), "POST /skills\nPrefer: tx=rollback", r#"{"id":5,"name":"x"}"#).await;
        assert_snapshot!(rolled, @r"
        201
        content-range: */*
        preference-applied: tx=rollback
        ");
        let kept = api.ask(service(), "POST /skills", r#"{"id":6,"name":"y"}"#).await;
        assert!(kept.starts_with("201"), "{kept}");
        let found = api.ask(service(), "GET /skills?select=id&id=gt.4", "").await;
        assert!(found.ends_with(r#"[{"id":6}]"#), "{found}");
    });
}
