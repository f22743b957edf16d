//! Everything that a request says by itself, before the catalog is asked: schema, preferences, query, page, body.
//!
//! Made by the routes from the head and the body; refuses with [`RequestError`] (`PGRST1xx`).

mod cursor;
pub(crate) mod filter;
mod limits;
pub(crate) mod media;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod payload;
pub(crate) mod prefer;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod select;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RANGE};
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use common::RestSettings;

pub use limits::Limits;
pub(crate) use media::MediaType;
pub(crate) use payload::{Payload, Purpose};
pub(crate) use prefer::Preferences;
pub(crate) use query::{Parameters, Query, Unreserved};
pub(crate) use range::Range;

use crate::error::RequestError;

/// A query parameter that does not parse (PGRST100).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Which parameter, and where in it.
    pub(crate) message: String,
    /// What was found and what was expected.
    pub(crate) details: String,
}

/// What is done with a relation or function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// GET or HEAD of a relation.
    Read,
    /// POST to a relation.
    Insert,
    /// PUT of one row.
    Put,
    /// PATCH.
    Update,
    /// DELETE.
    Delete,
    /// GET or HEAD of a function.
    CallByGet,
    /// POST to a function.
    Call,
}

impl Action {
    /// Whether rows of a relation are written.
    pub(crate) fn is_mutation(self) -> bool {
        matches!(self, Self::Insert | Self::Put | Self::Update | Self::Delete)
    }

    /// Whether its body is looked at.
    pub(crate) fn has_body(self) -> bool {
        self.purpose().is_some()
    }

    /// What PostgreSQL does for it, in traces.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Read => "SELECT",
            Self::Insert | Self::Put => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::CallByGet | Self::Call => "CALL",
        }
    }

    /// What its body is for; `None` when a body means nothing.
    pub(crate) fn purpose(self) -> Option<Purpose> {
        match self {
            Self::Insert | Self::Put | Self::Update => Some(Purpose::Rows),
            Self::Call => Some(Purpose::Arguments),
            Self::Read | Self::Delete | Self::CallByGet => None,
        }
    }
}

/// A request, parsed.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What is done.
    pub(crate) action: Action,
    /// Whether the answer has no body (HEAD).
    pub(crate) headers_only: bool,
    /// Where the relation or function is looked up.
    pub(crate) schema: &'a str,
    /// Whether the answer names the schema: several are exposed, or the client asked for one.
    pub(crate) names_schema: bool,
    /// `Prefer`.
    pub(crate) preferences: Preferences,
    /// The query string.
    pub(crate) query: Query<'a>,
    /// The rows wanted of the relation itself.
    pub(crate) range: Range,
    /// What the client accepts, the most welcome first.
    pub(crate) accepts: Vec<MediaType>,
    /// What the body is.
    pub(crate) content: MediaType,
    /// The body, if one is looked at.
    pub(crate) payload: Option<Payload>,
}

/// The head of a request and what it is read with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// The project's settings.
    pub(crate) settings: &'a RestSettings,
    /// What it may ask for at most.
    pub(crate) limits: &'a Limits,
}

impl<'a> Request<'a> {
    /// Parse a request about a relation or function.
    ///
    /// # Errors
    /// [`RequestError`] of whatever is wrong first: schema, query, range, body.
    pub(crate) fn parse(
        head: Head<'a>,
        action: Action,
        parameters: &'a Parameters<'a>,
        body: Bytes,
    ) -> Result<Self, RequestError> {
        let (schema, names_schema) = schema(head)?;
        let preferences = preferences(head);
        let by_get = action == Action::CallByGet;
        let unreserved = if by_get { Unreserved::FilterOrArgument } else { Unreserved::Filter };
        let query = query::parse(parameters, unreserved).map_err(RequestError::Syntax)?;
        head.limits.check(&query)?;
        let header_range = if head.method == Method::GET { text_of(head.headers, &RANGE) } else { None };
        let range = range::top_level(query.range, header_range)?;
        if action == Action::Put && !range.is_all() {
            return Err(RequestError::PutRange);
        }
        let content = text_of(head.headers, &CONTENT_TYPE).map_or(MediaType::Json, MediaType::parse);
        let columns = if action == Action::Put { None } else { query.columns.as_deref() };
        let payload = match action.purpose() {
            Some(purpose) => Some(payload::parse(body, (&content, purpose), columns, head.limits)?),
            None => None,
        };
        let accepts = media::accepted(text_of(head.headers, &ACCEPT));
        let headers_only = head.method == Method::HEAD;
        Ok(Self {
            action,
            headers_only,
            schema,
            names_schema,
            preferences,
            query,
            range,
            accepts,
            content,
            payload,
        })
    }
}

/// `Prefer` as far as the project's settings allow.
fn preferences(head: Head<'_>) -> Preferences {
    Preferences::parse(head.headers, head.settings.db_tx_end.ends_with("-allow-override"))
}

/// The schema named by the profile header, or the first exposed one; and whether the answer names it.
///
/// # Errors
/// [`RequestError::UnknownSchema`] when it is not exposed.
pub(crate) fn schema(head: Head<'_>) -> Result<(&str, bool), RequestError> {
    let is_write = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE].contains(head.method);
    let header = if is_write { "content-profile" } else { "accept-profile" };
    let exposed = &head.settings.db_schemas;
    match head.headers.get(header).and_then(|it| std::str::from_utf8(it.as_bytes()).ok()) {
        Some(wanted) => match exposed.iter().find(|it| *it == wanted) {
            Some(schema) => Ok((schema, true)),
            None => {
                Err(RequestError::UnknownSchema { schema: wanted.to_owned(), exposed: exposed.join(", ") })
            }
        },
        None => Ok((exposed.first().map_or("public", String::as_str), exposed.len() != 1)),
    }
}

/// A header's value, when it is text.
pub(crate) fn text_of<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|it| it.to_str().ok())
}

/// What stays as it is in a query string that we write.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text`, percent-encoded.
pub(crate) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, UNESCAPED)
}
