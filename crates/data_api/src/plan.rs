//! Request + catalog → plan: every relation, column type, relationship and function found; pure, no SQL yet.
//!
//! [`read`], [`write`] and [`call`] are the entry points; each refuses with `PGRST1xx` or `PGRST2xx`.

mod attach;
mod call;
mod embed;
mod field;
mod finish;
mod negotiate;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

use common::RestSettings;

use crate::catalog::{Catalog, Expression, Handler, Name, Relationship, Table};
use crate::error::RequestError;
use crate::request::filter::{Operation, Operator};
use crate::request::names::JsonStep;
use crate::request::order::{Direction, Nulls};
use crate::request::select::Aggregate;
use crate::request::{MediaType, Range, Request};

pub(crate) use call::{Argument, Arguments, CallPlan, call, describe as describe_function};
pub(crate) use read::read;
pub(crate) use write::{BodyColumn, Change, Conflict, WritePlan, write};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// What exists.
    pub(crate) catalog: &'a Catalog,
    /// The project's settings.
    pub(crate) settings: &'a RestSettings,
    /// What is wanted.
    pub(crate) request: &'a Request<'a>,
}

impl Context<'_> {
    /// Refuse unknown preferences when the client insists.
    fn check_preferences(&self) -> Result<(), RequestError> {
        let preferences = &self.request.preferences;
        if preferences.is_strict() && !preferences.unknown.is_empty() {
            return Err(RequestError::Preferences(preferences.unknown.join(", ")));
        }
        Ok(())
    }
}

/// Rows to select, and the form in which they are sent.
#[derive(Debug)]
pub(crate) struct Shaped<'a> {
    /// The rows.
    pub(crate) rows: ReadPlan<'a>,
    /// How they become a body.
    pub(crate) representation: Representation<'a>,
    /// What the body is called.
    pub(crate) media: MediaType,
    /// Whether the database may have a say about headers and status.
    pub(crate) responds: bool,
    /// Whether the only row there can be is sent by itself: nothing needs to be aggregated for it.
    pub(crate) is_row: bool,
}

impl Shaped<'_> {
    /// Whether the body is bytes in hexadecimal.
    pub(crate) fn is_binary(&self) -> bool {
        matches!(self.representation, Representation::Custom { handler, .. } if handler.is_binary)
    }

    /// Whether the body is a handler's `jsonb`.
    pub(crate) fn is_jsonb(&self) -> bool {
        matches!(self.representation, Representation::Custom { handler, .. } if handler.is_jsonb)
    }
}

/// How rows become a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation<'a> {
    /// There is no body.
    None,
    /// A JSON array; a value or object when a function gives one.
    Json {
        /// Keys whose value is null are left out.
        stripped: bool,
    },
    /// The only row as a JSON object.
    Object {
        /// Keys whose value is null are left out.
        stripped: bool,
    },
    /// CSV with a header row.
    Csv,
    /// A `FeatureCollection`.
    GeoJson,
    /// What a function of the project makes of it.
    Custom {
        /// The function.
        handler: &'a Handler,
        /// The relation whose rows it takes; `None` when it takes any.
        relation: Option<&'a Name>,
    },
}

/// One level of a select.
#[derive(Debug)]
pub(crate) struct ReadPlan<'a> {
    /// Where the rows come from.
    pub(crate) from: From<'a>,
    /// What its columns are qualified with.
    pub(crate) alias: Cow<'a, str>,
    /// The relation, when the catalog knows it.
    pub(crate) table: Option<&'a Table>,
    /// What is selected; empty together with `embeds` for all columns.
    pub(crate) select: Vec<Output<'a>>,
    /// All must hold.
    pub(crate) conditions: Vec<Condition<'a>>,
    /// The order.
    pub(crate) order: Vec<OrderBy<'a>>,
    /// The page.
    pub(crate) range: Range,
    /// What is embedded.
    pub(crate) embeds: Vec<Embed<'a>>,
}

/// Where rows come from.
#[derive(Debug, Clone)]
pub(crate) enum From<'a> {
    /// A relation.
    Table(&'a Name),
    /// The rows that a mutation or function gave.
    Source,
    /// A function of the parent's row.
    Function {
        /// The function.
        function: &'a Name,
        /// The relation whose row it takes.
        origin: &'a Name,
    },
}

/// Something embedded.
#[derive(Debug)]
pub(crate) struct Embed<'a> {
    /// As the client wrote it.
    pub(crate) name: &'a str,
    /// The client's alias.
    pub(crate) alias: Option<&'a str>,
    /// Number within the statement, from 1; its name there is `_e` and this.
    pub(crate) id: u32,
    /// Whether a parent without match is left out.
    pub(crate) inner: bool,
    /// What becomes of it.
    pub(crate) shape: Shape,
    /// Whether nothing of it is shown.
    pub(crate) is_hidden: bool,
    /// How its rows meet the parent's.
    pub(crate) relationship: &'a Relationship,
    /// Its rows.
    pub(crate) plan: ReadPlan<'a>,
    /// For spreads: what the parent shows of it.
    pub(crate) columns: Vec<SpreadColumn<'a>>,
    /// Whether a parameter named it by its name despite an alias.
    pub(crate) by_legacy_name: bool,
}

