//! The query string: which parameter is a filter, a select list, an order, a page, an argument.

use std::borrow::Cow;

use super::filter::{self, Filter, Logic};
use super::names::{self, JsonStep};
use super::order::{self, OrderTerm};
use super::range::Range;
use super::select::{self, SelectItem};
use super::{SyntaxError, cursor::Cursor};

/// Which embed something is about: names from the root down; empty for the root.
pub(crate) type EmbedPath<'a> = Vec<Cow<'a, str>>;

/// A query string, decoded; what [`Query`] borrows from.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Logic parameters with their operator put before the value: (index of the pair, text).
    logic: Vec<(usize, String)>,
}

/// A parsed query string.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    /// `select=`; empty when absent or empty.
    pub(crate) select: Vec<SelectItem<'a>>,
    /// Filters in the order they came.
    pub(crate) filters: Vec<(EmbedPath<'a>, Filter<'a>)>,
    /// `and=`, `or=`.
    pub(crate) logic: Vec<(EmbedPath<'a>, Logic<'a>)>,
    /// `order=`.
    pub(crate) orders: Vec<(EmbedPath<'a>, Vec<OrderTerm<'a>>)>,
    /// `limit=` and `offset=` of embeds.
    pub(crate) ranges: Vec<(EmbedPath<'a>, Range)>,
    /// `limit=` and `offset=`.
    pub(crate) range: Range,
    /// `columns=`, sorted.
    pub(crate) columns: Option<Vec<Cow<'a, str>>>,
    /// `on_conflict=`.
    pub(crate) on_conflict: Option<Vec<Cow<'a, str>>>,
    /// Arguments of a function called by GET.
    pub(crate) arguments: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// How a parameter that is no reserved word is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreserved {
    /// A filter.
    Filter,
    /// A filter if it starts with an operator, else an argument (functions called by GET).
    FilterOrArgument,
}

impl<'a> Parameters<'a> {
    /// Decode a raw query string.
    pub(crate) fn decode(query: &'a str) -> Self {
        Self::of(form_urlencoded::parse(query.as_bytes()))
    }

    /// Parameters that are decoded already.
    pub(crate) fn of(pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let pairs: Vec<_> = pairs.collect();
        let is_logic = |key: &str| matches!(last_word(key), "and" | "or");
        let logic = pairs
            .iter()
            .enumerate()
            .filter(|(_, (key, _))| is_logic(key))
            .map(|(idx, (key, value))| {
                let negation = if key.split('.').any(|it| it == "not") { "not." } else { "" };
                (idx, format!("{negation}{}{value}", last_word(key)))
            })
            .collect();
        Self { pairs, logic }
    }

    /// Names and values, in the order they came.
    pub(crate) fn pairs(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.pairs
    }

    /// The parameters sorted by name and encoded again, for `Content-Location`.
    pub(crate) fn canonical(&self) -> String {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        let mut text = String::new();
        let mut previous = None;
        for (key, value) in pairs {
            // Values of one name are listed, as PostgREST does.
            if previous == Some(key) {
                text.push(',');
            } else {
                if previous.is_some() {
                    text.push('&');
                }
                text.extend(super::encode(key));
                text.push('=');
            }
            text.extend(super::encode(value));
            previous = Some(key);
        }
        text
    }

    /// The first value of `name`.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// Whether a parameter is no filter, whatever its value is.
pub(crate) fn is_reserved(key: &str) -> bool {
    matches!(key, "select" | "columns" | "on_conflict")
        || matches!(last_word(key), "and" | "or" | "order" | "limit" | "offset")
}

/// What follows the last `.`.
fn last_word(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Parse all parameters.
///
/// # Errors
/// [`SyntaxError`] of the first parameter that does not parse.
pub(crate) fn parse<'a>(
    parameters: &'a Parameters<'a>,
    unreserved: Unreserved,
) -> Result<Query<'a>, SyntaxError> {
    let mut query = Query {
        select: select::parse(parameters.first("select").unwrap_or("*"))?,
        columns: name_list(parameters.first("columns"), "columns")?,
        on_conflict: name_list(parameters.first("on_conflict"), "on_conflict")?,
        ..Query::default()
    };
    if let Some(columns) = &mut query.columns {
        columns.sort();
        columns.dedup();
    }
    let mut logic = parameters.logic.iter();
    for (key, value) in &parameters.pairs {
        match (key.as_ref(), last_word(key)) {
            ("select" | "columns" | "on_conflict", _) => {}
            (_, "and" | "or") => {
                let Some((_, text)) = logic.next() else { continue };
                let (mut path, _) = target(key)?;
                path.retain(|it| it != "not");
                query.logic.push((path, filter::parse_logic(text, value)?));
            }
            (_, "order") => query.orders.push((embed_path(key)?, order::parse(value)?)),
            (_, "limit") => query.page(embed_path(key)?, |it| it.limit = value.parse().ok().or(it.limit)),
            (_, "offset") => {
                query.page(embed_path(key)?, |it| it.offset = value.parse().unwrap_or(it.offset));
            }
            _ => query.add_unreserved(key, value, unreserved)?,
        }
    }
    Ok(query)
}

impl<'a> Query<'a> {
    /// Change the page of the embed at `path`.
    fn page(&mut self, path: EmbedPath<'a>, change: impl FnOnce(&mut Range)) {
        if path.is_empty() {
            return change(&mut self.range);
        }
        match self.ranges.iter_mut().find(|(it, _)| *it == path) {
            Some((_, range)) => change(range),
            None => {
                let mut range = Range::default();
                change(&mut range);
                self.ranges.push((path, range));
            }
        }
    }

    fn add_unreserved(
        &mut self,
        key: &'a str,
        value: &'a str,
        unreserved: Unreserved,
    ) -> Result<(), SyntaxError> {
        let (path, field) = target(key)?;
        match unreserved {
            Unreserved::Filter => self.filters.push((path, filter::parse(field, value)?)),
            Unreserved::FilterOrArgument => match filter::parse_unless_argument(field, value)? {
                Ok(filter) => self.filters.push((path, filter)),
                Err(field) => self.arguments.push((field.name, Cow::Borrowed(value))),
            },
        }
        Ok(())
    }
}

fn target(key: &str) -> Result<(EmbedPath<'_>, names::Field<'_>), SyntaxError> {
    let mut cursor = Cursor::new(key);
    names::target(&mut cursor).map_err(|_| cursor.error(&format!("failed to parse tree path ({key})")))
}

/// `embed.embed.order` without its last word.
fn embed_path(key: &str) -> Result<EmbedPath<'_>, SyntaxError> {
    target(key).map(|(path, _)| path)
}

fn name_list<'a>(text: Option<&'a str>, what: &str) -> Result<Option<Vec<Cow<'a, str>>>, SyntaxError> {
    let Some(text) = text else { return Ok(None) };
    let mut cursor = Cursor::new(text);
    match names::name_list(&mut cursor) {
        Ok(names) => Ok(Some(names)),
        Err(_) => Err(cursor.error(&format!("failed to parse {what} parameter ({text})"))),
    }
}

/// The last key of a JSON path names the value; an index does not.
pub(crate) fn last_key<'a>(path: &'a [JsonStep<'a>]) -> Option<&'a str> {
    path.iter().rev().find_map(|step| match &step.operand {
        names::JsonOperand::Key(key) => Some(key.as_ref()),
        names::JsonOperand::Index(_) => None,
    })
}
