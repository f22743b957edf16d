//! Values from PostgreSQL's text format to JSON, as PostgreSQL's `to_jsonb` would write them.
//!
//! Called for each value that is sent. Types that it does not know (and composite ones) become strings.

use super::array::{self, Item};

/// How values of a type are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Number,
    Bool,
    Json,
    Timestamp,
    Timestamptz,
    /// In hexadecimal digits.
    Bytes,
    Text,
    /// An array: its elements, and what separates them.
    List(Box<Shape>, char),
}

impl Shape {
    /// That of the type with this OID, which is no domain.
    pub(super) fn of(type_oid: u32) -> Self {
        match type_oid {
            16 => Self::Bool,
            17 => Self::Bytes,
            20 | 21 | 23 | 700 | 701 | 1700 => Self::Number,
            114 | 3802 => Self::Json,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            _ => Self::Text,
        }
    }

    /// That of an array whose elements are of the type with this OID.
    pub(super) fn list(element_oid: u32, delimiter: char) -> Self {
        // Within arrays, bytes keep their prefix.
        let element = if element_oid == 17 { Self::Text } else { Self::of(element_oid) };
        Self::List(Box::new(element), delimiter)
    }

    /// Write `value` behind `out`.
    pub(super) fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(value);
        self.write_text(&text, out);
    }

    fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Number if is_number(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bool if text == "t" => out.extend_from_slice(b"true"),
            Self::Bool if text == "f" => out.extend_from_slice(b"false"),
            Self::Json => out.extend_from_slice(text.as_bytes()),
            Self::Timestamp => string(&text.replacen(' ', "T", 1), out),
            Self::Timestamptz => string(&with_zone(text), out),
            Self::Bytes => string(text.strip_prefix("\\x").unwrap_or(text), out),
            Self::List(element, delimiter) => match array::parse(text, *delimiter) {
                Some(items) => element.write_items(&items, out),
                None => string(text, out),
            },
            Self::Number | Self::Bool | Self::Text => string(text, out),
        }
    }

    fn write_items(&self, items: &[Item], out: &mut Vec<u8>) {
        out.push(b'[');
        for (idx, item) in items.iter().enumerate() {
            if idx > 0 {
                out.push(b',');
            }
            match item {
                Item::Null => out.extend_from_slice(b"null"),
                Item::Text(text) => self.write_text(text, out),
                Item::List(items) => self.write_items(items, out),
            }
        }
        out.push(b']');
    }
}

/// Not `NaN` or `Infinity`, which JSON has no numbers for.
fn is_number(text: &str) -> bool {
    text.strip_prefix('-').unwrap_or(text).starts_with(|it: char| it.is_ascii_digit())
}

/// `2024-01-01 12:00:00+00` as `2024-01-01T12:00:00+00:00`.
fn with_zone(text: &str) -> String {
    let (moment, era) = text.strip_suffix(" BC").map_or((text, ""), |it| (it, " BC"));
    let mut written = moment.replacen(' ', "T", 1);
    let zone = written.find('T').and_then(|it| written.get(it..)?.find(['+', '-']).map(|at| it + at));
    if zone.is_some_and(|it| written.len() - it == 3) {
        written.push_str(":00");
    }
    written.push_str(era);
    written
}

/// `text` as a JSON string.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and a string has no other way to.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &Shape, text: &str) -> String {
        let mut out = Vec::new();
        shape.write(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_become_json() {
        for (oid, text, expected) in [
            (20, "9223372036854775807", "9223372036854775807"),
            (1700, "-1.50", "-1.50"),
            (701, "1e+20", "1e+20"),
            (701, "NaN", "\"NaN\""),
            (701, "-Infinity", "\"-Infinity\""),
            (16, "t", "true"),
            (16, "f", "false"),
            (3802, "{\"a\": 1}", "{\"a\": 1}"),
            (25, "a\"b\n\u{1}", r#""a\"b\n\u0001""#),
            (1114, "2024-01-01 12:00:00.5", "\"2024-01-01T12:00:00.5\""),
            (1114, "infinity", "\"infinity\""),
            (1184, "2024-01-01 12:00:00+00", "\"2024-01-01T12:00:00+00:00\""),
            (1184, "2024-01-01 12:00:00.25-03:30", "\"2024-01-01T12:00:00.25-03:30\""),
            (1184, "0044-03-15 00:00:00+00 BC", "\"0044-03-15T00:00:00+00:00 BC\""),
            (17, "\\x0102", "\"0102\""),
            (26, "7", "\"7\""),
        ] {
            assert_eq!(check(&Shape::of(oid), text), expected, "{oid} {text}");
        }
        assert_eq!(check(&Shape::list(23, ','), "{1,NULL,3}"), "[1,null,3]");
        assert_eq!(
            check(&Shape::list(25, ','), r#"{{"a,b",c},{"NULL",d}}"#),
            r#"[["a,b","c"],["NULL","d"]]"#
        );
        assert_eq!(check(&Shape::list(3802, ','), r#"{"{\"a\": [1]}"}"#), "[{\"a\": [1]}]");
        assert_eq!(check(&Shape::list(23, ','), "{1"), "\"{1\"");
    }
}
