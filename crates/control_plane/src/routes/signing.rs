//! `/api/v1/projects/{ref}/signing-keys`: the keys that sign users' tokens, and their life. Private halves are never shown.

use axum::extract::{Path, State};
use axum::{Json, RequestPartsExt as _};
use common::ProjectRef;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ADMIN;
use super::body::{Body, Reference};
use crate::queries::ProjectRow;
use crate::secrets::{Algorithm, Secrets};
use crate::{ControlPlane, Error};

/// What a new key is: one to be made, or one from elsewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    algorithm: Option<Algorithm>,
    jwk: Option<Map<String, Value>>,
}

/// A key of a project.
pub(super) struct Named {
    reference: ProjectRef,
    kid: String,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let path = parts.extract::<Path<(String, String)>>().await;
        let Path((reference, kid)) = path.map_err(|_| common::ProjectRefError)?;
        Ok(Self { reference: reference.parse()?, kid })
    }
}

/// `GET …/signing-keys`: all keys, oldest first.
pub(super) async fn list(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Json<Value>, Error> {
    let (_, secrets) = plane.opened(&reference).await?;
    Ok(shown(&secrets))
}

/// `POST …/signing-keys`: a standby key, published at once.
pub(super) async fn prepare(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
    Body(new): Body<NewKey>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let row = match (new.algorithm, new.jwk) {
        (None, Some(jwk)) => plane.import_signing_key(&reference, &jwk, ADMIN).await?,
        (Some(_), Some(_)) => return Err(Error::Body("algorithm: the one of jwk holds".into())),
        (algorithm, None) => {
            plane.prepare_signing_key(&reference, algorithm.unwrap_or_default(), ADMIN).await?
        }
    };
    Ok((StatusCode::CREATED, opened(&plane, &row)?))
}

/// `POST …/signing-keys/rotate`: the standby key signs from now on.
pub(super) async fn rotate(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Json<Value>, Error> {
    let row = plane.rotate_signing_key(&reference, ADMIN).await?;
    opened(&plane, &row)
}

/// `POST …/signing-keys/{kid}/revoke`: what it signed is refused from now on, on every proxy.
pub(super) async fn revoke(State(plane): State<ControlPlane>, named: Named) -> Result<Json<Value>, Error> {
    let row = plane.revoke_signing_key(&named.reference, &named.kid, ADMIN).await?;
    opened(&plane, &row)
}

fn opened(plane: &ControlPlane, row: &ProjectRow) -> Result<Json<Value>, Error> {
    Ok(shown(&Secrets::open(&plane.inner.seal, row)?))
}

fn shown(secrets: &Secrets) -> Json<Value> {
    Json(json!({"keys": secrets.signing_keys.shown()}))
}
