//! Finds the type of a column, and what must be done to it for output, in filters and in bodies.

use crate::catalog::{Catalog, Table};
use crate::request::filter::{Filter, Logic, Operation};
use crate::request::names::{Field, JsonStep};

use super::{Column, Condition};

/// Where columns are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// What exists.
    pub(super) catalog: &'a Catalog,
    /// The relation, when it is known; columns of others are left to PostgreSQL.
    pub(super) table: Option<&'a Table>,
}

impl<'a> Scope<'a> {
    /// A column as it stands.
    pub(super) fn plain(self, name: &'a str, path: &'a [JsonStep<'a>]) -> Column<'a> {
        let declared = self.declared_type(name);
        let to_json = !matches!(declared, Some("json" | "jsonb"));
        Column { name, path, to_json, to_vector: None, transform: None, whole_row: false }
    }

    /// A column for the answer.
    pub(super) fn output(self, field: &'a Field<'a>) -> Column<'a> {
        let transform =
            self.declared_type(&field.name).and_then(|it| self.catalog.representation(it, "json"));
        Column { transform, ..self.plain(&field.name, &field.path) }
    }

    /// A column compared with client text.
    fn compared(self, field: &'a Field<'a>, operation: &Operation<'a>) -> Column<'a> {
        let declared = self.declared_type(&field.name);
        let transform = declared.and_then(|it| self.catalog.representation("text", it));
        let to_vector = match operation {
            Operation::Search(_, language, _) if self.base_type(&field.name) != Some("tsvector") => {
                Some(*language)
            }
            _ => None,
        };
        Column { transform, to_vector, ..self.plain(&field.name, &field.path) }
    }

    fn column(self, name: &str) -> Option<&'a crate::catalog::Column> {
        self.table?.columns.get(name)
    }

    fn declared_type(self, name: &str) -> Option<&'a str> {
        self.column(name).map(|it| it.declared_type.as_str())
    }

    fn base_type(self, name: &str) -> Option<&'a str> {
        self.column(name).map(|it| it.base_type.as_str())
    }

    /// A filter with its column found.
    pub(super) fn filter(self, filter: &'a Filter<'a>) -> Condition<'a> {
        Condition::Filter {
            column: self.compared(&filter.field, &filter.operation),
            negated: filter.negated,
            operation: &filter.operation,
        }
    }

    /// A logic tree with its columns found.
    pub(super) fn logic(self, logic: &'a Logic<'a>) -> Condition<'a> {
        match logic {
            Logic::Filter(filter) => self.filter(filter),
            Logic::Group { negated, any, items } => Condition::Group {
                negated: *negated,
                any: *any,
                items: items.iter().map(|it| self.logic(it)).collect(),
            },
        }
    }
}
