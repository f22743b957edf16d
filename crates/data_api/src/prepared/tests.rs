//! A kept read gives the same statement as one that is planned anew.

use bytes::Bytes;
use common::RestSettings;
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{PreparedRead, Reads, Shape};
use crate::catalog::{Catalog, sample};
use crate::plan::{self, Context};
use crate::request::{Action, Head, Parameters, Request};
use crate::run::{Check, Form};
use crate::sql;

struct Bench {
    catalog: Catalog,
    settings: RestSettings,
    headers: HeaderMap,
}

impl Bench {
    fn new(headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Self { catalog: sample::catalog(), settings: RestSettings::default(), headers: headers.collect() }
    }

    fn head(&self) -> Head<'_> {
        Head { method: &Method::GET, headers: &self.headers, settings: &self.settings }
    }

    /// Everything that becomes of a read without preparation; `None` when it is refused.
    fn afresh(&self, query: &str) -> Option<String> {
        let parameters = Parameters::decode(query);
        let request = Request::parse(self.head(), Action::Read, &parameters, Bytes::new()).ok()?;
        let context = Context { catalog: &self.catalog, settings: &self.settings, request: &request };
        let shaped = plan::read(context, "people").ok()?;
        let statement = sql::read(&shaped, request.preferences.count, self.settings.db_max_rows);
        let about = (request.schema, request.names_schema, request.headers_only);
        let form = (Form::of(&shaped), Check::of(&request, &shaped.media));
        Some(format!(
            "{statement:?} {about:?} {:?} {:?} {:?} {form:?}",
            request.preferences, request.range, shaped.media
        ))
    }

    fn prepare(&self, query: &str) -> Option<PreparedRead> {
        let parameters = Parameters::decode(query);
        let shape = Shape::of(self.head(), "people", &parameters)?;
        PreparedRead::plan((self.head(), &self.catalog), "people", &parameters, &shape)
    }

    /// The same of `read` with the operands of `query`; `None` when the query has another shape than `other`.
    fn again(&self, read: &PreparedRead, query: &str, other: &str) -> Option<String> {
        let (parameters, others) = (Parameters::decode(query), Parameters::decode(other));
        let shape = Shape::of(self.head(), "people", &parameters)?;
        if shape.key() != Shape::of(self.head(), "people", &others)?.key() {
            return None;
        }
        let (statement, request) = (read.statement(&shape), read.request());
        let about = (request.schema, request.names_schema, request.headers_only);
        let form = (read.form, read.check);
        Some(format!(
            "{statement:?} {about:?} {:?} {:?} {:?} {form:?}",
            request.preferences, request.range, read.media
        ))
    }
}

/// A query with `{}` for operands.
fn template() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "id",
        "name",
        "age",
        "data->a",
        "data->>b",
        "teams.name",
        "skills.id",
        "nope",
        "id,x",
        "select",
        "order",
        "limit",
        "offset",
        "or",
        "not.and",
        "teams.limit",
        "teams.order",
        "columns",
        "teams.or",
        "\"id\"",
        "teams",
        "a.b.c",
    ]);
    let value = prop_oneof![
        8 => prop::sample::select(vec![
            "eq.{}", "not.eq.{}", "gt.{}", "lte.{}", "neq.{}", "eq.", "not.gte.{}", "not.not.eq.{}", "eq(any).{}", "lt.{}",
        ]),
        4 => prop::sample::select(vec![
            "in.({},2)", "like.*{}*", "is.null", "fts.{}", "cs.{}", "(id.eq.{},age.gt.3)", "id,name,teams(*),skills!inner(name)",
            "*,t:teams(id)", "name.desc,id", "teams(name).asc", "{}", "5", "id.eq.{}", "not.is.null", "...teams(name)",
        ]),
    ];
    let pair = (key, value).prop_map(|(key, value)| format!("{key}={value}"));
    let select =
        prop::sample::select(vec!["", "select=*,teams(*),skills(*)&", "select=id,data->a,...teams(t:name)&"]);
    (select, prop::collection::vec(pair, 0..5))
        .prop_map(|(select, pairs)| format!("{select}{}", pairs.join("&")))
}

fn filled(template: &str, operand: &str) -> String {
    let operand: String = form_urlencoded::byte_serialize(operand.as_bytes()).collect();
    template.replace("{}", &operand)
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::sample::select(vec![
        vec![],
        vec![("accept", "text/csv"), ("range", "2-5")],
        vec![("prefer", "count=exact"), ("prefer", "timezone=UTC, handling=strict")],
        vec![("accept", "application/vnd.pgrst.object+json;nulls=stripped")],
        vec![("prefer", "nonsense, handling=strict"), ("range", "0-1")],
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_kept_gives_what_is_planned_anew(
        template in template(), one in "\\PC{0,8}", other in "[ -~]{0,8}|null|1.5|not.eq.3", headers in headers(),
    ) {
        let bench = Bench::new(&headers);
        let (one, other) = (filled(&template, &one), filled(&template, &other));
        let Some(read) = bench.prepare(&one) else { return Ok(()) };
        prop_assert_eq!(bench.again(&read, &one, &one), bench.afresh(&one));
        if let Some(again) = bench.again(&read, &other, &one) {
            prop_assert_eq!(Some(again), bench.afresh(&other));
        }
    }
}

#[test]
fn operands_of_plain_comparisons_make_no_other_shape() {
    let same = |one: &str, other: &str| {
        let bench = Bench::new(&[]);
        let read = bench.prepare(one).unwrap();
        bench.again(&read, other, one).is_some()
    };
    assert!(same("id=eq.1&name=not.gt.x", "id=eq.22&name=not.gt.it's"));
    assert!(same("select=*,teams(*)&teams.id=eq.1", "select=*,teams(*)&teams.id=eq.null"));
    assert!(!same("id=eq.1", "id=neq.1"));
    assert!(!same("id=eq.1", "age=eq.1"));
    assert!(!same("limit=1", "limit=2"));
    assert!(!same("name=like.a", "name=like.b"));
    assert!(!same("id=eq.1&select=id", "id=eq.1&select=name"));
}

#[test]
fn what_cannot_be_told_without_the_values_is_not_kept() {
    for (query, prefer) in [
        ("id=eq.1&nonsense=x", "return=minimal"),
        ("id=eq.%00", "return=minimal"),
        ("id=eq.1", "count=planned"),
        ("id=eq.1", "count=estimated"),
    ] {
        assert!(Bench::new(&[("prefer", prefer)]).prepare(query).is_none(), "{query}");
    }
    assert!(Bench::new(&[]).prepare("id=eq.1").is_some());
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
    let (bench, reads) = (Bench::new(&[]), Reads::default());
    let queries: Vec<_> = (0..100).map(|it| format!("limit={}", it + 1)).collect();
    let decoded: Vec<_> = queries.iter().map(|it| Parameters::decode(it)).collect();
    let shapes: Vec<_> = decoded.iter().map(|it| Shape::of(bench.head(), "people", it).unwrap()).collect();
    for (query, shape) in queries.iter().zip(&shapes) {
        reads.keep(shape, &bench.prepare(query).unwrap().into(), 10);
        assert!(reads.get(&shapes[0]).is_some(), "{query}");
        assert!(reads.len() <= 10);
    }
    assert!(reads.get(&shapes[1]).is_none());
    reads.keep(&shapes[1], &bench.prepare("limit=2").unwrap().into(), 0);
    assert!(reads.get(&shapes[1]).is_none());
}