impl ReadPlan<'_> {
    /// Whether its filters leave at most one row, because they pin down the primary key.
    ///
    /// Not with an embed of one row: what a view or function gives there may be several, and then the parent's row
    /// comes as often. Nor with what is no column of the table: a function of its row may give several values.
    fn is_one_at_most(&self) -> bool {
        let pinned = |key: &String| {
            self.conditions.iter().any(|it| match it {
                Condition::Filter { column, negated: false, operation } => {
                    matches!(operation, Operation::Compare(Operator::Eq, None, _)) && column.is_plain(key)
                }
                _ => false,
            })
        };
        let aggregates = self.select.iter().any(|it| it.aggregate.is_some())
            || self.embeds.iter().any(|it| it.columns.iter().any(|it| it.aggregate.is_some()));
        let multiplies = self.embeds.iter().any(|it| matches!(it.shape, Shape::Object | Shape::Spread));
        let mut columns =
            self.select.iter().map(|it| &it.column).chain(self.order.iter().map(|it| &it.column));
        let table = self.table.filter(|it| matches!(self.from, From::Table(_)) && it.has_unique_key());
        table.is_some_and(|table| {
            let is_own = |it: &Column<'_>| it.name == "*" || table.columns.contains_key(it.name);
            table.primary_key.iter().all(pinned) && columns.all(is_own)
        }) && !aggregates
            && !multiplies
    }
}

impl Embed<'_> {
    /// Its key in the answer.
    pub(crate) fn key(&self) -> &str {
        self.alias.unwrap_or(self.name)
    }
}

/// What becomes of an embed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object or null.
    Object,
    /// An array.
    Array,
    /// Columns of the parent.
    Spread,
    /// Columns of the parent, each an array.
    SpreadArrays,
}

impl Shape {
    fn of(is_spread: bool, is_to_one: bool) -> Self {
        match (is_spread, is_to_one) {
            (false, true) => Self::Object,
            (false, false) => Self::Array,
            (true, true) => Self::Spread,
            (true, false) => Self::SpreadArrays,
        }
    }
}

/// A column that a spread lifts into the parent.
#[derive(Debug, Clone)]
pub(crate) struct SpreadColumn<'a> {
    /// Its name in the embed.
    pub(crate) name: Cow<'a, str>,
    /// An aggregate over it, lifted too.
    pub(crate) aggregate: Option<Aggregate>,
    /// What the aggregate is cast to.
    pub(crate) aggregate_cast: Option<&'a str>,
    /// Its name in the parent, when that differs.
    pub(crate) alias: Option<Cow<'a, str>>,
}

impl SpreadColumn<'_> {
    /// Its name in the parent.
    pub(crate) fn shown_as(&self) -> &str {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// An item of a select list.
#[derive(Debug, Clone)]
pub(crate) struct Output<'a> {
    /// The column.
    pub(crate) column: Column<'a>,
    /// What it is cast to.
    pub(crate) cast: Option<&'a str>,
    /// The aggregate over it.
    pub(crate) aggregate: Option<Aggregate>,
    /// What the aggregate is cast to.
    pub(crate) aggregate_cast: Option<&'a str>,
    /// Its name in the answer, when that differs.
    pub(crate) alias: Option<Cow<'a, str>>,
}

/// A column with what is done to it.
#[derive(Debug, Clone)]
pub(crate) struct Column<'a> {
    /// Its name; `*` for all.
    pub(crate) name: &'a str,
    /// The steps into its JSON.
    pub(crate) path: &'a [JsonStep<'a>],
    /// Whether it must become JSON before the path.
    pub(crate) to_json: bool,
    /// Whether it must become a text search vector, in which language.
    pub(crate) to_vector: Option<Option<&'a str>>,
    /// The cast of a data representation.
    pub(crate) transform: Option<&'a Expression>,
    /// The row itself instead of a column (`count()` in a spread).
    pub(crate) whole_row: bool,
}

impl Column<'_> {
    /// Whether it is the column `name` itself, with nothing done to it.
    fn is_plain(&self, name: &str) -> bool {
        let as_it_is = self.path.is_empty() && !self.whole_row;
        self.name == name && as_it_is && self.to_vector.is_none() && self.transform.is_none()
    }
}

/// Something that must hold.
#[derive(Debug, Clone)]
pub(crate) enum Condition<'a> {
    /// A comparison.
    Filter {
        /// What is compared.
        column: Column<'a>,
        /// Whether the outcome is negated.
        negated: bool,
        /// How, and with what.
        operation: &'a Operation<'a>,
    },
    /// Several conditions.
    Group {
        /// Whether the outcome is negated.
        negated: bool,
        /// Whether one suffices.
        any: bool,
        /// The conditions.
        items: Vec<Condition<'a>>,
    },
    /// The presence of an embed.
    Embedded {
        /// Which one.
        id: u32,
        /// Whether it must be there.
        present: bool,
    },
}

/// A term of an order.
#[derive(Debug, Clone)]
pub(crate) struct OrderBy<'a> {
    /// The embed whose column it is, if not of the relation itself: its name, then its id.
    pub(crate) embed: Option<(&'a str, u32)>,
    /// The column.
    pub(crate) column: Column<'a>,
    /// Which end comes first.
    pub(crate) direction: Option<Direction>,
    /// Where nulls go.
    pub(crate) nulls: Option<Nulls>,
}

/// Pairs of name and alias of embeds that were addressed by name despite an alias.
pub(crate) fn legacy_names<'p>(plan: &'p ReadPlan<'_>) -> Vec<(&'p str, &'p str)> {
    let mut found = Vec::new();
    for embed in &plan.embeds {
        if embed.by_legacy_name {
            found.push((embed.name, embed.key()));
        }
        found.extend(legacy_names(&embed.plan));
    }
    found
}

/// The columns that a mutation must return, or a function's rows must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Returning<'a> {
    /// None: only how many rows there were.
    Nothing,
    /// All.
    All,
    /// These, sorted.
    Columns(Vec<&'a str>),
}
