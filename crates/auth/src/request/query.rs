//! The query and the path, with refusals in our shape instead of axum's plain text.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{Auth, Error};

/// The query as `T`; of a name that comes twice, the last one counts.
pub(crate) struct Query<T>(pub(crate) T);

/// The `{id}` of a path under `/admin/users`, unchecked.
pub(crate) struct UserPath(pub(crate) String);

/// The two parameters of a path such as `/admin/users/{id}/factors/{factor_id}`, unchecked.
pub(crate) struct PathPair(pub(crate) String, pub(crate) String);

impl FromRequestParts<Auth> for PathPair {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, auth: &Auth) -> Result<Self, Error> {
        let path = Path::<(String, String)>::from_request_parts(parts, auth).await;
        path.map(|Path((user, id))| Self(user, id)).map_err(|_| Error::InvalidUserId)
    }
}

impl<T: DeserializeOwned> FromRequestParts<Auth> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Auth) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
            .collect::<serde_json::Map<_, _>>();
        let value = serde_json::from_value(pairs.into());
        value.map(Self).map_err(|_| Error::invalid("The query cannot be read"))
    }
}

impl FromRequestParts<Auth> for UserPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, auth: &Auth) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, auth).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Error::InvalidUserId)
    }
}
