//! What can go wrong, and PostgREST's wire shape for it: `code`, `message`, `details`, `hint`.
//!
//! Grouped as the codes are: [`RequestError`] (`PGRST1xx`), [`CatalogError`] (`PGRST2xx`), what PostgreSQL reports
//! ([`raised`], SQLSTATE), and what is below it (`PGRST0xx`).

mod catalog;
mod raised;
mod request;

use common::{ErrorKind, Verbosity};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

pub(crate) use catalog::{CatalogError, cannot_choose};
pub(crate) use raised::Raised;
pub(crate) use request::RequestError;

/// Why a request was not answered as wished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request contradicts itself, its rows or the settings.
    #[error(transparent)]
    Request(#[from] RequestProblem),
    /// The request names something that the catalog lacks, or has more than once.
    #[error(transparent)]
    Catalog(#[from] CatalogProblem),
    /// PostgreSQL refused.
    #[error(transparent)]
    Database(DatabaseProblem),
    /// The catalog could not be read yet.
    #[error("Could not query the database for the schema cache. Retrying.")]
    NoCatalog(#[source] std::sync::Arc<store::Error>),
    /// The database did not answer.
    #[error("{}", store_message(.0))]
    Store(#[source] store::Error),
}

/// A [`RequestError`], opaque outside the crate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RequestProblem(pub(crate) Box<RequestError>);

/// A [`CatalogError`], opaque outside the crate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CatalogProblem(pub(crate) Box<CatalogError>);

/// A [`Raised`], opaque outside the crate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseProblem(pub(crate) Box<Raised>);

impl From<RequestError> for Error {
    fn from(it: RequestError) -> Self {
        Self::Request(RequestProblem(Box::new(it)))
    }
}

impl From<CatalogError> for Error {
    fn from(it: CatalogError) -> Self {
        Self::Catalog(CatalogProblem(Box::new(it)))
    }
}

fn store_message(error: &store::Error) -> &'static str {
    match error {
        store::Error::PoolTimeout => "Timed out acquiring connection from connection pool.",
        store::Error::Lost(_) => "Database client error. Retrying the connection.",
        _ => "Database connection error.",
    }
}

impl Error {
    /// From the store, on behalf of a caller: what PostgreSQL refused depends on whether the caller is known.
    pub(crate) fn of_store(error: store::Error, authenticated: bool) -> Self {
        match error {
            store::Error::Statement(error) => {
                Self::Database(DatabaseProblem(Box::new(Raised::new(error, authenticated))))
            }
            other => Self::Store(other),
        }
    }

    /// Whether a project's own database gave the error or its cause: its functions can raise any, as often as they like.
    pub(crate) fn is_raised(&self) -> bool {
        match self {
            Self::Database(_) => self.kind().is_our_fault(),
            Self::Request(it) => {
                matches!(*it.0, RequestError::ResponseHeaders | RequestError::ResponseStatus)
            }
            Self::Catalog(_) | Self::NoCatalog(_) | Self::Store(_) => false,
        }
    }

    /// The kind, for log level and metrics.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.status().as_u16() {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            503 | 504 => ErrorKind::Unavailable,
            500.. => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Request(it) => it.0.status(),
            Self::Catalog(it) => it.0.status(),
            Self::Database(it) => it.0.status(),
            Self::Store(store::Error::PoolTimeout) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoCatalog(_) | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `PGRSTnnn`, or a SQLSTATE.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Request(it) => it.0.code(),
            Self::Catalog(it) => it.0.code(),
            Self::Database(it) => it.0.code(),
            Self::NoCatalog(_) => "PGRST002",
            Self::Store(store::Error::PoolTimeout) => "PGRST003",
            Self::Store(store::Error::Lost(_)) => "PGRST001",
            Self::Store(_) => "PGRST000",
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::Request(it) => it.0.details().into(),
            Self::Catalog(it) => it.0.details(),
            Self::Database(it) => it.0.details().into(),
            Self::NoCatalog(_) | Self::Store(_) => Value::Null,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Request(it) => it.0.hint(),
            Self::Catalog(it) => it.0.hint(),
            Self::Database(it) => it.0.hint(),
            Self::NoCatalog(_) | Self::Store(_) => None,
        }
    }

    /// The body as sent.
    #[must_use]
    pub(crate) fn body(&self, verbosity: Verbosity) -> String {
        let mut body = json!({ "code": self.code(), "message": self.to_string() });
        if verbosity == Verbosity::Verbose
            && let Some(object) = body.as_object_mut()
        {
            object.insert("details".into(), self.details());
            object.insert("hint".into(), self.hint().into());
        }
        body.to_string()
    }

    /// Headers besides those that every error carries.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Self::Database(raised) = self {
            for (name, value) in raised.0.headers() {
                let name = HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                    headers.insert(name, value);
                }
            }
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.entry(http::header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
        }
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers
    }
}
