//! `/api/v1/projects`: list, create, show, rename, configure, delete.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ADMIN;
use super::body::{Body, Reference};
use crate::queries::{self, ProjectRow};
use crate::secrets::Secrets;
use crate::settings::{Change, Settings};
use crate::{ControlPlane, Error, NewProject};

/// `GET /api/v1/projects`: all projects, oldest first; those being deleted are left out.
pub(super) async fn list(State(plane): State<ControlPlane>) -> Result<Json<Value>, Error> {
    let rows = queries::list(&plane.inner.db).await?;
    let shown: Vec<Value> = rows.iter().filter(|it| !it.deleted).map(|it| summary(&plane, it)).collect();
    Ok(Json(json!({"projects": shown})))
}

/// `POST /api/v1/projects`: create one; answers when it is ready.
pub(super) async fn create(
    State(plane): State<ControlPlane>,
    Body(new): Body<NewProject>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let project = plane.create(new, ADMIN).await?;
    let (row, secrets) = plane.opened(&project.reference).await?;
    Ok((StatusCode::CREATED, Json(detail(&plane, &row, &secrets)?)))
}

/// `GET /api/v1/projects/{ref}`: one project with its settings.
pub(super) async fn show(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Json<Value>, Error> {
    let (row, secrets) = plane.opened(&reference).await?;
    Ok(Json(detail(&plane, &row, &secrets)?))
}

/// What can be changed about a project besides its settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    name: String,
}

/// `PATCH /api/v1/projects/{ref}`: another name for people.
pub(super) async fn rename(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
    Body(change): Body<Rename>,
) -> Result<Json<Value>, Error> {
    let row = plane.rename(&reference, &change.name, ADMIN).await?;
    Ok(Json(summary(&plane, &row)))
}

/// `GET /api/v1/projects/{ref}/settings`: what holds; secrets are null.
pub(super) async fn settings(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Json<Value>, Error> {
    let (row, secrets) = plane.opened(&reference).await?;
    Ok(Json(Settings::read(&row.settings, &secrets)?.shown()))
}

/// `PATCH /api/v1/projects/{ref}/settings`: change settings of auth and the data API.
pub(super) async fn configure(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
    Body(change): Body<Change>,
) -> Result<Json<Value>, Error> {
    let row = plane.configure(&reference, &change, ADMIN).await?;
    let secrets = Secrets::open(&plane.inner.seal, &row)?;
    Ok(Json(detail(&plane, &row, &secrets)?))
}

/// `DELETE /api/v1/projects/{ref}`: remove it with all its data.
pub(super) async fn delete(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<StatusCode, Error> {
    plane.delete(&reference, ADMIN).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn summary(plane: &ControlPlane, row: &ProjectRow) -> Value {
    json!({
        "id": row.id,
        "ref": row.reference,
        "name": row.name,
        "status": if row.is_ready() { "ready" } else { "provisioning" },
        "default": row.reference.is_default(),
        "database": row.database,
        "api_url": plane.inner.config.api_url(&row.reference),
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    })
}

fn detail(plane: &ControlPlane, row: &ProjectRow, secrets: &Secrets) -> Result<Value, Error> {
    let mut shown = summary(plane, row);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("settings".into(), Settings::read(&row.settings, secrets)?.shown());
    }
    Ok(shown)
}
