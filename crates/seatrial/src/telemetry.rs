//! Traces for a collector: spans over OTLP, as HTTP with protobuf.
//!
//! # Liveness
//! A span that is over goes into a bounded queue, and is dropped when that is full. A thread of the SDK sends
//! what waits, each batch within a time limit. So a collector that is slow or away costs spans and nothing
//! else; the end of the process waits for it for a few seconds at most.

use std::{
    fmt,
    num::NonZero,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, Status, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use seatrial_core::trace::{Fact, Span, SpanKind, TraceParent, Tracer};
use seatrial_pipeline::service::{metrics::Metrics, telemetry::Telemetry};
use url::Url;

use crate::{
    client::is_loopback,
    config::{Config, Otlp},
};

/// Spans that wait to be sent; further ones are dropped.
const WAITING: usize = 4096;
/// Spans in one batch.
const BATCH: usize = 512;
/// Between two batches, unless one is full before.
const PACE: Duration = Duration::from_secs(1);
/// Longest wait at the end of the process for what is not sent yet.
const FLUSH: Duration = Duration::from_secs(5);
/// Most bytes of the collector's answer that are looked at.
const MAX_ANSWER: usize = 64 << 10;

/// What a process tells of its work, and what must be sent before it ends.
#[derive(Clone)]
pub(crate) struct Told {
    /// For the parts of the service.
    pub(crate) telemetry: Telemetry,
    provider: Option<SdkTracerProvider>,
}

/// Makes ready what tells of this process's work; `name` tells it from others.
pub(crate) fn start(config: &Config, name: &str) -> Result<Told> {
    let mut telemetry = Telemetry::default();
    let otlp = &config.telemetry.otlp;
    let Some(endpoint) = &otlp.endpoint else {
        return Ok(Told {
            telemetry,
            provider: None,
        });
    };
    let provider = endpoint_url(endpoint.reveal())
        .and_then(|url| provider(otlp, url, name, telemetry.metrics.clone()))
        .with_context(|| format!("telemetry.otlp cannot be used with {}", endpoint.redacted()))?;
    telemetry.tracer = Some(Arc::new(Spans(provider.tracer("seatrial"))));
    Ok(Told {
        telemetry,
        provider: Some(provider),
    })
}

/// Sends what waits, for a few seconds at most.
pub(crate) async fn finish(told: Told) {
    let Some(provider) = told.provider else {
        return;
    };
    let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(sent, Ok(Ok(()))) {
        tracing::warn!("the collector did not take the last spans in time");
    }
}

fn endpoint_url(text: &str) -> Result<Url> {
    let mut url = Url::parse(text).context("it is not a URL")?;
    anyhow::ensure!(url.has_host(), "it names no host");
    let base = url.path().trim_end_matches('/').to_owned();
    if !base.ends_with("/v1/traces") {
        url.set_path(&format!("{base}/v1/traces"));
    }
    Ok(url)
}

fn provider(otlp: &Otlp, url: Url, name: &str, metrics: Metrics) -> Result<SdkTracerProvider> {
    let post = Post {
        http: http(otlp, &url)?,
        runtime: tokio::runtime::Handle::current(),
        metrics,
        away: AtomicBool::new(false),
        url,
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(post)
        .with_protocol(Protocol::HttpBinary)
        // Ours knows the address itself, with a password that may be in it.
        .with_endpoint("http://collector/v1/traces")
        .with_timeout(otlp.timeout)
        .build()
        .context("the exporter cannot be made")?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(PACE)
        .build();
    let resource = Resource::builder()
        .with_service_name("seatrial")
        .with_attribute(KeyValue::new("service.instance.id", name.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.sample))))
        .with_resource(resource)
        .build())
}

fn http(otlp: &Otlp, url: &Url) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("seatrial/", env!("CARGO_PKG_VERSION")))
        .timeout(otlp.timeout)
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(url) {
        builder = builder.no_proxy(); // a proxy's loopback is another machine's
    }
    if let Some(path) = &otlp.tls_ca {
        builder = builder.tls_certs_only(certificates(path)?);
    }
    builder.build().context("the HTTP client cannot be made")
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .with_context(|| format!("{} holds no certificates", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

/// Posts batches. The SDK's thread knows no runtime, so the work is done on ours.
struct Post {
    http: reqwest::Client,
    url: Url,
    runtime: tokio::runtime::Handle,
    metrics: Metrics,
    /// It was said already that the collector does not answer.
    away: AtomicBool,
}

impl fmt::Debug for Post {
    /// Without the address: a password may be in it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Post").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let post = self.http.post(self.url.clone()).headers(head.headers).body(body);
        let answer = match self.runtime.spawn(send(post)).await {
            Ok(answer) => answer.map_err(|error| HttpError::from(error.without_url())),
            Err(error) => Err(HttpError::from(error)),
        };
        self.say(&answer);
        answer
    }
}

impl Post {
    /// Counts, and says once that the collector does not take spans, and once that it does again.
    fn say(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let problem = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers with status {}", answer.status().as_u16())),
            Err(error) => Some(chain(&**error)),
        };
        self.metrics.traced(problem.is_none());
        let was_away = self.away.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_away => {
                tracing::warn!(problem, "the collector takes no spans; jobs go on, spans are lost");
            }
            None if was_away => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

async fn send(post: reqwest::RequestBuilder) -> Result<Response<Bytes>, reqwest::Error> {
    let mut answer = post.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            body.clear(); // no collector says so much; the status is what counts
            break;
        }
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Begins spans of the SDK.
struct Spans(SdkTracer);

impl Tracer for Spans {
    fn begin(&self, name: String, kind: SpanKind, parent: Option<TraceParent>) -> Box<dyn Span> {
        use opentelemetry::trace::SpanKind as Kind;
        let context = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(SpanContext::new(
                parent.trace_id.get().into(),
                parent.span_id.get().into(),
                TraceFlags::new(parent.flags),
                kind != SpanKind::Internal,
                TraceState::NONE,
            ))
        });
        let builder = SpanBuilder::from_name(name).with_kind(match kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Consumer => Kind::Consumer,
            SpanKind::Internal => Kind::Internal,
        });
        Box::new(Begun(self.0.build_with_context(builder, &context)))
    }
}

/// A span of the SDK; dropping it ends it.
struct Begun(opentelemetry_sdk::trace::Span);

impl Span for Begun {
    fn place(&self) -> Option<TraceParent> {
        let context = self.0.span_context();
        Some(TraceParent {
            trace_id: NonZero::new(u128::from_be_bytes(context.trace_id().to_bytes()))?,
            span_id: NonZero::new(u64::from_be_bytes(context.span_id().to_bytes()))?,
            flags: context.trace_flags().to_u8(),
        })
    }

    fn note(&mut self, key: &'static str, fact: Fact<'_>) {
        if self.0.is_recording() {
            self.0.set_attribute(match fact {
                Fact::Word(word) => KeyValue::new(key, word.to_owned()),
                Fact::Number(number) => KeyValue::new(key, number),
            });
        }
    }

    fn fail(&mut self) {
        self.0.set_status(Status::error(""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added_once() {
        for (given, used) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://collector/otlp/", "https://collector/otlp/v1/traces"),
            ("https://collector/v1/traces", "https://collector/v1/traces"),
        ] {
            assert_eq!(endpoint_url(given).unwrap().as_str(), used);
        }
        assert!(endpoint_url("http://").is_err());
    }
}
