//! What a join asks for in `postgres_changes`: parsed tolerantly, told back with an id.
//!
//! An entry that cannot be read keeps its place and its id; subscribing with it is refused, with the text that clients
//! know.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::filter::{self, Condition};
use crate::change::Kind;

/// One entry of `postgres_changes`.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// As the client wrote it.
    raw: Map<String, Value>,
    id: i64,
    spec: Result<Arc<Spec>, String>,
}

/// What an entry means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) id: i64,
    /// Absent: all.
    pub(super) event: Option<Kind>,
    /// `*`: all.
    pub(super) schema: String,
    /// `*`: all.
    pub(super) table: String,
    pub(super) conditions: Vec<Condition>,
    /// How many of them PostgreSQL decides, for every change; known once they are checked.
    pub(super) asked: usize,
    /// The columns to send, in their order by name; absent: all.
    pub(super) select: Option<Vec<String>>,
}

impl Wanted {
    /// The entries of a join's `config.postgres_changes`; none when it is absent or no list. Nulls are passed over.
    pub(crate) fn list(config: Option<&Value>) -> Vec<Self> {
        let entries = config.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter(|it| !it.is_null()).map(Self::of).collect()
    }

    fn of(entry: &Value) -> Self {
        let raw = entry.as_object().cloned().unwrap_or_default();
        let id = id(&raw);
        let spec = Spec::of(&raw, id).map(Arc::new);
        Self { raw, id, spec }
    }

    /// What the join's reply says of it: its own fields, and `id`.
    pub(crate) fn echo(&self) -> Value {
        let mut fields = self.raw.clone();
        fields.insert("id".into(), self.id.into());
        Value::Object(fields)
    }

    /// The id that changes will carry: the same for equal entries, in every process and at every time.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn spec(&self) -> Result<&Arc<Spec>, &str> {
        self.spec.as_ref().map_err(String::as_str)
    }
}

impl Spec {
    fn of(raw: &Map<String, Value>, id: i64) -> Result<Self, String> {
        let text = |name: &str| match raw.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(it)) => Ok(Some(it.as_str())),
            Some(_) => Err(missing(raw)),
        };
        let (schema, table, filter) = (text("schema")?, text("table")?, text("filter")?);
        let select = select(raw.get("select"))?;
        let columns = select.iter().flatten().map(String::as_str);
        if [schema, table, filter].into_iter().flatten().chain(columns).any(|it| it.contains('\0')) {
            return Err("A name or filter holds the character U+0000, which PostgreSQL has not".into());
        }
        let (schema, table) = match (schema, table) {
            (None, None) => return Err(missing(raw)),
            (schema, table) => (schema.unwrap_or("public"), table.unwrap_or("*")),
        };
        let conditions = filter::parse(filter.unwrap_or_default())
            .map_err(|it| format!("Error parsing `filter` params: {it}"))?;
        if select.is_some() && (schema == "*" || table == "*") {
            return Err("Column selection is not supported for wildcard subscriptions. Provide an explicit schema and \
                        table name."
                .into());
        }
        let event = event(raw.get("event"));
        Ok(Self {
            id,
            event,
            schema: schema.to_owned(),
            table: table.to_owned(),
            conditions,
            asked: 0,
            select,
        })
    }

    /// Whether it names one table.
    pub(super) fn is_exact(&self) -> bool {
        self.schema != "*" && self.table != "*"
    }

    /// Whether it wants changes of this kind.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.event.is_none_or(|it| it == kind)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event.map_or("*", event_name);
        write!(f, "event: {event}, schema: {}, table: {}", self.schema, self.table)?;
        for (idx, it) in self.conditions.iter().enumerate() {
            let (before, not) =
                (if idx == 0 { ", filter: " } else { "," }, if it.negate { "not." } else { "" });
            write!(f, "{before}{}={not}{}.{}", it.column, it.op.name(), it.value)?;
        }
        match &self.select {
            None => Ok(()),
            Some(columns) => write!(f, ", select: {}", columns.join(",")),
        }
    }
}

/// As clients know it.
pub(super) fn event_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Insert => "INSERT",
        Kind::Update => "UPDATE",
        Kind::Delete => "DELETE",
    }
}

