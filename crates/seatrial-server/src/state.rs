//! What every handler can reach.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use seatrial_core::digest::Digest;
use seatrial_pipeline::service::Service;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    config::{BadConfig, Checked, ServerConfig, checked},
    documents::Documents,
    metrics::Metrics,
    problem::{Code, Problem},
    wire::about::{LimitsDocument, PolicyDocument},
};

/// What every handler can reach; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    service: Service,
    settings: Checked,
    metrics: Metrics,
    limits: LimitsDocument,
    policy: PolicyDocument,
    openapi: Document,
    documents: Documents,
    streams: Arc<Semaphore>,
    body_memory: Arc<Semaphore>,
    answer_memory: Arc<Semaphore>,
    going: watch::Sender<bool>,
}

/// A document that does not change while the process lives.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
}

/// Resolves when it is said that the process goes.
pub(crate) fn gone(going: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut going = going.subscribe();
    async move {
        // Dropped here: whoever waits must not hold the lock on the value.
        let _ = going.wait_for(|going| *going).await.map(drop);
    }
}

impl Document {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            etag: format!("\"{}\"", Digest::of(&bytes).short()),
            bytes: bytes.into(),
        }
    }
}

impl AppState {
    /// Over a service.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(service: Service, config: &ServerConfig) -> Result<Self, BadConfig> {
        let settings = checked(config.clone())?;
        let policy = &service.settings.policy;
        let toml = policy.to_toml();
        let limits = LimitsDocument::new(&policy.limits, &service.queue, &settings.config);
        let policy = PolicyDocument {
            digest: Digest::of(toml.as_bytes()).to_string(),
            policy: serde_json::to_value(policy).unwrap_or_default(),
            toml,
        };
        let openapi = Document::new(crate::openapi::json().into_bytes());
        let memory = |mib: u32| {
            let kib = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024);
            Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS)))
        };
        let metrics = Metrics::new();
        metrics.register(|registry| service.telemetry.metrics.register(registry));
        Ok(Self(Arc::new(Inner {
            metrics,
            limits,
            policy,
            openapi,
            documents: Documents::new(),
            streams: Arc::new(Semaphore::new(settings.config.max_streams)),
            body_memory: memory(settings.config.max_body_memory_mib),
            answer_memory: memory(settings.config.max_answer_memory_mib),
            going: watch::Sender::new(false),
            service,
            settings,
        })))
    }

    /// The use cases.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    /// What this process counts. A worker in the same process adds its own.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Settings of the edge.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.0.settings.config
    }

    /// Tells open streams to end: the process goes.
    pub fn go(&self) {
        self.0.going.send_replace(true);
    }

    pub(crate) fn settings(&self) -> &Checked {
        &self.0.settings
    }

    pub(crate) fn limits(&self) -> &LimitsDocument {
        &self.0.limits
    }

    pub(crate) fn policy(&self) -> &PolicyDocument {
        &self.0.policy
    }

    pub(crate) fn openapi(&self) -> &Document {
        &self.0.openapi
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    /// Resolves when the process goes.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        gone(&self.0.going)
    }

    /// Whether the process goes.
    pub(crate) fn going(&self) -> &watch::Sender<bool> {
        &self.0.going
    }

    /// The process goes.
    pub(crate) fn goes(&self) -> bool {
        *self.0.going.borrow()
    }

    /// A place among those that hold a connection for long; `None` when all are taken.
    pub(crate) fn long_place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.streams.clone().try_acquire_owned().ok()
    }

    /// A place for a stream.
    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.long_place().ok_or_else(|| {
            Problem::new(Code::Busy, "As many streams are open as this process may hold.")
                .retry_after(Duration::from_secs(5))
        })
    }

    /// Room for an answer of so many bytes, which are read sealed and then opened.
    pub(crate) fn answer_room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let all = u64::from(self.config().max_answer_memory_mib) * 1024;
        // One that is larger than all of it is alone.
        let kib = (bytes.saturating_mul(2).div_ceil(1024)).min(all);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        self.0.answer_memory.clone().try_acquire_many_owned(kib).map_err(|_| {
            Problem::new(Code::Busy, "As many answers are in memory as this process may hold.")
                .retry_after(Duration::from_secs(2))
        })
    }

    pub(crate) fn body_memory(&self) -> &Arc<Semaphore> {
        &self.0.body_memory
    }
}
