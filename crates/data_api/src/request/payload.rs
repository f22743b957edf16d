//! The request body: its keys, and the JSON that PostgreSQL will take apart.
//!
//! JSON is passed on as it came; only its outermost keys are looked at. CSV and forms are turned into JSON.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use bytes::Bytes;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{MediaType, RequestError};

/// The most JSON that a CSV body becomes, in bytes: names are repeated for each row.
const MAX_JSON_BYTES: usize = 64 * 1024 * 1024;
/// The most fields of a form; PostgreSQL's widest table has 1,600 columns.
const MAX_FORM_PAIRS: usize = 4096;

/// A body, ready to be a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The parameter: JSON, or the raw body for a function with one unnamed parameter.
    pub(crate) body: Bytes,
    /// Keys of the object, or of every object of the array; sorted.
    pub(crate) keys: Vec<String>,
    /// Whether the body is one object rather than an array.
    pub(crate) is_object: bool,
    /// The pairs of a form.
    pub(crate) form: Option<Vec<(String, String)>>,
}

impl Payload {
    fn json(body: Bytes, keys: BTreeSet<Cow<'_, str>>, is_object: bool) -> Self {
        let keys = keys.into_iter().map(Cow::into_owned).collect();
        Self { body, keys, is_object, form: None }
    }

    /// A body that is passed on unread.
    fn raw(body: Bytes, keys: Vec<String>) -> Self {
        let is_object = body.iter().find(|it| !it.is_ascii_whitespace()) == Some(&b'{');
        Self { body, keys, is_object, form: None }
    }
}

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rows of a table.
    Rows,
    /// Arguments of a function.
    Arguments,
}

/// Read a body; `columns` (of `columns=`) replaces its keys and spares looking at it.
///
/// # Errors
/// [`RequestError::Body`] (PGRST102) says what is wrong with it.
pub(crate) fn parse(
    body: Bytes,
    media: &MediaType,
    purpose: Purpose,
    columns: Option<&[Cow<'_, str>]>,
) -> Result<Payload, RequestError> {
    match (media, purpose) {
        (MediaType::Json, _) => match columns {
            Some(columns) => Ok(Payload::raw(body, sorted(columns))),
            None => parse_json(body, purpose),
        },
        (MediaType::Csv, _) => parse_csv(&body),
        (MediaType::Form, _) => parse_form(&body),
        (MediaType::Plain | MediaType::Xml | MediaType::Binary, Purpose::Arguments) => {
            let keys = columns.map(sorted).unwrap_or_default();
            Ok(Payload::raw(body, keys))
        }
        (other, _) => Err(RequestError::Body(format!("Content-Type not acceptable: {}", other.essence()))),
    }
}

fn sorted(columns: &[Cow<'_, str>]) -> Vec<String> {
    let mut keys: Vec<String> = columns.iter().map(|it| it.clone().into_owned()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn parse_json(body: Bytes, purpose: Purpose) -> Result<Payload, RequestError> {
    if body.is_empty() && purpose == Purpose::Arguments {
        return Ok(Payload::json(Bytes::from_static(b"{}"), BTreeSet::new(), true));
    }
    let bytes = body.clone();
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let shape = reader.deserialize_any(Outermost).and_then(|it| reader.end().map(|()| it));
    match shape.map_err(|_| RequestError::Body("Empty or invalid json".into()))? {
        Shape::Object(keys) => Ok(Payload::json(body, keys, true)),
        Shape::Rows(keys) => Ok(Payload::json(body, keys, false)),
        Shape::Other => Ok(Payload::json(Bytes::from_static(b"[]"), BTreeSet::new(), false)),
        Shape::Ragged => Err(RequestError::Body("All object keys must match".into())),
    }
}

/// The outermost structure of a JSON text.
enum Shape<'de> {
    Object(BTreeSet<Cow<'de, str>>),
    /// An array of objects with these keys each.
    Rows(BTreeSet<Cow<'de, str>>),
    /// An array whose elements are not objects with the same keys.
    Ragged,
    /// A number, text or the like; or an empty array.
    Other,
}

/// Reads keys, skips values.
struct Outermost;

impl<'de> Visitor<'de> for Outermost {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            keys.insert(key);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Shape::Object(keys))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut first: Option<BTreeSet<Cow<'de, str>>> = None;
        let mut ragged = false;
        while let Some(Element(shape)) = rows.next_element()? {
            match (shape, &first) {
                (Shape::Object(keys), None) => first = Some(keys),
                (Shape::Object(keys), Some(wanted)) => ragged |= keys != *wanted,
                _ => ragged = true,
            }
        }
        Ok(match first {
            _ if ragged => Shape::Ragged,
            Some(keys) => Shape::Rows(keys),
            None => Shape::Other,
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Shape::Other)
    }
}

/// An element of the outermost array.
struct Element<'de>(Shape<'de>);

impl<'de> serde::Deserialize<'de> for Element<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outermost).map(Self)
    }
}

/// A key, borrowed from the body when it holds no escapes.
#[derive(serde::Deserialize)]
struct Key<'k>(#[serde(borrow)] Cow<'k, str>);

fn parse_form(body: &[u8]) -> Result<Payload, RequestError> {
    if body.iter().filter(|it| **it == b'&').count() >= MAX_FORM_PAIRS {
        return Err(RequestError::Body(format!("A form holds at most {MAX_FORM_PAIRS} fields")));
    }
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(body).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let object: Map<String, Value> =
        pairs.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
    let keys: BTreeSet<&String> = pairs.iter().map(|(key, _)| key).collect();
    let keys = keys.into_iter().cloned().collect();
    Ok(Payload { body: Value::Object(object).to_string().into(), keys, is_object: true, form: Some(pairs) })
}

