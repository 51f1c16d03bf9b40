//! `Resolved` -> `Built`: the rendering becomes an image whose every byte was checked.

use seatrial_core::{
    engine::{BuildEnd, BuildFailure, BuildRequest},
    image::BuiltImage,
    job::{Blame, Outcome, Reason, Stage},
    progress::Progress,
    view::ImageView,
};
use seatrial_dockerfile::lower::Plan;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::resolve::Resolved;
use crate::{case::Walk, fault::Stop};

/// An image that is what was judged.
pub struct Built {
    /// The image.
    pub image: BuiltImage,
}

/// Builds. `waiting` gets the image the moment it is there: the scanner stands ready already. `begun` is told when the
/// first step begins.
///
/// # Errors
/// The guest's failure as an outcome, or the host's.
pub async fn build(
    walk: &Walk<'_>,
    resolved: &Resolved,
    waiting: oneshot::Sender<BuiltImage>,
    begun: watch::Sender<bool>,
) -> Result<Built, Stop> {
    let limits = &walk.case.settings.policy.limits.build;
    let log = walk.log(Stage::Build);
    let steps = &resolved.plan.steps;
    let request = BuildRequest {
        attempt: walk.attempt,
        dockerfile: resolved.plan.dockerfile.clone(),
        context_tar: walk.case.submission.context_tar.clone(),
        bases: resolved.bases.clone(),
        final_base: resolved.final_base,
        stage_steps: resolved.plan.stage_steps.clone(),
        stage_on_stage: resolved.plan.stage_on_stage,
        limits: limits.clone(),
        egress: walk.way_out(Stage::Build, walk.case.settings.policy.network.build),
    };
    let tell_step = |step: usize| {
        begun.send_replace(true);
        if let Some(planned) = steps.get(step.saturating_sub(1)) {
            walk.ports.watch.tell(Progress::BuildStep {
                step,
                of: steps.len(),
                text: planned.text.clone(),
            });
        }
    };
    let building = walk.ports.engine.build(&request, &log, &tell_step);
    let ended = timeout(limits.time, building).await;
    if !matches!(ended, Ok(Err(_))) {
        walk.case.evidence().build_walls = Some(resolved.chosen.walls.build.clone());
    }
    let Ok(end) = ended else {
        return Err(Outcome::timed_out(
            Reason::BuildTime,
            format!(
                "The build did not end within {:#}.",
                jiff::SignedDuration::try_from(limits.time).unwrap_or_default()
            ),
        )
        .with_remedy("Make the build shorter, or have the operator raise limits.build.time.")
        .into());
    };
    match end? {
        BuildEnd::Built(image, usage) => {
            walk.case.evidence().usage.insert(Stage::Build, usage);
            let mismatches = resolved.plan.mismatches(&image.config);
            if !mismatches.is_empty() {
                return Err(Outcome::errored(Reason::BuildMismatch, format!("The built image is not what was judged: {}.", mismatches.join("; ")))
                    .with_remedy("The builder understood the Dockerfile in another way than the judge did, so nothing was run. Please report the Dockerfile.")
                    .into());
            }
            note_image(walk, resolved, &image);
            // Nobody waits any more only when the scan has failed, and then that error ends the walk.
            let _ = waiting.send((*image).clone());
            Ok(Built { image: *image })
        }
        BuildEnd::Failed(failure, usage) => {
            walk.case.evidence().usage.insert(Stage::Build, usage);
            let online = request.egress.is_some();
            Err(failure_outcome(&resolved.plan, &failure, limits, online).into())
        }
    }
}

fn note_image(walk: &Walk<'_>, resolved: &Resolved, image: &BuiltImage) {
    walk.case.evidence().image = Some(ImageView {
        id: image.id,
        base_layers: image.base_layers,
        new_layers: image.new_layers.len(),
        new_bytes: image.new_layers.iter().map(|layer| layer.len).sum(),
        user: resolved.plan.config.user.clone(),
        bases: resolved.bases.iter().map(super::resolve::view).collect(),
    });
}

fn failure_outcome(
    plan: &Plan,
    failure: &BuildFailure,
    limits: &seatrial_core::limits::BuildLimits,
    online: bool,
) -> Outcome {
    match failure {
        BuildFailure::Step { step, exit_code } => {
            let code = exit_code
                .map(|code| format!(" with exit code {code}"))
                .unwrap_or_default();
            let place = step.and_then(|step| Some((step, plan.steps.get(step.checked_sub(1)?)?)));
            let message = match place {
                Some((step, planned)) => format!(
                    "Build step {step} of {} failed{code}: line {} of the Dockerfile, {}.",
                    plan.steps.len(),
                    planned.line,
                    shortened(&planned.text)
                ),
                None => format!("The build failed{code} before its first step."),
            };
            Outcome::failed(Reason::BuildFailed, message)
                .with_remedy(if online {
                    "The last lines of the build's log say why. What it asked of the network, and what was refused, is in the job's egress."
                } else {
                    "The last lines of the build's log say why. There is no network while building."
                })
        }
        BuildFailure::OutOfMemory => Outcome::failed(
            Reason::OutOfMemory,
            format!(
                "The build ran out of memory (limit {}, the files that it writes included).",
                limits.memory
            ),
        )
        .blamed_on(Blame::Quota)
        .with_remedy("Use less memory or write less in RUN, or have the operator raise limits.build.memory."),
        BuildFailure::TooManyProcesses => Outcome::failed(
            Reason::TooManyProcesses,
            format!("The build hit its limit of {} processes.", limits.pids),
        )
        .blamed_on(Blame::Quota)
        .with_remedy("Start fewer processes in RUN, or have the operator raise limits.build.pids."),
        BuildFailure::TooLarge { limit } => Outcome::failed(
            Reason::BuildTooLarge,
            format!("The build wrote more than its {} allow.", bytesize(*limit)),
        )
        .blamed_on(Blame::Quota)
        .with_remedy("Write less, or have the operator raise limits.build.store and limits.build.layers."),
        BuildFailure::Refused { why } => {
            Outcome::rejected(Reason::ImageRefused, format!("The built image was refused: {why}."))
                .blamed_on(Blame::Guest)
                .with_remedy("Build an image without it; docs/SECURITY-MODEL.md lists what an image may hold.")
        }
    }
}

fn bytesize(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// At most 120 characters of an instruction.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
