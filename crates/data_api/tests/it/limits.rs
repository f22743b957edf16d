//! Hostile requests: refused with a clear 4xx before they cost anything; what is just within the bounds is answered.

use std::sync::Arc;

use axum::body::Body;
use data_api::{Config, DataApi, Limits};
use http::{Request, StatusCode};
use tower::ServiceExt as _;

use crate::support::ask;

/// Status, and the message of an error.
fn check(head: &str, body: &str) -> String {
    let answer = ask(head, body);
    let message = answer.split_once("\"message\":\"").map_or("", |(_, it)| it.trim_end_matches("\"}"));
    format!("{} {message}", answer.get(..3).unwrap_or_default()).trim_end().to_owned()
}

fn repeated(item: &str, count: usize) -> String {
    vec![item; count].join(",")
}

/// `a(a(…))`: `count` embeds within each other, `leaf` in the last.
fn nested(before: &str, leaf: &str, count: usize) -> String {
    format!("{}{leaf}{}", before.repeat(count), ")".repeat(count))
}

/// A read with `amount` of something, for each bound on reads.
fn reads(limits: &Limits, more: usize) -> Vec<(&'static str, String)> {
    let embeds: Vec<_> = (0..limits.embeds + more).map(|it| format!("e{it}:teams(id)")).collect();
    let tree = |depth: usize| format!("{}id.eq.1{}", "and(".repeat(depth), ")".repeat(depth));
    let names: Vec<_> = (0..limits.columns + more).map(|it| format!("c{it}")).collect();
    let terms: Vec<_> = (0..limits.order_terms + more).map(|_| "id").collect();
    vec![
        ("selected items", format!("select={}", repeated("id", limits.select_items + more))),
        ("embeds", format!("select={}", embeds.join(","))),
        (
            "embeds within embeds",
            format!("select={}", nested("manager_id(", "id", limits.embed_depth + more)),
        ),
        ("filters", format!("or=({})", repeated("id.eq.1", limits.filters + more))),
        ("groups within groups", format!("and=({})", tree(limits.logic_depth + more - 1))),
        ("steps of a JSON path", format!("select=data{}", "->a".repeat(limits.json_steps + more))),
        ("terms of an order", format!("order={}", terms.join(","))),
        ("columns", format!("columns={}", names.join(","))),
    ]
}

#[test]
fn requests_that_ask_for_too_much_are_refused() {
    for (what, query) in reads(&Limits::default(), 1) {
        let refused = check(&format!("GET /people?limit=1&{query}"), "");
        assert_eq!(refused, format!("400 The request has too many {what}"));
    }
}

#[test]
fn requests_within_the_bounds_are_answered() {
    for (what, query) in reads(&Limits::default(), 0) {
        assert_eq!(check(&format!("GET /people?limit=1&{query}"), ""), "200", "{what}");
    }
}

#[test]
fn much_more_than_is_allowed_is_refused_as_well() {
    for query in [
        format!("select={}", repeated("id", 5_000)),
        format!("select=data{}", "->a".repeat(5_000)),
        format!("select={}", repeated("teams(id)", 1_000)),
        format!("select={}", nested("manager_id(", "id", 3_000)),
        format!("and=({})", nested("and(", "id.eq.1", 5_000)),
        format!("order={}", repeated("id", 5_000)),
        format!("data{}=eq.1", "->a".repeat(5_000)),
    ] {
        assert!(check(&format!("GET /people?{query}"), "").starts_with("400 "), "{query:.60}");
        assert!(check(&format!("DELETE /people?id=eq.0&{query}"), "").starts_with("400 "), "{query:.60}");
        assert!(
            check(&format!("GET /rpc/older_than?years=1&{query}"), "").starts_with("400 "),
            "{query:.60}"
        );
    }
}

#[test]
fn bodies_that_hold_too_much_are_refused() {
    let limits = Limits::default();
    let keys: Vec<_> = (0..=limits.columns).map(|it| format!("\"k{it}\":1")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    let deep = |depth: usize| format!("{{\"data\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let too_deep = format!("400 The body is nested deeper than {} levels", limits.body_depth);
    let too_many = format!("400 An object of the body has more than {} keys", limits.columns);
    for path in ["/people", "/rpc/add"] {
        assert_eq!(check(&format!("POST {path}"), &keys), too_many, "{path}");
        assert_eq!(check(&format!("POST {path}"), &format!("[{keys}]")), too_many, "{path}");
    }
    for head in ["POST /people", "POST /people?columns=name,data", "PATCH /people?id=eq.1", "POST /rpc/echo"]
    {
        assert_eq!(check(head, &deep(limits.body_depth + 1)), too_deep, "{head}");
        assert_eq!(check(head, &deep(1_000_000)), too_deep, "{head}");
    }
    assert_eq!(check("PATCH /people?id=eq.1\nPrefer: tx=rollback", &deep(limits.body_depth)), "204");
    assert_eq!(check("POST /rpc/echo", &deep(limits.body_depth)), "200");
}

#[test]
fn rows_and_query_strings_have_bounds_that_an_operator_may_lower() {
    testkit::run(async {
        let limits = Limits { query_bytes: 20, rows: 2, ..Limits::default() };
        let test = testkit::project("limits").await;
        let config = Config { limits, ..Config::default() };
        let router = crate::support::router(DataApi::new(config, test.databases.clone()));
        let status = async |method: &str, uri: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(uri).extension(Arc::clone(&test.project));
            let request = request.extension(test.caller("anon")).body(Body::from(body)).unwrap();
            router.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(status("GET", "/x?a=eq.1234567890123456", "").await, StatusCode::URI_TOO_LONG);
        assert_eq!(status("GET", "/x?a=eq.12345678", "").await, StatusCode::NOT_FOUND);
        assert_eq!(status("POST", "/x", "[{},{},{}]").await, StatusCode::BAD_REQUEST);
        assert_eq!(status("POST", "/x?columns=a", "[{},{},{}]").await, StatusCode::BAD_REQUEST);
        assert_eq!(status("POST", "/x", "[{},{}]").await, StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_name_of_any_length_is_not_found_soon() {
    let name = "people".repeat(5_000);
    for path in [format!("/{name}"), format!("/rpc/{name}"), format!("/people?select={name}(id)")] {
        let answer = check(&format!("GET {path}"), "");
        assert!(answer.starts_with("404 ") || answer.starts_with("400 "), "{answer:.80}");
    }
}

#[test]
fn the_page_tells_the_bounds_as_they_are() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/compat.md");
    let page = std::fs::read_to_string(page).unwrap();
    let Limits {
        query_bytes,
        select_items,
        embeds,
        embed_depth,
        filters,
        logic_depth,
        json_steps,
        order_terms,
        columns,
        rows,
        body_depth,
    } = Limits::default();
    let bounds = [
        query_bytes,
        select_items,
        embeds,
        embed_depth,
        filters,
        logic_depth,
        json_steps,
        order_terms,
        columns,
        rows,
        body_depth,
    ];
    let table = page.lines().skip_while(|it| !it.starts_with("| Of one request ")).skip(2);
    let told: Vec<usize> = table
        .map_while(|it| it.strip_prefix("| ")?.split(" | ").nth(1))
        .map(|it| it.chars().take_while(|it| *it != ' ').filter(char::is_ascii_digit).collect::<String>())
        .map(|it| it.parse().unwrap())
        .collect();
    assert_eq!(told, bounds);
}
