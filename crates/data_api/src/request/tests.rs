//! The grammars of the query string: what they read, and what they say when they cannot.

use super::query::{Parameters, Unreserved, parse};

/// The select list read and written again in one notation, or the error.
fn check(query: &str) -> String {
    let parameters = Parameters::decode(query);
    match parse(&parameters, Unreserved::Filter) {
        Ok(query) => format!("{query:?}"),
        Err(error) => format!("{} | {}", error.message, error.details),
    }
}

#[test]
fn errors_tell_place_and_expectation() {
    let cases = [
        (
            "select=data->(!@_d->>!@_e::integer",
            "\"failed to parse select parameter (data->(!@_d->>!@_e::integer)\" (line 1, column 7) | unexpected \"(\" expecting \"-\", digit or any non reserved character different from: .,>()",
        ),
        (
            "select=data->>--34",
            "\"failed to parse select parameter (data->>--34)\" (line 1, column 9) | unexpected \"-\" expecting digit",
        ),
        (
            "order=id.asc.nullslasttt",
            "\"failed to parse order (id.asc.nullslasttt)\" (line 1, column 17) | unexpected 't' expecting \",\" or end of input",
        ),
        (
            "or=()",
            "\"failed to parse logic tree (())\" (line 1, column 4) | unexpected \")\" expecting field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)",
        ),
        (
            "id=0",
            "\"failed to parse filter (0)\" (line 1, column 1) | unexpected \"0\" expecting \"not\" or operator (eq, gt, ...)",
        ),
        (
            "columns=",
            "\"failed to parse columns parameter ()\" (line 1, column 1) | unexpected end of input expecting field name (* or [a..z0..9_$])",
        ),
        (
            "id=is.nope",
            "\"failed to parse filter (is.nope)\" (line 1, column 4) | unexpected \"n\" expecting isVal: (null, not_null, true, false, unknown)",
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(check(query), expected);
    }
}

#[test]
fn names_may_be_quoted_dashed_and_spaced() {
    assert!(check("select=\"a.\\\"b\"").contains(r#"name: "a.\"b""#));
    assert!(check("select= some-thing ,b").contains(r#"name: "some-thing""#));
    assert!(check("select=a c,b").contains(r#"name: "a c""#));
    assert!(check("\"a.b\".c=eq.1").contains(r#"["a.b"]"#));
}

#[test]
fn reserved_words_count_for_every_level() {
    let query = check("kids.order=id&kids.limit=3&kids.offset=1&limit=2&kids.not.or=(a.eq.1)&order=b");
    for part in [
        r#"ranges: [(["kids"], Range { offset: 1, limit: Some(3) })]"#,
        "range: Range { offset: 0, limit: Some(2) }",
        "negated: true, any: true",
        "filters: []",
    ] {
        assert!(query.contains(part), "{part} in {query}");
    }
}

#[test]
fn the_canonical_query_is_sorted_and_encoded() {
    let canonical = |query| Parameters::decode(query).canonical();
    assert_eq!(canonical("select=*&id=eq.5&a%20b=x+y"), "a%20b=x%20y&id=eq.5&select=%2A");
    assert_eq!(canonical("id=gt.1&id=lt.5"), "id=gt.1,lt.5");
}
