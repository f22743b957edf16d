//! Errors: PostgREST's shape, codes, details and hints, for mistakes of every stage.

use insta::assert_snapshot;

use crate::support::ask;

#[test]
fn unknown_names_are_told_with_a_hint() {
    assert_snapshot!(ask("GET /peple", ""), @r#"
    404

    {"code":"PGRST205","details":null,"hint":"Perhaps you meant the table 'public.people'","message":"Could not find the table 'public.peple' in the schema cache"}
    "#);
    assert_snapshot!(ask("GET /people?nonsense=eq.1", ""), @r#"
    400

    {"code":"42703","details":null,"hint":null,"message":"column people.nonsense does not exist"}
    "#);
    assert_snapshot!(ask("GET /people/1", ""), @r#"
    404

    {"code":"PGRST125","details":null,"hint":null,"message":"Invalid path specified in request URL"}
    "#);
}

#[test]
fn syntax_errors_point_at_the_place() {
    assert_snapshot!(ask("GET /people?age=like2.3", ""), @r#"
    400

    {"code":"PGRST100","details":"unexpected \"2\" expecting operator (eq, gt, ...)","hint":null,"message":"\"failed to parse filter (like2.3)\" (line 1, column 5)"}
    "#);
    assert_snapshot!(ask("GET /people?or=()", ""), @r#"
    400

    {"code":"PGRST100","details":"unexpected \")\" expecting field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)","hint":null,"message":"\"failed to parse logic tree (())\" (line 1, column 4)"}
    "#);
    assert_snapshot!(ask("GET /people?order=age.desk", ""), @r#"
    400

    {"code":"PGRST100","details":"unexpected \"d\" expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"","hint":null,"message":"\"failed to parse order (age.desk)\" (line 1, column 5)"}
    "#);
    assert_snapshot!(ask("GET /people?select=name,(", ""), @r#"
    400

    {"code":"PGRST100","details":"unexpected \"(\" expecting \"...\" or field name (* or [a..z0..9_$])","hint":null,"message":"\"failed to parse select parameter (name,()\" (line 1, column 6)"}
    "#);
    assert_snapshot!(ask("GET /people?order=id.asc.nullslasttt", ""), @r#"
    400

    {"code":"PGRST100","details":"unexpected 't' expecting \",\" or end of input","hint":null,"message":"\"failed to parse order (id.asc.nullslasttt)\" (line 1, column 17)"}
    "#);
}

#[test]
fn bodies_are_checked() {
    assert_snapshot!(ask("POST /people", "{"), @r#"
    400

    {"code":"PGRST102","details":null,"hint":null,"message":"Empty or invalid json"}
    "#);
    assert_snapshot!(ask("POST /people", r#"[{"name":"a"},{"age":1}]"#), @r#"
    400

    {"code":"PGRST102","details":null,"hint":null,"message":"All object keys must match"}
    "#);
    assert_snapshot!(ask("POST /people", r#"{"name": "x", "nonsense": 1}"#), @r#"
    400

    {"code":"PGRST204","details":null,"hint":null,"message":"Could not find the 'nonsense' column of 'people' in the schema cache"}
    "#);
    assert_snapshot!(ask("POST /people", r#"{"name": "x", "age": "old"}"#), @r#"
    400

    {"code":"22P02","details":null,"hint":null,"message":"invalid input syntax for type integer: \"old\""}
    "#);
    assert_snapshot!(ask("POST /people", r#"{"id": 70, "age": 1}"#), @r#"
    400

    {"code":"23502","details":"Failing row contains (70, null, 1, null, null, {}, {}).","hint":null,"message":"null value in column \"name\" of relation \"people\" violates not-null constraint"}
    "#);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let body = format!("[{}]", "1,".repeat(6 * 1024 * 1024));
    assert_snapshot!(ask("POST /people", &body), @r#"
    413

    {"code":"PGRST102","details":null,"hint":null,"message":"The request body is larger than 10485760 bytes"}
    "#);
}

#[test]
fn methods_and_preferences_are_checked() {
    assert_snapshot!(ask("TRACE /people", ""), @r#"
    405

    {"code":"PGRST117","details":null,"hint":null,"message":"Unsupported HTTP method: TRACE"}
    "#);
    assert_snapshot!(ask("DELETE /", ""), @r#"
    405

    {"code":"PGRST117","details":null,"hint":null,"message":"Unsupported HTTP method: DELETE"}
    "#);
    assert_snapshot!(ask("GET /people\nPrefer: handling=strict, anything", ""), @r#"
    400

    {"code":"PGRST122","details":"Invalid preferences: anything","hint":null,"message":"Invalid preferences given with handling=strict"}
    "#);
    assert_snapshot!(ask("GET /people\nPrefer: timezone=Nowhere", ""), @r#"
    400

    {"code":"22023","details":null,"hint":null,"message":"invalid value for parameter \"TimeZone\": \"Nowhere\""}
    "#);
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = "people(".repeat(5000);
    assert!(ask(&format!("GET /teams?select={deep}"), "").starts_with("400"));
    let deep = "and(".repeat(5000);
    assert!(ask(&format!("GET /teams?and=({deep}"), "").starts_with("400"));
}
