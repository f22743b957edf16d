//! The settings of a request's transaction: role, search path, claims, and the request itself for SQL to read.

use std::borrow::Cow;
use std::fmt::Write as _;

use common::{Caller, RestSettings};
use http::{HeaderMap, Method, header::COOKIE};
use serde_json::{Map, Value};
use store::{CallerKey, Delivery, Session};

use crate::catalog::role;
use crate::request::Request;
use crate::sql::call_of;

/// The head of a request and what is set besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The path, as the service sees it.
    pub(crate) path: &'a str,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// What was understood of it.
    pub(crate) request: &'a Request<'a>,
    /// The project's settings.
    pub(crate) settings: &'a RestSettings,
    /// Whether anybody reads method, path, headers and cookies.
    pub(crate) is_read: bool,
    /// Whether it may share its transaction.
    pub(crate) is_sociable: bool,
    /// Settings of the caller's role: `name=value`.
    pub(crate) role_settings: &'a [String],
    /// Settings of the function that is called: `name=value`.
    pub(crate) function_settings: &'a [String],
}

/// The session of a request; the role comes first. A large body, which is the last column, comes in pieces.
pub(crate) fn session(caller: &Caller, head: Head<'_>) -> Session {
    let mut settings: Vec<(Cow<'static, str>, String)> = Vec::with_capacity(8);
    // As the login, which may make some of them where the role itself may not.
    for (name, value) in role::pairs(head.role_settings) {
        settings.push((name.to_owned().into(), value.to_owned()));
    }
    settings.push(("role".into(), caller.role().to_owned()));
    let extra = head.settings.db_extra_search_path.iter().map(String::as_str);
    settings.push(("search_path".into(), search_path(std::iter::once(head.request.schema).chain(extra))));
    settings.push(("request.jwt.claims".into(), caller.claims.json.clone()));
    if head.is_read {
        settings.push(("request.method".into(), head.method.as_str().to_owned()));
        settings.push(("request.path".into(), head.path.to_owned()));
        settings.push(("request.headers".into(), headers(head.headers)));
        settings.push(("request.cookies".into(), cookies(head.headers)));
    }
    if let Some(timezone) = &head.request.preferences.timezone {
        settings.push(("timezone".into(), timezone.to_owned()));
    }
    for (name, value) in role::pairs(head.function_settings) {
        settings.push((name.to_owned().into(), value.to_owned()));
    }
    for (name, value) in &head.settings.app_settings {
        settings.push((name.clone().into(), value.clone()));
    }
    let isolation = role::isolation(head.function_settings).or_else(|| role::isolation(head.role_settings));
    let before = head.settings.db_pre_request.as_deref().map(call_of);
    Session {
        settings,
        isolation,
        before,
        delivery: Delivery::Streamed,
        is_sociable: head.is_sociable,
        caller: Some(key(caller)),
        operation: head.request.action.operation(),
    }
}

/// Who sees whose writes at once, when replicas answer reads: whoever the token is about, else everybody of the role.
fn key(caller: &Caller) -> CallerKey {
    let claims = &caller.claims.map;
    let issued_at = claims.get("iat").and_then(Value::as_f64).map(seconds);
    match claims.get("sub") {
        Some(Value::String(subject)) => CallerKey::of_subject(subject, issued_at),
        None | Some(Value::Null) => CallerKey::of_role(caller.role()),
        Some(other) => CallerKey::of_subject(&other.to_string(), issued_at),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and a saturated date compares right")]
fn seconds(date: f64) -> i64 {
    date as i64
}

/// Quoted names with commas between.
fn search_path<'a>(schemas: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::with_capacity(64);
    for schema in schemas {
        text.push_str(if text.is_empty() { "\"" } else { ", \"" });
        for (idx, part) in schema.split('"').enumerate() {
            if idx > 0 {
                text.push_str("\"\"");
            }
            text.push_str(part);
        }
        text.push('"');
    }
    text
}

/// Headers as a JSON object: names in lower case, the last of several, without cookies.
fn headers(headers: &HeaderMap) -> String {
    let mut text = String::with_capacity(512);
    for name in headers.keys().filter(|it| **it != COOKIE) {
        let Some(value) = headers.get_all(name).iter().next_back() else { continue };
        text.push(if text.is_empty() { '{' } else { ',' });
        // A name is a token (RFC 9110 §5.1): nothing in it needs escaping.
        text.extend(["\"", name.as_str(), "\":"]);
        push_json(&mut text, &String::from_utf8_lossy(value.as_bytes()));
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

/// `value` as a JSON string.
fn push_json(text: &mut String, value: &str) {
    if value.bytes().all(|it| !matches!(it, 0..=0x1f | b'"' | b'\\')) {
        text.extend(["\"", value, "\""]);
    } else {
        let _ = write!(text, "{}", Value::from(value));
    }
}

/// Cookies as a JSON object.
fn cookies(headers: &HeaderMap) -> String {
    if !headers.contains_key(COOKIE) {
        return "{}".into();
    }
    let lines = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
    let pairs: Map<String, Value> = lines
        .flat_map(|it| it.split(';'))
        .filter_map(|it| it.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), Value::String(value.trim().to_owned())))
        .collect();
    Value::Object(pairs).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_cookies_are_apart() {
        let mut map = HeaderMap::new();
        map.insert("X-One", "a\"b".parse().unwrap());
        map.insert("cookie", "a=1; b=x=y".parse().unwrap());
        assert_eq!(headers(&map), r#"{"x-one":"a\"b"}"#);
        assert_eq!(cookies(&map), r#"{"a":"1","b":"x=y"}"#);
        map.append("x-one", http::HeaderValue::from_bytes(b"\tb\\\xff").unwrap());
        map.insert("y", "z".parse().unwrap());
        assert_eq!(headers(&map), "{\"x-one\":\"\\tb\\\\\u{fffd}\",\"y\":\"z\"}");
        assert_eq!(headers(&HeaderMap::new()), "{}");
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(search_path(["public", "a\"b"].into_iter()), r#""public", "a""b""#);
    }
}
