//! What a process tells of its work to those who watch it: counters, spans, and whether it takes jobs.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use seatrial_core::trace::{Span, SpanKind, TraceParent, Tracer};

use super::metrics::Metrics;

/// What a process tells of its work; cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// Counters.
    pub metrics: Metrics,
    /// Sends spans to a collector, where there is one.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Of the worker in this process.
    pub standing: Standing,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Telemetry")
            .field("traces", &self.tracer.is_some())
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Begins a span, where spans are told. `name` is made only then.
    pub fn begin(
        &self,
        name: impl FnOnce() -> String,
        kind: SpanKind,
        parent: Option<TraceParent>,
    ) -> Option<Box<dyn Span>> {
        let tracer = self.tracer.as_ref()?;
        Some(tracer.begin(name(), kind, parent))
    }
}

/// Whether the worker of this process takes jobs, for whoever probes it.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Mutex<Option<Cow<'static, str>>>>);

impl Default for Standing {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Cow::Borrowed("it starts")))))
    }
}

impl Standing {
    /// Why it takes none, as a clause; `None` when it does.
    #[must_use]
    pub fn why_not(&self) -> Option<Cow<'static, str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, why_not: Option<Cow<'static, str>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why_not;
    }
}
