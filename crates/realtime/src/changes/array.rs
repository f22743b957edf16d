//! PostgreSQL's array literals: read (a column's value, the operand of `in`) and written (parameters).
//!
//! Refuses what PostgreSQL would refuse, by `None`; nesting is bounded as in PostgreSQL.

/// Dimensions that an array may have.
const DEEPEST: usize = 6;

/// An element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Null,
    Text(String),
    /// Of an array with several dimensions.
    List(Vec<Item>),
}

/// The elements of the literal `text`, which `delimiter` separates.
pub(super) fn parse(text: &str, delimiter: char) -> Option<Vec<Item>> {
    let mut text = text.trim();
    // Bounds come before arrays that do not start at 1: `[0:1]={1,2}`.
    if text.starts_with('[') {
        text = text.split_once('=')?.1.trim_start();
    }
    let mut reader = Reader { rest: text, delimiter };
    let items = reader.list(1)?;
    reader.rest.trim().is_empty().then_some(items)
}

struct Reader<'a> {
    rest: &'a str,
    delimiter: char,
}

impl Reader<'_> {
    fn list(&mut self, depth: usize) -> Option<Vec<Item>> {
        if depth > DEEPEST {
            return None;
        }
        self.rest = self.rest.trim_start().strip_prefix('{')?;
        let mut items = Vec::new();
        if let Some(rest) = self.rest.trim_start().strip_prefix('}') {
            self.rest = rest;
            return Some(items);
        }
        loop {
            self.rest = self.rest.trim_start();
            items.push(match self.rest.chars().next()? {
                '{' => Item::List(self.list(depth + 1)?),
                '"' => Item::Text(self.quoted()?),
                _ => self.bare()?,
            });
            self.rest = self.rest.trim_start();
            let next = self.rest.chars().next()?;
            self.rest = self.rest.get(next.len_utf8()..)?;
            if next == '}' {
                return Some(items);
            }
            if next != self.delimiter {
                return None;
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((idx, it)) = chars.next() {
            match it {
                '"' => {
                    self.rest = self.rest.get(idx + 1..)?;
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                other => value.push(other),
            }
        }
        None
    }

    fn bare(&mut self) -> Option<Item> {
        let mut value = String::new();
        // Up to here, white space at the end does not belong to the value.
        let mut kept = 0;
        let mut is_escaped = false;
        let mut chars = self.rest.char_indices();
        while let Some((idx, it)) = chars.next() {
            match it {
                '}' => {
                    self.rest = self.rest.get(idx..)?;
                    value.truncate(kept);
                    return Self::named(value, is_escaped);
                }
                it if it == self.delimiter => {
                    self.rest = self.rest.get(idx..)?;
                    value.truncate(kept);
                    return Self::named(value, is_escaped);
                }
                '{' | '"' => return None,
                '\\' => {
                    value.push(chars.next()?.1);
                    (kept, is_escaped) = (value.len(), true);
                }
                other => {
                    value.push(other);
                    if !other.is_ascii_whitespace() {
                        kept = value.len();
                    }
                }
            }
        }
        None
    }

    fn named(value: String, is_escaped: bool) -> Option<Item> {
        if value.is_empty() {
            return None;
        }
        let is_null = !is_escaped && value.eq_ignore_ascii_case("null");
        Some(if is_null { Item::Null } else { Item::Text(value) })
    }
}

/// `values` as a literal of an array with one dimension.
pub(super) fn literal<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<u8> {
    let mut text = vec![b'{'];
    for value in values {
        if text.len() > 1 {
            text.push(b',');
        }
        let Some(value) = value else {
            text.extend_from_slice(b"NULL");
            continue;
        };
        text.push(b'"');
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(it: &str) -> Item {
        Item::Text(it.into())
    }

    #[test]
    fn literals_are_read_as_postgresql_does() {
        assert_eq!(parse("{}", ','), Some(vec![]));
        assert_eq!(parse("{1, 2 ,a b }", ','), Some(vec![text("1"), text("2"), text("a b")]));
        assert_eq!(
            parse(r#"{"a,b",NULL,"NULL",\n\ull}"#, ','),
            Some(vec![text("a,b"), Item::Null, text("NULL"), text("null")])
        );
        assert_eq!(parse(r#"{"q\"\\"}"#, ','), Some(vec![text("q\"\\")]));
        assert_eq!(
            parse("[0:1]={{1},{2}}", ','),
            Some(vec![Item::List(vec![text("1")]), Item::List(vec![text("2")])])
        );
        assert_eq!(parse("{(1,1),(0,0);(2,2),(1,1)}", ';').map(|it| it.len()), Some(2));
        for broken in ["", "{", "{a", "{a,}", "{,}", "{\"a}", "{a}b", "{a\"b\"}", "{{{{{{{a}}}}}}}"] {
            assert_eq!(parse(broken, ','), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(values in prop::collection::vec(prop::option::of(".*"), 0..5)) {
            let written = literal(values.iter().map(|it| it.as_deref().map(str::as_bytes)));
            let expected: Vec<Item> = values.into_iter().map(|it| it.map_or(Item::Null, Item::Text)).collect();
            prop_assert_eq!(parse(std::str::from_utf8(&written).unwrap(), ','), Some(expected));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text, ',');
        }
    }
}
