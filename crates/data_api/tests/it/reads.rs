//! Reading relations: filters, select lists, order, pages, counts, representations.

use insta::assert_snapshot;

use crate::support::{ask, body};

/// The names that a query finds, or the whole error.
fn names(query: &str) -> String {
    let answer = ask(&format!("GET /people?select=name&order=id&{query}"), "");
    let body = body(&answer);
    match serde_json::from_str::<Vec<serde_json::Value>>(body) {
        Ok(rows) => {
            rows.iter().map(|it| it["name"].as_str().unwrap()[..3].to_owned()).collect::<Vec<_>>().join(" ")
        }
        Err(_) => answer,
    }
}

#[test]
fn every_operator_finds_its_rows() {
    let cases = [
        ("age=eq.36", "Ada"),
        ("age=neq.36", "Bob Dan"),
        ("age=gt.36", "Dan"),
        ("age=gte.36", "Ada Dan"),
        ("age=lt.36", "Bob"),
        ("age=lte.36", "Ada Bob"),
        ("name=like.*o*", "Bob Cle"),
        ("name=ilike.*A*", "Ada Dan"),
        ("name=match.^[AB]", "Ada Bob"),
        ("name=imatch.^[ab]", "Ada Bob"),
        ("age=is.null", "Cle"),
        ("age=not.is.null", "Ada Bob Dan"),
        ("age=is.not_null", "Ada Bob Dan"),
        ("age=isdistinct.36", "Bob Cle Dan"),
        ("id=in.(1,3)", "Ada Cle"),
        ("id=not.in.(1,3)", "Bob Dan"),
        ("id=in.()", ""),
        ("name=in.(\"Cleo, \\\"C\\\"\",Dan)", "Cle Dan"),
        ("tags=cs.{code}", "Ada Cle"),
        ("tags=cd.{math,code}", "Ada Bob Cle Dan"),
        ("tags=ov.{math}", "Ada"),
        ("id=eq(any).{1,2}", "Ada Bob"),
        ("name=like(all).{*o*,*b*}", "Bob"),
        ("name=fts.ada", "Ada"),
        ("name=plfts(simple).bob", "Bob"),
        ("data->city->>name=eq.Paris", "Bob"),
        ("data->langs->>0=eq.en", "Ada"),
        ("data->langs->>-1=eq.fr", "Ada"),
        ("age=gt.17&age=lt.60", "Ada"),
        ("or=(age.lt.18,age.is.null)", "Bob Cle"),
        ("not.or=(age.lt.18,age.is.null)", "Ada Dan"),
        ("and=(age.gt.1,or(id.eq.1,not.and(id.eq.2,id.eq.3)))", "Ada Bob Dan"),
        ("or=(name.eq.\"Cleo, \\\"C\\\"\",id.in.(1,4))", "Ada Cle Dan"),
    ];
    for (query, expected) in cases {
        assert_eq!(names(query), expected, "{query}");
    }
}

#[test]
fn values_are_never_read_as_sql() {
    assert_eq!(names("name=eq.'; drop table people; --"), "");
    assert_eq!(names("name=in.(\"');--\")"), "");
    assert_snapshot!(names("\"id\";--=eq.1"), @"Ada");
}

