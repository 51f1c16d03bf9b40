//! `Scanned` -> `Cleared`, or a rejection that names what blocked. Decides, waits for nothing.

use seatrial_core::{
    digest::Digest,
    job::{Outcome, Reason},
    view::{ScanView, WaivedView},
};
use seatrial_policy as policy;

use super::scan::Scanned;
use crate::{admission::of_waiver, case::Walk, fault::Stop};

/// An image which passed policy. [`super::run::run`] takes nothing else, and only [`clear`] makes one.
pub struct Cleared {
    image: Digest,
}

impl Cleared {
    /// Its id.
    #[must_use]
    pub fn image(&self) -> Digest {
        self.image
    }
}

/// Decides under the policy, and keeps what was seen as evidence either way.
///
/// # Errors
/// The rejection, or an error when the database is not one to decide by.
pub fn clear(walk: &Walk<'_>, scanned: Scanned) -> Result<Cleared, Stop> {
    let settings = &walk.case.settings;
    let Scanned {
        report,
        misconfigurations,
    } = scanned;
    let judgement = policy::judge_scan(
        &settings.policy,
        &report,
        settings.fixture_database,
        jiff::Timestamp::now(),
    );
    let mut evidence = walk.case.evidence();
    evidence.scan = Some(ScanView {
        counts: report.counts(),
        blocking: judgement.blocking.clone(),
        secrets: report.secrets.clone(),
        waived: waived(&judgement),
        expired_waivers: (judgement.expired_waivers.iter())
            .map(|waiver| of_waiver(&waiver.rule, waiver))
            .collect(),
        misconfigurations,
        os: report.os.clone(),
        packages: report.packages,
        scanner: report.scanner.clone(),
        scanner_image: report.scanner_image.clone(),
        database_kind: report.database.kind,
        database_updated_at: report.database.updated_at,
        database_sha256: report.database.sha256.clone(),
        java_database_updated_at: report.database.java.as_ref().map(|java| java.updated_at),
        sbom_sha256: report.sbom.as_deref().map(seatrial_core::digest::Digest::of),
        vulnerabilities: report.vulnerabilities,
    });
    evidence.sbom = report.sbom;
    drop(evidence);
    match judgement.verdict {
        policy::ScanVerdict::Pass => Ok(Cleared { image: report.image }),
        policy::ScanVerdict::Deny => Err(Outcome::rejected(Reason::VulnerabilitiesBlock, judgement.message)
            .with_remedy(judgement.what_would_change_it)
            .into()),
        policy::ScanVerdict::Error => Err(Outcome::errored(Reason::DatabaseStale, judgement.message)
            .with_remedy(judgement.what_would_change_it)
            .into()),
    }
}

fn waived(judgement: &policy::ScanJudgement) -> Vec<WaivedView> {
    let vulnerabilities = judgement.waived.iter().map(|(found, waiver)| WaivedView {
        at: Some(found.package.clone()),
        ..of_waiver(&found.id, waiver)
    });
    let secrets = judgement.waived_secrets.iter().map(|(found, waiver)| WaivedView {
        at: Some(found.path.clone()),
        ..of_waiver(&format!("secret:{}", found.rule), waiver)
    });
    vulnerabilities.chain(secrets).collect()
}
