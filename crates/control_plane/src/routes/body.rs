//! What a request carries, read strictly: a JSON body, a reference in the path, a query string.

use axum::RequestPartsExt as _;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use common::ProjectRef;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::Error;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let media_type = request.headers().get(http::header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        if !media_type.is_some_and(is_json) {
            return Err(Error::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|it| match it.status() {
            http::StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge,
            _ => Error::Json("the body broke off".into()),
        })?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Self).map_err(|it| match it.classify() {
            Category::Data => Error::Body(it.to_string()),
            Category::Syntax | Category::Eof | Category::Io => Error::Json(it.to_string()),
        })
    }
}

/// A body that may be left out.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Error> {
        if request.headers().contains_key(http::header::CONTENT_TYPE) || !request.body().is_end_stream() {
            return <Self as FromRequest<S>>::from_request(request, state).await.map(Some);
        }
        Ok(None)
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The project reference of the path.
pub(super) struct Reference(pub(super) ProjectRef);

impl<S: Send + Sync> FromRequestParts<S> for Reference {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Path(text) = parts.extract::<Path<String>>().await.map_err(|_| common::ProjectRefError)?;
        Ok(Self(text.parse()?))
    }
}

/// The query string.
pub(super) struct Search<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + 'static> FromRequestParts<S> for Search<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let parsed = parts.extract::<Query<T>>().await;
        parsed.map(|it| Self(it.0)).map_err(|it| Error::Query(it.body_text()))
    }
}
