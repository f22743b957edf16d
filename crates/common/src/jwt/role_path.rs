//! Where the role is in a token's claims: a JSON path (RFC 9535) as PostgREST's `jwt-role-claim-key` has it.
//!
//! `$.role`, `$.realm.roles[0]`, `$['https://a.example/role']`, `$.roles[?(@ == 'author')]`, `$.roles[?search(@, '^au')]`,
//! and the older form without `$`: `.roles[0]`, `."my-role"`, `.roles[?(@ ^== "au")]`. The first match is the role.

mod parse;

use std::str::FromStr;

use regex::Regex;
use serde_json::{Map, Value};

/// The text is no path. `Display` says where reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to parse role-claim-key value ({text}): unexpected {rest:?}; write a JSON path such as $.role or $.app.roles[0]"
)]
pub struct RolePathError {
    text: String,
    rest: String,
}

/// A parsed path.
///
/// ```
/// use common::jwt::RolePath;
/// let path: RolePath = "$.app.roles[0]".parse().unwrap();
/// let claims = serde_json::json!({"app": {"roles": ["author"]}});
/// assert_eq!(path.role_of(claims.as_object().unwrap()).as_deref(), Some("author"));
/// ```
#[derive(Debug, Clone)]
pub struct RolePath {
    segments: Vec<Segment>,
}

/// One step down.
#[derive(Debug, Clone)]
struct Segment {
    /// Whether it looks at every level below, too (`..`).
    deep: bool,
    selectors: Vec<Selector>,
}

#[derive(Debug, Clone)]
enum Selector {
    Name(String),
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    All,
    Filter(Condition),
}

/// What a filter asks of an element.
#[derive(Debug, Clone)]
enum Condition {
    Any(Vec<Condition>),
    Every(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
    Search(Operand, Box<Regex>),
    /// The older form: the element is a text that …
    Text(TextTest, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextTest {
    Is,
    IsNot,
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone)]
enum Operand {
    Literal(Value),
    /// From the element that is looked at (`@`).
    Element(Vec<Segment>),
    /// From the claims (`$`).
    Root(Vec<Segment>),
}

impl FromStr for RolePath {
    type Err = RolePathError;

    fn from_str(text: &str) -> Result<Self, RolePathError> {
        let parsed = if text.starts_with('$') { parse::path(text) } else { parse::older_path(text) };
        match parsed {
            Ok(segments) => Ok(Self { segments }),
            Err(rest) => Err(RolePathError { text: text.to_owned(), rest: rest.to_owned() }),
        }
    }
}

impl RolePath {
    /// The role that `claims` name; what is no text is taken as its JSON.
    #[must_use]
    pub fn role_of(&self, claims: &Map<String, Value>) -> Option<String> {
        // The common case needs no copy of the claims.
        if let [Segment { deep: false, selectors }] = self.segments.as_slice()
            && let [Selector::Name(name)] = selectors.as_slice()
        {
            return claims.get(name).map(text_of);
        }
        let root = Value::Object(claims.clone());
        walk(&self.segments, &root, &root).first().map(|it| text_of(it))
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// All nodes that `segments` lead to, from `start`.
fn walk<'v>(segments: &[Segment], start: &'v Value, root: &'v Value) -> Vec<&'v Value> {
    segments.iter().fold(vec![start], |nodes, segment| {
        let mut next = Vec::new();
        for node in nodes {
            segment.step(node, root, &mut next);
        }
        next
    })
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

impl Segment {
    fn step<'v>(&self, node: &'v Value, root: &'v Value, found: &mut Vec<&'v Value>) {
        for selector in &self.selectors {
            selector.select(node, root, found);
        }
        if self.deep {
            for child in children(node) {
                self.step(child, root, found);
            }
        }
    }
}

impl Selector {
    fn select<'v>(&self, node: &'v Value, root: &'v Value, found: &mut Vec<&'v Value>) {
        match (self, node) {
            (Self::Name(name), Value::Object(members)) => found.extend(members.get(name)),
            (Self::Index(index), Value::Array(items)) => {
                found.extend(place(*index, items.len()).and_then(|it| items.get(it)));
            }
            (Self::Slice { start, end, step }, Value::Array(items)) => {
                found.extend(slice(items, (*start, *end, *step)));
            }
            (Self::All, _) => found.extend(children(node)),
            (Self::Filter(condition), _) => {
                found.extend(children(node).into_iter().filter(|it| condition.holds(it, root)));
            }
            (Self::Name(_) | Self::Index(_) | Self::Slice { .. }, _) => {}
        }
    }
}

/// An index from the start, or from the end when negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn slice(items: &[Value], (start, end, step): (Option<i64>, Option<i64>, i64)) -> Vec<&Value> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_end = |it: i64| if it < 0 { it.saturating_add(length) } else { it };
    let within = |idx: &i64| (0..length).contains(idx);
    let at = |idx: i64| usize::try_from(idx).ok().and_then(|it| items.get(it));
    if step > 0 {
        let start = from_end(start.unwrap_or(0)).max(0);
        let end = from_end(end.unwrap_or(length)).min(length);
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        (start..end).step_by(step).filter(within).filter_map(at).collect()
    } else if step < 0 {
        let start = start.map_or(length - 1, from_end).min(length - 1);
        let end = end.map_or(-1, from_end).max(-1);
        let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
        ((end + 1)..=start).rev().step_by(step).filter(within).filter_map(at).collect()
    } else {
        Vec::new()
    }
}

impl Operand {
    fn nodes<'v>(&'v self, element: &'v Value, root: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Literal(value) => vec![value],
            Self::Element(segments) => walk(segments, element, root),
            Self::Root(segments) => walk(segments, root, root),
        }
    }
}

