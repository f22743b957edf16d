//! `parameters`: what a request can be told, under names that paths refer to, and the arguments of a function.

use indexmap::IndexMap;
use serde::Serialize;

use super::definition::{self, Object};
use super::types::{self, Items};
use super::{Reference, Relation, Routine};

/// A parameter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameter<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    required: bool,
    #[serde(rename = "in")]
    place: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Items<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'static str>,
    #[serde(rename = "enum", skip_serializing_if = "<[_]>::is_empty")]
    values: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Schema<'a>>,
}

/// What a body is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Row(Reference),
    Arguments(Object<'a>),
}

/// A parameter, or the name of one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Entry<'a> {
    /// Named in `parameters`.
    Named(Reference),
    /// Described where it is used.
    Own(Box<Parameter<'a>>),
}

impl Entry<'_> {
    /// `name` of `parameters`.
    pub(super) fn named(name: &str) -> Self {
        Self::Named(Reference::parameter(name))
    }
}

impl<'a> Parameter<'a> {
    /// Optional text.
    fn text(place: &'static str, name: &'a str, description: Option<&'a str>) -> Self {
        Self {
            name,
            description,
            required: false,
            place,
            kind: Some("string"),
            format: None,
            items: None,
            collection_format: None,
            default: None,
            values: &[],
            schema: None,
        }
    }

    fn body(name: &'a str, description: Option<&'a str>, schema: Schema<'a>) -> Self {
        Self { kind: None, schema: Some(schema), ..Self::text("body", name, description) }
    }
}

/// What `Prefer` can say, by the parameter's name.
const PREFERENCES: [(&str, &[&str]); 4] = [
    ("preferParams", &[]),
    ("preferReturn", &["return=representation", "return=minimal", "return=none"]),
    ("preferCount", &["count=none"]),
    (
        "preferPost",
        &[
            "return=representation",
            "return=minimal",
            "return=none",
            "resolution=ignore-duplicates",
            "resolution=merge-duplicates",
        ],
    ),
];

/// What relations have in common: the parameter's name, where it is, its name there, its description.
const COMMON: [(&str, &str, &str, &str); 7] = [
    ("select", "query", "select", "Filtering Columns"),
    ("on_conflict", "query", "on_conflict", "On Conflict"),
    ("order", "query", "order", "Ordering"),
    ("range", "header", "Range", "Limiting and Pagination"),
    ("rangeUnit", "header", "Range-Unit", "Limiting and Pagination"),
    ("offset", "query", "offset", "Limiting and Pagination"),
    ("limit", "query", "limit", "Limiting and Pagination"),
];

/// All that paths refer to.
pub(super) fn all<'a>(relations: &[Relation<'a>]) -> IndexMap<String, Parameter<'a>> {
    let preferences = PREFERENCES.map(|(key, values)| {
        let parameter = Parameter { values, ..Parameter::text("header", "Prefer", Some("Preference")) };
        (key.to_owned(), parameter)
    });
    let common = COMMON.map(|(key, place, name, description)| {
        let default = (key == "rangeUnit").then_some("items");
        (key.to_owned(), Parameter { default, ..Parameter::text(place, name, Some(description)) })
    });
    preferences.into_iter().chain(common).chain(relations.iter().flat_map(|it| of_relation(*it))).collect()
}

/// The name of a relation's body.
pub(super) fn body_key(relation: &str) -> String {
    format!("body.{relation}")
}

/// The name of a column's filter.
pub(super) fn filter_key(relation: &str, column: &str) -> String {
    format!("rowFilter.{relation}.{column}")
}

/// A relation's body and filters.
fn of_relation<'a>(Relation { table, notes }: Relation<'a>) -> impl Iterator<Item = (String, Parameter<'a>)> {
    let relation = table.name.name.as_str();
    let row = Schema::Row(Reference::definition(relation));
    let body = (body_key(relation), Parameter::body(relation, Some(relation), row));
    let filters = table.columns.keys().map(move |column| {
        let comment = notes.column(column).and_then(|it| it.comment.as_deref());
        (filter_key(relation, column), Parameter::text("query", column, comment))
    });
    std::iter::once(body).chain(filters)
}

/// The arguments of a function as query parameters.
pub(super) fn in_query<'a>(Routine { function, notes }: Routine<'a>) -> Vec<Entry<'a>> {
    let parameters = function.parameters.iter().enumerate().map(|(idx, it)| {
        let type_name = notes.type_of(idx, it);
        let element = type_name.strip_suffix("[]").filter(|_| it.variadic);
        let parameter = Parameter { required: it.required, ..Parameter::text("query", &it.name, None) };
        let parameter = match element {
            Some(element) => Parameter {
                kind: Some("array"),
                items: Some(Items { kind: types::kind(element), format: Some(types::format(element)) }),
                collection_format: Some("multi"),
                ..parameter
            },
            None => Parameter {
                kind: Some(types::kind_in_query(type_name)),
                format: Some(types::format(type_name)),
                ..parameter
            },
        };
        Entry::Own(Box::new(parameter))
    });
    parameters.collect()
}

/// The arguments of a function as the body.
pub(super) fn in_body<'a>(routine: Routine<'a>) -> Vec<Entry<'a>> {
    let arguments = Schema::Arguments(definition::arguments(routine));
    let body = Parameter { required: true, ..Parameter::body("args", None, arguments) };
    vec![Entry::Own(Box::new(body)), Entry::named("preferParams")]
}
