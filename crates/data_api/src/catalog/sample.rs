//! A small catalog for tests of the pure stages: teams, people (with a manager and skills), a view, functions.

use serde_json::{Value, json};

use super::links::{self, Sources};
use super::{Catalog, Function, Schema, Table};

fn table(name: &str, key: &[&str], columns: &[(&str, &str)]) -> Table {
    let columns: Vec<Value> = columns
        .iter()
        .map(|(name, kind)| json!({"name": name, "base_type": kind, "declared_type": kind, "default": null}))
        .collect();
    let table = json!({"schema": "public", "name": name, "is_view": false, "is_inherited": false, "is_plain": true, "events": 28, "primary_key": key, "columns": columns});
    serde_json::from_value(table).unwrap()
}

fn key(kind: char, table: (u32, &str), columns: &[(i32, &str)], foreign: Option<(u32, &str)>) -> Value {
    let numbers: Vec<_> = columns.iter().map(|it| it.0).collect();
    let names: Vec<_> = columns.iter().map(|it| it.1).collect();
    json!({
        "name": format!("{}_{}_{kind}key", table.1, names.join("_")), "kind": kind, "table_oid": table.0,
        "table": {"schema": "public", "name": table.1}, "numbers": numbers, "columns": names,
        "foreign_oid": foreign.map_or(0, |it| it.0),
        "foreign": foreign.map(|it| json!({"schema": "public", "name": it.1})),
        "foreign_numbers": foreign.map(|_| [1]), "foreign_columns": foreign.map(|_| ["id"]),
    })
}

fn function(name: &str, parameters: &Value, returns: &Value, volatility: char) -> Function {
    let function = json!({"schema": "public", "name": name, "oid": 0, "parameters": parameters, "returns": returns, "volatility": volatility, "settings": null});
    serde_json::from_value(function).unwrap()
}

/// The key of the junction.
const KEY: [&str; 2] = ["person_id", "skill_id"];

/// The catalog.
pub(crate) fn catalog() -> Catalog {
    let tables = vec![
        table("teams", &["id"], &[("id", "integer"), ("name", "text")]),
        table(
            "people",
            &["id"],
            &[
                ("id", "integer"),
                ("name", "text"),
                ("age", "integer"),
                ("team_id", "integer"),
                ("manager_id", "integer"),
                ("data", "jsonb"),
            ],
        ),
        table("skills", &["id"], &[("id", "integer"), ("name", "text")]),
        table("people_skills", &KEY, &KEY.map(|it| (it, "integer"))),
    ];
    let (teams, people, skills, junction) =
        ((1, "teams"), (2, "people"), (3, "skills"), (4, "people_skills"));
    let constraints = json!([
        key('p', teams, &[(1, "id")], None),
        key('p', people, &[(1, "id")], None),
        key('p', junction, &[(1, "person_id"), (2, "skill_id")], None),
        key('f', people, &[(4, "team_id")], Some(teams)),
        key('f', people, &[(5, "manager_id")], Some(people)),
        key('f', junction, &[(1, "person_id")], Some(people)),
        key('f', junction, &[(2, "skill_id")], Some(skills)),
    ]);
    let exposed = vec!["public".to_owned()];
    let constraints = serde_json::from_value(constraints).unwrap();
    let sources = Sources { constraints, views: Vec::new(), functions: Vec::new() };
    let views = links::Views::new(&sources.views, &exposed);
    let relationships = links::find(&sources, &views, &tables, &exposed);
    let integer = |name: &str, required: bool| json!({"name": name, "type": "integer", "cast": "integer", "required": required, "variadic": false});
    let row = json!({"schema": "public", "name": "people", "set": true, "composite": true});
    let value = json!({"schema": "pg_catalog", "name": "int4", "set": false, "composite": false});
    let numbers = json!({"name": "numbers", "type": "integer[]", "cast": "integer[]", "required": true, "variadic": true});
    let functions = vec![
        function("older_than", &json!([integer("years", true)]), &row, 's'),
        function("add", &json!([integer("a", true), integer("b", false)]), &value, 'i'),
        function("sum_of", &json!([numbers]), &value, 'i'),
        function("forget", &json!([]), &value, 'v'),
    ];
    let mut schema = Schema::default();
    for it in tables {
        schema.tables.insert(it.name.name.clone(), it);
    }
    for (oid, mut it) in (1..).zip(functions) {
        it.oid = oid;
        schema.functions.entry(it.name.name.clone()).or_default().push(it);
    }
    for (origin, known) in relationships {
        schema.relationships.insert(origin.name, known);
    }
    let mut catalog = Catalog::default();
    catalog.schemas.insert("public".into(), schema);
    catalog
}
