//! A JSON body of at most 1 MiB. As GoTrue reads it: the content type does not matter, unknown fields neither.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Auth, Error};

/// The largest body.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A body that must be there.
pub(crate) struct Body<T>(pub(crate) T);

/// A body that may be missing.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Auth> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &Auth) -> Result<Self, Error> {
        parse(&read(request).await?).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Auth> for OptionalBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &Auth) -> Result<Self, Error> {
        let bytes = read(request).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// The text of an optional field; absent, null and empty are the same, as in Go.
pub(crate) fn text(field: Option<String>) -> Option<String> {
    field.filter(|it| !it.is_empty())
}

async fn read(request: Request) -> Result<Bytes, Error> {
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    bytes.map_err(|it| {
        let too_large = crate::events::chain(&it).contains("length limit");
        if too_large { Error::BodyTooLarge } else { Error::BadJson("the body could not be read".into()) }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let bad = |it: serde_json::Error| Error::BadJson(it.to_string());
    // PostgreSQL's text cannot hold U+0000; JSON can only write it escaped.
    if bytes.windows(6).any(|it| it == br"\u0000") && holds_nul(&serde_json::from_slice(bytes).map_err(bad)?)
    {
        return Err(Error::invalid("The null character is not allowed in text"));
    }
    serde_json::from_slice(bytes).map_err(bad)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
