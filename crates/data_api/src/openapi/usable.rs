//! What PostgreSQL tells the caller of a schema: which relations and functions the role may use, comments, and what
//! else only the document wants. Asked in the request's own transaction, so the cached catalog stays small.

use std::collections::HashMap;

use bytes::Bytes;
use common::OpenApiMode;
use serde::{Deserialize, Deserializer};
use store::{Answer, Statement};

use crate::catalog::{Function, Parameter, Table};

/// What is shown of a schema.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Usable {
    /// The schema's comment.
    pub(super) comment: Option<String>,
    relations: HashMap<String, RelationNotes>,
    /// By oid: names may mean several.
    functions: HashMap<u32, FunctionNotes>,
}

/// What is said about a relation.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RelationNotes {
    /// Its comment.
    pub(super) comment: Option<String>,
    columns: HashMap<String, ColumnNotes>,
}

/// What is said about a column.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ColumnNotes {
    /// Its comment.
    pub(super) comment: Option<String>,
    /// Whether it is never null.
    pub(super) required: bool,
    /// The most characters (or bits) it holds.
    pub(super) max_length: Option<u32>,
    /// The labels of its enum, in order.
    pub(super) values: Vec<String>,
}

/// What is said about a function.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionNotes {
    /// Its comment.
    pub(super) comment: Option<String>,
    /// Types of its input parameters, as the caller would write them; the catalog's when there are none.
    #[serde(deserialize_with = "or_none")]
    types: Vec<String>,
}

fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Asks for [`Usable`] of `schema`.
pub(crate) fn statement(schema: &str, mode: OpenApiMode) -> Statement {
    let follows = mode != OpenApiMode::IgnorePrivileges;
    let follows = Bytes::from_static(if follows { b"true" } else { b"false" });
    let schema = Bytes::copy_from_slice(schema.as_bytes());
    Statement { text: include_str!("usable.sql").into(), params: vec![Some(schema), Some(follows)] }
}

impl Usable {
    /// What [`statement`] gave; nothing when the schema does not exist.
    ///
    /// # Errors
    /// [`store::Error::Connect`] when the answer is of another shape.
    pub(crate) fn read(answer: &Answer) -> Result<Self, store::Error> {
        let Some(text) = answer.rows.first().and_then(|it| it.bytes(0)) else { return Ok(Self::default()) };
        serde_json::from_slice(text).map_err(|error| store::Error::Connect(Box::new(error)))
    }

    /// What is said about `table`, if it is shown.
    pub(super) fn relation(&self, table: &Table) -> Option<&RelationNotes> {
        self.relations.get(&table.name.name)
    }

    /// What is said about `function`, if it is shown.
    pub(super) fn function(&self, function: &Function) -> Option<&FunctionNotes> {
        self.functions.get(&function.oid)
    }
}

impl RelationNotes {
    /// What is said about the column `name`; nothing of one that the catalog knows of and the database no more.
    pub(super) fn column(&self, name: &str) -> Option<&ColumnNotes> {
        self.columns.get(name)
    }
}

impl FunctionNotes {
    /// The type of `parameter`, which is number `idx`.
    pub(super) fn type_of<'a>(&'a self, idx: usize, parameter: &'a Parameter) -> &'a str {
        self.types.get(idx).map_or(parameter.type_name.as_str(), String::as_str)
    }
}
