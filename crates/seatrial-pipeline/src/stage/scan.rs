//! `Built` -> `Scanned`: the scanner starts while the build goes on, and waits for its image.

use async_trait::async_trait;
use seatrial_core::{
    image::BuiltImage,
    job::{Blame, Outcome, Reason},
    scanner::{ImageSource, Misconfiguration, ScanEnd, ScanError, ScanReport, ScanRequest},
};
use tokio::sync::oneshot;

use super::resolve::Resolved;
use crate::{
    case::Walk,
    fault::{HostFault, Stop},
};

/// A report about this very image.
pub struct Scanned {
    /// Vulnerabilities and secrets.
    pub report: ScanReport,
    /// What the scanner says of the Dockerfile; informs only.
    pub misconfigurations: Vec<Misconfiguration>,
}

/// Scans the image that `image` will bring; the scanner is started after `begin`.
///
/// # Errors
/// An image that cannot be read, or that takes more time or memory than it may, is the guest's doing; all else is ours.
pub async fn scan(
    walk: &Walk<'_>,
    resolved: &Resolved,
    image: oneshot::Receiver<BuiltImage>,
    begin: impl Future<Output = ()>,
) -> Result<Scanned, Stop> {
    let settings = &walk.case.settings;
    let request = ScanRequest {
        attempt: walk.attempt,
        base: resolved.base().cloned(),
        limits: settings.policy.limits.scan.clone(),
        patience: settings.policy.limits.build.time,
        database: resolved.database.clone(),
        sbom: settings.sbom,
    };
    let scanning = async {
        begin.await;
        walk.ports.scanner.scan(&request, Box::new(Handoff(Some(image)))).await
    };
    let (end, misconfigurations) = tokio::join!(scanning, config_checks(walk));
    let end = end.map_err(|error| match error {
        // The image's doing: no fault of the worker's, which would rest after one.
        ScanError::TimedOut(_) | ScanError::OutOfMemory(_) => HostFault::from(error).outcome().into(),
        error => Stop::from(error),
    })?;
    match end {
        ScanEnd::Report(report) => Ok(Scanned {
            report: *report,
            misconfigurations,
        }),
        ScanEnd::Unscannable(why) => Err(Outcome::rejected(
            Reason::Unscannable,
            format!("The image cannot be called clean: {why}."),
        )
        .blamed_on(Blame::Guest)
        .with_remedy("Keep the package database and the release files of the base image as they are.")
        .into()),
    }
}

/// Informs only, so a failure of it is told and ends nothing.
async fn config_checks(walk: &Walk<'_>) -> Vec<Misconfiguration> {
    if !walk.case.settings.config_checks {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&walk.case.submission.dockerfile);
    match walk.ports.scanner.lint(walk.attempt, &text).await {
        Ok(findings) => findings,
        Err(error) => {
            tracing::warn!(job.id = %walk.case.id, error = &error as &dyn std::error::Error, "the scanner's checks of the Dockerfile gave no answer");
            walk.note("The scanner's checks of the Dockerfile gave no answer; they inform only.");
            Vec::new()
        }
    }
}

struct Handoff(Option<oneshot::Receiver<BuiltImage>>);

#[async_trait]
impl ImageSource for Handoff {
    async fn image(&mut self) -> Option<BuiltImage> {
        match self.0.take() {
            Some(image) => image.await.ok(),
            None => None,
        }
    }
}
