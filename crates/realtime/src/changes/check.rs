//! Whether a subscription can be: tables that are published, columns that exist and may be read, operands that PostgreSQL
//! understands. Everything is checked before anything is subscribed to.
//!
//! Client text travels as parameters; operands come back as PostgreSQL writes them, so that rows can be compared with
//! them without asking again.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use common::Caller;
use store::{Database, Session};

use super::array;
use super::ask::{self, Failure};
use super::condition::{Check, Question};
use super::facts::{Catalog, ColumnFacts, Rights, TableFacts};
use super::filter::{Condition, Op};
use super::plan::MOST_WANTED;
use super::published::Name;
use super::scalar::{Family, Scalar};
use super::wanted::{Spec, Wanted};

/// Most operands of `in`.
const MOST_OPERANDS: usize = 100;
/// Most conditions of one subscriber.
const MOST_CONDITIONS: usize = 200;

/// Why nothing was subscribed to; `Display` is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Asking again will not help.
    Invalid(String),
    /// The database does not answer; ask again later.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => f.write_str(text),
            Self::Unavailable => f.write_str("Unable to subscribe to changes: the database does not answer"),
        }
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        // Characters that the database's encoding has not: nothing of that name is there.
        if let store::Error::Statement(refused) = &error
            && refused.code.starts_with("22")
        {
            return Self::Invalid(format!("Unable to subscribe to changes: {}", refused.message));
        }
        tracing::warn!(%error, "a subscription to changes cannot be checked");
        Self::Unavailable
    }
}

/// What `caller` asked for, ready to be subscribed to.
///
/// # Errors
/// [`Refusal`], of the first entry that cannot be.
pub(super) async fn specs(
    catalog: &Catalog,
    database: &Database,
    caller: &Caller,
    wanted: &[Wanted],
) -> Result<Vec<Arc<Spec>>, Refusal> {
    let specs: Result<Vec<_>, _> = wanted.iter().map(|it| it.spec().cloned()).collect();
    let specs = specs.map_err(|it| Refusal::Invalid(it.to_owned()))?;
    if specs.len() > MOST_WANTED {
        return Err(Refusal::Invalid(format!(
            "A channel may ask for {MOST_WANTED} kinds of changes at most"
        )));
    }
    if specs.iter().map(|it| it.conditions.len()).sum::<usize>() > MOST_CONDITIONS {
        return Err(Refusal::Invalid(format!(
            "A channel may have {MOST_CONDITIONS} conditions in filters at most"
        )));
    }
    // Not looked for where all are meant and nothing is to be checked.
    let looked = specs.iter().filter(|it| it.is_exact() || !it.conditions.is_empty());
    let names: HashSet<Name> = looked.map(|it| (it.schema.clone(), it.table.clone())).collect();
    let tables = catalog.published(database, names).await?;
    let oids: HashSet<u32> = tables.values().flat_map(|it| it.iter().copied()).collect();
    let oids: Vec<u32> = oids.into_iter().collect();
    let facts = catalog.tables(database, &oids, &[caller.role()]).await?;
    let mut checked = Vec::with_capacity(specs.len());
    for spec in specs {
        let oids = tables.get(&(spec.schema.clone(), spec.table.clone()));
        let tables: Vec<&Arc<TableFacts>> =
            oids.into_iter().flat_map(|it| it.iter()).filter_map(|it| facts.get(it)).collect();
        let checker = Checker { database, role: caller.role(), session: ask::session(caller.role(), None) };
        checked.push(checker.spec(spec, &tables).await?);
    }
    Ok(checked)
}

/// Checks the entries of one caller.
struct Checker<'a> {
    database: &'a Database,
    role: &'a str,
    session: Session,
}

