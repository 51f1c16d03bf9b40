//! What the commands for a server have in common.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use seatrial_core::{
    finding::{Level, escape_untrusted},
    id::{CorrelationId, JobId},
    job::Stage,
    progress::{Progress, Watch},
    view::{Open, StateWord},
};

use crate::{
    cli::{Cli, OutputFormat, client::ServerArgs},
    client::{Client, Failure, download, follow, log, model::Job},
    progress::Show,
    show, verdict,
};

/// Exit code of a waiting that was interrupted: none of a job's codes, for the job is not over.
pub(crate) const INTERRUPTED: u8 = 130;

/// Largest log that is fetched. A server keeps much less of each stage.
const MAX_LOG: usize = 256 << 20;

/// Tells on standard error that something takes longer.
struct Aloud {
    quiet: bool,
}

impl Watch for Aloud {
    fn tell(&self, news: Progress) {
        if let (Progress::Note { text }, false) = (news, self.quiet) {
            let _ = writeln!(std::io::stderr(), "note: {}", escape_untrusted(&text));
        }
    }
}

/// A client for a command that answers at once.
pub(crate) fn client(cli: &Cli, server: &ServerArgs, correlation: &str) -> Result<Client, Failure> {
    let watch = Arc::new(Aloud { quiet: cli.quiet });
    Client::new(&server.server, CorrelationId::accept_or_fresh(correlation), watch)
}

/// A client for a command that waits, and the display that it shares with the job's progress.
pub(crate) fn waiting_client(
    cli: &Cli,
    server: &ServerArgs,
    correlation: &str,
    format: OutputFormat,
) -> Result<(Client, Arc<Show>), Failure> {
    let terminal = std::io::stderr().is_terminal() && format == OutputFormat::Text;
    let show = Arc::new(Show::new(cli.quiet, terminal));
    let client = Client::new(
        &server.server,
        CorrelationId::accept_or_fresh(correlation),
        show.clone(),
    )?;
    Ok((client, show))
}

/// How a waiting ended.
pub(crate) enum Waited {
    /// With the job.
    Over(Box<Job>),
    /// With an interrupt.
    Interrupted,
}

/// Waits for a job's end, or for an interrupt, which ends the waiting alone.
pub(crate) async fn wait(cli: &Cli, client: &Client, show: &Show, job: &Job) -> Result<Waited, Failure> {
    let result = match unless_interrupted(follow::to_the_end(client, job, show, !cli.quiet)).await {
        Some(result) => result.map(|job| Waited::Over(Box::new(job))),
        None => Ok(Waited::Interrupted),
    };
    show.finish();
    let id = job.view.id;
    match &result {
        Ok(Waited::Over(_)) => {}
        Ok(Waited::Interrupted) => {
            let _ = writeln!(
                std::io::stderr(),
                "Not waiting any more; the job goes on. `seatrial wait {id}` waits again, \
                 `seatrial cancel {id}` ends it."
            );
        }
        Err(_) => {
            let _ = writeln!(std::io::stderr(), "Waiting for {id} failed; the job itself may go on.");
        }
    }
    result
}

/// What a work becomes, or `None` when an interrupt came first. Whoever waits once must work in here from
/// then on: the process does not end by itself any more.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased; // whoever sees our first request may interrupt us already
        () = interrupt() => None,
        done = work => Some(done),
    }
}

async fn interrupt() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Prints a job that is over: findings, evidence, verdict. `text` is the Dockerfile where we have it.
pub(crate) fn print_end(cli: &Cli, job: &Job, text: Option<(&Path, &[u8])>) {
    let findings = &job.view.analysis.findings;
    if !cli.quiet {
        match text {
            Some((path, text)) => {
                super::print(&show::findings::weighty(&path.display().to_string(), text, findings));
            }
            None => {
                for finding in findings.iter().filter(|finding| finding.level > Level::Info) {
                    super::print(&show::findings::line("Dockerfile", finding));
                }
            }
        }
    }
    super::print(&verdict::text(&job.view, cli.quiet));
}

/// The exit code that stands for a job; 0 while it is not over.
pub(crate) fn exit_code(job: &Job) -> u8 {
    match job.view.state {
        StateWord::Ended(ending) => ending.exit_code(),
        StateWord::Open(Open::Queued | Open::Running) => 0,
    }
}

/// A state as a word.
pub(crate) fn state(state: StateWord) -> String {
    match state {
        StateWord::Open(Open::Queued) => "queued".to_owned(),
        StateWord::Open(Open::Running) => "running".to_owned(),
        StateWord::Ended(ending) => ending.to_string(),
    }
}

/// Fetches what a job left into a folder, under the names that `run --output` uses.
pub(crate) async fn write_output(client: &Client, folder: &Path, job: &Job) -> Result<()> {
    let id: JobId = job.view.id;
    super::run::write_new(&folder.join("job.json"), &serde_json::to_vec_pretty(&job.raw)?)?;
    if let Some(result) = &job.view.result {
        let request = download::part(client, id, &["result"], None);
        download::to_new_file(client, &request, &folder.join("result.json"), Some(result.sha256)).await?;
    }
    if let Some(sbom) = job.view.scan.as_ref().and_then(|scan| scan.sbom_sha256) {
        let request = download::part(client, id, &["sbom"], None);
        download::to_new_file(client, &request, &folder.join("sbom.cdx.json"), Some(sbom)).await?;
    }
    for stage in [Stage::Build, Stage::Run] {
        if job.view.stage.is_some_and(|last| last >= stage) {
            let mut bytes = Vec::new();
            log::read(client, id, stage, 0, false, |piece| {
                if bytes.len() + piece.len() > MAX_LOG {
                    bail!("the log of {stage} has more than {MAX_LOG} bytes");
                }
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .await?;
            super::run::write_new(&folder.join(format!("{stage}.log")), &bytes)?;
        }
    }
    // Those that were read by a worker; of others only the name is known.
    let kept: Vec<_> = job.view.artifacts.iter().filter(|file| file.sha256.is_some()).collect();
    let artifacts = folder.join("artifacts");
    if !kept.is_empty() {
        std::fs::create_dir(&artifacts)?;
    }
    for file in kept {
        // Without this a server could name any file of ours.
        if !seatrial_pipeline::result::is_artifact_name(file.name.as_bytes()) {
            return Err(client.foreign("it names a file that no job can leave").into());
        }
        let request = download::part(client, id, &["artifacts", &file.name], None);
        download::to_new_file(client, &request, &artifacts.join(&file.name), file.sha256).await?;
    }
    Ok(())
}

/// How long ago, in one number: `5 s`, `3 min`, `2 h`, `4 d`.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    span(now.duration_since(then).as_secs_f64())
}

/// A number of seconds in one number.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let (number, unit) = match seconds {
        s if s < 10.0 => return format!("{s:.1} s"),
        s if s < 120.0 => (s, "s"),
        s if s < 7_200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3_600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    format!("{number:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_number() {
        let spans = [-1.0, 0.44, 9.94, 75.0, 121.0, 7_300.0, 200_000.0].map(span);
        assert_eq!(spans, ["0.0 s", "0.4 s", "9.9 s", "75 s", "2 min", "2 h", "2 d"]);
    }
}
