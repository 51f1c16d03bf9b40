//! `Ran` -> `Collected`: what the guest left in `/data`, read as from a stranger.

use seatrial_core::{
    digest::Digest,
    engine::{DataListing, DataVolume, ReadEnd},
    finding::escape_untrusted,
    job::{Outcome, Reason, Stage},
    limits::MAX_READ,
    view::{ArtifactView, ResultView},
};
use tokio::time::timeout;

use super::run::Ran;
use crate::{
    case::{COLLECT_TIME, Walk},
    fault::Stop,
    result::{self, is_artifact_name},
};

/// Most artifacts that are kept.
pub const MAX_ARTIFACTS: usize = 64;

/// A valid result, kept as evidence.
pub struct Collected {
    _only_collect_makes_one: (),
}

/// Reads the result and, if asked, the artifacts.
///
/// # Errors
/// A missing or invalid result as an outcome, or the host's.
pub async fn collect(walk: &Walk<'_>, _ran: Ran, data: &dyn DataVolume) -> Result<Collected, Stop> {
    timeout(COLLECT_TIME, collect_within(walk, data))
        .await
        .unwrap_or_else(|_| {
            Err(seatrial_core::engine::EngineError::Slow {
                action: "read the result",
                after: COLLECT_TIME,
            }
            .into())
        })
}

async fn collect_within(walk: &Walk<'_>, data: &dyn DataVolume) -> Result<Collected, Stop> {
    let path = &walk.case.submission.result;
    let max = walk.case.settings.policy.limits.result.as_u64();
    let listing = data.list().await?;
    if let Some(usage) = walk.case.evidence().usage.get_mut(&Stage::Run) {
        usage.data_bytes = listing.used_bytes;
        usage
            .sources
            .insert("data_bytes".into(), "statfs of /data at exit".to_owned());
    }
    let bytes = match data.read(path.relative(), max).await? {
        ReadEnd::Bytes(bytes) => bytes,
        ReadEnd::Missing => {
            return Err(Outcome::failed(
                Reason::NoResult,
                format!("The run ended well but left no result at {}.", path.absolute()),
            )
            .with_remedy(format!(
                "Write JSON to {} before the main process ends; the file must be readable by its owner.",
                path.absolute()
            ))
            .into());
        }
        ReadEnd::NotAFile(what) => return Err(invalid(&path.absolute(), &format!("it is {what}, not a plain file"))),
        ReadEnd::TooLarge(size) => {
            return Err(invalid(
                &path.absolute(),
                &format!("it has {size} bytes, more than the {max} that are allowed"),
            ));
        }
    };
    let value = result::parse(&bytes).map_err(|why| invalid(&path.absolute(), &why.to_string()))?;
    let view = ResultView {
        path: path.absolute(),
        value,
        sha256: Digest::of(&bytes),
        bytes: bytes.len(),
    };
    {
        let mut evidence = walk.case.evidence();
        evidence.result = Some(view);
        evidence.result_bytes = Some(bytes);
    }
    if walk.case.submission.artifacts {
        keep_artifacts(walk, data, &listing).await?;
    }
    Ok(Collected {
        _only_collect_makes_one: (),
    })
}

fn invalid(path: &str, why: &str) -> Stop {
    Outcome::failed(
        Reason::InvalidResult,
        format!("The result at {path} is not valid: {why}."),
    )
    .with_remedy("Write one JSON value as UTF-8, in a plain file, with finite numbers and no key twice.")
    .into()
}

async fn keep_artifacts(walk: &Walk<'_>, data: &dyn DataVolume, listing: &DataListing) -> Result<(), Stop> {
    // The volume bounds what was written, not what a sparse file claims: together the artifacts
    // may be as large as the volume.
    let mut left = walk.case.settings.policy.limits.run.data.as_u64();
    let mut kept = 0;
    for raw in &listing.names {
        let shown = escape_untrusted(&String::from_utf8_lossy(raw));
        if shown == walk.case.submission.result.relative() {
            continue;
        }
        let skip = |why: String| ArtifactView {
            name: shown.clone(),
            bytes: None,
            sha256: None,
            skipped: Some(why),
        };
        let view = if !is_artifact_name(raw) {
            skip("its name is not plain".to_owned())
        } else if kept == MAX_ARTIFACTS {
            skip(format!("there are more than {MAX_ARTIFACTS}"))
        } else {
            match data.read(&shown, left.min(MAX_READ)).await? {
                ReadEnd::Bytes(bytes) => {
                    kept += 1;
                    left = left.saturating_sub(bytes.len() as u64);
                    let view = ArtifactView {
                        name: shown.clone(),
                        bytes: Some(bytes.len() as u64),
                        sha256: Some(Digest::of(&bytes)),
                        skipped: None,
                    };
                    walk.case.evidence().artifact_bytes.insert(shown, bytes);
                    view
                }
                ReadEnd::Missing => skip("it cannot be read".to_owned()),
                ReadEnd::NotAFile(what) => skip(format!("it is {what}")),
                ReadEnd::TooLarge(size) => skip(format!(
                    "it claims {size} bytes, more than the {} that are left",
                    left.min(MAX_READ)
                )),
            }
        };
        walk.case.evidence().artifacts.push(view);
    }
    if listing.truncated {
        let view = ArtifactView {
            name: "…".to_owned(),
            bytes: None,
            sha256: None,
            skipped: Some("there are more names than are listed".to_owned()),
        };
        walk.case.evidence().artifacts.push(view);
    }
    Ok(())
}