impl Checker<'_> {
    /// `spec`, with operands as PostgreSQL writes them where it is about one table.
    async fn spec(&self, spec: Arc<Spec>, tables: &[&Arc<TableFacts>]) -> Result<Arc<Spec>, Refusal> {
        if spec.is_exact() && tables.is_empty() {
            return Err(Refusal::Invalid(format!(
                "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given \
                 connect parameters: [{spec}]"
            )));
        }
        let refused = |error: String| {
            Refusal::Invalid(format!(
                "Unable to subscribe to changes with given parameters. An exception happened so please check your \
                 connect parameters: [{spec}]. Exception: ERROR {error}"
            ))
        };
        let mut conditions = spec.conditions.clone();
        for table in tables {
            if spec.is_exact() && table.rights(self.role).is_none_or(Rights::is_none) {
                let text =
                    format!("42501 (insufficient_privilege) permission denied for table {}", spec.table);
                return Err(refused(text));
            }
            for (idx, condition) in spec.conditions.iter().enumerate() {
                let value = self.condition(table, condition).await.map_err(|it| it.into_refusal(refused))?;
                if let Some(condition) = conditions.get_mut(idx).filter(|_| spec.is_exact()) {
                    condition.value = value;
                }
            }
            for name in spec.select.iter().flatten() {
                self.column(table, name)
                    .ok_or_else(|| refused(raised(&format!("invalid column for select {name}"))))?;
            }
        }
        let is_asked = |table: &TableFacts, it: &Condition| {
            table
                .column(&it.column)
                .is_some_and(|(_, column)| matches!(Check::of(it, column), Check::Asked(_)))
        };
        let of_table = |table: &&Arc<TableFacts>| conditions.iter().filter(|it| is_asked(table, it)).count();
        let asked = tables.iter().map(of_table).sum();
        if conditions == spec.conditions && asked == spec.asked {
            return Ok(spec);
        }
        Ok(Arc::new(Spec { conditions, asked, ..Spec::clone(&spec) }))
    }

    /// A column that the caller may read.
    fn column<'t>(&self, table: &'t TableFacts, name: &str) -> Option<&'t ColumnFacts> {
        let (idx, column) = table.column(name)?;
        table.rights(self.role)?.columns.get(idx).filter(|it| **it)?;
        Some(column)
    }

    /// The operand as PostgreSQL writes it.
    async fn condition(&self, table: &TableFacts, condition: &Condition) -> Result<String, Wrong> {
        let name = &condition.column;
        let column = self.column(table, name);
        let column = column.ok_or_else(|| Wrong::Raised(format!("invalid column for filter {name}")))?;
        match condition.op {
            Op::Is => is(condition, column),
            Op::In => self.list(condition, column).await,
            Op::Like | Op::Ilike | Op::Match | Op::Imatch => self.pattern(condition, column).await,
            _ => self.scalar(condition, column).await,
        }
    }

    async fn scalar(&self, condition: &Condition, column: &ColumnFacts) -> Result<String, Wrong> {
        if Scalar::parse(column.family, &condition.value).is_some() && column.family != Family::Enum {
            return Ok(condition.value.clone());
        }
        let value = ask::canonical(self.database, &self.session, &column.cast, &condition.value).await?;
        let condition = Condition { value, ..condition.clone() };
        self.can_ask(&condition, column, None).await?;
        Ok(condition.value)
    }

    async fn list(&self, condition: &Condition, column: &ColumnFacts) -> Result<String, Wrong> {
        let value =
            if matches!(Check::of(condition, column), Check::Among(..)) && column.family != Family::Enum {
                condition.value.clone()
            } else {
                let cast = format!("{}[]", column.cast);
                ask::canonical(self.database, &self.session, &cast, &condition.value).await?
            };
        if array::parse(&value, ',').is_some_and(|it| it.len() > MOST_OPERANDS) {
            return Err(Wrong::Raised(format!("too many values for `in` filter. Maximum {MOST_OPERANDS}")));
        }
        let condition = Condition { value, ..condition.clone() };
        self.can_ask(&condition, column, None).await?;
        Ok(condition.value)
    }

    async fn pattern(&self, condition: &Condition, column: &ColumnFacts) -> Result<String, Wrong> {
        if !column.has_pattern {
            return Err(Wrong::Raised(format!(
                "operator {} requires a text-compatible column type, got {}",
                condition.op.name(),
                column.cast
            )));
        }
        if matches!(condition.op, Op::Like | Op::Ilike) && ends_in_escape(&condition.value) {
            return Err(Wrong::Raised("LIKE pattern must not end with escape character".into()));
        }
        // Of a text, so that the regular expression itself is looked at too.
        let sample = (column.family == Family::Text).then_some("x");
        let question = Question::of(condition, column);
        ask::can_ask(self.database, &self.session, &question, sample).await?;
        Ok(condition.value.clone())
    }

    /// Where rows will be decided by PostgreSQL: whether it can.
    async fn can_ask(
        &self,
        condition: &Condition,
        column: &ColumnFacts,
        sample: Option<&'static str>,
    ) -> Result<(), Wrong> {
        match Check::of(condition, column) {
            Check::Asked(question) => {
                Ok(ask::can_ask(self.database, &self.session, &question, sample).await?)
            }
            _ => Ok(()),
        }
    }
}

/// PostgreSQL finds it only when a text matches as far as that.
fn ends_in_escape(pattern: &str) -> bool {
    let escapes = pattern.bytes().rev().take_while(|it| *it == b'\\').count();
    escapes % 2 == 1
}

fn is(condition: &Condition, column: &ColumnFacts) -> Result<String, Wrong> {
    let value = &*condition.value;
    match value {
        "null" => {}
        "true" | "false" | "unknown" if column.family == Family::Bool => {}
        "true" | "false" | "unknown" => {
            let error = format!("is {value} filter requires a boolean column, got {}", column.cast);
            return Err(Wrong::Raised(error));
        }
        _ => {
            let error = "invalid value for is filter: must be null, true, false, or unknown";
            return Err(Wrong::Raised(error.into()));
        }
    }
    Ok(value.to_owned())
}

/// What is wrong with a condition.
enum Wrong {
    /// By our own rules.
    Raised(String),
    Failed(Failure),
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Wrong {
    fn into_refusal(self, refused: impl Fn(String) -> Refusal) -> Refusal {
        match self {
            Self::Raised(text) => refused(raised(&text)),
            Self::Failed(Failure::Away) => Refusal::Unavailable,
            Self::Failed(Failure::Refused(error)) => {
                refused(format!("{} ({}) {}", error.code, condition_name(&error.code), error.message))
            }
        }
    }
}

fn raised(text: &str) -> String {
    format!("P0001 (raise_exception) {text}")
}

/// PostgreSQL's name of the codes that an operand may cause.
fn condition_name(code: &str) -> &'static str {
    match code {
        "22P02" => "invalid_text_representation",
        "22003" => "numeric_value_out_of_range",
        "22007" => "invalid_datetime_format",
        "22008" => "datetime_field_overflow",
        "2201B" => "invalid_regular_expression",
        "42501" => "insufficient_privilege",
        "42883" => "undefined_function",
        "57014" => "query_canceled",
        _ => "error",
    }
}
