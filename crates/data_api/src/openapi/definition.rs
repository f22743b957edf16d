//! `definitions`: the rows of each relation, and the arguments of a function.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::types::{self, Items};
use super::{Context, Relation, Routine};
use crate::catalog::{Catalog, Column, Table};

/// A row, or arguments by name.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<&'a str>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    properties: IndexMap<&'a str, Property<'a>>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// A column or an argument.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Property<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(rename = "enum", skip_serializing_if = "<[_]>::is_empty")]
    values: &'a [String],
    format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Items<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<u32>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

impl<'a> Property<'a> {
    fn new(type_name: &'a str) -> Self {
        Self {
            default: None,
            description: None,
            values: &[],
            format: types::format(type_name),
            items: types::items(type_name),
            max_length: None,
            kind: types::kind(type_name),
        }
    }
}

/// The rows of every relation.
pub(super) fn all<'a>(context: Context<'a>, relations: &[Relation<'a>]) -> IndexMap<&'a str, Object<'a>> {
    relations.iter().map(|it| (it.table.name.name.as_str(), row(context.catalog, *it))).collect()
}

/// A row of a relation.
fn row<'a>(catalog: &Catalog, Relation { table, notes }: Relation<'a>) -> Object<'a> {
    let is_required = |name: &&str| notes.column(name).is_some_and(|it| it.required);
    let property = |column: &'a Column| {
        let mut property = Property::new(column.base_type.as_str());
        let default = column.default.as_ref();
        property.default = default.and_then(|it| types::default(column.base_type.as_str(), it.as_str()));
        let notes = notes.column(&column.name);
        property.description = describe(catalog, table, column, notes.and_then(|it| it.comment.as_deref()));
        property.max_length = notes.and_then(|it| it.max_length);
        property.values = notes.map_or(&[], |it| it.values.as_slice());
        (column.name.as_str(), property)
    };
    Object {
        description: notes.comment.as_deref(),
        required: table.columns.keys().map(String::as_str).filter(is_required).collect(),
        properties: table.columns.values().map(property).collect(),
        kind: "object",
    }
}

/// The comment of a column and what it means for keys.
fn describe(catalog: &Catalog, table: &Table, column: &Column, comment: Option<&str>) -> Option<String> {
    let mut lines = Vec::new();
    if table.primary_key.contains(&column.name) {
        lines.push("This is a Primary Key.<pk/>".to_owned());
    }
    if let Some((target, key)) = referred(catalog, table, &column.name) {
        lines
            .push(format!("This is a Foreign Key to `{target}.{key}`.<fk table='{target}' column='{key}'/>"));
    }
    if lines.is_empty() {
        return comment.map(str::to_owned);
    }
    let note = format!("Note:\n{}", lines.join("\n"));
    Some(comment.map_or_else(|| note.clone(), |it| format!("{it}\n\n{note}")))
}

/// The relation and column that a column alone refers to; rather a table than a view.
fn referred<'a>(catalog: &'a Catalog, table: &Table, column: &str) -> Option<(&'a str, &'a str)> {
    let relationships = catalog.relationships(&table.name.schema, &table.name.name).iter();
    let referring = relationships.filter(|it| it.origin_refers).filter_map(|it| {
        match it.link.key()?.columns.as_slice() {
            [(own, foreign)] if own == column => Some((it, foreign.as_str())),
            _ => None,
        }
    });
    let (relationship, key) = referring.min_by_key(|(it, _)| it.target_is_view)?;
    Some((&relationship.target.name, key))
}

/// The arguments of a function.
pub(super) fn arguments<'a>(Routine { function, notes }: Routine<'a>) -> Object<'a> {
    let parameters = function.parameters.iter();
    Object {
        description: notes.comment.as_deref(),
        required: parameters.clone().filter(|it| it.required).map(|it| it.name.as_str()).collect(),
        properties: parameters
            .enumerate()
            .map(|(idx, it)| (it.name.as_str(), Property::new(notes.type_of(idx, it))))
            .collect(),
        kind: "object",
    }
}
