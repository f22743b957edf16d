//! Spans of requests, for OpenTelemetry: who takes part in a request says what it does, and nobody need pass it on.
//!
//! While nobody wants traces, [`install`] is never called, and every function here costs a look at one flag. When
//! somebody does, the span of a request is the current one wherever the request is polled ([`within`]), and what happens
//! below it begins as its child ([`begin`]). Below a request that is not sampled nothing is made.
//!
//! Spans say kinds and outcomes, from fixed sets. Never a path below a prefix, a query string, a statement, a value, a
//! token, an address or a body.

mod parent;
mod within;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use opentelemetry::global::BoxedTracer;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, ContextGuard, KeyValue};

pub use opentelemetry::Value;
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use parent::{PARENT, hand_on};
pub use within::{Within, within};

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Where spans go, and how the headers of W3C are read.
struct Tracing {
    tracer: BoxedTracer,
    propagator: Box<dyn TextMapPropagator + Send + Sync>,
}

/// From now on spans are made, by `tracer`, and what callers of ours send is read by `propagator`. Only the first call
/// counts: whether it is this one.
pub fn install(tracer: BoxedTracer, propagator: Box<dyn TextMapPropagator + Send + Sync>) -> bool {
    TRACING.set(Tracing { tracer, propagator }).is_ok()
}

/// Whether spans are made at all.
#[must_use]
pub fn is_on() -> bool {
    TRACING.get().is_some()
}

/// A request that comes in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The method.
    pub method: &'a Method,
    /// What is told of the path.
    pub route: &'static str,
    /// The headers; `traceparent` and `tracestate` are read.
    pub headers: &'a HeaderMap,
    /// [`PARENT`], from who may say it.
    pub parent: Option<&'a HeaderValue>,
}

/// Something that takes time, and belongs to a request. Cheap to clone; it ends by [`Span::end`], or with its last clone.
#[derive(Clone)]
pub struct Span(Context);

/// Puts back, when dropped, what was the current span before.
#[derive(Debug)]
pub struct Entered(#[expect(dead_code, reason = "it is there to be dropped")] ContextGuard);

/// The span of a request to this process: the child of what the caller says, if it says anything that can be read.
#[must_use]
pub fn arrive(it: &Arrival<'_>) -> Option<Span> {
    let tracing = TRACING.get()?;
    let parent = tracing.propagator.extract_with_context(&Context::new(), &parent::Told::of(it));
    let method = known(it.method);
    let builder = tracing.tracer.span_builder(format!("{} {}", named(method), it.route));
    let span = tracing.tracer.build_with_context(builder.with_kind(SpanKind::Server), &parent);
    let span = Span(parent.with_span(span));
    span.set("http.request.method", method);
    span.set("http.route", it.route);
    Some(span)
}

/// A span below the current one; `None` where nobody looks.
pub fn begin<N: Into<Cow<'static, str>>>(kind: SpanKind, name: impl FnOnce() -> N) -> Option<Span> {
    let tracing = TRACING.get()?;
    let current = Context::current();
    if !current.span().is_recording() {
        return None;
    }
    let builder = tracing.tracer.span_builder(name()).with_kind(kind);
    let span = tracing.tracer.build_with_context(builder, &current);
    Some(Span(current.with_span(span)))
}

/// The span of a question to PostgreSQL: `operation` is a word such as `SELECT`, or empty when it is not known.
#[must_use]
pub fn ask_database(operation: &'static str, database: &str) -> Option<Span> {
    let name = || if operation.is_empty() { database.to_owned() } else { format!("{operation} {database}") };
    let span = begin(SpanKind::Client, name)?;
    span.set("db.system.name", "postgresql");
    span.set("db.namespace", database.to_owned());
    if !operation.is_empty() {
        span.set("db.operation.name", operation);
    }
    Some(span)
}

/// The span of a request to somebody else's server.
#[must_use]
pub fn request(method: &Method) -> Option<Span> {
    let method = known(method);
    let span = begin(SpanKind::Client, || named(method))?;
    span.set("http.request.method", method);
    Some(span)
}

/// That request was answered, or was not.
pub fn answered(span: Option<Span>, status: Option<StatusCode>) {
    let Some(span) = span else { return };
    match status {
        Some(status) => span.set_status(status, 400),
        None => span.fail("no_answer"),
    }
    span.end();
}

/// The current span is that of a request whose route is known better now: with names in the place of values.
pub fn matched(method: &Method, route: impl FnOnce() -> String) {
    if is_on() {
        Context::map_current(|it| {
            let span = it.span();
            if !span.is_recording() {
                return;
            }
            let route = route();
            span.update_name(format!("{} {route}", named(known(method))));
            span.set_attribute(KeyValue::new("http.route", route));
        });
    }
}

/// Say something about the current span.
pub fn tell<V: Into<Value>>(key: &'static str, value: impl FnOnce() -> V) {
    if is_on() {
        Context::map_current(|it| {
            if it.span().is_recording() {
                it.span().set_attribute(KeyValue::new(key, value()));
            }
        });
    }
}

/// Something happened while the current span lasts.
pub fn note(what: &'static str) {
    if is_on() {
        Context::map_current(|it| it.span().add_event(what, Vec::new()));
    }
}

/// The trace that is under way here, and the span, sampled or not.
#[must_use]
pub fn ids() -> Option<(TraceId, SpanId)> {
    TRACING.get()?;
    Context::map_current(|it| {
        let span = it.span();
        let context = span.span_context();
        context.is_valid().then(|| (context.trace_id(), context.span_id()))
    })
}

impl Span {
    /// Say something about it.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.0.span().set_attribute(KeyValue::new(key, value));
    }

    /// It failed: `kind` is a code, of a set that does not grow with use.
    pub fn fail(&self, kind: impl Into<Value>) {
        self.set("error.type", kind);
        self.0.span().set_status(Status::error(""));
    }

    /// A status of HTTP; `since` is the first one that is a failure of this side.
    pub fn set_status(&self, status: StatusCode, since: u16) {
        self.set("http.response.status_code", i64::from(status.as_u16()));
        if status.as_u16() >= since {
            self.fail(status.as_str().to_owned());
        }
    }

    /// Make it the current one until what this returns is dropped; not across an `await`, for which there is [`within`].
    #[must_use]
    pub fn enter(&self) -> Entered {
        Entered(self.0.clone().attach())
    }

    /// It ends now.
    pub fn end(self) {
        self.0.span().end();
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(self.0.span().span_context()).finish()
    }
}

/// The label of a method: those that anybody may invent are one.
fn known(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|it| *it == method.as_str()).unwrap_or("_OTHER")
}

/// That label in the name of a span.
fn named(label: &'static str) -> &'static str {
    if label == "_OTHER" { "HTTP" } else { label }
}

#[cfg(test)]
mod tests;
