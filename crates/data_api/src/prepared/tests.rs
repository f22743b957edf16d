//! A kept statement is the same as one that is planned anew.

use bytes::Bytes;
use common::RestSettings;
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{Asked, Kept, Prepared, Shape};
use crate::catalog::{Catalog, sample};
use crate::plan::{self, Context};
use crate::request::{Action, Head, Limits, Parameters, Request};
use crate::run::{Check, Form};
use crate::sql;

struct Bench {
    catalog: Catalog,
    settings: RestSettings,
    limits: Limits,
    headers: HeaderMap,
    action: Action,
    name: &'static str,
}

impl Bench {
    fn new(headers: &[(&'static str, &str)]) -> Self {
        Self::of(Action::Read, "people", headers)
    }

    fn of(action: Action, name: &'static str, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let (catalog, settings) = (sample::catalog(), RestSettings::default());
        Self { catalog, settings, limits: Limits::default(), headers: headers.collect(), action, name }
    }

    fn asked<'a>(&'a self, parameters: &'a Parameters<'a>) -> Asked<'a> {
        let method = match self.action {
            Action::Read | Action::CallByGet => &Method::GET,
            Action::Insert | Action::Call => &Method::POST,
            Action::Put => &Method::PUT,
            Action::Update => &Method::PATCH,
            Action::Delete => &Method::DELETE,
        };
        let (headers, settings, limits) = (&self.headers, &self.settings, &self.limits);
        let head = Head { method, headers, settings, limits };
        Asked { head, action: self.action, name: self.name, parameters }
    }

    /// Everything that becomes of a request without preparation; `None` when it is refused.
    fn afresh(&self, query: &str, body: &'static str) -> Option<String> {
        let parameters = Parameters::decode(query);
        let asked = self.asked(&parameters);
        let request = Request::parse(asked.head, self.action, &parameters, body.into()).ok()?;
        let context = Context { catalog: &self.catalog, settings: &self.settings, request: &request };
        let (count, max_rows) = (request.preferences.count, self.settings.db_max_rows);
        let (statement, shaped, function) = match self.action {
            Action::Read => {
                let shaped = plan::read(context, self.name).ok()?;
                (sql::read(&shaped, count, max_rows), shaped, None)
            }
            Action::Call | Action::CallByGet => {
                let plan = plan::call(context, self.name).ok()?;
                let statement = sql::call(&plan, request.payload.as_ref(), count, max_rows);
                (statement, plan.shaped, Some(format!("{:?} {}", plan.function, plan.is_read_only)))
            }
            _ => {
                let plan = plan::write(context, self.name).ok()?;
                (sql::write(&plan, plan.has_location(&request)), plan.shaped, None)
            }
        };
        let about = (request.action, request.schema, request.names_schema, request.headers_only);
        let form = (Form::of(&shaped), Check::of(&request, &shaped.media));
        let conflict = request.query.on_conflict.is_some();
        Some(format!(
            "{statement:?} {about:?} {:?} {:?} {:?} {form:?} {conflict} {function:?}",
            request.preferences, request.range, shaped.media
        ))
    }

    fn prepare(&self, query: &str, body: &'static str) -> Option<Prepared> {
        let parameters = Parameters::decode(query);
        let shape = Shape::of(self.asked(&parameters), &body.into())?;
        Prepared::plan(self.asked(&parameters), &self.catalog, &shape, &body.into())
    }

