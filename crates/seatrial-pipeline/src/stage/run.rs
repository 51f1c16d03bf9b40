//! `Cleared` -> `Ran`: the guest runs behind its walls.

use std::time::Duration;

use seatrial_core::{
    digest::Digest,
    engine::{DataVolume, EngineError, Guest, RunExit, RunRequest},
    finding::escape_untrusted,
    job::{Blame, Outcome, Reason, Stage},
    walls::{Place, Walls},
};
use seatrial_policy::Network;
use tokio::time::timeout;

use super::{build::Built, clear::Cleared, resolve::Resolved, walls};
use crate::{
    case::{LOAD_TIME, Walk},
    fault::Stop,
};

/// A guest that ended well. Its `/data` may be read: the guest has EXITED.
pub struct Ran {
    _only_run_makes_one: (),
}

/// A guest that waits, and the image that it was made of.
pub struct Loaded {
    guest: Box<dyn Guest>,
    image: Digest,
    /// What a probe met in the walls of runs.
    proven: Walls,
}

/// Loads the image and makes the guest, while the scan still runs; executes nothing of the image.
///
/// # Errors
/// The host's.
pub async fn load(walk: &Walk<'_>, resolved: &Resolved, built: &Built, data: &dyn DataVolume) -> Result<Loaded, Stop> {
    let settings = &walk.case.settings;
    // Asked again: between resolve and now an Engine may have come back with weaker walls.
    let chosen = &resolved.chosen;
    let walls = walk.ports.engine.prove(chosen.runtime.as_deref()).await?;
    walls::suffice(&settings.policy, &walk.case.submission.walls, &walls)?;
    let request = RunRequest {
        attempt: walk.attempt,
        limits: settings.policy.limits.run.clone(),
        user: settings.policy.run.user.clone(),
        runtime: chosen.runtime.clone(),
        inputs: walk.case.submission.inputs.clone(),
        egress: walk.way_out(Stage::Run, settings.policy.network.run),
    };
    // The Engine has bounds of its own for each call; this one is for the sum.
    let guest = timeout(LOAD_TIME, walk.ports.engine.load(&built.image, &request, data))
        .await
        .map_err(|_| EngineError::Slow {
            action: "load the image",
            after: LOAD_TIME,
        })??;
    Ok(Loaded {
        guest,
        image: built.image.id,
        proven: walls.run,
    })
}

/// Runs a guest whose image was cleared.
///
/// # Errors
/// The guest's failure as an outcome, or the host's.
pub async fn run(walk: &Walk<'_>, cleared: Cleared, loaded: Loaded) -> Result<Ran, Stop> {
    let Loaded { guest, image, proven } = loaded;
    if cleared.image() != image {
        return Err(Outcome::errored(
            Reason::Internal,
            format!(
                "The image that was cleared is {}, and the one that was loaded is {image}.",
                cleared.image()
            ),
        )
        .with_remedy("Nothing was run. This is a defect of Seatrial: please report it.")
        .into());
    }
    let limits = &walk.case.settings.policy.limits.run;
    let log = walk.log(Stage::Run);
    // The Engine ends the guest at its limit; this bound is for an Engine that does not.
    let patience = limits.time + Duration::from_secs(30);
    let end = timeout(patience, guest.start(&log))
        .await
        .map_err(|_| EngineError::Slow {
            action: "end the run at its limit",
            after: patience,
        })??;
    let oom_events = end.usage.oom_events.unwrap_or(0);
    let pids_events = end.usage.pids_events.unwrap_or(0);
    let mut evidence = walk.case.evidence();
    evidence.usage.insert(Stage::Run, end.usage);
    let walls = Walls {
        apparmor: proven.apparmor,
        user_namespace: proven.user_namespace,
        ..end.walls
    };
    evidence.walls = Some(walls.proven_by(proven.proven, Place::Run));
    drop(evidence);
    match end.exit {
        RunExit::Code(0) => Ok(Ran {
            _only_run_makes_one: (),
        }),
        RunExit::OutOfMemory => Err(Outcome::failed(
            Reason::OutOfMemory,
            format!(
                "The run was killed for its memory (limit {}, without swap; /tmp and /data count in it).",
                limits.memory
            ),
        )
        .blamed_on(Blame::Quota)
        .with_remedy("Use less memory, or have the operator raise limits.run.memory.")
        .into()),
        RunExit::TimedOut => Err(Outcome::timed_out(
            Reason::RunTime,
            format!(
                "The run did not end within {:#}.",
                jiff::SignedDuration::try_from(limits.time).unwrap_or_default()
            ),
        )
        .with_remedy("Make the run shorter, or have the operator raise limits.run.time.")
        .into()),
        RunExit::CannotStart => Err(Outcome::failed(
            Reason::CannotStart,
            "The image's command cannot be started: there is none, or the file is missing or not executable.",
        )
        .with_remedy("Give the image a CMD or ENTRYPOINT that exists in it and may be executed by any user.")
        .into()),
        RunExit::CannotMount(volume) => Err(Outcome::failed(
            Reason::CannotStart,
            format!(
                "The image's volume {} cannot be mounted: a file of its base or the job's inputs are in the way.",
                escape_untrusted(&volume)
            ),
        )
        .with_remedy("Leave the VOLUME out, or name a folder of its own.")
        .into()),
        RunExit::Code(code) if pids_events > 0 => Err(Outcome::failed(
            Reason::TooManyProcesses,
            format!(
                "The run hit its limit of {} processes and ended with exit code {code}.",
                limits.pids
            ),
        )
        .blamed_on(Blame::Quota)
        .with_remedy("Start fewer processes or threads, or have the operator raise limits.run.pids.")
        .into()),
        RunExit::Code(code) => {
            let memory = if oom_events > 0 {
                format!(
                    " {oom_events} of its processes were killed for their memory (limit {}).",
                    limits.memory
                )
            } else {
                String::new()
            };
            Err(Outcome::failed(
                Reason::ExitCode,
                format!("The run ended with exit code {code}{}.{memory}", signal_words(code)),
            )
            .with_remedy(if walk.case.settings.policy.network.run == Network::None {
                "The last lines of the run's log say why. There is no network, and only /data and /tmp can be written."
            } else {
                "The last lines of the run's log say why. What it asked of the network is in the job's egress, and only /data and /tmp can be written."
            })
            .into())
        }
    }
}

fn signal_words(code: i32) -> &'static str {
    match code {
        129 => " (signal 1, hang-up)",
        130 => " (signal 2, interrupt)",
        132 => " (signal 4, illegal instruction)",
        134 => " (signal 6, abort)",
        135 => " (signal 7, bus error)",
        136 => " (signal 8, arithmetic error)",
        137 => " (signal 9, kill)",
        139 => " (signal 11, invalid memory access)",
        141 => " (signal 13, broken pipe)",
        143 => " (signal 15, terminate)",
        159 => " (signal 31, a system call that is not allowed)",
        _ => "",
    }
}