/// CSV with a header row as a JSON array; the unquoted text `NULL` is null.
///
/// Written in one pass: names are repeated for each row, so what a small body may grow to is bounded too.
fn parse_csv(body: &[u8]) -> Result<Payload, RequestError> {
    let text = std::str::from_utf8(body).map_err(|_| RequestError::Body("The body is not UTF-8".into()))?;
    let mut records = Records { characters: text.chars().peekable() };
    let mut header = Vec::new();
    if !records.read(&mut header) {
        return Err(RequestError::Body("parse error (not enough input) at \"\"".into()));
    }
    let names: Vec<String> = header.iter().map(|it| format!("{}:", json_text(it))).collect();
    let mut out = String::from("[");
    let mut record = Vec::with_capacity(header.len());
    while records.read(&mut record) {
        if record.len() != header.len() {
            return Err(RequestError::Body("All lines must have same number of fields".into()));
        }
        out.push_str(if out.len() == 1 { "{" } else { ",{" });
        for (idx, (name, cell)) in names.iter().zip(&record).enumerate() {
            out.push_str(if idx == 0 { "" } else { "," });
            out.push_str(name);
            out.push_str(&if cell == "NULL" { Cow::Borrowed("null") } else { json_text(cell) });
        }
        out.push('}');
        if out.len() > MAX_JSON_BYTES {
            return Err(RequestError::Body("The CSV is too large; send it in parts".into()));
        }
    }
    out.push(']');
    let is_empty = out.len() == 2;
    let keys = header.iter().filter(|_| !is_empty).map(|it| Cow::Borrowed(it.as_str())).collect();
    Ok(Payload::json(out.into(), keys, false))
}

/// A JSON string.
fn json_text(text: &str) -> Cow<'static, str> {
    Value::from(text).to_string().into()
}

/// Records of RFC 4180; empty lines are left out.
struct Records<'t> {
    characters: Peekable<Chars<'t>>,
}

impl Records<'_> {
    /// Replace `record` by the next one; `false` at the end.
    fn read(&mut self, record: &mut Vec<String>) -> bool {
        record.clear();
        let mut cell = String::new();
        let mut is_quoted = false;
        while let Some(it) = self.characters.next() {
            match it {
                '"' if is_quoted && self.characters.peek() == Some(&'"') => {
                    self.characters.next();
                    cell.push('"');
                }
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => record.push(std::mem::take(&mut cell)),
                '\r' if !is_quoted && self.characters.peek() == Some(&'\n') => {}
                '\n' if !is_quoted && record.is_empty() && cell.is_empty() => {}
                '\n' if !is_quoted => {
                    record.push(cell);
                    return true;
                }
                other => cell.push(other),
            }
        }
        if record.is_empty() && cell.is_empty() {
            return false;
        }
        record.push(cell);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(media: &str, purpose: Purpose, body: &str) -> String {
        let media = MediaType::parse(media);
        match parse(Bytes::copy_from_slice(body.as_bytes()), &media, purpose, None) {
            Ok(it) => format!("{} {}", it.keys.join(","), String::from_utf8_lossy(&it.body)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn json_is_passed_on_as_it_came() {
        let json = |body| check("application/json", Purpose::Rows, body);
        assert_eq!(json(r#" {"b": 1, "a": {"x": [1]}} "#), r#"a,b  {"b": 1, "a": {"x": [1]}} "#);
        assert_eq!(json(r#"[{"a":1},{"a":2}]"#), r#"a [{"a":1},{"a":2}]"#);
        assert_eq!(json("[]"), " []");
        assert_eq!(json("12"), " []");
        assert_eq!(json(r#"[{"a":1},{"b":2}]"#), "All object keys must match");
        assert_eq!(json(r#"[{"a":1},7]"#), "All object keys must match");
        assert_eq!(json(""), "Empty or invalid json");
        assert_eq!(json("{}}"), "Empty or invalid json");
    }

    #[test]
    fn csv_and_forms_become_json() {
        assert_eq!(
            check("text/csv", Purpose::Rows, "a,b\n1,\"x,\"\"y\"\"\"\r\nNULL,\n"),
            r#"a,b [{"a":"1","b":"x,\"y\""},{"a":null,"b":""}]"#
        );
        assert_eq!(check("text/csv", Purpose::Rows, "a,b\n1"), "All lines must have same number of fields");
        let names = vec!["n".repeat(2_000); 100].join(",");
        let lines = format!("{names}\n{}", format!("{}\n", ",".repeat(99)).repeat(2_000));
        assert_eq!(check("text/csv", Purpose::Rows, &lines), "The CSV is too large; send it in parts");
        let fields = "a=1&".repeat(5_000);
        let refused = check("application/x-www-form-urlencoded", Purpose::Arguments, &fields);
        assert_eq!(refused, "A form holds at most 4096 fields");
        assert_eq!(
            check("application/x-www-form-urlencoded", Purpose::Rows, "a=1&b=x+y"),
            r#"a,b {"a":"1","b":"x y"}"#
        );
    }

    #[test]
    fn other_types_are_refused_for_rows() {
        assert_eq!(check("text/plain", Purpose::Rows, "x"), "Content-Type not acceptable: text/plain");
        assert_eq!(check("text/plain", Purpose::Arguments, "x"), " x");
    }
}
