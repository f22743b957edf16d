//! Which span a request continues, as headers say it, and how ours tell each other (W3C Trace Context).
//!
//! SQL reads `traceparent` and `tracestate` as the client sent them, so a proxy does not touch them. What it says to a
//! worker stands in a header of our own, which nobody else is believed, and which no service sees.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TraceContextExt as _;

use crate::{Arrival, Span, TRACING};

/// The span of the proxy that passes a request on; the same text as in `traceparent`.
pub const PARENT: HeaderName = HeaderName::from_static("madbase-traceparent");

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Tell the next process, in the headers of a request to it, that `span` asks, or what is current, sampled or not.
pub fn hand_on(span: Option<&Span>, headers: &mut HeaderMap) {
    if TRACING.get().is_none() {
        return;
    }
    let write = |context: &Context| {
        let span = context.span();
        let it = span.span_context();
        it.is_valid()
            .then(|| format!("00-{}-{}-{:02x}", it.trace_id(), it.span_id(), it.trace_flags().to_u8()))
    };
    let text = span.map_or_else(|| Context::map_current(write), |it| write(&it.0));
    if let Some(value) = text.and_then(|it| HeaderValue::try_from(it).ok()) {
        headers.insert(PARENT, value);
    }
}

/// What headers say, as a propagator asks for it.
pub(crate) struct Told<'a> {
    parent: Option<&'a str>,
    state: Option<String>,
}

impl<'a> Told<'a> {
    pub(crate) fn of(it: &Arrival<'a>) -> Self {
        // Several are as good as none.
        let own = it.headers.get(TRACEPARENT).filter(|_| it.headers.get_all(TRACEPARENT).iter().count() == 1);
        let [own, handed_on] = [own, it.parent].map(|it| it.and_then(|it| it.to_str().ok()));
        let parent = handed_on.or(own);
        // The state belongs to the client's trace; a proxy that could not read that one began another.
        let trace = |it: &'a str| it.get(3..35);
        let is_of_it = own.and_then(trace) == parent.and_then(trace);
        let lines = it.headers.get_all(TRACESTATE).iter().filter_map(|it| it.to_str().ok());
        let state = lines.collect::<Vec<_>>().join(",");
        Self { parent, state: (is_of_it && !state.is_empty()).then_some(state) }
    }
}

impl Extractor for Told<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.parent,
            TRACESTATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
