//! `seatrial run`: the whole trial on one machine.

use std::{
    collections::BTreeMap,
    fs,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use seatrial_core::{
    engine::Engine as _,
    id::{CorrelationId, JobId},
    job::{Ending, Outcome, Stage},
    scanner::DatabaseKind,
    view::JobView,
    walls::{Ask, Asked, Place},
};
use seatrial_pipeline::{
    admission,
    case::{Case, Ports, ResultPath, Settings, Submission},
    fault::HostFault,
    query,
    room::Room,
    worker,
};
use seatrial_policy::Policy;
use seatrial_scan::{Trivy, TrivySettings, database};

use crate::{
    cli::{Cli, OutputFormat, RunArgs},
    config::Config,
    context,
    progress::Show,
    rego::Processes,
    show, verdict,
};

/// Runs a trial and returns the exit code.
pub(crate) async fn run(cli: &Cli, config: &Config, args: &RunArgs) -> Result<u8> {
    let policy = super::policy(config, &args.policy)?;
    let submission = submission(&policy, args)?;
    if let Some(folder) = &args.output {
        new_folder(folder)?;
    }
    let settings = Settings {
        fixture_database: args.fixture_db,
        runtime: args.runtime.clone().or_else(|| config.run.runtime.clone()),
        attempts: config.run.attempts,
        sbom: config.scan.sbom && !args.no_sbom,
        config_checks: config.scan.config_checks && !args.no_config_checks,
        policy,
    };
    let text = submission.dockerfile.clone();
    let admitted = admission::admit_aside(&settings.policy, &text, Arc::new(Processes)).await;
    let case = Case::new(
        JobId::fresh(),
        CorrelationId::accept_or_fresh(&args.correlation_id),
        submission,
        admitted,
        settings,
    );
    let show = Arc::new(Show::new(
        cli.quiet,
        std::io::stderr().is_terminal() && args.format == OutputFormat::Text,
    ));
    let outcome = trial(config, &case, show.clone()).await;
    show.finish();
    let job = query::view(&case, &outcome);
    if let Some(folder) = &args.output {
        write_output(folder, &case, &job).context("the trial ended, but its output could not be written")?;
    }
    match args.format {
        OutputFormat::Json => super::print_json(&job)?,
        OutputFormat::Text => show_end(cli, args, &text, &job),
    }
    Ok(outcome.ending.exit_code())
}

/// Connects, sweeps what dead siblings left, and works the case to its end.
async fn trial(config: &Config, case: &Case, show: Arc<Show>) -> Outcome {
    if let admission::Verdict::Deny(outcome) = &case.admitted.verdict {
        return (**outcome).clone(); // no Engine is needed to say no
    }
    let engine = match super::engine(config).await {
        Ok(engine) => Arc::new(engine),
        Err(error) => return HostFault::from(error).outcome(),
    };
    let kind = if case.settings.fixture_database {
        DatabaseKind::Fixture
    } else {
        DatabaseKind::Real
    };
    if let Err(error) = fixture(config, &engine, kind).await {
        return HostFault::from(error).outcome();
    }
    let trivy = Trivy::new(
        engine.clone(),
        TrivySettings {
            data_dir: config.data_dir.clone(),
            database: kind,
            max_layers: case.settings.policy.limits.build.layers.as_u64(),
            base_memory: config.scan.base_memory,
        },
    );
    let ports = Ports {
        engine: engine.clone(),
        scanner: Arc::new(trivy),
        watch: show,
        room: Room::default(),
    };
    let sweeping = tokio::spawn({
        let engine = engine.clone();
        async move { engine.sweep().await }
    });
    let outcome = worker::work(&ports, case, interrupted()).await;
    match sweeping.await {
        Ok(Ok(swept)) if swept != seatrial_core::engine::Swept::default() => {
            tracing::info!(
                containers = swept.containers,
                volumes = swept.volumes,
                images = swept.images,
                "removed what dead processes had left"
            );
        }
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the sweep failed"),
        _ => {}
    }
    engine.tidy(Duration::from_secs(20)).await;
    outcome
}

/// Imports the configured fixture when it is asked for and newer than the one in force.
pub(crate) async fn fixture(
    config: &Config,
    engine: &seatrial_engine::DockerEngine,
    kind: DatabaseKind,
) -> Result<(), seatrial_core::scanner::ScanError> {
    let (DatabaseKind::Fixture, Some(folder)) = (kind, &config.scan.fixture_db) else {
        return Ok(());
    };
    if database::is_current(engine, &config.data_dir, folder, kind).await? {
        return Ok(());
    }
    database::import(engine, &config.data_dir, folder, kind)
        .await
        .map(|_| ())
}

/// The first interrupt asks for an orderly end; the second ends the process at once, and the next
/// start sweeps what it left.
pub(super) async fn interrupted() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    let _ = writeln!(
        std::io::stderr(),
        "Stopping: removing what was started. Interrupt again to leave at once."
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(i32::from(Ending::Cancelled.exit_code()));
    });
}

