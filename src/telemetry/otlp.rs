//! Traces by OTLP over HTTP with protobuf bodies, feature `otlp`.
//!
//! The exporter has a thread of its own, and on it a small runtime for its one HTTP client: a collector that hangs
//! holds up nobody, spans over its bound are dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::Metadata;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::Otlp;
use super::span::TARGET;

/// Longest one export may take.
const EXPORT_LONGEST: Duration = Duration::from_secs(10);

/// Longest the end waits for the last spans.
const FLUSH_LONGEST: Duration = Duration::from_secs(2);

/// Longest answer of a collector that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The running exporter.
#[derive(Debug, Clone)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends what is left.
    pub(super) fn close(&self) {
        // What cannot be sent now is lost; the end does not wait for a collector.
        let _ = self.0.shutdown_with_timeout(FLUSH_LONGEST);
    }
}

/// The layer that turns our spans into those of OpenTelemetry.
pub(super) fn layer<S>(settings: &Otlp) -> Result<(impl Layer<S> + use<S>, Exporter), String>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender::new().map_err(|cause| cause.to_string())?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.clone())
        .with_timeout(EXPORT_LONGEST)
        .build()
        .map_err(|cause| cause.to_string())?;
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("rosterd").with_attribute(version).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("rosterd");
    let ours = filter_fn(|found: &Metadata<'_>| found.is_span() && found.target() == TARGET);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(ours);
    Ok((layer, Exporter(provider)))
}

/// One HTTP client with the runtime that it needs.
struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Mutex<Runtime>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let connector =
            HttpsConnectorBuilder::new().try_with_platform_verifier()?.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime: Mutex::new(runtime) })
    }

    fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // One export at a time: the exporter has one thread.
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(async {
            let answer = self.client.request(request.map(Full::new));
            let answer = tokio::time::timeout(EXPORT_LONGEST, answer).await??;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
            let body = tokio::time::timeout(EXPORT_LONGEST, body).await??;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 't>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 't>>
    where
        'a: 't,
        Self: 't,
    {
        Box::pin(async move { self.exchange(request) })
    }
}
