//! `select=`: columns, casts, aliases, aggregates, embeds and spreads, to any depth.

use std::borrow::Cow;

use super::SyntaxError;
use super::cursor::{Cursor, Parsed};
use super::names::{Field, field, identifier, name};

/// Embeds within embeds: deeper ones are refused, so that no request exhausts the stack.
const MAX_DEPTH: usize = 64;

/// One item of a select list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SelectItem<'a> {
    /// A column or an aggregate of one.
    Field(SelectField<'a>),
    /// Another relation.
    Embed(SelectEmbed<'a>),
}

/// `alias:column->path::cast.aggregate()::cast`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectField<'a> {
    /// The column; `*` for all, or for the rows themselves in `count()`.
    pub(crate) field: Field<'a>,
    /// What it is cast to, before an aggregate.
    pub(crate) cast: Option<&'a str>,
    /// The aggregate over it.
    pub(crate) aggregate: Option<Aggregate>,
    /// What the aggregate is cast to.
    pub(crate) aggregate_cast: Option<&'a str>,
    /// Its name in the answer.
    pub(crate) alias: Option<Cow<'a, str>>,
}

/// `alias:relation!hint!inner(…)` or `...relation(…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectEmbed<'a> {
    /// Table, view, constraint, column or function.
    pub(crate) name: Cow<'a, str>,
    /// Its name in the answer.
    pub(crate) alias: Option<Cow<'a, str>>,
    /// Which relationship is meant.
    pub(crate) hint: Option<Cow<'a, str>>,
    /// Whether a parent without match is left out.
    pub(crate) inner: bool,
    /// Whether its columns are lifted into the parent.
    pub(crate) spread: bool,
    /// What is selected of it.
    pub(crate) items: Vec<SelectItem<'a>>,
}

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// `sum()`
    Sum,
    /// `avg()`
    Avg,
    /// `count()`
    Count,
    /// `max()`
    Max,
    /// `min()`
    Min,
}

impl Aggregate {
    /// The function's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
        }
    }
}

/// Parse the value of `select`; an empty one is an empty list.
///
/// # Errors
/// [`SyntaxError`] names the furthest point reached.
pub(super) fn parse(text: &str) -> Result<Vec<SelectItem<'_>>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    let parsed = items(&mut cursor, 0);
    match parsed {
        Ok(items) if cursor.is_at_end() => return Ok(items),
        Ok(_) => {
            cursor.note("\",\"");
            cursor.note("end of input");
        }
        Err(_) => {}
    }
    Err(cursor.error(&format!("failed to parse select parameter ({text})")))
}

/// Items separated by commas; none is legal.
fn items<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Parsed<Vec<SelectItem<'a>>> {
    let mut items = Vec::new();
    if cursor.is_at_end() || cursor.rest().starts_with(')') {
        return Ok(items);
    }
    items.push(item(cursor, depth)?);
    while cursor.accept_lexeme(",", "\",\"") {
        items.push(item(cursor, depth)?);
    }
    Ok(items)
}

fn item<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Parsed<SelectItem<'a>> {
    let Ok(mut embed) = cursor.attempt(embed_head) else {
        return select_field(cursor).map(SelectItem::Field);
    };
    if depth >= MAX_DEPTH {
        return cursor.fail("fewer nested embeds");
    }
    cursor.expect("(", "\"(\"")?;
    embed.items = items(cursor, depth + 1)?;
    cursor.expect(")", "\")\"")?;
    cursor.skip_blanks();
    Ok(SelectItem::Embed(embed))
}

/// Everything of an embed before its `(`.
fn embed_head<'a>(cursor: &mut Cursor<'a>) -> Parsed<SelectEmbed<'a>> {
    cursor.skip_blanks();
    let spread = cursor.accept("...", "\"...\"");
    let alias = if spread { None } else { alias(cursor) };
    let name = name(cursor)?;
    if name == "count" && !spread {
        return cursor.fail("field name (* or [a..z0..9_$])");
    }
    let mut embed = SelectEmbed { name, alias, hint: None, inner: false, spread, items: Vec::new() };
    for _ in 0..2 {
        if !cursor.accept("!", "\"!\"") {
            break;
        }
        match embed_word(cursor)? {
            Cow::Borrowed("left") => {}
            Cow::Borrowed("inner") => embed.inner = true,
            hint => embed.hint = embed.hint.or(Some(hint)),
        }
    }
    cursor.skip_blanks();
    if cursor.rest().starts_with('(') { Ok(embed) } else { cursor.fail("\"(\"") }
}