/// Anything unknown means all events.
fn event(value: Option<&Value>) -> Option<Kind> {
    let name = value.and_then(Value::as_str).unwrap_or_default();
    [Kind::Insert, Kind::Update, Kind::Delete]
        .into_iter()
        .find(|it| event_name(*it).eq_ignore_ascii_case(name))
}

fn select(value: Option<&Value>) -> Result<Option<Vec<String>>, String> {
    match value {
        Some(Value::Array(columns)) => {
            let mut names: Vec<String> =
                columns.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            names.sort_unstable();
            names.dedup();
            Ok(Some(names).filter(|it| !it.is_empty()))
        }
        Some(Value::String(_)) => {
            Err("Error parsing `select` params: expected a list of column name strings, e.g. \
                                       select: [\"col1\", \"col2\"]"
                .into())
        }
        _ => Ok(None),
    }
}

fn missing(raw: &Map<String, Value>) -> String {
    let is_secret = raw.contains_key("user_token") || raw.contains_key("auth_token");
    let shown = if is_secret { "<redacted>".into() } else { Value::Object(raw.clone()).to_string() };
    let shown: String = shown.chars().take(500).collect();
    format!(
        "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {shown}"
    )
}

/// A positive number below 2³¹ that depends on what the entry asks for and on nothing else (FNV-1a, folded).
fn id(raw: &Map<String, Value>) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for name in ["event", "schema", "table", "filter", "select"] {
        let field = raw.get(name).filter(|it| !it.is_null()).map(Value::to_string).unwrap_or_default();
        for byte in field.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let folded = (hash ^ (hash >> 32)) & 0x7fff_ffff;
    i64::try_from(folded.max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(entry: Value) -> String {
        match Wanted::of(&entry).spec() {
            Ok(spec) => spec.to_string(),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn entries_are_understood_tolerantly() {
        let all = "event: *, schema: public, table: *";
        assert_eq!(check(json!({"schema": "public"})), all);
        assert_eq!(check(json!({"schema": "public", "table": null, "filter": null, "event": 7})), all);
        assert_eq!(check(json!({"table": "*", "event": "truncate"})), all);
        assert_eq!(
            check(
                json!({"event": "insert", "table": "t", "filter": "id=eq.1,b=not.is.null", "select": ["b", 1, "a"]})
            ),
            "event: INSERT, schema: public, table: t, filter: id=eq.1,b=not.is.null, select: a,b"
        );
        for refused in [
            json!({}),
            json!("x"),
            json!({"event": "*"}),
            json!({"schema": 1, "table": "t"}),
            json!({"table": "t", "filter": [1]}),
            json!({"table": "t", "select": "a"}),
            json!({"schema": "public", "select": ["a"]}),
            json!({"table": "t", "filter": "a=b.c"}),
            json!({"schema": "public\0", "table": "t"}),
            json!({"table": "\0"}),
            json!({"table": "t", "filter": "a=eq.\0"}),
            json!({"table": "t", "select": ["a\0"]}),
        ] {
            assert!(check(refused.clone()).starts_with("! "), "{refused}");
        }
        assert!(!check(json!({"auth_token": "secret"})).contains("secret"));
    }

    #[test]
    fn equal_entries_have_equal_small_ids() {
        let entry = json!({"event": "*", "schema": "public", "table": "a"});
        let wanted = Wanted::list(Some(&json!([entry, null, entry, {"schema": "public", "table": "a"}])));
        assert_eq!(wanted.len(), 3);
        assert_eq!(wanted[0].id(), wanted[1].id());
        assert_ne!(wanted[0].id(), wanted[2].id());
        assert!(wanted.iter().all(|it| (1..1 << 31).contains(&it.id())));
        // What clients were told yesterday, and by another process.
        assert_eq!(wanted[0].id(), 722_939_647);
        assert_eq!(wanted[0].echo()["id"], wanted[0].id());
        assert_eq!(wanted[0].echo()["table"], "a");
        assert!(Wanted::list(None).is_empty() && Wanted::list(Some(&json!({}))).is_empty());
    }
}
