//! Traces of requests through a cluster, as a collector of OpenTelemetry gets them: real OTLP, decoded by the types that
//! are made from the standard's own definitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::node::{Node, Site, keys, postgres, service, until_ok};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What a function of SQL sees of a request.
const SEEN: &str = "create function private_name() returns json language sql stable as \
    $$ select current_setting('request.headers')::json $$";

/// A span, as it was sent.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: i32,
    attributes: BTreeMap<String, String>,
    /// All of it.
    text: String,
}

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Collector {
    /// One that listens, and where.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let here = collector.clone();
        let take = async move |headers: HeaderMap, body: Bytes| here.take(headers, &body);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (collector, url)
    }

    fn take(&self, headers: HeaderMap, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        self.headers.lock().unwrap().push(headers);
        for resource in request.resource_spans {
            let of = attributes(&resource.resource.unwrap().attributes);
            for span in resource.scope_spans.into_iter().flat_map(|it| it.spans) {
                let text = format!("{span:?}");
                self.spans.lock().unwrap().push(Span {
                    service: of["service.name"].clone(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                    kind: span.kind,
                    attributes: attributes(&span.attributes),
                    text,
                });
            }
        }
    }

    fn of(&self, trace: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|it| it.trace == trace).cloned().collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Any::StringValue(it)) => it.clone(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|it| (it.key.clone(), text(it))).collect()
}

/// `site`, whose spans leave it only when it stops.
fn traced(mut site: Site, endpoint: &str) -> Site {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sesame"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    site.variables.extend(variables.map(|(name, value)| (name, value.to_owned())));
    site
}

fn of_trace(request: RequestBuilder, trace: &str, flags: &str) -> RequestBuilder {
    request.header("traceparent", format!("00-{trace}-{CLIENT}-{flags}"))
}

async fn sql(keys: &Value, statement: &str) {
    let url = keys["database_url"].as_str().unwrap();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
}

/// The span of `spans` that `service` made as `name`.
fn find<'a>(spans: &'a [Span], service: &str, name: &str) -> &'a Span {
    let found = spans.iter().find(|it| it.service == service && it.name == name);
    found.unwrap_or_else(|| panic!("no {name} of {service}: {spans:#?}"))
}

/// Only when it was asked for in the log's lines too.
fn access_line(node: &Site, trace: &str) -> Value {
    let log = node.log();
    let lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let mut lines = lines.filter(|it| it["message"] == "answered");
    lines.find(|it| it["trace_id"] == trace).unwrap_or_else(|| panic!("no line of {trace}: {log}"))
}

async fn cluster(endpoint: &str, postgres: &state::postgres::Ephemeral) -> (Node, Node, Node, Value) {
    let system = Site::new("system", postgres).start();
    let worker = traced(Site::joining("worker", &system), endpoint).start();
    let proxy = traced(Site::joining("proxy", &system), endpoint).start();
    let keys = keys(&system).await;
    (system, worker, proxy, keys)
}

