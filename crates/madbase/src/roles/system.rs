//! The foundation of a cluster: the control plane alone. Creates and migrates databases.

use anyhow::Result;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use control_plane::ControlPlane;
use gateway::{Network, Peer};
use http::{StatusCode, header};
use serde_json::json;
use store::{Databases, Redis};

use super::{Base, Installation};
use crate::telemetry::Render;

/// The control plane.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Served to administrators.
    pub(crate) control: Router,
    /// The pools behind.
    pub(crate) databases: Databases,
    /// What knows the nodes.
    pub(crate) control_plane: ControlPlane,
    /// What processes share.
    pub(crate) redis: Redis,
}

/// Wire it.
pub(crate) async fn system(installation: Installation, render: Render) -> Result<Parts> {
    let base = Base::prepare(&installation).await?;
    let control = control(&base, &installation, render);
    let Base { databases, redis, control_plane, .. } = base;
    Ok(Parts { control, databases, control_plane, redis })
}

/// The control plane's routes, with what balancers and Prometheus ask of every role.
pub(super) fn control(base: &Base, installation: &Installation, render: Render) -> Router {
    let trusted = installation.trusted_proxies.clone();
    let metrics = get(async move |request: Request| metrics(&request, &trusted, &render));
    let routes = control_plane::router(base.control_plane.clone()).route("/metrics", metrics);
    routes.layer(middleware::from_fn(tell_draining))
}

/// For loopback and trusted networks, as on :8000.
fn metrics(request: &Request, trusted: &[Network], render: &Render) -> Response {
    let peer = request.extensions().get::<Peer>().map(|it| it.address.ip().to_canonical());
    if peer.is_some_and(|it| it.is_loopback() || trusted.iter().any(|network| network.contains(it))) {
        return ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render())
            .into_response();
    }
    let next = "Ask from the machine itself, or name your network in MADBASE_TRUSTED_PROXIES.";
    let error = json!({"message": "metrics are shown to loopback and trusted networks only", "next": next});
    (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response()
}

/// `/ready` is 503 from the signal to stop on.
async fn tell_draining(request: Request, next: Next) -> Response {
    let draining = request.extensions().get::<Peer>().is_some_and(Peer::is_draining);
    if draining && request.uri().path() == "/ready" {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "draining"}))).into_response();
    }
    next.run(request).await
}
