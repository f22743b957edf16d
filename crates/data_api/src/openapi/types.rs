//! PostgreSQL's types in Swagger's words.

use serde::Serialize;
use serde_json::Value;

/// What the elements of an array are.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Items<'a> {
    /// Swagger's type; none for JSON.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    /// PostgreSQL's type, where it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<&'a str>,
}

/// The type of values of `type_name`; `None` for JSON, which can be anything.
pub(super) fn kind(type_name: &str) -> Option<&'static str> {
    match type_name {
        "boolean" => Some("boolean"),
        "smallint" | "integer" | "bigint" => Some("integer"),
        "numeric" | "real" | "double precision" => Some("number"),
        "json" | "jsonb" => None,
        it if it.ends_with("[]") => Some("array"),
        _ => Some("string"),
    }
}

/// The type of a query parameter, where nothing else than text and numbers can be.
pub(super) fn kind_in_query(type_name: &str) -> &'static str {
    match kind(type_name) {
        None | Some("array") => "string",
        Some(it) => it,
    }
}

/// What `type_name` is exactly.
pub(super) fn format(type_name: &str) -> &str {
    match type_name {
        "smallint" | "integer" => "int32",
        "bigint" => "int64",
        it => it,
    }
}

/// The elements, if it is an array.
pub(super) fn items(type_name: &str) -> Option<Items<'static>> {
    let element = type_name.strip_suffix("[]")?;
    Some(Items { kind: kind(element), format: None })
}

/// A column's default, when it is a value rather than something to compute; of what Swagger calls a string, any.
pub(super) fn default(type_name: &str, expression: &str) -> Option<Value> {
    if kind(type_name) != Some("string") {
        return serde_json::from_str(expression).ok();
    }
    let literal = expression.strip_suffix(type_name).and_then(|it| it.strip_suffix("::"));
    let text = literal.map_or(expression, |it| it.trim_matches('\''));
    Some(Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(type_name: &str) -> String {
        let shown = |it: Option<&'static str>| it.unwrap_or("any");
        let items = items(type_name).map_or_else(String::new, |it| format!(" of {}", shown(it.kind)));
        let (format, query) = (format(type_name), kind_in_query(type_name));
        format!("{}{items} ({format}); query: {query}", shown(kind(type_name)))
    }

    #[test]
    fn types_map() {
        assert_eq!(check("character varying"), "string (character varying); query: string");
        assert_eq!(check("smallint"), "integer (int32); query: integer");
        assert_eq!(check("bigint"), "integer (int64); query: integer");
        assert_eq!(check("real"), "number (real); query: number");
        assert_eq!(check("jsonb"), "any (jsonb); query: string");
        assert_eq!(check("boolean[]"), "array of boolean (boolean[]); query: string");
        assert_eq!(check("json[]"), "array of any (json[]); query: string");
        assert_eq!(check("public.mood"), "string (public.mood); query: string");
    }

    #[test]
    fn defaults_that_are_values_are_told() {
        let check = |type_name, text| default(type_name, text).map(|it| it.to_string()).unwrap_or_default();
        assert_eq!(check("text", "'default'::text"), r#""default""#);
        assert_eq!(check("date", "'1900-01-01'::date"), r#""1900-01-01""#);
        assert_eq!(check("uuid", "gen_random_uuid()"), r#""gen_random_uuid()""#);
        assert_eq!(check("text", r#"'"'::text"#), r#""\"""#);
        assert_eq!(check("boolean", "false"), "false");
        assert_eq!(check("numeric", "42.2"), "42.2");
        assert_eq!(check("integer", "nextval('a_seq'::regclass)"), "");
        assert_eq!(check("jsonb", "'{}'::jsonb"), "");
        assert_eq!(check("text[]", "'{}'::text[]"), "");
    }
}
