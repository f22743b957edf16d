//! Plans an insert, upsert, update or delete, and what it returns.

use crate::catalog::{Expression, Link, Table};
use crate::error::{CatalogError, Error, RequestError};
use crate::request::filter::{Operation, Operator};
use crate::request::prefer::{Missing, Resolution, Return};
use crate::request::{Action, Payload, Request};

use super::field::Scope;
use super::{Condition, Context, From, ReadPlan, Returning, Shaped, negotiate, read};

/// A change of rows, and what is answered about them.
#[derive(Debug)]
pub(crate) struct WritePlan<'a> {
    /// The relation.
    pub(crate) table: &'a Table,
    /// What is done.
    pub(crate) change: Change<'a>,
    /// The columns that come back.
    pub(crate) returning: Returning<'a>,
    /// What is answered.
    pub(crate) shaped: Shaped<'a>,
}

impl WritePlan<'_> {
    /// Whether the answer tells where the new row is.
    pub(crate) fn has_location(&self, request: &Request<'_>) -> bool {
        request.action == Action::Insert
            && request.preferences.representation == Some(Return::HeadersOnly)
            && !self.table.primary_key.is_empty()
    }
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// New rows.
    Insert {
        /// The body.
        body: &'a Payload,
        /// Its columns.
        columns: Vec<BodyColumn<'a>>,
        /// Whether absent keys take the column's default.
        defaults: bool,
        /// What happens to rows that are there already.
        conflict: Option<Conflict<'a>>,
        /// What the body's row must fulfil (PUT).
        conditions: Vec<Condition<'a>>,
    },
    /// Changed rows.
    Update {
        /// The body.
        body: &'a Payload,
        /// Its columns.
        columns: Vec<BodyColumn<'a>>,
        /// Whether absent keys take the column's default.
        defaults: bool,
        /// Which rows.
        conditions: Vec<Condition<'a>>,
    },
    /// Deleted rows.
    Delete {
        /// Which rows.
        conditions: Vec<Condition<'a>>,
    },
}

/// A column that the body sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyColumn<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its type; `None` for JSON that `transform` takes.
    pub(crate) type_name: Option<&'a Expression>,
    /// The cast of a data representation.
    pub(crate) transform: Option<&'a Expression>,
    /// Its default.
    pub(crate) default: Option<&'a Expression>,
}

/// What happens to rows that are there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict<'a> {
    /// The columns that tell that a row is there.
    pub(crate) columns: Vec<&'a str>,
    /// What happens.
    pub(crate) resolution: Resolution,
}

/// Plan a mutation of the relation `name`.
///
/// # Errors
/// PGRST205, PGRST204 for a column, PGRST105 for PUT, and whatever reading back may give.
pub(crate) fn write<'a>(context: Context<'a>, name: &str) -> Result<WritePlan<'a>, Error> {
    let request = context.request;
    let table = context.catalog.table(request.schema, name)?;
    let root = read::Root { from: From::Source, name: &table.name.name, table: Some(table) };
    let rows = read::rows(context, root)?;
    let change = change(context, table)?;
    context.check_preferences()?;
    let returning = match request.preferences.representation {
        None | Some(Return::Minimal) => Returning::Nothing,
        Some(Return::Representation | Return::HeadersOnly) => returning(&rows, &table.primary_key),
    };
    let shaped = negotiate::shape(context, rows, &table.name)?;
    Ok(WritePlan { table, change, returning, shaped })
}

fn change<'a>(context: Context<'a>, table: &'a Table) -> Result<Change<'a>, Error> {
    let request = context.request;
    let Some(body) = &request.payload else {
        return Ok(Change::Delete { conditions: conditions(context, table) });
    };
    let defaults = request.preferences.missing == Some(Missing::Default) && request.action != Action::Put;
    if request.action == Action::Put {
        check_put(context, table)?;
    }
    let columns = columns(context, table, body)?;
    if request.action == Action::Update {
        return Ok(Change::Update { body, columns, defaults, conditions: conditions(context, table) });
    }
    let conditions = if request.action == Action::Put { conditions(context, table) } else { Vec::new() };
    Ok(Change::Insert { body, columns, defaults, conflict: conflict(context, table), conditions })
}

