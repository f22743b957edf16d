//! The text of a filter (`age=gte.18,name=not.like."a,b%"`) as conditions; all of them must hold.
//!
//! Quotes at the beginning of a value protect commas and parentheses, as in the data API. What cannot be read is refused
//! with the text that clients know.

use std::fmt;

/// Longest text of a filter, in bytes.
const LONGEST: usize = 16 * 1024;
/// Most conditions of a filter.
const MOST: usize = 50;

/// How a column's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    Like,
    Ilike,
    Is,
    Match,
    Imatch,
    IsDistinct,
}

impl Op {
    const ALL: [(&'static str, Self); 13] = [
        ("eq", Self::Eq),
        ("neq", Self::Neq),
        ("lt", Self::Lt),
        ("lte", Self::Lte),
        ("gt", Self::Gt),
        ("gte", Self::Gte),
        ("in", Self::In),
        ("like", Self::Like),
        ("ilike", Self::Ilike),
        ("is", Self::Is),
        ("match", Self::Match),
        ("imatch", Self::Imatch),
        ("isdistinct", Self::IsDistinct),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.0 == name).map(|it| it.1)
    }

    /// As clients write it.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub(super) column: String,
    pub(super) op: Op,
    /// Of `in`: the literal of an array.
    pub(super) value: String,
    pub(super) negate: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{:?}, {:?}, {:?}, {}}}", self.column, self.op.name(), self.value, self.negate)
    }
}

/// The conditions of `text`; none when it is blank.
///
/// # Errors
/// What is wrong with it, for the client.
pub(super) fn parse(text: &str) -> Result<Vec<Condition>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > LONGEST {
        return Err(format!("filter must not be longer than {LONGEST} bytes"));
    }
    let conditions = segments(text).into_iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    if conditions.len() > MOST {
        return Err(format!("filter must not have more than {MOST} conditions"));
    }
    Ok(conditions)
}

/// `text` cut at its commas, but for those within parentheses or quotes.
fn segments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut depth, mut is_quoted) = (0, 0_usize, false);
    let mut before = None;
    let mut chars = text.char_indices();
    while let Some((idx, it)) = chars.next() {
        match it {
            '\\' if is_quoted => drop(chars.next()),
            '"' if is_quoted => is_quoted = false,
            _ if is_quoted => {}
            '"' if matches!(before, Some('.' | '(' | ',')) => is_quoted = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.extend(text.get(start..idx));
                start = idx + 1;
                before = None;
                continue;
            }
            _ => {}
        }
        before = Some(it);
    }
    found.extend(text.get(start..));
    found
}

fn condition(segment: &str) -> Result<Condition, String> {
    let segment = segment.trim();
    if segment.is_empty() {
        return Err("filter must not contain empty segments (check for extra commas)".into());
    }
    let (column, rest) = segment.split_once('=').ok_or_else(|| format!("{:?}", [segment]))?;
    let (negate, rest) = rest.strip_prefix("not.").map_or((false, rest), |it| (true, it));
    let (name, value) = rest.split_once('.').ok_or_else(|| format!("{:?}", [rest]))?;
    let op = Op::named(name).ok_or_else(|| format!("{:?}", [name, value]))?;
    let value = match op {
        Op::In => {
            let list = value.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
            format!("{{{}}}", list.ok_or("`in` filter value must be wrapped by parentheses")?)
        }
        _ => unquoted(value).unwrap_or_else(|| value.to_owned()),
    };
    Ok(Condition { column: column.to_owned(), op, value, negate })
}

/// What stands between quotes; `None` where they do not embrace the whole value, which then means what it says.
fn unquoted(value: &str) -> Option<String> {
    let mut chars = value.strip_prefix('"')?.chars();
    let mut found = String::new();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(found),
            '\\' => found.push(chars.next()?),
            other => found.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> String {
        match parse(text) {
            Ok(conditions) => conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn filters_are_read_as_clients_write_them() {
        for (text, expected) in [
            ("", ""),
            ("   ", ""),
            ("id=eq.5", r#"{"id", "eq", "5", false}"#),
            ("id=gt.0,id=lt.100", r#"{"id", "gt", "0", false} {"id", "lt", "100", false}"#),
            (
                "id=in.(1,2,3),details=eq.active",
                r#"{"id", "in", "{1,2,3}", false} {"details", "eq", "active", false}"#,
            ),
            (
                "a=eq.x),b=eq.y),c=eq.z",
                r#"{"a", "eq", "x)", false} {"b", "eq", "y)", false} {"c", "eq", "z", false}"#,
            ),
            (r#"name=eq.O'Brien "x""#, r#"{"name", "eq", "O'Brien \"x\"", false}"#),
            (r#"name=eq."a,b",id=gt.0"#, r#"{"name", "eq", "a,b", false} {"id", "gt", "0", false}"#),
            (r#"name=eq."a.b:c(d)""#, r#"{"name", "eq", "a.b:c(d)", false}"#),
            (r#"name=eq."she said \"hi\"""#, r#"{"name", "eq", "she said \"hi\"", false}"#),
            (r#"path=eq."C:\\tmp""#, r#"{"path", "eq", "C:\\tmp", false}"#),
            (r#"path=eq."C:\new""#, r#"{"path", "eq", "C:new", false}"#),
            (r#"name=eq."""#, r#"{"name", "eq", "", false}"#),
            ("name=eq.", r#"{"name", "eq", "", false}"#),
            (r#"tags=in.("a,b",c)"#, r#"{"tags", "in", "{\"a,b\",c}", false}"#),
            (r#"name=eq."unterminated"#, r#"{"name", "eq", "\"unterminated", false}"#),
            (r#"name=eq."ab"cd"#, r#"{"name", "eq", "\"ab\"cd", false}"#),
            (r#"desc=eq.5" tall,id=gt.0"#, r#"{"desc", "eq", "5\" tall", false} {"id", "gt", "0", false}"#),
            ("id=not.eq.5", r#"{"id", "eq", "5", true}"#),
            (r#"name=not.neq."a,b""#, r#"{"name", "neq", "a,b", true}"#),
            ("flag=is.true", r#"{"flag", "is", "true", false}"#),
            ("subject=foo.hey", r#"! ["foo", "hey"]"#),
            ("undefined", r#"! ["undefined"]"#),
            ("id=eq", r#"! ["eq"]"#),
            ("id=in.1,2", "! `in` filter value must be wrapped by parentheses"),
            ("id=gt.0,", "! filter must not contain empty segments (check for extra commas)"),
            (",id=gt.0", "! filter must not contain empty segments (check for extra commas)"),
            ("a=eq.1,,b=eq.2", "! filter must not contain empty segments (check for extra commas)"),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
        assert!(check(&"a=eq.1,".repeat(51)).starts_with("! "));
        assert!(check(&format!("a=eq.{}", "x".repeat(LONGEST))).starts_with("! "));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
