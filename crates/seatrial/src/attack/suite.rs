//! Runs specimens one after the other on one Engine, as one worker would, and looks at the host after each.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use seatrial_core::{
    engine::{Engine as _, EngineFacts},
    finding::{self, Rule, escape_untrusted},
    id::{CorrelationId, JobId},
    job::{Ending, Outcome, Stage},
    progress::Unwatched,
    view::JobView,
    walls::Level,
};
use seatrial_engine::{Census, DockerEngine};
use seatrial_pipeline::{
    admission,
    case::{Case, Ports, Settings, Submission},
    query,
    room::Room,
    worker,
};
use seatrial_policy::{BlockSeverity, Policy, RuleLevel, SecretAction};
use seatrial_scan::Trivy;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    End,
    host::{self, Place, Seen},
    judge::{Told, judge},
    report::{Row, Suite},
    specimen::{self, Planned, Specimen},
};
use crate::{show, verdict};

/// What an attack needs.
pub(crate) struct World {
    /// The Engine.
    pub(crate) engine: Arc<DockerEngine>,
    /// The scanner.
    pub(crate) scanner: Arc<Trivy>,
    /// The operator's settings; each specimen brings its own policy.
    pub(crate) settings: Settings,
    /// Where to look at the host.
    pub(crate) place: Place,
}

/// What is asked for.
pub(crate) struct Asked {
    /// The specimens.
    pub(crate) specimens: Vec<Specimen>,
    /// Nothing is begun after this, and what runs then is cancelled.
    pub(crate) until: Instant,
    /// After how many specimens an ordinary trial follows; it does after each that was not contained.
    pub(crate) ordinary_every: usize,
}

/// Why a suite could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// Somebody else is at work.
    #[error("others are at work on this Engine: {}", .0.join(", "))]
    Busy(Vec<String>),
    /// An ordinary trial does not end well, so no other tells anything.
    #[error("an ordinary trial does not end well here: {0}")]
    Ordinary(String),
}

/// Ordinary trials: one for each base that specimens stand on.
const ORDINARY: [&str; 2] = [
    "FROM busybox\nCMD [\"sh\", \"-c\", \"echo '{\\\"perf\\\": 1}' > /data/perf.json\"]\n",
    "FROM debian:bookworm-slim\nCMD [\"sh\", \"-c\", \"echo '{\\\"perf\\\": 1}' > /data/perf.json\"]\n",
];
/// How long what a trial left may take to go: the Engine and the kernel end containers in their own time.
const SETTLE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);
/// How long the janitor may take.
const TIDY: Duration = Duration::from_secs(20);

/// How the Engine and the host were.
struct Before {
    census: Census,
    seen: Seen,
}

/// Runs all that is asked for; `tell` hears of each. Refuses when others are at work.
///
/// # Errors
/// [`Unfit`], or the Engine gives no answer.
pub(crate) async fn run(
    world: &World,
    asked: &Asked,
    stop: &watch::Receiver<bool>,
    tell: &(dyn Fn(&Row) + Sync),
) -> Result<Suite> {
    world
        .engine
        .sweep()
        .await
        .context("what dead processes left cannot be removed")?;
    world.engine.tidy(TIDY).await;
    let others = world.engine.others().await?;
    if !others.is_empty() {
        return Err(Unfit::Busy(others).into());
    }
    let facts = world.engine.probe().await?;
    let begun = (Timestamp::now(), Instant::now());
    let level = warm_up(world, asked, stop).await?;
    let mut before = Before {
        census: world.engine.census().await?,
        seen: look(world, BTreeSet::new()).await?,
    };
    let memory = before.seen.memory();
    let mut rows = Vec::new();
    for (index, specimen) in asked.specimens.iter().enumerate() {
        let row = one(world, asked, stop, level, specimen, index, &mut before).await;
        tell(&row);
        rows.push(row);
    }
    Ok(Suite {
        version: 1,
        seatrial: env!("CARGO_PKG_VERSION"),
        engine: engine(facts),
        level,
        database: if world.settings.fixture_database {
            "fixture"
        } else {
            "real"
        },
        started_at: begun.0,
        took_s: rounded(begun.1.elapsed()),
        daemons_memory: (memory, before.seen.memory()),
        not_checked: world.place.not_checked(),
        specimens: rows,
    })
}

fn engine(facts: EngineFacts) -> super::report::EngineTold {
    super::report::EngineTold {
        version: facts.version,
        api_version: facts.api_version,
        kernel: facts.kernel,
        runtimes: facts.runtimes,
        runc: facts.runtime_version,
        storage_driver: facts.storage_driver,
        cgroup: facts.cgroup_version,
    }
}

