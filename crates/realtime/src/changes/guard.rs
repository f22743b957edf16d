//! Who certainly does not see a row: what policies of the form `owner = auth.uid()` say without asking PostgreSQL.
//!
//! It only ever excludes. Whoever may see a row is asked about as ever, so a policy that is misread here shows nothing to
//! anybody. Understood are comparisons of a column with `auth.uid()`, plain or as a sub-select or text, with `and` and
//! `or` around them, as PostgreSQL writes its expressions; all else may show the row.

use crate::change::Value;

/// What must hold for a row to be seen; `C` names a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Guard<C> {
    /// May hold.
    Unknown,
    /// The column is the caller's id.
    Own(C),
    All(Vec<Guard<C>>),
    Any(Vec<Guard<C>>),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Nobody: nothing is theirs.
    None,
    /// A UUID as PostgreSQL writes it.
    Known(String),
    /// Only PostgreSQL knows.
    Unclear,
}

/// How deep expressions are looked into.
const DEEPEST: usize = 16;
/// How PostgreSQL writes the caller's id.
const IDS: [&str; 4] = [
    "auth.uid()",
    "( SELECT auth.uid() AS uid)",
    "(auth.uid())::text",
    "( SELECT (auth.uid())::text AS uid)",
];

impl Guard<String> {
    /// That of a table with these permissive policies: one of them must hold. One without an expression does.
    pub(super) fn of(policies: &[Option<String>]) -> Self {
        let one = |it: &Option<String>| it.as_deref().map_or(Self::Unknown, |it| Self::parse(it, 0));
        Self::Any(policies.iter().map(one).collect())
    }

    fn parse(text: &str, depth: usize) -> Self {
        let text = within(text);
        // Strings with escapes would have to be read to find where they end.
        if depth > DEEPEST || text.contains("E'") {
            return Self::Unknown;
        }
        let parts =
            |word| split(text, word).map(|it| it.iter().map(|it| Self::parse(it, depth + 1)).collect());
        if let Some(parts) = parts(" OR ") {
            return Self::Any(parts);
        }
        if let Some(parts) = parts(" AND ") {
            return Self::All(parts);
        }
        for id in IDS {
            let front = text.strip_prefix(id).and_then(|it| it.strip_prefix(" = "));
            let back = text.strip_suffix(id).and_then(|it| it.strip_suffix(" = "));
            if let Some(column) = front.or(back).and_then(column) {
                return Self::Own(column);
            }
        }
        Self::Unknown
    }

    /// With where columns stand; a column that the stream does not have may hold anything.
    pub(super) fn resolve(&self, at: &impl Fn(&str) -> Option<usize>) -> Guard<usize> {
        let all = |parts: &[Self]| parts.iter().map(|it| it.resolve(at)).collect();
        match self {
            Self::Unknown => Guard::Unknown,
            Self::Own(column) => at(column).map_or(Guard::Unknown, Guard::Own),
            Self::All(parts) => Guard::All(all(parts)),
            Self::Any(parts) => Guard::Any(all(parts)),
        }
    }
}

impl Guard<usize> {
    /// Whether `subject` may see a row with these values.
    pub(super) fn may_hold<'a>(
        &self,
        subject: &Subject,
        value: &impl Fn(usize) -> Option<&'a Value>,
    ) -> bool {
        match self {
            Self::Unknown => true,
            Self::All(parts) => parts.iter().all(|it| it.may_hold(subject, value)),
            Self::Any(parts) => parts.iter().any(|it| it.may_hold(subject, value)),
            Self::Own(at) => match (subject, value(*at)) {
                (Subject::Unclear, _) | (_, None | Some(Value::Unchanged)) => true,
                (Subject::None, _) | (_, Some(Value::Null)) => false,
                (Subject::Known(id), Some(Value::Text(it))) => it == id.as_bytes(),
            },
        }
    }
}

/// `text` without the parentheses around all of it.
fn within(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|it| it.strip_suffix(')'))
        && outside(inner).is_some()
        && !inner.trim_start().starts_with("SELECT ")
    {
        text = inner.trim();
    }
    text
}

