//! What a process tells of its work.

use seatrial_pipeline::service::telemetry::Telemetry;

/// What a process tells of its work.
#[derive(Clone)]
pub(crate) struct Told {
    /// For the parts of the service.
    pub(crate) telemetry: Telemetry,
}

/// Makes ready what tells of this process's work.
pub(crate) fn start() -> Told {
    Told {
        telemetry: Telemetry::default(),
    }
}
