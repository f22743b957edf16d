//! Where the spans of requests go: to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Spans wait in a bounded queue, and a thread of their own sends them in batches. When the collector is slow or away,
//! spans are lost, and no request waits. `OTEL_BSP_*`, `OTEL_SPAN_*` and `OTEL_RESOURCE_ATTRIBUTES` are read by the SDK.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tokio::runtime::Handle;

use crate::settings::TraceSettings;

/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the last spans may take when the process stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Of a collector's answer more is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The traces of this process, if somebody wants them.
#[derive(Debug)]
#[must_use = "the last spans are sent by `flush`"]
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Make spans of requests from now on, in the name of `service`, when `settings` say where they go.
    pub(crate) fn begin(settings: &TraceSettings, service: &'static str) -> Result<Self> {
        let Some(endpoint) = settings.endpoint()? else { return Ok(Self(None)) };
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(LIMIT)
            .timeout(LIMIT)
            .build()
            .context("prepare the client of traces")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client { http, runtime: Handle::current() })
            .with_endpoint(endpoint.as_str())
            .with_headers(settings.headers().collect())
            .build()
            .context("read OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let name = settings.service_name.clone().unwrap_or_else(|| service.to_owned());
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Told { exporter, failing: AtomicBool::new(false) })
            .with_sampler(settings.sampler()?)
            .with_resource(resource.build())
            .build();
        let tracer = BoxedTracer::new(Box::new(provider.tracer("madbase")));
        trace::install(tracer, Box::new(TraceContextPropagator::new()));
        tracing::info!(endpoint = endpoint.host_str(), "traces of requests are sent");
        Ok(Self(Some(provider)))
    }

    /// Send what is left, within a few seconds. No spans are made afterwards.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // It blocks.
        let stopping = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        if let Ok(Err(error)) = stopping.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// An exporter that tells whether it succeeds.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E> Told<E> {
    fn tell(&self, spans: usize, outcome: &OTelSdkResult) {
        let label = if outcome.is_ok() { "sent" } else { "lost" };
        let count = u64::try_from(spans).unwrap_or(u64::MAX);
        metrics::counter!("madbase_trace_spans_total", "outcome" => label).increment(count);
        let was_failing = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match (outcome, was_failing) {
            (Err(error), false) => tracing::warn!(%error, "traces cannot be sent; they are lost meanwhile"),
            (Ok(()), true) => tracing::info!("traces are sent again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.tell(spans, &outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Sends by the HTTP client that the process has anyway. It is called on a thread without a runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = self.runtime.spawn(send(self.http.clone(), request));
        Ok(sending.await??)
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    let mut answer = http.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    *response.body_mut() = body.freeze();
    Ok(response)
}