    /// The same of `prepared` with the values of `new`; `None` when that has another shape than `old`.
    fn again(
        &self,
        prepared: &Prepared,
        new: (&str, &'static str),
        old: (&str, &'static str),
    ) -> Option<String> {
        let (parameters, others) = (Parameters::decode(new.0), Parameters::decode(old.0));
        let shape = Shape::of(self.asked(&parameters), &new.1.into())?;
        if shape.key() != Shape::of(self.asked(&others), &old.1.into())?.key() {
            return None;
        }
        let (statement, request) = (prepared.statement(&shape), prepared.request());
        let about = (request.action, request.schema, request.names_schema, request.headers_only);
        let (form, conflict) = ((prepared.form, prepared.check), request.query.on_conflict.is_some());
        let function = prepared
            .function(self.catalog.functions(request.schema, self.name))
            .map(|it| format!("{it:?} {}", prepared.is_read_only));
        Some(format!(
            "{statement:?} {about:?} {:?} {:?} {:?} {form:?} {conflict} {function:?}",
            request.preferences, request.range, prepared.media
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
        let Some(read) = bench.prepare(&one, "") else { return Ok(()) };
        prop_assert_eq!(bench.again(&read, (&one, ""), (&one, "")), bench.afresh(&one, ""));
        if let Some(again) = bench.again(&read, (&other, ""), (&one, "")) {
            prop_assert_eq!(Some(again), bench.afresh(&other, ""));
        }
    }

    #[test]
    fn what_is_kept_of_a_write_or_call_gives_what_is_planned_anew(
        (action, name) in prop::sample::select(vec![
            (Action::Insert, "people"), (Action::Put, "teams"), (Action::Update, "people"), (Action::Delete, "people"),
            (Action::Call, "older_than"), (Action::Call, "add"), (Action::Insert, "teams"),
        ]),
        template in prop::sample::select(vec![
            "", "id=eq.{}", "id=eq.{}&select=name", "select=name,teams(name)&age=gt.{}", "columns=id,name&id=neq.{}",
            "columns=&id=eq.{}", "on_conflict=id", "columns=name", "columns=nope", "id=in.({})", "or=(id.eq.{},age.lt.{})",
            "id=eq.{}&limit=3", "order=name&name=lte.{}", "nope=eq.{}",
        ]),
        one in "\\PC{0,8}", other in "[ -~]{0,8}", (body, new_body) in (body(), body()), headers in write_headers(),
    ) {
        let bench = Bench::of(action, name, &headers);
        let (one, other) = (filled(template, &one), filled(template, &other));
        let Some(kept) = bench.prepare(&one, body) else { return Ok(()) };
        prop_assert_eq!(bench.again(&kept, (&one, body), (&one, body)), bench.afresh(&one, body));
        if let Some(again) = bench.again(&kept, (&other, new_body), (&one, body)) {
            prop_assert_eq!(Some(again), bench.afresh(&other, new_body));
        }
    }
}

/// Bodies of few shapes and many values.
fn body() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "{}",
        "[]",
        "[{}]",
        "{\"id\":1,\"name\":\"x\"}",
        "{\"name\":\"\u{e9}\\\"\",\"id\":7}",
        "[{\"id\":1}]",
        "[{\"id\":null},{\"id\":3}]",
        "{\"years\":3}",
        "{\"years\":4000}",
        "{\"a\":1,\"b\":2}",
        "{\"b\":[1,{}],\"a\":\"it\"}",
        "{\"nope\":1}",
        "[1]",
        "{",
        "\"x\"",
        "[{\"id\":1},{\"name\":2}]",
        "{\"\\u0000\":1}",
        "\0",
        "{\"id\":\"\\u0000\"}",
        "a,b\n1,2",
    ])
}

fn write_headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::sample::select(vec![
        vec![],
        vec![("prefer", "return=representation")],
        vec![("prefer", "return=headers-only, resolution=merge-duplicates")],
        vec![("prefer", "missing=default"), ("prefer", "tx=rollback, max-affected=3, handling=strict")],
        vec![("content-type", "text/csv")],
        vec![
            ("content-type", "application/json; charset=utf-8"),
            ("accept", "application/vnd.pgrst.object+json"),
        ],
        vec![("content-type", "text/plain")],
        vec![("content-profile", "nope")],
        vec![("prefer", "count=exact,return=representation,resolution=ignore-duplicates")],
    ])
}

#[test]
fn writes_and_calls_of_one_shape_differ_in_values_only() {
    let same = |action, name, one: (&str, &'static str), other: (&str, &'static str)| {
        let bench = Bench::of(action, name, &[]);
        let kept = bench.prepare(one.0, one.1).unwrap();
        bench.again(&kept, other, one).is_some()
    };
    let insert = |one, other| same(Action::Insert, "people", ("", one), ("", other));
    assert!(insert(r#"{"id":1,"name":"x"}"#, r#" {"name":null,"id":[2]} "#));
    assert!(!insert(r#"{"id":1}"#, r#"{"name":1}"#));
    assert!(!insert(r#"{"id":1}"#, r#"[{"id":1}]"#));
    assert!(insert(r#"[{"id":1}]"#, r#"[{"id":1},{"id":2}]"#));
    assert!(same(Action::Call, "add", ("", r#"{"a":1,"b":2}"#), ("", r#"{"b":3,"a":4}"#)));
    assert!(same(Action::Update, "people", ("id=eq.1", r#"{"name":1}"#), ("id=eq.9", r#"{"name":2}"#)));
    assert!(same(Action::Delete, "people", ("id=eq.1", ""), ("id=eq.9", "")));
    assert!(!same(Action::Delete, "people", ("id=eq.1", ""), ("id=gt.1", "")));
    let kept = |bench: &Bench, body| bench.prepare("", body).is_some();
    assert!(!kept(&Bench::of(Action::Insert, "people", &[("content-type", "text/csv")]), "id\n1"));
    assert!(!kept(&Bench::of(Action::CallByGet, "add", &[]), ""), "arguments are no operands");
}

#[test]
fn operands_of_plain_comparisons_make_no_other_shape() {
    let same = |one: &str, other: &str| {
        let bench = Bench::new(&[]);
        let read = bench.prepare(one, "").unwrap();
        bench.again(&read, (other, ""), (one, "")).is_some()
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
        assert!(Bench::new(&[("prefer", prefer)]).prepare(query, "").is_none(), "{query}");
    }
    assert!(Bench::new(&[]).prepare("id=eq.1", "").is_some());
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
    let (bench, kept) = (Bench::new(&[]), Kept::default());
    let queries: Vec<_> = (0..100).map(|it| format!("limit={}", it + 1)).collect();
    let decoded: Vec<_> = queries.iter().map(|it| Parameters::decode(it)).collect();
    let shapes: Vec<_> =
        decoded.iter().map(|it| Shape::of(bench.asked(it), &Bytes::new()).unwrap()).collect();
    for (query, shape) in queries.iter().zip(&shapes) {
        kept.keep(shape, &bench.prepare(query, "").unwrap().into(), 10);
        assert!(kept.get(&shapes[0]).is_some(), "{query}");
        assert!(kept.len() <= 10);
    }
    assert!(kept.get(&shapes[1]).is_none());
    kept.keep(&shapes[1], &bench.prepare("limit=2", "").unwrap().into(), 0);
    assert!(kept.get(&shapes[1]).is_none());
}
