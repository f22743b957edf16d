//! From query string to statement, as text with its parameters.

use bytes::Bytes;
use common::RestSettings;
use http::{HeaderMap, HeaderName, Method};
use insta::assert_snapshot;

use crate::catalog::sample;
use crate::plan::{self, Context};
use crate::request::{Action, Head, Limits, Parameters, Request};

/// The statement of a request: `METHOD name?query`, header lines, body. Errors by their code.
fn check(head: &str, body: &str) -> String {
    let catalog = sample::catalog();
    let settings = RestSettings { db_max_rows: None, ..RestSettings::default() };
    let mut lines = head.lines().map(str::trim);
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let (name, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|it| it.split_once(": ")) {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let function = name.strip_prefix("rpc/");
    let action = match (method, function) {
        ("GET", None) => Action::Read,
        ("GET", Some(_)) => Action::CallByGet,
        ("POST", Some(_)) => Action::Call,
        ("POST", None) => Action::Insert,
        ("PUT", _) => Action::Put,
        ("PATCH", _) => Action::Update,
        _ => Action::Delete,
    };
    let method: Method = method.parse().unwrap();
    let parameters = Parameters::decode(query);
    let limits = &Limits::default();
    let head = Head { method: &method, headers: &headers, settings: &settings, limits };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let request = Request::parse(head, action, &parameters, body).unwrap();
    let context = Context { catalog: &catalog, settings: &settings, request: &request };
    let count = request.preferences.count;
    let statement = match (action, function) {
        (Action::Read, _) => plan::read(context, name).map(|it| super::read(&it, count, None)),
        (_, Some(name)) => {
            plan::call(context, name).map(|it| super::call(&it, request.payload.as_ref(), count, None))
        }
        _ => plan::write(context, name).map(|it| super::write(&it, it.has_location(&request))),
    };
    match statement {
        Ok(it) => {
            let params: Vec<_> = it.params.iter().flatten().map(|it| String::from_utf8_lossy(it)).collect();
            format!("{} <- {params:?}", it.text)
        }
        Err(error) => format!("{} {error}", error.code()),
    }
}

#[test]
fn values_travel_as_parameters() {
    assert_snapshot!(check("GET people?select=id&age=gt.18&name=in.(a,\"b,c\")", ""), @r#"with pgrst_source as (select "people"."id" from "public"."people" as "people" where "people"."age" > $1 and "people"."name" = any($2)) select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- ["18", "{\"a\",\"b,c\"}"]"#);
    assert_snapshot!(check("GET people?select=n:name,data->a->>0&or=(age.lt.1,not.and(id.eq.2,name.like.*x*))&order=data->b.desc&limit=3&offset=1", ""), @r#"with pgrst_source as (select "people"."name" as "n", "people"."data"->$1->>$2::int as "a" from "public"."people" as "people" where ("people"."age" < $3 or not ("people"."id" = $4 and "people"."name" like $5)) order by "people"."data"->$6 desc limit $7 offset $8) select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- ["a", "0", "1", "2", "%x%", "b", "3", "1"]"#);
}

#[test]
fn a_row_by_its_key_comes_by_itself() {
    assert_snapshot!(check("GET people?select=name&age=gt.18&id=eq.5", ""), @r#"select row_to_json(_t.*) from (select "people"."name" from "public"."people" as "people" where "people"."age" > $1 and "people"."id" = $2) _t <- ["18", "5"]"#);
    assert_snapshot!(check("GET people_skills?skill_id=eq.1&person_id=eq.2\nAccept: application/vnd.pgrst.object+json;nulls=stripped", ""), @r#"select json_strip_nulls(row_to_json(_t.*)) from (select "people_skills".* from "public"."people_skills" as "people_skills" where "people_skills"."skill_id" = $1 and "people_skills"."person_id" = $2) _t <- ["1", "2"]"#);
    assert_snapshot!(check("GET people?select=name,skills(name)&id=eq.5", ""), @r#"select row_to_json(_t.*) from (select "people"."name", coalesce(_e1._e1, '[]') as "skills" from "public"."people" as "people" left join lateral (select jsonb_agg(_e1.*) as _e1 from (select "skills_1"."name" from "public"."skills" as "skills_1", "public"."people_skills" as _j where "skills_1"."id" = _j."skill_id" and "people"."id" = _j."person_id") as _e1) as _e1 on true where "people"."id" = $1) _t <- ["5"]"#);
    let aggregated = [
        "GET people?id=neq.5",
        "GET people?id=eq(any).{5}",
        "GET people?id=not.eq.5",
        "GET people?or=(id.eq.5,age.gt.18)",
        "GET people_skills?skill_id=eq.1",
        "GET people?select=name,teams(name)&id=eq.5",
        "GET people?id=eq.5\nPrefer: count=exact",
        "GET people?id=eq.5\nAccept: text/csv",
    ];
    for head in aggregated {
        assert!(check(head, "").starts_with("with "), "{head}");
    }
}

#[test]
fn embeds_are_lateral_joins() {
    assert_snapshot!(check("GET people?select=name,teams(name),skills(name)", ""), @r#"with pgrst_source as (select "people"."name", to_jsonb(_e1.*) as "teams", coalesce(_e2._e2, '[]') as "skills" from "public"."people" as "people" left join lateral (select "teams_1"."name" from "public"."teams" as "teams_1" where "teams_1"."id" = "people"."team_id") as _e1 on true left join lateral (select jsonb_agg(_e2.*) as _e2 from (select "skills_1"."name" from "public"."skills" as "skills_1", "public"."people_skills" as _j where "skills_1"."id" = _j."skill_id" and "people"."id" = _j."person_id") as _e2) as _e2 on true) select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- []"#);
    assert_snapshot!(check("GET teams?select=name,people!inner()&people.age=gt.1\nPrefer: count=exact\nRange: 0-1", ""), @r#"with pgrst_source as (select "teams"."name" from "public"."teams" as "teams" inner join lateral (select jsonb_agg(_e1.*) as _e1 from (select "people_1".* from "public"."people" as "people_1" where "people_1"."team_id" = "teams"."id" and "people_1"."age" > $1) as _e1) as _e1 on _e1._e1 is not null limit $2) select (select count(*) from (select 1 from "public"."teams" as "teams" where exists (select 1 from "public"."people" as "people_1" where "people_1"."team_id" = "teams"."id" and "people_1"."age" > $3)) _c), count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- ["1", "2", "1"]"#);
}

#[test]
fn writes_return_what_is_needed_and_no_more() {
    assert_snapshot!(check("POST people", r#"{"name":"x","age":1}"#), @r#"insert into "public"."people" ("age", "name") select pgrst_body."age", pgrst_body."name" from (select _b."age", _b."name" from json_to_record($1::json) as _b("age" integer, "name" text)) pgrst_body <- ["{\"name\":\"x\",\"age\":1}"]"#);
    assert_snapshot!(check("POST people?select=name,teams(name)\nPrefer: return=representation, resolution=merge-duplicates", r#"[{"id":1}]"#), @r#"with pgrst_source as (insert into "public"."people" ("id") select pgrst_body."id" from (select _b."id" from json_to_recordset($1::json) as _b("id" integer)) pgrst_body on conflict ("id") do update set "id" = excluded."id" where set_config('pgrst.updated', (coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0) + 1)::text, true) is not null returning "public"."people"."id", "public"."people"."name", "public"."people"."team_id") select null::bigint, count(*), null, null, count(*) - coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0), null, coalesce(json_agg(_t.*), '[]') from (select "people"."name", to_jsonb(_e1.*) as "teams" from pgrst_source as "people" left join lateral (select "teams_1"."name" from "public"."teams" as "teams_1" where "teams_1"."id" = "people"."team_id") as _e1 on true) _t <- ["[{\"id\":1}]"]"#);
    assert_snapshot!(check("PATCH people?id=eq.1\nPrefer: missing=default", r#"{"name":"x"}"#), @r#"update "public"."people" as "people" set "name" = pgrst_body."name" from (select _b."name" from jsonb_to_record(jsonb_build_object() || $1::jsonb) as _b("name" text)) pgrst_body where "people"."id" = $2 <- ["{\"name\":\"x\"}", "1"]"#);
    assert_snapshot!(check("DELETE people?id=eq.1", ""), @r#"delete from "public"."people" as "people" where "people"."id" = $1 <- ["1"]"#);
    assert_snapshot!(check("PUT teams?id=eq.1", r#"{"id":1,"name":"x"}"#), @r#"with pgrst_source as (insert into "public"."teams" ("id", "name") select pgrst_body."id", pgrst_body."name" from (select _b."id", _b."name" from json_to_record($1::json) as _b("id" integer, "name" text)) pgrst_body where "pgrst_body"."id" = $2 on conflict ("id") do update set "id" = excluded."id", "name" = excluded."name" where set_config('pgrst.updated', (coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0) + 1)::text, true) is not null returning 1) select null::bigint, count(*), null, null, count(*) - coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0), null, null from pgrst_source _t <- ["{\"id\":1,\"name\":\"x\"}", "1"]"#);
}

#[test]
fn calls_name_their_arguments() {
    assert_snapshot!(check("GET rpc/older_than?years=3&select=name&age=lt.9", ""), @r#"with pgrst_source as (select pgrst_call."age", pgrst_call."name" from "public"."older_than"("years" := $1::integer) pgrst_call) select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from (select "people"."name" from pgrst_source as "people" where "people"."age" < $2) _t <- ["3", "9"]"#);
    assert_snapshot!(check("POST rpc/add", r#"{"a":1,"b":2}"#), @r#"with pgrst_source as (select pgrst_call.pgrst_scalar from (select _b."a", _b."b" from json_to_record($1::json) as _b("a" integer, "b" integer)) pgrst_body, lateral (select "public"."add"("a" := pgrst_body."a", "b" := pgrst_body."b") as pgrst_scalar) pgrst_call) select null::bigint, 1, null, null, null, null, coalesce(json_agg(_t.pgrst_scalar)->0, 'null') from (select "add".* from pgrst_source as "add") _t <- ["{\"a\":1,\"b\":2}"]"#);
}

#[test]
fn names_cannot_end_their_quotes() {
    assert_snapshot!(check(r#"GET people?select="a\"b""#, ""), @r#"with pgrst_source as (select "people"."a""b" from "public"."people" as "people") select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- []"#);
    assert_snapshot!(check("GET people?select=id::int4 $", ""), @r#"with pgrst_source as (select cast("people"."id" as "int4 $") from "public"."people" as "people") select null::bigint, count(*), null, null, null, null, coalesce(json_agg(_t.*), '[]') from pgrst_source _t <- []"#);
}