/// Makes tools, stores and scan caches, so that what comes later is the attack's; and learns the level.
async fn warm_up(world: &World, asked: &Asked, stop: &watch::Receiver<bool>) -> Result<Level> {
    let mut level = None;
    for (index, text) in ORDINARY.iter().enumerate() {
        let (job, _) = ordinary(world, asked, stop, text).await?;
        match (&job.walls, job.state == ended(Ending::Succeeded)) {
            (Some(walls), true) => level = level.or(walls.level),
            // Specimens on the second base will say that it is missing.
            _ if index > 0 => {}
            _ => return Err(Unfit::Ordinary(job.message.unwrap_or_default()).into()),
        }
    }
    level.context("an ordinary trial tells nothing of its walls")
}

fn ended(ending: Ending) -> seatrial_core::view::StateWord {
    seatrial_core::view::StateWord::Ended(ending)
}

async fn ordinary(
    world: &World,
    asked: &Asked,
    stop: &watch::Receiver<bool>,
    text: &str,
) -> Result<(JobView, Outcome)> {
    let policy = policy_of(specimen::shared_policy()?, false)?;
    let submission = Submission {
        dockerfile: text.as_bytes().to_vec(),
        ..Submission::default()
    };
    let case = case(world, policy, submission);
    let outcome = work(world, asked, stop, &case).await;
    Ok((query::view(&case, &outcome), outcome))
}

/// One specimen: its trials, then the Engine, the host and the next job.
async fn one(
    world: &World,
    asked: &Asked,
    stop: &watch::Receiver<bool>,
    level: Level,
    specimen: &Specimen,
    index: usize,
    before: &mut Before,
) -> Row {
    let begun = Instant::now();
    let mut row = Row::of(specimen);
    let end = match ready(world, asked, stop, specimen).await {
        Err(why) => End::NotRun(why),
        Ok(()) => {
            let since = Timestamp::now();
            let trials = trials(world, asked, stop, level, specimen, &mut row).await;
            let trials = trials.unwrap_or_else(|error| End::NotRun(format!("{error:#}")));
            let afterwards = afterwards(world, since, before).await;
            let mut end = trials.and(afterwards.unwrap_or_else(|error| End::NotRun(format!("afterwards: {error:#}"))));
            if (index + 1).is_multiple_of(asked.ordinary_every.max(1)) || end != End::Contained {
                end = end.and(next_job(world, asked, stop, before).await);
            }
            end
        }
    };
    row.took_s = rounded(begun.elapsed());
    row.end(end);
    row
}

/// Why a specimen cannot be tried now.
async fn ready(world: &World, asked: &Asked, stop: &watch::Receiver<bool>, specimen: &Specimen) -> Result<(), String> {
    if *stop.borrow() {
        return Err("it was interrupted before".to_owned());
    }
    if Instant::now() >= asked.until {
        return Err("the time was over before".to_owned());
    }
    if specimen.about.fixture && !world.settings.fixture_database {
        return Err("it needs the fixture database (--fixture-db)".to_owned());
    }
    match world.engine.others().await {
        Ok(others) if others.is_empty() => Ok(()),
        Ok(others) => Err(format!("others began to work: {}", others.join(", "))),
        Err(error) => Err(error.to_string()),
    }
}

async fn trials(
    world: &World,
    asked: &Asked,
    stop: &watch::Receiver<bool>,
    level: Level,
    specimen: &Specimen,
    row: &mut Row,
) -> Result<End> {
    let mut end = End::Contained;
    let mut first = None;
    for (index, planned) in specimen.trials.iter().enumerate() {
        let expect = match planned.expect.at(level) {
            Ok(expect) => expect,
            Err(why) => return Ok(End::NotRun(why)),
        };
        let told = trial(world, asked, stop, specimen, planned).await?;
        if index == 0 {
            (row.state, row.reason) = (Some(told.state), Some(told.reason));
        }
        end = end.and(judge(&expect, &told, first.as_ref()));
        first.get_or_insert(told.result);
    }
    Ok(end)
}

async fn trial(
    world: &World,
    asked: &Asked,
    stop: &watch::Receiver<bool>,
    specimen: &Specimen,
    planned: &Planned,
) -> Result<Told> {
    let submission = Submission {
        dockerfile: planned.text.clone(),
        context_tar: specimen.context.clone(),
        result: specimen.result.clone(),
        artifacts: true,
        ..Submission::default()
    };
    let case = case(world, policy_of(specimen.policy, specimen.about.fixture)?, submission);
    let begun = Instant::now();
    let outcome = work(world, asked, stop, &case).await;
    let took = begun.elapsed();
    let job = query::view(&case, &outcome);
    let findings = show::findings::text(specimen.name, &planned.text, &job.analysis.findings);
    let evidence = case.evidence();
    Ok(Told {
        state: outcome.ending,
        reason: outcome.reason,
        blame: outcome.blame,
        message: job.message.clone().unwrap_or_default(),
        result: job.result.as_ref().map_or(Value::Null, |result| result.value.clone()),
        log_bytes: evidence.logs.get(&Stage::Run).map_or(0, |log| log.contents().len()),
        artifact_bytes: evidence.artifact_bytes.values().map(Vec::len).sum(),
        text: format!("{findings}{}", verdict::text(&job, false)),
        json: crate::command::json_text(&job)?,
        took,
    })
}

