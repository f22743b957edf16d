//! `/api/v1/nodes`: list, let in, drain, remove.

use axum::Json;
use axum::extract::{Path, State};
use common::Pillar;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ADMIN;
use super::body::Body;
use crate::{ControlPlane, Error};

/// `GET /api/v1/nodes`: all of them, by role and id.
pub(super) async fn list(State(plane): State<ControlPlane>) -> Result<Json<Value>, Error> {
    Ok(Json(json!({"nodes": plane.nodes().await?})))
}

/// Whom to let in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    role: String,
    #[serde(default = "an_hour")]
    ttl_secs: u32,
}

fn an_hour() -> u32 {
    3600
}

/// `POST /api/v1/nodes/join-tokens`: a token for one node; shown this once.
pub(super) async fn join_token(
    State(plane): State<ControlPlane>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let role: Pillar = new.role.parse().map_err(|_| Error::Body("role must be proxy or worker".into()))?;
    let (token, expires_at) = plane.create_join_token(role, new.ttl_secs, ADMIN).await?;
    let shown = json!({
        "token": token.reveal().expose_secret(),
        "role": role.as_str(),
        "expires_at": expires_at,
    });
    Ok((StatusCode::CREATED, Json(shown)))
}

/// `POST /api/v1/nodes/{id}/drain`: it finishes what it has and stops.
pub(super) async fn drain(
    State(plane): State<ControlPlane>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    plane.drain_node(&id, ADMIN).await?;
    Ok(Json(json!({"draining": id})))
}

/// `DELETE /api/v1/nodes/{id}`: forget it.
pub(super) async fn remove(
    State(plane): State<ControlPlane>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    plane.remove_node(&id, ADMIN).await?;
    Ok(StatusCode::NO_CONTENT)
}
