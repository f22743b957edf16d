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

use super::{Limits, MediaType, RequestError};

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
    (media, purpose): (&MediaType, Purpose),
    columns: Option<&[Cow<'_, str>]>,
    limits: &Limits,
) -> Result<Payload, RequestError> {
    match (media, purpose) {
        (MediaType::Json, _) => match columns {
            Some(columns) => {
                check_size(&body, limits)?;
                Ok(Payload::raw(body, sorted(columns)))
            }
            None => {
                check_size(&body, limits)?;
                parse_json(body, purpose, limits)
            }
        },
        (MediaType::Csv, _) => parse_csv(&body, limits),
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

fn too_many_rows(limit: usize) -> RequestError {
    RequestError::Body(format!("The body has more than {limit} rows; send it in parts"))
}

fn too_many_keys(limit: usize) -> RequestError {
    RequestError::Body(format!("An object of the body has more than {limit} keys"))
}

/// Refuse JSON with too many rows, or so deep that it exhausts PostgreSQL's stack: values are parsed there only.
fn check_size(body: &[u8], limits: &Limits) -> Result<(), RequestError> {
    let is_array = body.iter().find(|it| !it.is_ascii_whitespace()) == Some(&b'[');
    let (mut depth, mut rows) = (0_usize, 1_usize);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 && is_array => rows += 1,
            _ => {}
        }
        if depth > limits.body_depth {
            let limit = limits.body_depth;
            return Err(RequestError::Body(format!("The body is nested deeper than {limit} levels")));
        }
    }
    if rows > limits.rows { Err(too_many_rows(limits.rows)) } else { Ok(()) }
}

fn parse_json(body: Bytes, purpose: Purpose, limits: &Limits) -> Result<Payload, RequestError> {
    if body.is_empty() && purpose == Purpose::Arguments {
        return Ok(Payload::json(Bytes::from_static(b"{}"), BTreeSet::new(), true));
    }
    let bytes = body.clone();
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let shape = reader.deserialize_any(Outermost(*limits)).and_then(|it| reader.end().map(|()| it));
    match shape.map_err(|_| RequestError::Body("Empty or invalid json".into()))? {
        Shape::Object(keys) => Ok(Payload::json(body, keys, true)),
        Shape::Rows(keys) => Ok(Payload::json(body, keys, false)),
        Shape::Other => Ok(Payload::json(Bytes::from_static(b"[]"), BTreeSet::new(), false)),
        Shape::Ragged => Err(RequestError::Body("All object keys must match".into())),
        Shape::TooManyKeys => Err(too_many_keys(limits.columns)),
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
    /// More keys than an object may have.
    TooManyKeys,
}

/// Reads keys, skips values.
#[derive(Clone, Copy)]
struct Outermost(Limits);

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
            if keys.len() > self.0.columns {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Shape::TooManyKeys);
            }
        }
        Ok(Shape::Object(keys))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut first: Option<BTreeSet<Cow<'de, str>>> = None;
        let mut ragged = false;
        while let Some(shape) = rows.next_element_seed(self)? {
            if matches!(shape, Shape::TooManyKeys) {
                while rows.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(shape);
            }
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
impl<'de> serde::de::DeserializeSeed<'de> for Outermost {
    type Value = Shape<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
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
fn parse_csv(body: &[u8], limits: &Limits) -> Result<Payload, RequestError> {
    let text = std::str::from_utf8(body).map_err(|_| RequestError::Body("The body is not UTF-8".into()))?;
    let mut records = Records { characters: text.chars().peekable() };
    let mut header = Vec::new();
    if !records.read(&mut header) {
        return Err(RequestError::Body("parse error (not enough input) at \"\"".into()));
    }
    if header.len() > limits.columns {
        return Err(too_many_keys(limits.columns));
    }
    let mut rows = 0;
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
        rows += 1;
        if rows > limits.rows {
            return Err(too_many_rows(limits.rows));
        }
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
        match parse(Bytes::copy_from_slice(body.as_bytes()), (&media, purpose), None, &Limits::default()) {
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
    fn rows_keys_and_depth_are_bounded() {
        let limits = Limits { rows: 2, columns: 2, body_depth: 9, ..Limits::default() };
        let check = |media: &str, body: &str, columns: Option<&[Cow<'_, str>]>| {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let parsed = parse(body, (&MediaType::parse(media), Purpose::Rows), columns, &limits);
            parsed.map_or_else(|it| it.to_string(), |_| "ok".into())
        };
        let json = |body: &str| check("application/json", body, None);
        assert_eq!(json(r#"[{"a":1,"b":2},{"a":1,"b":2}]"#), "ok");
        let rows = "The body has more than 2 rows; send it in parts";
        assert_eq!(json("[{},{},{}]"), rows);
        let keys = "An object of the body has more than 2 keys";
        assert_eq!(json(r#"{"a":1,"b":2,"c":3,"d":4}"#), keys);
        assert_eq!(json(r#"[{"a":1,"b":2,"c":3},{"a":1}]"#), keys);
        assert_eq!(check("text/csv", "a,b\n1,2\n1,2\n", None), "ok");
        assert_eq!(check("text/csv", "a,b\n1,2\n1,2\n1,2", None), rows);
        assert_eq!(check("text/csv", "a,b,c\n1,2,3", None), keys);
        let raw = |body: &str| check("application/json", body, Some(&["a".into()]));
        assert_eq!(raw(r#"[{"a":"[[,,\"{,"},{"a":[1,2,3]}]"#), "ok");
        assert_eq!(raw("[{},{},{}]"), rows);
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let deep = "The body is nested deeper than 9 levels";
        assert_eq!((raw(&nested(9)).as_str(), json(&nested(9)).as_str()), ("ok", "ok"));
        assert_eq!((raw(&nested(10)).as_str(), json(&nested(10)).as_str()), (deep, deep));
    }

    #[test]
    fn other_types_are_refused_for_rows() {
        assert_eq!(check("text/plain", Purpose::Rows, "x"), "Content-Type not acceptable: text/plain");
        assert_eq!(check("text/plain", Purpose::Arguments, "x"), " x");
    }
}
