//! Outcome + plan → status, headers, body. `response.headers` and `response.status` of the database win.

use axum::response::Response;
use bytes::Bytes;
use common::{NothingWritten, Verbosity};
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE,
    LOCATION, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::catalog::{Function, Table};
use crate::content::Content;
use crate::error::{Error, RequestError};
use crate::request::prefer::{Count, Preferences, Resolution, Return};
use crate::request::{Action, MediaType, Parameters, Range, Request, encode};
use crate::run::Outcome;

/// An answer before the database's say.
struct Draft {
    status: StatusCode,
    headers: HeaderMap,
    body: Content,
}

impl Draft {
    fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::default() }
    }

    /// Set a header; a value that cannot be one is left out.
    fn header(&mut self, name: HeaderName, value: impl Into<Bytes>) -> &mut Self {
        if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// A body with its type and, when profiles are in use, its schema.
    fn body(&mut self, request: &Request<'_>, media: &MediaType, body: Content) -> &mut Self {
        self.header(CONTENT_TYPE, media.content_type());
        if request.names_schema {
            self.header(HeaderName::from_static("content-profile"), request.schema.to_owned());
        }
        if !request.headers_only {
            self.header(CONTENT_LENGTH, body.len().to_string());
            self.body = body;
        }
        self
    }

    fn preferences(&mut self, applied: &Preferences) -> &mut Self {
        if let Some(text) = applied.applied() {
            self.header(HeaderName::from_static("preference-applied"), text);
        }
        self
    }

    /// The answer, with what the database set.
    fn finish(mut self, outcome: &Outcome) -> Result<Response, RequestError> {
        if let Some(headers) = &outcome.headers {
            override_headers(&mut self.headers, headers)?;
        }
        if let Some(status) = &outcome.status {
            let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
            let status = StatusCode::from_bytes(digits.as_bytes());
            self.status = status.map_err(|_| RequestError::ResponseStatus)?;
        }
        self.headers.entry(VARY).or_insert(HeaderValue::from_static("Accept, Prefer, Range"));
        Ok(self.send())
    }

    fn send(self) -> Response {
        let mut response = Response::new(self.body.into_body());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The most headers that a function sets; a header map holds 32,768 and panics beyond.
const MAX_SET_HEADERS: usize = 256;

/// `[{"name": "value"}, …]`: replaces headers of the same name, keeps several of one name.
fn override_headers(headers: &mut HeaderMap, text: &str) -> Result<(), RequestError> {
    let objects: Vec<serde_json::Map<String, Value>> =
        serde_json::from_str(text).map_err(|_| RequestError::ResponseHeaders)?;
    if objects.len() > MAX_SET_HEADERS {
        return Err(RequestError::ResponseHeaders);
    }
    let mut set = HeaderMap::new();
    for object in &objects {
        let mut pairs = object.iter();
        let (Some((name, Value::String(value))), None) = (pairs.next(), pairs.next()) else {
            return Err(RequestError::ResponseHeaders);
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RequestError::ResponseHeaders)?;
        let value = HeaderValue::from_str(value).map_err(|_| RequestError::ResponseHeaders)?;
        set.append(name, value);
    }
    for name in set.keys() {
        headers.remove(name);
    }
    headers.extend(set);
    Ok(())
}

/// `first-last/total`
fn content_range(first: i64, last: i64, total: Option<i64>) -> String {
    let total_text = total.map_or_else(|| "*".to_owned(), |it| it.to_string());
    if total == Some(0) || first > last {
        format!("*/{total_text}")
    } else {
        format!("{first}-{last}/{total_text}")
    }
}

/// Status and `Content-Range` of a page.
fn page(range: Range, outcome: &Outcome) -> (StatusCode, String) {
    let last = range.offset.saturating_add(outcome.count).saturating_sub(1);
    let status = match outcome.total {
        Some(total) if range.offset > total => StatusCode::RANGE_NOT_SATISFIABLE,
        Some(total) if outcome.count < total => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    };
    (status, content_range(range.offset, last, outcome.total))
}

/// The body of a page, which is an error when it begins behind the last row.
fn page_body(range: Range, status: StatusCode, outcome: &mut Outcome, verbosity: Verbosity) -> Content {
    if status != StatusCode::RANGE_NOT_SATISFIABLE {
        return std::mem::take(&mut outcome.body);
    }
    let total = outcome.total.unwrap_or_default();
    Error::from(RequestError::OutOfBounds { offset: range.offset, total }).body(verbosity).into()
}

/// The answer to a read of the relation `name`.
///
/// # Errors
/// [`RequestError::ResponseHeaders`] and [`RequestError::ResponseStatus`] when the database set nonsense.
pub(crate) fn read(
    request: &Request<'_>,
    (name, parameters): (&str, &Parameters<'_>),
    media: &MediaType,
    outcome: &mut Outcome,
    verbosity: Verbosity,
) -> Result<Response, RequestError> {
    let (status, content_range) = page(request.range, outcome);
    let mut draft = Draft::new(status);
    let query = parameters.canonical();
    let separator = if query.is_empty() { "" } else { "?" };
    draft
        .header(CONTENT_RANGE, content_range)
        .header(CONTENT_LOCATION, format!("/{name}{separator}{query}"))
        .body(request, media, page_body(request.range, status, outcome, verbosity))
        .preferences(&Preferences {
            resolution: None,
            representation: None,
            missing: None,
            max_affected: None,
            ..request.preferences.clone()
        });
    draft.finish(outcome)
}

/// The answer to a mutation of `table`.
///
/// # Errors
/// As [`read`].
pub(crate) fn write(
    request: &Request<'_>,
    table: &Table,
    media: &MediaType,
    outcome: &mut Outcome,
) -> Result<Response, RequestError> {
    let preferences = &request.preferences;
    let shows_rows = preferences.representation == Some(Return::Representation);
    let counted = matches!(preferences.count, Some(Count::Exact | Count::Estimated));
    let total = counted.then_some(outcome.count);
    let status = match request.action {
        Action::Insert if preferences.resolution == Some(Resolution::MergeDuplicates) => {
            if outcome.inserted.unwrap_or(outcome.count) > 0 { StatusCode::CREATED } else { StatusCode::OK }
        }
        Action::Insert => StatusCode::CREATED,
        _ if !shows_rows => StatusCode::NO_CONTENT,
        Action::Put if outcome.inserted.unwrap_or_default() > 0 => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let mut draft = Draft::new(status);
    match request.action {
        Action::Put => {}
        Action::Update => {
            draft.header(CONTENT_RANGE, content_range(0, outcome.count - 1, total));
        }
        _ => {
            draft.header(CONTENT_RANGE, content_range(1, 0, total));
        }
    }
    if request.action == Action::Insert {
        draft.header(CONTENT_LENGTH, "0");
        if let Some(location) = location(table, outcome) {
            draft.header(LOCATION, location);
        }
    }
    if shows_rows {
        draft.body(request, media, std::mem::take(&mut outcome.body));
    }
    draft.preferences(&applied_to_write(request, table));
    draft.finish(outcome)
}

/// What of the preferences a mutation grants.
fn applied_to_write(request: &Request<'_>, table: &Table) -> Preferences {
    let wished = request.preferences.clone();
    let is_insert = request.action == Action::Insert;
    let can_resolve = !table.primary_key.is_empty() || request.query.on_conflict.is_some();
    let takes_columns = is_insert || request.action == Action::Update;
    let limits_rows = matches!(request.action, Action::Update | Action::Delete);
    Preferences {
        resolution: wished.resolution.filter(|_| is_insert && can_resolve),
        missing: wished.missing.filter(|_| takes_columns),
        max_affected: wished.max_affected.filter(|_| limits_rows),
        ..wished
    }
}

/// Where the only new row is.
fn location(table: &Table, outcome: &Outcome) -> Option<String> {
    let values = outcome.location.as_ref()?;
    if values.is_empty() {
        return None;
    }
    let keys = table.columns.keys().filter(|it| table.primary_key.contains(it));
    let pairs: Vec<_> = keys
        .zip(values)
        .map(|(key, value)| match value {
            Some(value) => format!("{}=eq.{}", encode(key), encode(value)),
            None => format!("{}=is.null", encode(key)),
        })
        .collect();
    Some(format!("/{}?{}", table.name.name, pairs.join("&")))
}

/// The answer to a call of `function`.
///
/// # Errors
/// As [`read`].
pub(crate) fn call(
    request: &Request<'_>,
    function: &Function,
    media: &MediaType,
    outcome: &mut Outcome,
    verbosity: Verbosity,
) -> Result<Response, RequestError> {
    let (status, content_range) = page(request.range, outcome);
    let mut draft = Draft::new(if function.is_void() { StatusCode::NO_CONTENT } else { status });
    draft.header(CONTENT_RANGE, content_range);
    if !function.is_void() {
        draft.body(request, media, page_body(request.range, status, outcome, verbosity));
    }
    draft.preferences(&Preferences {
        resolution: None,
        representation: None,
        missing: None,
        ..request.preferences.clone()
    });
    draft.finish(outcome)
}

/// How PostgreSQL would run the request.
pub(crate) fn plan(request: &Request<'_>, media: &MediaType, outcome: &mut Outcome) -> Response {
    let mut draft = Draft::new(StatusCode::OK);
    draft.body(request, media, std::mem::take(&mut outcome.body));
    draft.headers.insert(VARY, HeaderValue::from_static("Accept, Prefer, Range"));
    draft.send()
}

/// The description of a schema.
pub(crate) fn description(request: &Request<'_>, text: String) -> Response {
    let mut draft = Draft::new(StatusCode::OK);
    draft.body(request, &MediaType::OpenApi, text.into()).header(VARY, "Accept, Prefer, Range");
    draft.send()
}

/// What may be done.
pub(crate) fn options(allowed: String) -> Response {
    let mut draft = Draft::new(StatusCode::OK);
    draft
        .header(CONTENT_LENGTH, "0")
        .header(ACCESS_CONTROL_ALLOW_ORIGIN, "*")
        .header(ALLOW, allowed)
        .header(VARY, "Accept, Prefer, Range");
    draft.send()
}

/// An error in PostgREST's shape.
pub(crate) fn error(error: &Error, verbosity: Verbosity) -> Response {
    let body = Bytes::from(error.body(verbosity));
    let mut draft = Draft::new(error.status());
    draft
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .header(CONTENT_LENGTH, body.len().to_string())
        .header(HeaderName::from_static("proxy-status"), format!("PostgREST; error={}", error.code()));
    draft.headers.extend(error.headers());
    draft.body = body.into();
    let mut response = draft.send();
    // Whatever fails after a commit is the database's fault, not the client's: nonsense for status or headers.
    if error.status().is_client_error() {
        response.extensions_mut().insert(NothingWritten);
    }
    response
}

/// Tell that an embed was addressed by its relation's name despite an alias.
pub(crate) fn warn(response: &mut Response, version: &str, hint: &str) {
    let text = format!(
        "299 PostgRESTv{version} \"Embedded resource was referenced by relation name even though it has an alias. This is deprecated and will stop working in a future release. Update {hint} in query string filters, orders or limits.\""
    );
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        response.headers_mut().insert(http::header::WARNING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_function_sets_a_bounded_number_of_headers() {
        let text = |count| format!("[{}]", vec![r#"{"x-a":"b"}"#; count].join(","));
        let mut headers = HeaderMap::new();
        assert!(override_headers(&mut headers, &text(2)).is_ok());
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert!(override_headers(&mut headers, &text(40_000)).is_err());
    }
}
