//! The admin server of `madbase rest`, for whoever runs it: `/live`, `/ready`, `/metrics` and `/schema_cache`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};

use super::project::Sole;
use crate::telemetry::Render;

/// The answers carry no body, as PostgREST's do.
pub(super) fn router(sole: Arc<Sole>, metrics: Render) -> Router {
    Router::new()
        .route("/live", get(async || StatusCode::OK))
        .route("/ready", get(ready))
        .route("/metrics", get(async move || metrics()))
        .route("/schema_cache", get(schema_cache))
        .with_state(sole)
}

async fn ready(State(sole): State<Arc<Sole>>) -> StatusCode {
    if sole.is_ready().await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Empty until it is loaded.
async fn schema_cache(State(sole): State<Arc<Sole>>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (json, sole.schema_cache().unwrap_or_default()).into_response()
}
