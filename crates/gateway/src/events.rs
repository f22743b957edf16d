//! What is worth knowing about the gateway; the one place that turns it into log lines and metrics.
//!
//! Never a query string, token, address or body. Labels come from fixed sets, so that the number of series is bounded.

use std::error::Error as StdError;
use std::time::Duration;

use common::{DirectoryError, ProjectRef, RequestId};
use http::{Method, StatusCode};

use crate::Error;
use crate::route::Route;
use crate::serve::Drained;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A request was answered: the access log.
    Answered(Answered<'a>),
    /// The gateway refused for a reason that is ours.
    Failed { error: &'a Error, id: &'a RequestId },
    /// The directory did not answer; `stale` when an old configuration serves instead.
    DirectorySilent { project: &'a ProjectRef, error: Option<&'a DirectoryError>, stale: bool },
    /// The token was, or was not, among the verified ones.
    TokenLookup { hit: bool },
    /// No connection could be accepted.
    AcceptFailed(&'a std::io::Error),
    /// A connection ended badly; mostly the peer's doing.
    ConnectionFailed(&'a (dyn StdError + Send + Sync)),
    /// The listener closes and requests in flight finish.
    Draining { in_flight: usize },
    /// All connections are closed.
    Drained(&'a Drained),
}

/// One line of the access log.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a Method,
    pub(crate) route: Route,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
    pub(crate) project: Option<&'a ProjectRef>,
    pub(crate) id: &'a RequestId,
}

/// Tell what happened.
pub(crate) fn emit(event: Event<'_>) {
    match event {
        Event::Answered(it) => answered(&it),
        Event::Failed { error, id } => failed(error, id),
        Event::DirectorySilent { project, error, stale } => {
            let source = error.and_then(|it| it.source()).map(tracing::field::display);
            tracing::warn!(project.id = %project, stale, source, "the project directory does not answer");
            metrics::counter!("madbase_http_directory_failures_total").increment(1);
        }
        Event::TokenLookup { hit } => {
            let result = if hit { "hit" } else { "miss" };
            metrics::counter!("madbase_http_token_cache_total", "result" => result).increment(1);
        }
        Event::AcceptFailed(error) => tracing::warn!(%error, "cannot accept a connection; trying again"),
        Event::ConnectionFailed(error) => tracing::debug!(%error, "a connection ended early"),
        Event::Draining { in_flight } => tracing::info!(in_flight, "draining: the listener closes"),
        Event::Drained(report) => {
            tracing::info!(
                finished = report.finished,
                cut = report.cut,
                "drained: all connections are closed"
            );
        }
    }
}

fn answered(it: &Answered<'_>) {
    let project = it.project.map(tracing::field::display);
    tracing::info!(
        method = it.method.as_str(),
        route = it.route.prefix,
        status = it.status.as_u16(),
        duration_ms = it.took.as_secs_f64() * 1000.0,
        project.id = project,
        request.id = %it.id.0,
        "answered"
    );
    let (service, method, status) =
        (it.route.target.label(), method_label(it.method), status_label(it.status));
    metrics::counter!("madbase_http_requests_total", "service" => service, "method" => method, "status" => status)
        .increment(1);
    metrics::histogram!(
        "madbase_http_request_duration_seconds", "service" => service, "method" => method, "status" => status
    )
    .record(it.took.as_secs_f64());
}

fn failed(error: &Error, id: &RequestId) {
    let (kind, code) = (error.kind().label(), error.code());
    metrics::counter!("madbase_http_failures_total", "code" => code).increment(1);
    if error.kind().is_our_fault() {
        tracing::error!(error.kind = kind, error.code = code, request.id = %id.0, "{error}");
    } else {
        tracing::warn!(error.kind = kind, error.code = code, request.id = %id.0, "{error}");
    }
}

/// Methods that anybody may invent count as one.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
