//! What becomes of a request's spans, by the SDK of OpenTelemetry with spans kept in memory.

use std::sync::Mutex;

use http::{HeaderMap, HeaderName, Method};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// Spans of one test are read before those of the next are made.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();

/// The spans that `work` makes, in the order in which they end.
fn made(work: impl FnOnce()) -> Vec<SpanData> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let exporter = EXPORTER.get_or_init(|| {
        assert!(!is_on());
        let exporter = InMemorySpanExporter::default();
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
        let tracer = provider.with_sampler(sampler).build().tracer("test");
        assert!(install(BoxedTracer::new(Box::new(tracer)), Box::new(TraceContextPropagator::new())));
        exporter
    });
    exporter.reset();
    work();
    exporter.get_finished_spans().unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn arrived(headers: &HeaderMap, parent: Option<&HeaderValue>) -> Span {
    arrive(&Arrival { method: &Method::GET, route: "/rest/v1", headers, parent }).unwrap()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CLIENT}-{flags}")
}

#[test]
fn a_request_continues_its_client_s_trace_and_the_next_process_continues_the_request() {
    let spans = made(|| {
        let sent = headers(&[("traceparent", &traceparent("01")), ("tracestate", "a=1,b=2")]);
        let proxy = arrived(&sent, None);
        let _entered = proxy.enter();
        let forwarding = begin(SpanKind::Client, || "GET").unwrap();
        let mut passed_on = sent.clone();
        hand_on(Some(&forwarding), &mut passed_on);
        assert_eq!(passed_on.get("traceparent"), sent.get("traceparent"));
        let handed_on = passed_on.remove(PARENT).unwrap();
        let worker = arrived(&passed_on, Some(&handed_on));
        let asking = worker.enter();
        let question = ask_database("SELECT", "app").unwrap();
        question.fail("40001");
        question.end();
        drop(asking);
        worker.set_status(StatusCode::SERVICE_UNAVAILABLE, 500);
        worker.end();
        forwarding.end();
    });
    let [question, worker, forwarding, proxy] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(proxy.parent_span_id.to_string(), CLIENT);
    assert!(proxy.parent_span_is_remote);
    for (child, parent) in [(forwarding, proxy), (worker, forwarding), (question, worker)] {
        assert_eq!(child.parent_span_id, parent.span_context.span_id());
        assert_eq!(child.span_context.trace_id().to_string(), TRACE);
        assert_eq!(child.span_context.trace_state().header(), "a=1,b=2");
    }
    assert_eq!((&*question.name, &*proxy.name), ("SELECT app", "GET /rest/v1"));
    assert_eq!(
        [&question.status, &worker.status, &proxy.status],
        [&Status::error(""), &Status::error(""), &Status::Unset]
    );
}

#[test]
fn a_client_that_samples_not_costs_nothing_below() {
    let spans = made(|| {
        let request = arrived(&headers(&[("traceparent", &traceparent("00"))]), None);
        let _entered = request.enter();
        assert!(begin(SpanKind::Client, || -> String { unreachable!() }).is_none());
        // The next process hears of it, and makes nothing either.
        let mut next = HeaderMap::new();
        hand_on(None, &mut next);
        let text = next[PARENT].to_str().unwrap().to_owned();
        assert!(text.starts_with(&format!("00-{TRACE}-")) && text.ends_with("-00"), "{text}");
        arrived(&HeaderMap::new(), next.get(PARENT)).end();
        assert_eq!(ids().map(|it| it.0.to_string()).as_deref(), Some(TRACE));
    });
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn what_cannot_be_read_begins_a_new_trace_without_the_old_one_s_state() {
    let twice = {
        let mut twice = headers(&[("traceparent", &traceparent("01")), ("tracestate", "a=1")]);
        twice.append("traceparent", traceparent("01").parse().unwrap());
        twice
    };
    let zero = format!("00-{}-{CLIENT}-01", "0".repeat(32));
    let bad = ["", "x", &zero, "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"];
    let bad = bad.map(|it| headers(&[("traceparent", it), ("tracestate", "a=1")]));
    for sent in bad.iter().chain([&twice]) {
        let spans = made(|| {
            let proxy = arrived(sent, None);
            let mut next = sent.clone();
            hand_on(Some(&proxy), &mut next);
            let handed_on = next.remove(PARENT);
            arrived(&next, handed_on.as_ref()).end();
        });
        let [worker, proxy] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(worker.parent_span_id, proxy.span_context.span_id());
        for it in [worker, proxy] {
            assert_ne!(it.span_context.trace_id().to_string(), TRACE);
            assert_eq!(it.span_context.trace_state().header(), "");
        }
    }
}

#[test]
fn a_span_is_current_where_its_future_is_polled_and_nowhere_else() {
    let spans = made(|| {
        let outer = arrived(&HeaderMap::new(), None);
        let future = within(Some(outer.clone()), async {
            assert!(ids().is_some());
            within(begin(SpanKind::Internal, || "inner"), async { note("seen") }).await;
            tell("key", || "value");
        });
        let mut future = std::pin::pin!(future);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::future::Future::poll(future.as_mut(), &mut cx).is_ready());
        assert!(ids().is_none());
        assert!(begin(SpanKind::Internal, || "nobody's").is_none());
        outer.end();
    });
    let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*inner.name, inner.events.len()), ("inner", 1));
    assert_eq!(inner.parent_span_id, outer.span_context.span_id());
    assert!(outer.attributes.iter().any(|it| it.key.as_str() == "key"));
}

#[test]
fn methods_that_anybody_may_invent_are_one() {
    assert_eq!(known(&Method::PATCH), "PATCH");
    assert_eq!(known(&"PROPFIND".parse().unwrap()), "_OTHER");
    assert_eq!(named(known(&"PROPFIND".parse().unwrap())), "HTTP");
}