fn conflict<'a>(context: Context<'a>, table: &'a Table) -> Option<Conflict<'a>> {
    let request = context.request;
    let resolution = match request.action {
        Action::Put => Resolution::MergeDuplicates,
        _ => request.preferences.resolution?,
    };
    let columns: Vec<&str> = match &request.query.on_conflict {
        Some(columns) if request.action != Action::Put => columns.iter().map(AsRef::as_ref).collect(),
        _ => table.primary_key.iter().map(String::as_str).collect(),
    };
    (!columns.is_empty()).then_some(Conflict { columns, resolution })
}

/// PUT names one row by its primary key, in the URL.
fn check_put(context: Context<'_>, table: &Table) -> Result<(), RequestError> {
    let query = &context.request.query;
    let is_key = |name: &str| table.primary_key.iter().any(|it| it == name);
    let all_named = table
        .primary_key
        .iter()
        .all(|key| query.filters.iter().any(|(path, it)| path.is_empty() && it.field.name == *key));
    let all_equal = query.filters.iter().all(|(path, it)| {
        let is_equal = matches!(it.operation, Operation::Compare(Operator::Eq, None, _));
        path.is_empty() && is_key(&it.field.name) && it.field.path.is_empty() && is_equal && !it.negated
    });
    if table.primary_key.is_empty() || !query.logic.is_empty() || !all_named || !all_equal {
        return Err(RequestError::PutFilters);
    }
    Ok(())
}

/// What the query string says about the relation's own rows.
fn conditions<'a>(context: Context<'a>, table: &'a Table) -> Vec<Condition<'a>> {
    let scope = Scope { catalog: context.catalog, table: Some(table) };
    let query = &context.request.query;
    let filters = query.filters.iter().filter(|(path, _)| path.is_empty()).map(|(_, it)| scope.filter(it));
    let logic = query.logic.iter().filter(|(path, _)| path.is_empty()).map(|(_, it)| scope.logic(it));
    filters.chain(logic).collect()
}

fn columns<'a>(
    context: Context<'a>,
    table: &'a Table,
    body: &'a Payload,
) -> Result<Vec<BodyColumn<'a>>, CatalogError> {
    let find = |name: &'a String| {
        let column = table
            .columns
            .get(name)
            .ok_or_else(|| CatalogError::NoColumn { table: table.name.name.clone(), column: name.clone() })?;
        let transform = context.catalog.representation("json", column.declared_type.as_str());
        Ok(BodyColumn {
            name: &column.name,
            type_name: if transform.is_some() { None } else { Some(&column.declared_type) },
            transform,
            default: column.default.as_ref(),
        })
    };
    body.keys.iter().map(find).collect()
}

/// The columns that selecting, ordering and embedding need, and those of the primary key (for `Location`).
pub(super) fn returning<'a>(rows: &ReadPlan<'a>, primary_key: &'a [String]) -> Returning<'a> {
    let is_star = rows.select.iter().any(|it| it.column.name == "*" || it.column.whole_row);
    let is_computed = rows.embeds.iter().any(|it| matches!(it.relationship.link, Link::Function { .. }));
    if is_star || is_computed || (rows.select.is_empty() && rows.embeds.is_empty()) {
        return Returning::All;
    }
    let mut names: Vec<&str> = rows.select.iter().map(|it| it.column.name).collect();
    names.extend(rows.order.iter().filter(|it| it.embed.is_none()).map(|it| it.column.name));
    names.extend(primary_key.iter().map(String::as_str));
    for embed in &rows.embeds {
        let pairs = match &embed.relationship.link {
            Link::OneToMany(key) | Link::ManyToOne(key) | Link::OneToOne(key) => &key.columns,
            Link::ManyToMany(junction) => &junction.source,
            Link::Function { .. } => continue,
        };
        names.extend(pairs.iter().map(|(own, _)| own.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    Returning::Columns(names)
}