impl Condition {
    fn holds(&self, element: &Value, root: &Value) -> bool {
        match self {
            Self::Any(many) => many.iter().any(|it| it.holds(element, root)),
            Self::Every(many) => many.iter().all(|it| it.holds(element, root)),
            Self::Not(one) => !one.holds(element, root),
            Self::Exists(operand) => !operand.nodes(element, root).is_empty(),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.nodes(element, root), right.nodes(element, root));
                comparison.holds(left.first().copied(), right.first().copied())
            }
            Self::Search(operand, pattern) => operand
                .nodes(element, root)
                .first()
                .and_then(|it| it.as_str())
                .is_some_and(|it| pattern.is_match(it)),
            Self::Text(test, wanted) => element.as_str().is_some_and(|it| match test {
                TextTest::Is => it == wanted,
                TextTest::IsNot => it != wanted,
                TextTest::StartsWith => it.starts_with(wanted.as_str()),
                TextTest::EndsWith => it.ends_with(wanted.as_str()),
                TextTest::Contains => it.contains(wanted.as_str()),
            }),
        }
    }
}

impl Comparison {
    /// `None` is nothing found, which equals only itself.
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let less = |left: Option<&Value>, right: Option<&Value>| match (left, right) {
            (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_f64() < right.as_f64(),
            (Some(Value::String(left)), Some(Value::String(right))) => left < right,
            _ => false,
        };
        let equal = match (left, right) {
            (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_f64() == right.as_f64(),
            _ => left == right,
        };
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::Less => less(left, right),
            Self::LessOrEqual => less(left, right) || equal,
            Self::Greater => less(right, left),
            Self::GreaterOrEqual => less(right, left) || equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, claims: &Value) -> Option<String> {
        path.parse::<RolePath>().unwrap().role_of(claims.as_object().unwrap())
    }

    #[test]
    fn the_role_is_where_the_path_leads() {
        let claims = json!({
            "role": "plain", "n": 7, "https://a.example/role": {"key": "far"},
            "app": {"roles": ["other", "author", "admin"], "my-role": "dashed"},
            "groups": [{"name": "a", "level": 1}, {"name": "b", "level": 2}],
        });
        let cases = [
            ("$.role", Some("plain")),
            ("$.n", Some("7")),
            ("$.nothing", None),
            ("$.app.roles[1]", Some("author")),
            ("$.app.roles[-1]", Some("admin")),
            ("$.app.roles[9]", None),
            ("$['https://a.example/role'].key", Some("far")),
            ("$.app[\"my-role\"]", Some("dashed")),
            ("$.app.roles[?(@ == 'author')]", Some("author")),
            ("$.app.roles[?@ != 'other']", Some("author")),
            ("$.app.roles[?search(@, '^ad')]", Some("admin")),
            ("$.app.roles[?!search(@, 'o') && @ > 'a']", Some("admin")),
            ("$.groups[?(@.level >= 2)].name", Some("b")),
            ("$.groups[?(@.nothing || @.name == 'b')].name", Some("b")),
            ("$..level", Some("1")),
            ("$.app.roles[1:]", Some("author")),
            ("$.app.roles[::-1]", Some("admin")),
            ("$.app.roles[*]", Some("other")),
            // The older form.
            (".role", Some("plain")),
            (".app.roles[1]", Some("author")),
            (".app.\"my-role\"", Some("dashed")),
            (".\"https://a.example/role\".key", Some("far")),
            (".app.roles[?(@ == \"author\")]", Some("author")),
            (".app.roles[?(@ != \"other\")]", Some("author")),
            (".app.roles[?(@ ^== \"ad\")]", Some("admin")),
            (".app.roles[?(@ ==^ \"or\")]", Some("author")),
            (".app.roles[?(@ *== \"dmi\")]", Some("admin")),
        ];
        for (path, expected) in cases {
            assert_eq!(check(path, &claims).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [
            "",
            "role",
            "$role",
            "$.",
            ".",
            "$.a[",
            "$.a[?(@ ==)]",
            ".a[-1]",
            ".a[?(@ == \"b\")].c",
            "$.a b",
            "$[?search(@, '(')]",
        ] {
            assert!(bad.parse::<RolePath>().is_err(), "{bad}");
        }
    }
}
