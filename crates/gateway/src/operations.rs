//! `/health`, `/ready` and `/metrics`: for whoever runs the process, not for its users.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::serve::Peer;
use crate::state::Inner;
use crate::{Error, forwarded};

/// How long an answer of the readiness check is used again: probes, and whoever else asks, cost one question a second.
const READINESS_TTL: Duration = Duration::from_secs(1);

/// The last answer of the readiness check, and when it was given.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, bool)>>);

/// `GET /health`: the process is alive.
pub(crate) fn health(method: &Method) -> Result<Response<Body>, Error> {
    only_read(method)?;
    Ok(json_answer(StatusCode::OK, "ok"))
}

/// `GET /ready`: it can work; 503 while it starts, drains, or cannot reach the directory of projects.
pub(crate) async fn ready(
    gateway: &Inner,
    peer: Option<&Peer>,
    method: &Method,
) -> Result<Response<Body>, Error> {
    only_read(method)?;
    if peer.is_some_and(Peer::is_draining) {
        return Ok(json_answer(StatusCode::SERVICE_UNAVAILABLE, "draining"));
    }
    if is_ready(gateway).await {
        return Ok(json_answer(StatusCode::OK, "ready"));
    }
    Ok(json_answer(StatusCode::SERVICE_UNAVAILABLE, "unavailable"))
}

/// `GET /metrics`: Prometheus text, for loopback and trusted peers that ask for themselves.
pub(crate) fn metrics(
    gateway: &Inner,
    peer: Option<&Peer>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error> {
    only_read(method)?;
    let near = peer
        .map(|it| it.address.ip().to_canonical())
        .is_some_and(|it| it.is_loopback() || forwarded::is_trusted(it, gateway.trusted_proxies()));
    // A reverse proxy on this machine comes from loopback too; what it forwards is not its own.
    if !gateway.config.metrics_open && (!near || forwarded::is_forwarded(headers)) {
        return Err(Error::MetricsHidden);
    }
    let mut response = Response::new(Body::from((gateway.metrics.0)()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

async fn is_ready(gateway: &Inner) -> bool {
    let mut last = gateway.readiness.0.lock().await;
    match *last {
        Some((at, answer)) if at.elapsed() < READINESS_TTL => answer,
        Some(_) | None => {
            let answer = gateway.projects.is_ready().await;
            *last = Some((Instant::now(), answer));
            answer
        }
    }
}

fn only_read(method: &Method) -> Result<(), Error> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Error::Method { allowed: "GET, HEAD" }),
    }
}

fn json_answer(status: StatusCode, word: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json!({ "status": word }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
