//! `order=`: columns and columns of to-one embeds, with direction and place of nulls.

use std::borrow::Cow;

use super::SyntaxError;
use super::cursor::{Cursor, Mismatch, Parsed};
use super::names::{Field, field, name};

/// One term of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderTerm<'a> {
    /// The embed whose column it is, if not of the table itself.
    pub(crate) relation: Option<Cow<'a, str>>,
    /// The column.
    pub(crate) field: Field<'a>,
    /// `asc` or `desc`.
    pub(crate) direction: Option<Direction>,
    /// `nullsfirst` or `nullslast`.
    pub(crate) nulls: Option<Nulls>,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Smallest first.
    Asc,
    /// Greatest first.
    Desc,
}

/// Where nulls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Before all values.
    First,
    /// After all values.
    Last,
}

/// Parse the value of `order`.
///
/// # Errors
/// [`SyntaxError`] names the furthest point reached.
pub(super) fn parse(text: &str) -> Result<Vec<OrderTerm<'_>>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    match terms(&mut cursor) {
        Ok(terms) => Ok(terms),
        Err(Mismatch) => Err(cursor.error(&format!("failed to parse order ({text})"))),
    }
}

fn terms<'a>(cursor: &mut Cursor<'a>) -> Parsed<Vec<OrderTerm<'a>>> {
    let mut terms = vec![term(cursor)?];
    while cursor.accept(",", "\",\"") {
        terms.push(term(cursor)?);
    }
    Ok(terms)
}

fn term<'a>(cursor: &mut Cursor<'a>) -> Parsed<OrderTerm<'a>> {
    cursor.skip_blanks();
    let (relation, field) = match cursor.attempt(related) {
        Ok((relation, field)) => (Some(relation), field),
        Err(Mismatch) => (None, field(cursor)?),
    };
    let (direction, nulls) = modifiers(cursor)?;
    cursor.skip_blanks();
    Ok(OrderTerm { relation, field, direction, nulls })
}

/// `embed(column)`
fn related<'a>(cursor: &mut Cursor<'a>) -> Parsed<(Cow<'a, str>, Field<'a>)> {
    let relation = name(cursor)?;
    if !cursor.rest().starts_with('(') {
        return Err(Mismatch);
    }
    cursor.expect("(", "\"(\"")?;
    let field = field(cursor)?;
    cursor.expect(")", "\")\"")?;
    Ok((relation, field))
}

fn modifiers(cursor: &mut Cursor<'_>) -> Parsed<(Option<Direction>, Option<Nulls>)> {
    let mut direction = None;
    let mut nulls = None;
    let words = [(".asc", Direction::Asc), (".desc", Direction::Desc)];
    if let Some((_, it)) = words.into_iter().find(|(word, _)| take(cursor, word)) {
        direction = Some(it);
    }
    let words = [(".nullsfirst", Nulls::First), (".nullslast", Nulls::Last)];
    if let Some((_, it)) = words.into_iter().find(|(word, _)| take(cursor, word)) {
        nulls = Some(it);
    }
    if cursor.is_at_end() || cursor.rest().trim_start_matches([' ', '\t']).starts_with(',') {
        return Ok((direction, nulls));
    }
    if nulls.is_none() && cursor.rest().starts_with('.') {
        cursor.advance();
        if direction.is_none() {
            cursor.note("\"asc\"");
            cursor.note("\"desc\"");
        }
        cursor.note("\"nullsfirst\"");
        return cursor.fail("\"nullslast\"");
    }
    if nulls.is_none() {
        cursor.note("delimiter (.)");
    }
    cursor.note("\",\"");
    cursor.fail("end of input")
}

fn take(cursor: &mut Cursor<'_>, word: &str) -> bool {
    let follows = cursor.rest().starts_with(word);
    if follows {
        for _ in word.chars() {
            cursor.advance();
        }
    }
    follows
}