/// The policy of a specimen. Its shell text is let through, for the walls are tried and not the judge. Unless its verdict
/// is the scanner's, what is known of the bases blocks nothing: which vulnerabilities an operator's database knows is
/// not what is tried.
fn policy_of(text: &str, scanned: bool) -> Result<Policy> {
    let mut policy = Policy::parse(text, Timestamp::now()).context("its policy cannot be used")?;
    let of_shell_text = |rule: &&Rule| rule.level == finding::Level::Error && rule.id.starts_with("ST4");
    for rule in seatrial_dockerfile::rules::rules().filter(of_shell_text) {
        let level = policy.analysis.levels.entry(rule.id.to_owned());
        level.or_insert(RuleLevel::Warn);
    }
    if !scanned {
        policy.vulnerabilities.block = BlockSeverity::None;
        policy.vulnerabilities.secrets = SecretAction::Warn;
    }
    Ok(policy)
}

fn case(world: &World, policy: Policy, submission: Submission) -> Case {
    let admitted = admission::admit(&policy, &submission.dockerfile, Timestamp::now(), &admission::NoChecks);
    let settings = Settings {
        policy,
        ..world.settings.clone()
    };
    Case::new(
        JobId::fresh(),
        CorrelationId::accept_or_fresh(""),
        submission,
        admitted,
        settings,
    )
}

async fn work(world: &World, asked: &Asked, stop: &watch::Receiver<bool>, case: &Case) -> Outcome {
    let ports = Ports {
        engine: world.engine.clone(),
        scanner: world.scanner.clone(),
        watch: Arc::new(Unwatched),
        room: Room::default(),
    };
    let mut stop = stop.clone();
    let over = async {
        tokio::select! {
            // An error says that nobody can stop us any more: then only the time does.
            Ok(_) = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep_until(asked.until.into()) => {}
        }
    };
    worker::work(&ports, case, over).await
}

/// What of Engine and host is not as it was, after it had time to go.
async fn afterwards(world: &World, since: Timestamp, before: &mut Before) -> Result<End> {
    world.engine.tidy(TIDY).await;
    let containers = world.engine.created_since(since).await?;
    let until = Instant::now() + SETTLE;
    loop {
        let census = world.engine.census().await?;
        let seen = look(world, containers.clone()).await?;
        let mut changes = before.census.changes(&census);
        changes.extend(before.seen.changes(&seen));
        let over = Instant::now() >= until;
        if changes.is_empty() || over {
            // What was found is told once, and the next one begins from here.
            *before = Before { census, seen };
            return Ok(if changes.is_empty() {
                End::Contained
            } else {
                let shown: Vec<String> = changes.iter().map(|change| escape_untrusted(change)).collect();
                End::Escaped(format!("afterwards: {}", shown.join("; ")))
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn next_job(world: &World, asked: &Asked, stop: &watch::Receiver<bool>, before: &mut Before) -> End {
    let end = match ordinary(world, asked, stop, ORDINARY[0]).await {
        Ok((_, outcome)) if outcome.ending == Ending::Succeeded => End::Contained,
        Ok((_, outcome)) if outcome.ending == Ending::Cancelled => {
            End::NotRun("no job followed: it was interrupted, or the time was over".to_owned())
        }
        Ok((_, outcome)) => End::Escaped(format!(
            "the next job is not well: {}",
            escape_untrusted(&outcome.message)
        )),
        Err(error) => End::NotRun(format!("the next job: {error:#}")),
    };
    // An ordinary trial is no attack, and leaves what its kind leaves.
    world.engine.tidy(TIDY).await;
    if let (Ok(census), Ok(seen)) = (world.engine.census().await, look(world, BTreeSet::new()).await) {
        *before = Before { census, seen };
    }
    end
}

async fn look(world: &World, containers: BTreeSet<String>) -> Result<Seen> {
    let place = world.place.clone();
    tokio::task::spawn_blocking(move || host::look(&place, &containers))
        .await
        .context("the host cannot be looked at")
}

/// Seconds with two digits: more is noise.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