/// A hint, or one of the words `left` and `inner` (unquoted).
fn embed_word<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    let was_quoted = cursor.peek() == Some('"');
    let word = name(cursor)?;
    Ok(if was_quoted { Cow::Owned(word.into_owned()) } else { word })
}

/// `alias:`, but not the start of a cast.
fn alias<'a>(cursor: &mut Cursor<'a>) -> Option<Cow<'a, str>> {
    cursor
        .attempt(|cursor| {
            let alias = name(cursor)?;
            if cursor.rest().starts_with("::") {
                return cursor.fail("\":\"");
            }
            cursor.expect(":", "\":\"")?;
            Ok(alias)
        })
        .ok()
}

fn select_field<'a>(cursor: &mut Cursor<'a>) -> Parsed<SelectField<'a>> {
    cursor.skip_blanks();
    let parsed = cursor.attempt(star).or_else(|_| cursor.attempt(row_count)).or_else(|_| column(cursor))?;
    cursor.skip_blanks();
    Ok(parsed)
}

/// The end of an item: `)`, `,` or the end of the text.
fn end(cursor: &mut Cursor<'_>) -> Parsed<()> {
    if cursor.is_at_end() || cursor.rest().trim_start_matches([' ', '\t']).starts_with([')', ',']) {
        return Ok(());
    }
    if cursor.rest().trim_matches([' ', '\t']).is_empty() {
        return Ok(());
    }
    cursor.note("\")\"");
    cursor.note("\",\"");
    cursor.fail("end of input")
}

fn all_columns<'a>() -> Field<'a> {
    Field { name: Cow::Borrowed("*"), path: Vec::new() }
}

fn star<'a>(cursor: &mut Cursor<'a>) -> Parsed<SelectField<'a>> {
    if !cursor.rest().starts_with('*') {
        return Err(super::cursor::Mismatch);
    }
    cursor.advance();
    end(cursor)?;
    Ok(SelectField { field: all_columns(), cast: None, aggregate: None, aggregate_cast: None, alias: None })
}

fn row_count<'a>(cursor: &mut Cursor<'a>) -> Parsed<SelectField<'a>> {
    let alias = alias(cursor);
    if !cursor.rest().starts_with("count()") {
        return Err(super::cursor::Mismatch);
    }
    cursor.expect("count()", "\"count()\"")?;
    let aggregate_cast = cast(cursor)?;
    end(cursor)?;
    Ok(SelectField {
        field: all_columns(),
        cast: None,
        aggregate: Some(Aggregate::Count),
        aggregate_cast,
        alias,
    })
}

fn column<'a>(cursor: &mut Cursor<'a>) -> Parsed<SelectField<'a>> {
    let alias = alias(cursor);
    let field = field(cursor)?;
    let cast_to = cast(cursor)?;
    let aggregate = aggregate(cursor)?;
    let aggregate_cast = if aggregate.is_some() { cast(cursor)? } else { None };
    end(cursor)?;
    Ok(SelectField { field, cast: cast_to, aggregate, aggregate_cast, alias })
}

fn cast<'a>(cursor: &mut Cursor<'a>) -> Parsed<Option<&'a str>> {
    if cursor.accept("::", "\"::\"") { identifier(cursor).map(Some) } else { Ok(None) }
}

fn aggregate(cursor: &mut Cursor<'_>) -> Parsed<Option<Aggregate>> {
    if !cursor.accept(".", "\".\"") {
        return Ok(None);
    }
    for it in [Aggregate::Sum, Aggregate::Avg, Aggregate::Count, Aggregate::Max, Aggregate::Min] {
        if cursor.rest().strip_prefix(it.name()).is_some_and(|rest| rest.starts_with("()")) {
            cursor.take_while(|it| it != ')');
            cursor.advance();
            return Ok(Some(it));
        }
    }
    for label in ["\"sum\"", "\"avg\"", "\"count\"", "\"max\""] {
        cursor.note(label);
    }
    cursor.fail("\"min\"")
}
