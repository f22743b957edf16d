//! Spans of the gateway, for OpenTelemetry: that of a request, and that of its way to a worker.
//!
//! Attributes are those of the conventions for HTTP, without those that would tell paths, queries or addresses.

use axum::body::Body;
use http::{Request, Response};
use trace::{Arrival, PARENT, Span};

use crate::Error;
use crate::events::Answered;
use crate::forwarded::Origin;
use crate::route::{Route, Target};

/// The span of a request that came, if anybody wants it. What a proxy told for us is taken out in any case.
pub(crate) fn arrive(request: &mut Request<Body>, route: Route, origin: &Origin) -> Option<Span> {
    let is_handed_on = request.headers().keys().any(|it| *it == PARENT);
    let handed_on = if is_handed_on { request.headers_mut().remove(PARENT) } else { None };
    let is_operation =
        matches!(route.target, Target::Health | Target::Ready | Target::Metrics | Target::Challenge);
    if !trace::is_on() || is_operation {
        return None;
    }
    let span = trace::arrive(&Arrival {
        method: request.method(),
        route: route.prefix,
        headers: request.headers(),
        parent: handed_on.as_ref().filter(|_| origin.vouched),
    })?;
    span.set("url.scheme", if origin.encrypted { "https" } else { "http" });
    Some(span)
}

/// The request was answered.
pub(crate) fn answered(span: &Span, it: &Answered<'_>) {
    span.set_status(it.status, 500);
    span.set("madbase.request.id", it.id.0.to_string());
    if let Some(project) = it.project {
        span.set("madbase.project", project.to_string());
    }
}

/// The span of a request's way to a worker, which the worker hears of.
pub(crate) fn forward(request: &mut Request<Body>) -> Option<Span> {
    if !trace::is_on() {
        return None;
    }
    let span = trace::request(request.method());
    trace::hand_on(span.as_ref(), request.headers_mut());
    span
}

/// A worker answered, or none did.
pub(crate) fn came_back(span: Span, outcome: &Result<Response<Body>, Error>) {
    match outcome {
        Ok(response) => span.set_status(response.status(), 400),
        Err(error) => span.fail(error.code()),
    }
    span.end();
}
