//! The development inbox, the audit log, certificates, and whether the control plane lives and can work.

use axum::Json;
use axum::extract::State;
use common::ProjectRef;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Search;
use crate::{ControlPlane, Error, certificates, queries};

/// `GET /health`: the process answers.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /ready`: the control database answers too.
pub(super) async fn ready(State(plane): State<ControlPlane>) -> Result<Json<Value>, Error> {
    queries::state(&plane.inner.db, &plane.inner.fingerprint).await?;
    Ok(Json(json!({"status": "ready"})))
}

/// Which mails to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailFilter {
    project: Option<String>,
    to: Option<String>,
}

/// `GET /api/v1/inbox`: captured mails, newest first.
pub(super) async fn inbox(
    State(plane): State<ControlPlane>,
    Search(filter): Search<MailFilter>,
) -> Json<Value> {
    let mut mails = plane.inner.inbox.list();
    mails.retain(|it| {
        filter.project.as_ref().is_none_or(|project| *project == it.project)
            && filter.to.as_ref().is_none_or(|to| *to == it.to)
    });
    Json(json!({"mails": mails}))
}

/// `DELETE /api/v1/inbox`: forget them.
pub(super) async fn clear_inbox(State(plane): State<ControlPlane>) -> StatusCode {
    plane.inner.inbox.clear();
    StatusCode::NO_CONTENT
}

/// Which lines of the audit log to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditFilter {
    project: Option<ProjectRef>,
    before: Option<i64>,
    limit: Option<u16>,
}

/// `GET /api/v1/audit`: who did what, newest first; the next page is `?before=<smallest id>`.
pub(super) async fn audit(
    State(plane): State<ControlPlane>,
    Search(filter): Search<AuditFilter>,
) -> Result<Json<Value>, Error> {
    let limit = filter.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Error::Query("limit must be 1 to 1000".into()));
    }
    let lines = queries::audit(
        &plane.inner.db,
        filter.project.as_ref().map(ProjectRef::as_str),
        filter.before,
        limit.into(),
    )
    .await?;
    Ok(Json(json!({"audit": lines})))
}

/// `GET /api/v1/certificates`: what was got by ACME, until when, and what went wrong last.
pub(super) async fn certificates(State(plane): State<ControlPlane>) -> Result<Json<Value>, Error> {
    Ok(Json(json!({"certificates": certificates::listed(&plane.inner.db).await?})))
}
