//! The admin server of `madbase rest`, for whoever runs it: `/live`, `/ready` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;

use super::project::Sole;
use crate::telemetry::Render;

/// The answers carry no body, as PostgREST's do.
pub(super) fn router(sole: Arc<Sole>, metrics: Render) -> Router {
    Router::new()
        .route("/live", get(async || StatusCode::OK))
        .route("/ready", get(ready))
        .route("/metrics", get(async move || metrics()))
        .with_state(sole)
}

async fn ready(State(sole): State<Arc<Sole>>) -> StatusCode {
    if sole.is_ready().await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