#[test]
fn select_lists_rename_cast_and_take_paths() {
    assert_snapshot!(ask(r#"GET /people?id=eq.1&select=who:name,age::text,data->city->>name,data->langs->0,full_name"#, ""), @r#"
    200
    content-range: 0-0/*

    [{"who":"Ada","age":"36","name":"London","langs":"en","full_name":"Ada #1"}]
    "#);
    assert_snapshot!(ask(r#"GET /odd%20name?select="a column","Select""#, ""), @r#"
    200
    content-range: 0-0/*

    [{"a column":1,"Select":"x"}]
    "#);
    assert_snapshot!(ask("GET /people?id=eq.1&select=age::nonsense", ""), @r#"
    400

    {"code":"42704","details":null,"hint":null,"message":"type \"nonsense\" does not exist"}
    "#);
}

#[test]
fn order_has_direction_and_place_of_nulls() {
    let ids = |order: &str| body(&ask(&format!("GET /people?select=id&order={order}"), "")).to_owned();
    assert_snapshot!(ids("age.desc.nullslast,id"), @r#"
    [{"id":4}, 
     {"id":1}, 
     {"id":2}, 
     {"id":3}]
    "#);
    assert_snapshot!(ids("age.nullsfirst"), @r#"
    [{"id":3}, 
     {"id":2}, 
     {"id":1}, 
     {"id":4}]
    "#);
    assert_snapshot!(ids("data->city->>name.asc.nullsfirst,id.desc"), @r#"
    [{"id":4}, 
     {"id":3}, 
     {"id":1}, 
     {"id":2}]
    "#);
}

#[test]
fn pages_and_counts_are_told_in_content_range() {
    assert_snapshot!(ask("GET /people?select=id&order=id&limit=2&offset=1", ""), @r#"
    200
    content-range: 1-2/*

    [{"id":2}, 
     {"id":3}]
    "#);
    assert_snapshot!(ask("GET /people?select=id&order=id\nRange: 0-1\nPrefer: count=exact", ""), @r#"
    206
    content-range: 0-1/4
    preference-applied: count=exact

    [{"id":1}, 
     {"id":2}]
    "#);
    assert_snapshot!(ask("HEAD /people?select=id\nPrefer: count=exact", ""), @r"
    200
    content-range: 0-3/4
    preference-applied: count=exact
    ");
    assert_snapshot!(ask("GET /people?select=id&limit=1&age=gt.20\nPrefer: count=estimated", ""), @r#"
    206
    content-range: 0-0/2
    preference-applied: count=estimated

    [{"id":1}]
    "#);
    assert_snapshot!(ask("GET /people?select=id&offset=9\nPrefer: count=exact", ""), @r#"
    416
    content-range: */4
    preference-applied: count=exact

    {"code":"PGRST103","details":"An offset of 9 was requested, but there are only 4 rows.","hint":null,"message":"Requested range not satisfiable"}
    "#);
    assert_snapshot!(ask("GET /people?limit=0\nPrefer: count=exact", ""), @r"
    206
    content-range: */4
    preference-applied: count=exact

    []
    ");
    assert_snapshot!(ask("GET /people?limit=-1", ""), @r#"
    416

    {"code":"PGRST103","details":"Limit should be greater than or equal to zero.","hint":null,"message":"Requested range not satisfiable"}
    "#);
    assert!(
        ask("GET /people?select=id&limit=1\nPrefer: count=planned", "").contains("\ncontent-range: 0-0/")
    );
}

#[test]
fn other_representations_come_from_the_same_rows() {
    assert_snapshot!(ask("GET /people?select=id,name,age&order=id\nAccept: text/csv", ""), @r#"
    200
    content-range: 0-3/*
    content-type: text/csv; charset=utf-8

    id,name,age
    1,Ada,36
    2,Bob,17
    3,"Cleo, ""C""",
    4,Dan,64
    "#);
    assert_snapshot!(ask("GET /people?select=id,age&id=eq.3\nAccept: application/vnd.pgrst.object+json", ""), @r#"
    200
    content-range: 0-0/*
    content-type: application/vnd.pgrst.object+json; charset=utf-8

    {"id":3,"age":null}
    "#);
    assert_snapshot!(ask("GET /people?select=id\nAccept: application/vnd.pgrst.object+json", ""), @r#"
    406

    {"code":"PGRST116","details":"The result contains 4 rows","hint":null,"message":"Cannot coerce the result to a single JSON object"}
    "#);
    assert_snapshot!(ask("GET /people?select=id,age&id=gt.2&order=id\nAccept: application/vnd.pgrst.array+json;nulls=stripped", ""), @r#"
    200
    content-range: 0-1/*
    content-type: application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8

    [{"id":3},{"id":4,"age":64}]
    "#);
    assert_snapshot!(ask("GET /people\nAccept: image/png, text/html;q=0.5", ""), @r#"
    406

    {"code":"PGRST107","details":null,"hint":null,"message":"None of these media types are available: image/png, text/html"}
    "#);
}

#[test]
fn aggregates_group_by_the_rest() {
    assert_snapshot!(ask("GET /people?select=team_id,count(),age.max()&order=team_id", ""), @r#"
    200
    content-range: 0-2/*

    [{"team_id":1,"count":2,"max":36}, 
     {"team_id":2,"count":1,"max":null}, 
     {"team_id":null,"count":1,"max":64}]
    "#);
    assert_snapshot!(ask("GET /teams?select=name,people(age.sum())&order=id", ""), @r#"
    200
    content-range: 0-2/*

    [{"name":"red","people":[{"sum": 53}]}, 
     {"name":"blue","people":[{"sum": null}]}, 
     {"name":"empty","people":[{"sum": null}]}]
    "#);
}

#[test]
fn schemas_are_chosen_by_profile() {
    assert_snapshot!(ask("GET /things\nAccept-Profile: other", ""), @r"
    200
    content-profile: other
    content-range: */*

    []
    ");
    assert_snapshot!(ask("GET /things\nAccept-Profile: hidden", ""), @r#"
    406

    {"code":"PGRST106","details":null,"hint":"Only the following schemas are exposed: public, other","message":"Invalid schema: hidden"}
    "#);
}

#[test]
fn options_tell_what_a_thing_allows() {
    assert_snapshot!(ask("OPTIONS /people", ""), @r"
    200
    access-control-allow-origin: *
    allow: OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE
    ");
    assert_snapshot!(ask("OPTIONS /rpc/birthday?person_id=1", ""), @r"
    200
    access-control-allow-origin: *
    allow: OPTIONS,POST
    ");
    assert_snapshot!(ask("OPTIONS /", ""), @r"
    200
    access-control-allow-origin: *
    allow: OPTIONS,GET,HEAD
    ");
}
