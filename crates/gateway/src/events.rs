//! What is worth knowing about the gateway; the one place that turns it into log lines and metrics.
//!
//! Never a query string, token, address or body. Labels come from fixed sets, so that the number of series is bounded.

use std::error::Error as StdError;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{DirectoryError, ProjectRef, RequestId, SessionCheckError};
use http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use crate::route::{Route, Target};
use crate::serve::Drained;
use crate::tls::NoStream;
use crate::{Error, TlsError};

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The gateway refused for a reason that is ours.
    Failed { error: &'a Error, id: &'a RequestId },
    /// The directory did not answer; `stale` when an old configuration serves instead.
    DirectorySilent { project: &'a ProjectRef, error: Option<&'a DirectoryError>, stale: bool },
    /// Nobody could say whether a session stands.
    SessionsSilent { error: &'a SessionCheckError },
    /// No connection could be accepted.
    AcceptFailed(&'a std::io::Error),
    /// A connection ended badly; mostly the peer's doing.
    ConnectionFailed(&'a (dyn StdError + Send + Sync)),
    /// A handshake succeeded.
    Encrypted,
    /// A handshake ended without a connection.
    NotEncrypted(&'a NoStream),
    /// A certificate is shown from now on.
    CertificateShown { names: &'a [String], ends: SystemTime },
    /// A certificate cannot be shown; what was shown stays.
    CertificateRefused(&'a TlsError),
    /// The listener closes and requests in flight finish.
    Draining { in_flight: usize },
    /// All connections are closed.
    Drained(&'a Drained),
    /// A worker is on the list that was not.
    WorkerAdded { worker: &'a str },
    /// A worker is on the list no longer.
    WorkerRemoved { worker: &'a str },
    /// What a worker says about itself, or what its silence says, has changed.
    WorkerStands { worker: &'a str, standing: &'static str },
    /// A worker gets no requests for a while.
    WorkerSuspended { worker: &'a str, reason: &'static str, length: Duration },
    /// There is no connection to a worker.
    WorkerUnreachable { worker: &'a str, error: &'a std::io::Error },
    /// A worker went away with a request.
    WorkerLost { worker: &'a str, error: &'a std::io::Error },
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
        Event::Failed { error, id } => failed(error, id),
        Event::DirectorySilent { project, error, stale } => {
            let source = error.and_then(|it| it.source()).map(tracing::field::display);
            tracing::warn!(project.id = %project, stale, source, "the project directory does not answer");
            metrics::counter!("madbase_http_directory_failures_total").increment(1);
        }
        Event::SessionsSilent { error } => {
            let source = error.source().map(tracing::field::display);
            tracing::warn!(source, "sessions cannot be checked");
        }
        Event::AcceptFailed(error) => tracing::warn!(%error, "cannot accept a connection; trying again"),
        Event::ConnectionFailed(error) => tracing::debug!(%error, "a connection ended early"),
        Event::Encrypted => shaken("ok"),
        Event::NotEncrypted(why) => not_encrypted(why),
        Event::CertificateShown { names, ends } => certificate_shown(names, ends),
        Event::CertificateRefused(error) => {
            metrics::counter!("madbase_tls_certificates_refused_total").increment(1);
            tracing::error!(%error, "a certificate cannot be used; the one before stays");
        }
        Event::Draining { in_flight } => tracing::info!(in_flight, "draining: the listener closes"),
        Event::Drained(report) => {
            tracing::info!(
                finished = report.finished,
                cut = report.cut,
                "drained: all connections are closed"
            );
        }
        Event::WorkerAdded { worker } => tracing::info!(worker.id = worker, "a worker was found"),
        Event::WorkerRemoved { worker } => {
            tracing::info!(worker.id = worker, "a worker is gone from the list")
        }
        Event::WorkerStands { worker, standing } => {
            tracing::info!(worker.id = worker, standing, "a worker stands differently");
        }
        Event::WorkerSuspended { worker, reason, length } => {
            let length_ms = length.as_millis();
            tracing::warn!(worker.id = worker, reason, length_ms, "a worker gets no requests for a while");
        }
        Event::WorkerUnreachable { worker, error } => {
            tracing::debug!(worker.id = worker, %error, "a worker cannot be reached");
        }
        Event::WorkerLost { worker, error } => {
            let source = error.source().map(tracing::field::display);
            tracing::warn!(worker.id = worker, %error, source, "a worker was lost with a request");
        }
    }
}

fn shaken(result: &'static str) {
    metrics::counter!("madbase_tls_handshakes_total", "result" => result).increment(1);
}

fn not_encrypted(why: &NoStream) {
    match why {
        NoStream::Challenge { answered } => {
            shaken("challenge");
            tracing::info!(answered, "an authority asked for a TLS-ALPN-01 challenge");
        }
        NoStream::Failed(error) => {
            shaken("failed");
            tracing::debug!(%error, "a TLS handshake failed");
        }
        NoStream::Late => {
            shaken("late");
            tracing::debug!("a TLS handshake took too long");
        }
        NoStream::Crowded => {
            shaken("crowded");
            tracing::debug!("there are too many connections without a certificate");
        }
    }
}

fn certificate_shown(names: &[String], ends: SystemTime) {
    let name = names.first().map_or("-", String::as_str);
    let ends_secs = ends.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let gauge = metrics::gauge!("madbase_tls_certificate_ends_timestamp_seconds", "name" => name.to_owned());
    gauge.set(Duration::from_secs(ends_secs).as_secs_f64());
    tracing::info!(names = names.join(", "), ends_secs, "a certificate is shown");
    if ends <= SystemTime::now() {
        tracing::warn!(names = names.join(", "), "this certificate has ended: clients will refuse it");
    }
}

/// Metrics that every request touches: their handles are looked up once, for looking up costs more than counting.
pub(crate) struct Measures {
    /// By service, method and status.
    answered: Vec<OnceLock<(Counter, Histogram)>>,
    /// Tokens that were among the verified ones, and others.
    token_hits: Counter,
    token_misses: Counter,
}

impl Measures {
    /// Of the recorder that is installed now.
    pub(crate) fn new() -> Self {
        let tokens =
            |result: &'static str| metrics::counter!("madbase_http_token_cache_total", "result" => result);
        let series = Target::COUNT * METHODS.len() * STATUSES.len();
        Self {
            answered: (0..series).map(|_| OnceLock::new()).collect(),
            token_hits: tokens("hit"),
            token_misses: tokens("miss"),
        }
    }

    /// A request was answered: a line of the access log, and two metrics.
    pub(crate) fn answered(&self, it: &Answered<'_>) {
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
        let (method, status) = (method_index(it.method), status_index(it.status));
        let index = (it.route.target as usize * METHODS.len() + method) * STATUSES.len() + status;
        let Some(slot) = self.answered.get(index) else { return };
        let (requests, durations) = slot.get_or_init(|| series(it.route.target, method, status));
        requests.increment(1);
        durations.record(it.took.as_secs_f64());
    }

    /// The token was, or was not, among the verified ones.
    pub(crate) fn token_looked_up(&self, hit: bool) {
        let counter = if hit { &self.token_hits } else { &self.token_misses };
        counter.increment(1);
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

fn series(target: Target, method: usize, status: usize) -> (Counter, Histogram) {
    let service = target.label();
    let [method, status] = [METHODS.get(method), STATUSES.get(status)].map(|it| *it.unwrap_or(&"other"));
    let requests = metrics::counter!(
        "madbase_http_requests_total", "service" => service, "method" => method, "status" => status
    );
    let durations = metrics::histogram!(
        "madbase_http_request_duration_seconds", "service" => service, "method" => method, "status" => status
    );
    (requests, durations)
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

/// Labels of methods; those that anybody may invent count as one, the last.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// Labels of statuses, by their first digit.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|it| *it == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn status_index(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1
}
