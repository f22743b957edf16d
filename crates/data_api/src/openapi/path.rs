//! `paths`: the document itself, every relation, every function.

use indexmap::IndexMap;
use serde::Serialize;

use super::parameter::{self, Entry, body_key, filter_key};
use super::{RESULTS, Reference, Relation, Routine, headline};
use crate::catalog::Volatility;

/// What can be done at a path.
#[derive(Debug, Default, Serialize)]
pub(super) struct PathItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<Operation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post: Option<Operation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete: Option<Operation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Operation<'a>>,
}

/// A method of a path.
#[derive(Debug, Serialize)]
struct Operation<'a> {
    tags: [String; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    produces: &'static [&'static str],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<Entry<'a>>,
    responses: IndexMap<&'static str, Answer>,
}

/// What a status means.
#[derive(Debug, Serialize)]
struct Answer {
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Rows>,
}

/// Rows of a relation.
#[derive(Debug, Serialize)]
struct Rows {
    items: Reference,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'a> Operation<'a> {
    /// An operation whose first words are the first line of `comment`.
    fn new(tag: String, comment: Option<&'a str>) -> Self {
        let (summary, description) = comment.map(headline).unzip();
        Self {
            tags: [tag],
            summary,
            description: description.filter(|it| !it.is_empty()),
            produces: &[],
            parameters: Vec::new(),
            responses: IndexMap::new(),
        }
    }

    fn with(mut self, parameters: Vec<Entry<'a>>) -> Self {
        self.parameters = parameters;
        self
    }

    fn answers(mut self, status: &'static str, description: &'static str) -> Self {
        self.responses.insert(status, Answer { description, schema: None });
        self
    }

    fn answers_rows(mut self, of: &str) -> Self {
        let rows = Rows { items: Reference::definition(of), kind: "array" };
        self.responses.insert("200", Answer { description: "OK", schema: Some(rows) });
        self
    }
}

/// All paths.
pub(super) fn all<'a>(
    relations: &[Relation<'a>],
    routines: &[Routine<'a>],
) -> IndexMap<String, PathItem<'a>> {
    let relations = relations.iter().map(|it| (format!("/{}", it.table.name.name), of_relation(*it)));
    let routines = routines.iter().map(|it| (format!("/rpc/{}", it.function.name.name), of_function(*it)));
    std::iter::once(("/".to_owned(), root())).chain(relations).chain(routines).collect()
}

/// The document itself.
fn root<'a>() -> PathItem<'a> {
    let get = Operation::new("Introspection".into(), Some("OpenAPI description (this document)"));
    let get = Operation { produces: &["application/openapi+json", "application/json"], ..get };
    PathItem { get: Some(get.answers("200", "OK")), ..PathItem::default() }
}

/// Reading a relation and, when any way of writing it is possible, writing.
fn of_relation<'a>(Relation { table, notes }: Relation<'a>) -> PathItem<'a> {
    let name = table.name.name.as_str();
    let operation = || Operation::new(name.to_owned(), notes.comment.as_deref());
    let body = body_key(name);
    let filtered = |others: &[&str]| {
        let filters = table.columns.keys().map(|it| Entry::named(&filter_key(name, it)));
        filters.chain(others.iter().map(|it| Entry::named(it))).collect()
    };
    let page = ["select", "order", "range", "rangeUnit", "offset", "limit", "preferCount"];
    let get = operation().with(filtered(&page)).answers_rows(name).answers("206", "Partial Content");
    let read = PathItem { get: Some(get), ..PathItem::default() };
    if !(table.is_insertable() || table.is_updatable() || table.is_deletable()) {
        return read;
    }
    let post = [body.as_str(), "select", "preferPost"].map(Entry::named).into();
    PathItem {
        post: Some(operation().with(post).answers("201", "Created")),
        patch: Some(operation().with(filtered(&[&body, "preferReturn"])).answers("204", "No Content")),
        delete: Some(operation().with(filtered(&["preferReturn"])).answers("204", "No Content")),
        ..read
    }
}

/// Calling a function: by POST, and by GET if it does not write.
fn of_function<'a>(routine: Routine<'a>) -> PathItem<'a> {
    let operation = |parameters| {
        let tag = format!("(rpc) {}", routine.function.name.name);
        let operation = Operation::new(tag, routine.notes.comment.as_deref()).with(parameters);
        Operation { produces: &RESULTS, ..operation }.answers("200", "OK")
    };
    let get = match routine.function.volatility {
        Volatility::Volatile => None,
        Volatility::Stable | Volatility::Immutable => Some(operation(parameter::in_query(routine))),
    };
    PathItem { get, post: Some(operation(parameter::in_body(routine))), ..PathItem::default() }
}