/// For each byte whether it stands outside of parentheses and quotes; `None` when they do not match.
fn outside(text: &str) -> Option<Vec<bool>> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut found = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match (quote, byte) {
            (Some(open), it) if it == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[') => depth += 1,
            (None, b')' | b']') => depth = depth.checked_sub(1)?,
            (None, _) => {
                found.push(depth == 0);
                continue;
            }
        }
        found.push(false);
    }
    (depth == 0 && quote.is_none()).then_some(found)
}

/// `text` cut at each `word` outside of parentheses; `None` when there is none, or where it may mean something else.
fn split<'a>(text: &'a str, word: &str) -> Option<Vec<&'a str>> {
    let outside = outside(text)?;
    if text.starts_with("CASE ") {
        return None;
    }
    let mut parts = Vec::new();
    let mut start = 0;
    for (idx, _) in text.match_indices(word) {
        if outside.get(idx) == Some(&true) {
            parts.push(text.get(start..idx)?);
            start = idx + word.len();
        }
    }
    parts.push(text.get(start..)?);
    (parts.len() > 1).then_some(parts)
}

/// The name of a column, if that is all.
fn column(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
        return (!quoted.replace("\"\"", "").contains('"')).then(|| quoted.replace("\"\"", "\""));
    }
    let is_plain = text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
    (is_plain && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str) -> String {
        fn show(it: &Guard<String>) -> String {
            let all = |parts: &[Guard<String>]| parts.iter().map(show).collect::<Vec<_>>().join(" ");
            match it {
                Guard::Unknown => "?".into(),
                Guard::Own(column) => column.clone(),
                Guard::All(parts) => format!("all({})", all(parts)),
                Guard::Any(parts) => format!("any({})", all(parts)),
            }
        }
        show(&Guard::parse(policy, 0))
    }

    #[test]
    fn policies_about_owners_are_understood_and_others_left() {
        for (policy, expected) in [
            ("(owner = auth.uid())", "owner"),
            ("(auth.uid() = owner)", "owner"),
            ("(( SELECT auth.uid() AS uid) = owner)", "owner"),
            ("(owner = ( SELECT auth.uid() AS uid))", "owner"),
            ("((auth.uid())::text = owner)", "owner"),
            ("(\"Own\"\"er\" = auth.uid())", "Own\"er"),
            ("((owner = auth.uid()) AND (NOT deleted))", "all(owner ?)"),
            ("((owner = auth.uid()) OR (friend = auth.uid()) OR is_open)", "any(owner friend ?)"),
            ("(((owner = auth.uid()) AND a) OR b)", "any(all(owner ?) ?)"),
            ("((body = ' OR '::text) AND (owner = auth.uid()))", "all(? owner)"),
            ("true", "?"),
            ("(NOT (owner = auth.uid()))", "?"),
            ("(owner <> auth.uid())", "?"),
            ("((owner = auth.uid()) IS NOT TRUE)", "?"),
            ("((owner)::uuid = auth.uid())", "?"),
            ("(COALESCE(owner, friend) = auth.uid())", "?"),
            ("(EXISTS ( SELECT 1 FROM t WHERE ((t.a = auth.uid()) AND b)))", "?"),
            ("CASE WHEN (a OR b) THEN (owner = auth.uid()) ELSE true END", "?"),
            ("(body = E'\\\\'' OR '::text)", "?"),
            ("(a = other.uid())", "?"),
            ("", "?"),
        ] {
            assert_eq!(check(policy), expected, "{policy}");
        }
    }

    #[test]
    fn rows_of_others_are_excluded() {
        let row = [Value::Text("a".into()), Value::Null, Value::Unchanged];
        let sees = |guard: Guard<usize>, subject: Subject| guard.may_hold(&subject, &|at| row.get(at));
        let ada = || Subject::Known("a".into());
        assert!(sees(Guard::Own(0), ada()) && !sees(Guard::Own(0), Subject::Known("b".into())));
        assert!(!sees(Guard::Own(1), ada()) && sees(Guard::Own(2), ada()) && sees(Guard::Own(3), ada()));
        assert!(!sees(Guard::Own(0), Subject::None) && sees(Guard::Own(1), Subject::Unclear));
        assert!(sees(Guard::Any(vec![Guard::Own(1), Guard::Unknown]), ada()));
        assert!(!sees(Guard::All(vec![Guard::Own(1), Guard::Unknown]), ada()));
        assert!(!sees(Guard::Any(vec![]), ada()));
    }
}
