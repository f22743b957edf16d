//! What a plan refuses, and which of several ways it takes.

use bytes::Bytes;
use common::RestSettings;
use http::{HeaderMap, Method};

use super::{Context, read};
use crate::catalog::sample;
use crate::request::{Action, Head, Limits, Parameters, Request};

/// `ok`, or the code of the error of a read.
fn check(name: &str, query: &str, settings: &RestSettings) -> String {
    let (catalog, headers) = (sample::catalog(), HeaderMap::new());
    let parameters = Parameters::decode(query);
    let limits = &Limits::default();
    let head = Head { method: &Method::GET, headers: &headers, settings, limits };
    let request = Request::parse(head, Action::Read, &parameters, Bytes::new()).unwrap();
    let context = Context { catalog: &catalog, settings, request: &request };
    let planned = read(context, name);
    planned.map_or_else(|error| error.code().to_owned(), |_| "ok".to_owned())
}

#[test]
fn relationships_are_found_by_table_column_constraint_and_junction() {
    let cases = [
        ("people", "select=teams()", "ok"),
        ("people", "select=team_id(*)", "ok"),
        ("people", "select=people_team_id_fkey(*)", "ok"),
        ("people", "select=teams!team_id(*)", "ok"),
        ("people", "select=teams!people_team_id_fkey(*)", "ok"),
        ("people", "select=teams!nonsense(*)", "PGRST200"),
        ("people", "select=skills(*)", "ok"),
        ("people", "select=skills!people_skills(*)", "ok"),
        ("people", "select=boss:manager_id(*),people(*)", "ok"),
        ("teams", "select=skills(*)", "PGRST200"),
        ("nothing", "select=*", "PGRST205"),
        ("people", "select=age.sum()", "PGRST123"),
        ("teams", "select=...people(name)&order=people(name)", "PGRST118"),
    ];
    for (table, query, expected) in cases {
        assert_eq!(check(table, query, &RestSettings::default()), expected, "{table}?{query}");
    }
}

#[test]
fn aliased_embeds_are_addressed_by_their_alias() {
    let strict = RestSettings { url_use_legacy_target_names: false, ..RestSettings::default() };
    assert_eq!(check("people", "select=t:teams(id)&t.id=eq.1", &strict), "ok");
    assert_eq!(check("people", "select=t:teams(id)&teams.id=eq.1", &strict), "PGRST108");
    assert_eq!(check("people", "select=t:teams(id)&teams.id=eq.1", &RestSettings::default()), "ok");
}
