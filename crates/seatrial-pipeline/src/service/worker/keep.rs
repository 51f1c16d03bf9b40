//! Where what came out of a try goes: the vault.

use std::time::Duration;

use seatrial_core::{
    job::Outcome,
    record::{Batch, Kept},
    vault::BlobKind,
};
use tokio::time::{Instant, sleep};

use super::{
    Phase,
    recorder::WholeOutput,
    trial::{OFFER, Trial},
};
use crate::{case::Case, query, service::ServiceError};

impl Trial {
    /// Puts report, result and output into the vault, as often as it takes. `None` when the vault stays away.
    /// `again`: another try may follow, which needs to know what this one asked of the network.
    pub(super) async fn keep(&self, case: &Case, outcome: &Outcome, again: bool) -> Option<Kept> {
        let until = Instant::now() + OFFER;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.put_all(case, outcome, again).await {
                Ok(kept) => return Some(kept),
                Err(error)
                    if error.is_transient() && Instant::now() < until && *self.phase.borrow() != Phase::Leave =>
                {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the end was not put into the vault; tried again"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the end could not be put into the vault; the job comes back"
                    );
                    return None;
                }
            }
        }
    }

    async fn put_all(&self, case: &Case, outcome: &Outcome, again: bool) -> Result<Kept, ServiceError> {
        let (id, key) = (self.record.id, &self.record.key);
        let mut report = query::report(case, outcome);
        let (result, sbom, artifacts) = {
            let evidence = case.evidence();
            (
                evidence.result_bytes.clone(),
                evidence.sbom.clone(),
                evidence.artifact_bytes.clone(),
            )
        };
        // The report names the artifacts' blobs, so they come before it; all else goes together.
        if !artifacts.is_empty() {
            let parts: Vec<(BlobKind, &[u8])> =
                artifacts.values().map(|bytes| (BlobKind::Artifact, &**bytes)).collect();
            let blobs = self.service.vault.put_all(id, key, &parts).await?;
            report.artifact_blobs = artifacts.keys().cloned().zip(blobs).collect();
        }
        let asked = (again && !report.egress.is_empty())
            .then(|| serde_json::to_vec(&report.egress))
            .transpose()?;
        let report = serde_json::to_vec(&report)?;
        let mut parts: Vec<(BlobKind, &[u8])> = vec![(BlobKind::Report, &report)];
        parts.extend(result.as_ref().map(|bytes| (BlobKind::Result, &**bytes)));
        parts.extend(sbom.as_ref().map(|bytes| (BlobKind::Sbom, &**bytes)));
        parts.extend(asked.as_ref().map(|bytes| (BlobKind::Egress, &**bytes)));
        let products = parts.len();
        let output = WholeOutput::of(case);
        parts.extend(output.parts());
        let mut put = self.service.vault.put_all(id, key, &parts).await?;
        let logs = output.kept(put.split_off(products));
        let blobs = parts.iter().map(|(kind, _)| *kind).zip(put).collect();
        Ok(Kept {
            news: Batch::default(),
            blobs,
            logs,
        })
    }
}