fn submission(policy: &Policy, args: &RunArgs) -> Result<Submission> {
    let limits = &policy.limits;
    let dockerfile = super::read_bounded(&args.dockerfile, limits.dockerfile.as_u64())?;
    let context_tar = match &args.context {
        Some(folder) => context::pack(folder, limits.context.as_u64())?,
        None => Arc::from(&[][..]),
    };
    Ok(Submission {
        dockerfile,
        context_tar,
        inputs: inputs(&args.inputs, limits.inputs.as_u64())?,
        result: ResultPath::parse(&args.result)?,
        artifacts: args.output.is_some(),
        labels: args.labels.iter().cloned().collect(),
        walls: asked(&args.walls),
    })
}

/// What the words ask for, by stage.
pub(super) fn asked(words: &[(Place, Ask)]) -> Asked {
    let mut asked = Asked::default();
    for (place, ask) in words {
        match place {
            Place::Build => asked.build.insert(*ask),
            Place::Run => asked.run.insert(*ask),
        };
    }
    asked
}

pub(super) fn inputs(paths: &[PathBuf], max: u64) -> Result<BTreeMap<String, Arc<[u8]>>> {
    let mut inputs = BTreeMap::new();
    let mut total = 0;
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !seatrial_pipeline::result::is_artifact_name(name.as_bytes()) {
            bail!(
                "{} cannot be an input: a name is 1 to 128 of A-Za-z0-9._- and starts with a letter, a digit or _",
                path.display()
            );
        }
        let bytes = super::read_bounded(path, max - total)?;
        total += bytes.len() as u64;
        if total > max {
            bail!("the inputs have more than {max} bytes together (limits.inputs)");
        }
        if inputs.insert(name.to_owned(), Arc::from(bytes)).is_some() {
            bail!("two inputs have the name {name}");
        }
    }
    Ok(inputs)
}

/// Makes the folder, or accepts an empty one: nothing of anybody's is overwritten.
pub(super) fn new_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    if fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?
        .next()
        .is_some()
    {
        bail!(
            "{} is not empty; --output takes a new or an empty folder",
            folder.display()
        );
    }
    Ok(())
}

fn write_output(folder: &Path, case: &Case, job: &JobView) -> Result<()> {
    let evidence = case.evidence();
    write_new(&folder.join("job.json"), &serde_json::to_vec_pretty(job)?)?;
    if let Some(bytes) = &evidence.result_bytes {
        write_new(&folder.join("result.json"), bytes)?;
    }
    if let Some(sbom) = &evidence.sbom {
        write_new(&folder.join("sbom.cdx.json"), sbom)?;
    }
    for stage in [Stage::Build, Stage::Run] {
        if let Some(log) = evidence.logs.get(&stage) {
            write_new(&folder.join(format!("{stage}.log")), &log.contents())?;
        }
    }
    let artifacts = folder.join("artifacts");
    if !evidence.artifact_bytes.is_empty() {
        fs::create_dir(&artifacts)?;
    }
    for (name, bytes) in &evidence.artifact_bytes {
        // Checked by is_artifact_name: no separator, no leading dot.
        write_new(&artifacts.join(name), bytes)?;
    }
    Ok(())
}

pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn show_end(cli: &Cli, args: &RunArgs, text: &[u8], job: &JobView) {
    if !cli.quiet {
        let findings = show::findings::weighty(&args.dockerfile.display().to_string(), text, &job.analysis.findings);
        super::print(&findings);
    }
    super::print(&verdict::text(job, cli.quiet));
}
