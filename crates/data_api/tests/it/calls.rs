//! Calling functions: arguments, overloads, results, settings, raised errors.

use insta::assert_snapshot;

use crate::support::ask;

#[test]
fn arguments_come_by_query_json_or_form() {
    assert_snapshot!(ask("GET /rpc/add?a=1&b=2", ""), @r"
    200
    content-range: 0-0/*

    3
    ");
    assert_snapshot!(ask("POST /rpc/add", r#"{"a": 1}"#), @r"
    200
    content-range: 0-0/*

    11
    ");
    assert_snapshot!(ask("POST /rpc/add\nContent-Type: application/x-www-form-urlencoded", "a=3&b=4"), @r"
    200
    content-range: 0-0/*

    7
    ");
    assert_snapshot!(ask("GET /rpc/total?numbers=1&numbers=2&numbers=3", ""), @r"
    200
    content-range: 0-0/*

    6
    ");
    assert_snapshot!(ask("POST /rpc/total", r#"{"numbers": [4, 5]}"#), @r"
    200
    content-range: 0-0/*

    9
    ");
    assert_snapshot!(ask("POST /rpc/echo", r#"{"any": ["thing"]}"#), @r#"
    200
    content-range: 0-0/*

    {"any": ["thing"]}
    "#);
}

#[test]
fn results_have_the_shape_of_the_function() {
    assert_snapshot!(ask("POST /rpc/nothing", ""), @r"
    204
    content-range: 0-0/*
    ");
    assert_snapshot!(ask("GET /rpc/ages", ""), @r"
    200
    content-range: 0-3/*

    [36, 17, null, 64]
    ");
    assert_snapshot!(ask("GET /rpc/person?wanted=2&select=name,teams(name)", ""), @r#"
    200
    content-range: 0-0/*

    {"name":"Bob","teams":{"name": "red"}}
    "#);
    assert_snapshot!(ask("GET /rpc/older_than?years=16&select=name,full_name,teams(name)&age=lt.60&order=name&limit=1\nPrefer: count=exact", ""), @r#"
    206
    content-range: 0-0/2
    preference-applied: count=exact

    [{"name":"Ada","full_name":"Ada #1","teams":{"name": "red"}}]
    "#);
}

#[test]
fn only_volatile_functions_write() {
    assert_snapshot!(ask("POST /rpc/birthday", r#"{"person_id": 1}"#), @r"
    200
    content-range: 0-0/*

    37
    ");
    assert_snapshot!(ask("GET /rpc/birthday?person_id=1", ""), @r#"
    405

    {"code":"25006","details":null,"hint":null,"message":"cannot execute UPDATE in a read-only transaction"}
    "#);
    assert_snapshot!(ask("PUT /rpc/birthday", ""), @r#"
    405

    {"code":"PGRST101","details":null,"hint":null,"message":"Cannot use the PUT method on RPC"}
    "#);
}

#[test]
fn functions_that_do_not_fit_are_explained() {
    assert_snapshot!(ask("GET /rpc/add?a=1&c=2", ""), @r#"
    404

    {"code":"PGRST202","details":"Searched for the function public.add with parameters a, c, but no matches were found in the schema cache.","hint":"Perhaps you meant to call the function public.add(a, b)","message":"Could not find the function public.add(a, c) in the schema cache"}
    "#);
    assert_snapshot!(ask("POST /rpc/ad", "{}"), @r#"
    404

    {"code":"PGRST202","details":"Searched for the function public.ad without parameters or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.","hint":null,"message":"Could not find the function public.ad without parameters in the schema cache"}
    "#);
    assert_snapshot!(ask("POST /rpc/nothing\nPrefer: handling=strict, max-affected=1", ""), @r#"
    400

    {"code":"PGRST128","details":null,"hint":null,"message":"Function must return SETOF or TABLE when max-affected preference is used with handling=strict"}
    "#);
}

#[test]
fn a_parameter_without_a_name_can_be_named_by_the_empty_key() {
    assert_snapshot!(ask("POST /rpc/loud", r#"{"": "x"}"#), @r#"
    200
    content-range: 0-0/*

    "{\"\": \"X\"}"
    "#);
    assert_snapshot!(ask("POST /rpc/maybe", r#"{"": "x"}"#), @r#"
    200
    content-range: 0-0/*

    "{\"\": \"x\"}"
    "#);
    assert_snapshot!(ask("POST /rpc/maybe", "{}"), @r#"
    300

    {"code":"PGRST203","details":null,"hint":"Try renaming the parameters or the function itself in the database so function overloading can be resolved","message":"Could not choose the best candidate function between: public.maybe(), public.maybe( => text)"}
    "#);
    assert_snapshot!(ask("POST /rpc/torn", r#"{"a": 1}"#), @r#"
    300

    {"code":"PGRST203","details":null,"hint":"Try renaming the parameters or the function itself in the database so function overloading can be resolved","message":"Could not choose the best candidate function between: public.torn(a => integer), public.torn(a => text)"}
    "#);
}

#[test]
fn raised_errors_and_settings_control_the_answer() {
    assert_snapshot!(ask("POST /rpc/teapot", ""), @r#"
    418

    {"code":"PT418","details":"short","hint":"and stout","message":"I am a teapot"}
    "#);
    assert_snapshot!(ask("POST /rpc/controlled", ""), @r#"
    402
    x-mine: yes

    {"code":"77","details":"d","hint":"h","message":"mine"}
    "#);
    assert_snapshot!(ask("POST /rpc/headed", ""), @r#"
    299
    cache-control: private
    content-range: 0-0/*
    x-one: 1

    "done"
    "#);
}

#[test]
fn functions_see_the_request() {
    let setting = |name: &str| {
        ask(
            &format!("GET /rpc/setting?name={name}\nX-Probe: 1\nCookie: a=b\nPrefer: timezone=Asia/Tokyo"),
            "",
        )
    };
    for (name, expected) in [
        ("request.method", r#""GET""#),
        ("request.path", r#""/rpc/setting""#),
        ("request.cookies", r#""{\"a\":\"b\"}""#),
        ("request.jwt.claims", r#""{\"role\":\"service_role\"}""#),
        ("timezone", r#""Asia/Tokyo""#),
        ("role", r#""service_role""#),
        ("search_path", r#""\"public\", \"public\", \"extensions\"""#),
    ] {
        let answer = setting(name);
        assert!(answer.ends_with(expected), "{name}: {answer}");
        assert!(answer.contains("preference-applied: timezone=Asia/Tokyo"), "{answer}");
    }
    assert!(setting("request.headers").contains(r#"\"x-probe\":\"1\""#));
}
