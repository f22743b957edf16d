//! Names, quoted names, JSON paths: the words that `select`, filters and `order` share.

use std::borrow::Cow;

use super::cursor::{Cursor, Parsed};

/// A column with the path into its JSON, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// The column.
    pub(crate) name: Cow<'a, str>,
    /// The steps into it; empty for the column itself.
    pub(crate) path: Vec<JsonStep<'a>>,
}

/// One `->` or `->>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonStep<'a> {
    /// Whether the value is taken as text (`->>`).
    pub(crate) as_text: bool,
    /// What is taken.
    pub(crate) operand: JsonOperand<'a>,
}

/// What a JSON step takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonOperand<'a> {
    /// The value of a key.
    Key(Cow<'a, str>),
    /// The element at an index: digits, perhaps after `-` (from the end).
    Index(&'a str),
}

/// Whether a character may be part of an unquoted name.
fn is_name_char(it: char) -> bool {
    it.is_alphabetic() || it.is_ascii_digit() || matches!(it, '_' | ' ' | '$')
}

/// Whether a character may be part of an unquoted JSON key.
fn is_key_char(it: char) -> bool {
    !matches!(it, '(' | '-' | ':' | '.' | ',' | '>' | ')')
}

/// `"…"`, where `\` takes the next character as it is.
pub(super) fn quoted<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    cursor.attempt(|cursor| {
        cursor.expect("\"", "\"\\\"\"")?;
        let plain = cursor.take_while(|it| it != '"' && it != '\\');
        if cursor.accept("\"", "\"\\\"\"") {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while !cursor.accept("\"", "\"\\\"\"") {
            cursor.accept("\\", "\"\\\\\"");
            let Some(it) = cursor.peek() else { return cursor.fail("\"\\\"\"") };
            text.push(it);
            cursor.advance();
            text.push_str(cursor.take_while(|it| it != '"' && it != '\\'));
        }
        Ok(Cow::Owned(text))
    })
}

/// Words joined by `-` (but not `->`), blanks around each left out.
fn dashed<'a>(cursor: &mut Cursor<'a>, legal: fn(char) -> bool, label: &'static str) -> Parsed<Cow<'a, str>> {
    let start = cursor.at();
    if cursor.take_while(legal).is_empty() {
        return cursor.fail(label);
    }
    loop {
        if !cursor.rest().starts_with('-') || cursor.rest().starts_with("->") {
            break;
        }
        cursor.advance();
        if cursor.take_while(legal).is_empty() {
            cursor.note("letter");
            return cursor.fail("digit");
        }
    }
    let text = cursor.since(start);
    if text.contains(" -") || text.contains("- ") {
        return Ok(Cow::Owned(text.split('-').map(str::trim).collect::<Vec<_>>().join("-")));
    }
    Ok(Cow::Borrowed(text.trim()))
}

/// The name of a column, table, function or alias.
pub(super) fn name<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    if cursor.peek() == Some('"') {
        return quoted(cursor);
    }
    let name = dashed(cursor, is_name_char, "field name (* or [a..z0..9_$])")?;
    for label in ["letter", "digit", "\"-\""] {
        cursor.note(label);
    }
    Ok(name)
}

/// A type or text search configuration: letters, digits, `_`, `$` and blanks.
pub(super) fn identifier<'a>(cursor: &mut Cursor<'a>) -> Parsed<&'a str> {
    match cursor.take_while(is_name_char) {
        "" => {
            cursor.note("letter");
            cursor.fail("digit")
        }
        name => Ok(name.trim()),
    }
}

/// `->key`, `->>key`, `->0`, any number of them.
pub(super) fn json_path<'a>(cursor: &mut Cursor<'a>) -> Parsed<Vec<JsonStep<'a>>> {
    let mut path = Vec::new();
    loop {
        let as_text = if cursor.accept("->>", "\"->>\"") {
            true
        } else if cursor.accept("->", "\"->\"") {
            false
        } else {
            return Ok(path);
        };
        path.push(JsonStep { as_text, operand: json_operand(cursor)? });
    }
}

fn json_operand<'a>(cursor: &mut Cursor<'a>) -> Parsed<JsonOperand<'a>> {
    if let Ok(index) = cursor.attempt(json_index) {
        return Ok(JsonOperand::Index(index));
    }
    if cursor.peek() == Some('"') {
        return quoted(cursor).map(JsonOperand::Key);
    }
    dashed(cursor, is_key_char, "any non reserved character different from: .,>()").map(JsonOperand::Key)
}

fn json_index<'a>(cursor: &mut Cursor<'a>) -> Parsed<&'a str> {
    let start = cursor.at();
    cursor.accept("-", "\"-\"");
    if cursor.take_while(|it| it.is_ascii_digit()).is_empty() {
        return cursor.fail("digit");
    }
    let index = cursor.since(start);
    let ends = ["->", "::", ".", ",", ")"];
    if cursor.is_at_end() || ends.iter().any(|it| cursor.rest().starts_with(it)) {
        return Ok(index);
    }
    for label in ["digit", "\"->\"", "\"::\"", "\".\"", "\",\""] {
        cursor.note(label);
    }
    cursor.fail("end of input")
}

/// A column with its JSON path, blanks around.
pub(super) fn field<'a>(cursor: &mut Cursor<'a>) -> Parsed<Field<'a>> {
    cursor.skip_blanks();
    let name = name(cursor)?;
    let path = json_path(cursor)?;
    cursor.skip_blanks();
    Ok(Field { name, path })
}

/// `a,b,c`.
pub(super) fn name_list<'a>(cursor: &mut Cursor<'a>) -> Parsed<Vec<Cow<'a, str>>> {
    let mut names = vec![name(cursor)?];
    while cursor.accept_lexeme(",", "\",\"") {
        names.push(name(cursor)?);
    }
    Ok(names)
}

/// `embed.embed.column->path`: the embeds above, and the column.
pub(super) fn target<'a>(cursor: &mut Cursor<'a>) -> Parsed<(Vec<Cow<'a, str>>, Field<'a>)> {
    let mut last = name(cursor)?;
    let mut path = Vec::new();
    while cursor.accept(".", "delimiter (.)") {
        path.push(std::mem::replace(&mut last, name(cursor)?));
    }
    Ok((path, Field { name: last, path: json_path(cursor)? }))
}