#[tokio::test]
async fn one_trace_leads_from_the_client_through_proxy_and_worker_to_postgresql() {
    let (postgres, (collector, endpoint)) = (postgres().await, Collector::start().await);
    let (system, worker, proxy, keys) = cluster(&endpoint, &postgres).await;
    sql(&keys, SEEN).await;
    let client = Client::new();
    let call = || {
        let call = service(&keys, client.get(proxy.url("/rest/v1/rpc/private_name")));
        call.header("tracestate", "vendor=1").header("baggage", "k=v")
    };
    until_ok(call).await;
    let seen: Value = of_trace(call(), TRACE, "01").send().await.unwrap().json().await.unwrap();
    let sent = json!(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1", "k=v"]);
    assert_eq!(
        json!([seen["traceparent"], seen["tracestate"], seen["baggage"]]),
        sent,
        "as the client sent it"
    );
    assert!(!seen.to_string().contains("madbase-"), "nothing of ours: {seen}");
    of_trace(call(), OTHER, "00").send().await.unwrap();
    let made_up = call().header("madbase-traceparent", format!("00-{OTHER}-{CLIENT}-01"));
    assert!(made_up.send().await.unwrap().status().is_success());
    assert!(collector.spans.lock().unwrap().is_empty(), "they leave in batches");
    let (proxy, worker) = (proxy.stop().await, worker.stop().await);

    let spans = collector.of(TRACE);
    let server = find(&spans, "madbase-proxy", "GET /rest/v1");
    let forward = find(&spans, "madbase-proxy", "GET");
    let answer = find(&spans, "madbase-worker", "GET /rest/v1");
    let question = spans.iter().find(|it| it.service == "madbase-worker" && it.kind == 3).unwrap();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert_eq!(server.parent, CLIENT);
    assert_eq!((&forward.parent, &answer.parent, &question.parent), (&server.id, &forward.id, &answer.id));
    assert_eq!([server, forward, answer].map(|it| it.kind), [2, 3, 2]);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/rest/v1"),
        ("http.response.status_code", "Some(IntValue(200))"),
        ("url.scheme", "http"),
        ("madbase.project", "default"),
    ] {
        assert_eq!(server.attributes[key], value, "{key}");
    }
    assert_eq!(question.attributes["db.system.name"], "postgresql");
    assert_eq!(question.attributes["db.operation.name"], "CALL");
    assert_eq!(question.name, format!("CALL {}", question.attributes["db.namespace"]));
    for span in &*collector.spans.lock().unwrap() {
        assert!(!span.text.contains("private_name"), "names of rows and functions stay here: {span:?}");
    }
    assert_eq!(collector.of(OTHER).len(), 0, "unwanted by its client, or not its to say");
    assert!(collector.headers.lock().unwrap().iter().all(|it| it["authorization"] == "Bearer sesame"));
    for (site, span) in [(&proxy, server), (&worker, answer)] {
        assert_eq!(access_line(site, TRACE)["span_id"], *span.id);
        assert!(!site.log().contains("sesame"));
    }
    system.stop().await;
}

#[tokio::test]
async fn a_sign_up_s_trace_shows_what_took_its_time_and_not_who_signed_up() {
    let (postgres, (collector, endpoint)) = (postgres().await, Collector::start().await);
    let system = Site::new("system", &postgres).start();
    let mut site = traced(Site::new("proxy", &postgres), &endpoint);
    site.variables.push(("OTEL_SERVICE_NAME", "door".to_owned()));
    let proxy = site.start();
    let keys = keys(&system).await;
    let user = json!({ "email": "ada@example.com", "password": "correct horse" });
    let sign_up = service(&keys, Client::new().post(proxy.url("/auth/v1/signup"))).json(&user);
    let answer = of_trace(sign_up, TRACE, "01").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    proxy.stop().await;
    let spans = collector.of(TRACE);
    let server = find(&spans, "door", "POST /auth/v1/signup");
    assert_eq!(server.attributes["http.route"], "/auth/v1/signup");
    assert_eq!(find(&spans, "door", "hash a password").parent, server.id);
    let questions = spans.iter().filter(|it| it.attributes.contains_key("db.system.name"));
    let operations: Vec<&str> = questions.map(|it| &*it.attributes["db.operation.name"]).collect();
    assert!(operations.contains(&"SELECT") && operations.contains(&"WITH"), "{spans:#?}");
    for span in &spans {
        assert!(!span.text.contains("ada") && !span.text.contains("horse"), "{span:?}");
    }
    system.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_neither_requests_nor_the_stop() {
    let postgres = postgres().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // It accepts, and never answers.
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let system = Site::new("system", &postgres).start();
    let worker = traced(Site::new("worker", &postgres), &endpoint).start();
    let keys = keys(&system).await;
    sql(&keys, SEEN).await;
    let client = Client::new();
    let call = || service(&keys, client.get(worker.url("/rest/v1/rpc/private_name")));
    until_ok(call).await;
    for _ in 0..50 {
        assert!(call().send().await.unwrap().status().is_success());
    }
    let asked = Instant::now();
    let site = worker.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(site.log().contains("the last traces were not sent"), "{}", site.log());
    system.stop().await;
}

#[test]
fn settings_of_traces_that_mean_nothing_are_refused() {
    let mut site = Site::bare("proxy");
    site.variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318".to_owned()));
    site.variables.push(("OTEL_TRACES_SAMPLER", "sometimes".to_owned()));
    let output = site.command(&["config", "check", "proxy"]).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in
        ["OTEL_EXPORTER_OTLP_ENDPOINT must be", "http://localhost:4318", "OTEL_TRACES_SAMPLER must be"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
