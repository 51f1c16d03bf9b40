//! A case: one submission, what was decided about it, and the evidence gathered on its way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use seatrial_core::{
    egress::{EgressLog, EgressRequest, EgressView},
    engine::{Engine, Usage},
    finding::Finding,
    id::{AttemptId, CorrelationId, JobId},
    job::{Event, JobState, Stage, Token},
    log::{BoundedLog, LogSink},
    points::{self, Side},
    progress::{Progress, Watch},
    record::JobRecord,
    scanner::Scanner,
    view::{ArtifactView, ImageView, ResultView, ScanView},
    walls::{Asked, Walls},
};
use seatrial_policy::{Network, Policy};

use crate::{admission::Admitted, room::Room};

/// The outside world, as the walk sees it.
#[derive(Clone)]
pub struct Ports {
    /// Builds, loads, runs.
    pub engine: Arc<dyn Engine>,
    /// Scans.
    pub scanner: Arc<dyn Scanner>,
    /// Is told what happens.
    pub watch: Arc<dyn Watch>,
    /// Disk that the process's trials were promised.
    pub room: Room,
}

/// What the operator set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is allowed.
    pub policy: Policy,
    /// Accept a fixture database: for demonstrations and tests only.
    pub fixture_database: bool,
    /// Runtime of the run by name; `None` takes the strongest that the Engine has.
    pub runtime: Option<String>,
    /// Tries, the first included, before a transient fault of ours ends the job.
    pub attempts: u32,
    /// Make a CycloneDX SBOM.
    pub sbom: bool,
    /// Let the scanner judge the Dockerfile too; informs only.
    pub config_checks: bool,
}

/// What somebody handed in.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The Dockerfile, as bytes: it may be anything.
    pub dockerfile: Vec<u8>,
    /// Tar of the build context, written by us; empty for none.
    pub context_tar: Arc<[u8]>,
    /// Files for `/inputs`.
    pub inputs: BTreeMap<String, Arc<[u8]>>,
    /// Where the result is, relative to `/data`.
    pub result: ResultPath,
    /// Keep other files of `/data`.
    pub artifacts: bool,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// Walls that the submitter asks for, beyond the policy's.
    pub walls: Asked,
}

/// Most parts of a result's path: the holder walks no further.
const MAX_PARTS: usize = 16;

/// A path under `/data`, checked: plain components, no `.` or `..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultPath(String);

/// The path is not under `/data`, or not plain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a result path is a file under /data, such as /data/perf.json, without '.', '..' or empty parts, of at most 16 parts"
)]
pub struct BadResultPath;

impl ResultPath {
    /// Parses `/data/…`.
    ///
    /// # Errors
    /// [`BadResultPath`].
    pub fn parse(text: &str) -> Result<Self, BadResultPath> {
        let relative = text.strip_prefix("/data/").ok_or(BadResultPath)?;
        let plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
        let clean = relative.len() <= 1024
            && relative.split('/').count() <= MAX_PARTS
            && relative.split('/').all(plain)
            && !relative.chars().any(char::is_control);
        clean.then(|| Self(relative.to_owned())).ok_or(BadResultPath)
    }

    /// Relative to `/data`.
    #[must_use]
    pub fn relative(&self) -> &str {
        &self.0
    }

    /// As the guest sees it.
    #[must_use]
    pub fn absolute(&self) -> String {
        format!("/data/{}", self.0)
    }
}

impl Default for ResultPath {
    fn default() -> Self {
        Self("perf.json".to_owned())
    }
}

/// One job on its way.
pub struct Case {
    /// Its id.
    pub id: JobId,
    /// Ties logs together.
    pub correlation_id: CorrelationId,
    /// What was handed in.
    pub submission: Submission,
    /// What admission found.
    pub admitted: Admitted,
    /// What the operator set.
    pub settings: Settings,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// By when it will have ended; retries never extend it.
    pub deadline_at: Timestamp,
    state: Mutex<JobState>,
    evidence: Mutex<Evidence>,
}

/// All that the walk finds out. Gathered as it goes, so that a failure has its evidence too.
#[derive(Default)]
pub struct Evidence {
    /// First claim.
    pub started_at: Option<Timestamp>,
    /// Settlement.
    pub finished_at: Option<Timestamp>,
    /// The last stage entered.
    pub stage: Option<Stage>,
    /// Tries made.
    pub attempts: u32,
    /// Milliseconds of each finished stage.
    pub timings_ms: BTreeMap<Stage, u64>,
    /// What each stage used.
    pub usage: BTreeMap<Stage, Usage>,
    /// The built image.
    pub image: Option<ImageView>,
    /// What the scanner said.
    pub scan: Option<ScanView>,
    /// CycloneDX JSON.
    pub sbom: Option<Vec<u8>>,
    /// Walls around the build.
    pub build_walls: Option<Walls>,
    /// Walls around the run.
    pub walls: Option<Walls>,
    /// The result.
    pub result: Option<ResultView>,
    /// The exact bytes of the result.
    pub result_bytes: Option<Vec<u8>>,
    /// Other files of `/data`.
    pub artifacts: Vec<ArtifactView>,
    /// Their bytes, by name.
    pub artifact_bytes: BTreeMap<String, Vec<u8>>,
    /// Findings of the resolve stage.
    pub late_findings: Vec<Finding>,
    /// What was asked of the egress proxy, in all tries.
    pub egress: BTreeMap<Stage, EgressLog>,
    /// Kept logs.
    pub logs: BTreeMap<Stage, Arc<BoundedLog>>,
}

impl Evidence {
    /// What was asked of the network until now.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<Stage, EgressView> {
        (self.egress.iter())
            .map(|(stage, seen)| (*stage, seen.view()))
            .collect()
    }
}

impl Case {
    /// A case that starts now.
    #[must_use]
    pub fn new(
        id: JobId,
        correlation_id: CorrelationId,
        submission: Submission,
        admitted: Admitted,
        settings: Settings,
    ) -> Self {
        let created_at = Timestamp::now();
        // An Engine that is slow between the stages ends at this.
        let deadline_at = created_at + settings.longest_trial();
        Self {
            id,
            correlation_id,
            submission,
            admitted,
            settings,
            created_at,
            deadline_at,
            state: Mutex::new(JobState::admitted()),
            evidence: Mutex::default(),
        }
    }

    /// A stored job in the hands of a worker: its times are the ledger's, and what earlier tries asked of the network stays
    /// with it.
    #[must_use]
    pub fn stored(
        record: &JobRecord,
        submission: Submission,
        admitted: Admitted,
        settings: Settings,
        asked_before: BTreeMap<Stage, EgressView>,
    ) -> Self {
        let egress = asked_before
            .into_iter()
            .map(|(stage, view)| (stage, EgressLog::after(view)));
        let evidence = Evidence {
            egress: egress.collect(),
            ..Evidence::default()
        };
        Self {
            id: record.id,
            correlation_id: record.correlation_id.clone(),
            submission,
            admitted,
            settings,
            created_at: record.created_at,
            deadline_at: record.deadline_at,
            state: Mutex::new(record.state.clone()),
            evidence: Mutex::new(evidence),
        }
    }

    /// Moves the job; a move against its rules is a defect of ours and changes nothing.
    pub(crate) fn on(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.clone().on(event) {
            Ok(next) => *state = next,
            Err(refusal) => tracing::error!(
                job.id = %self.id, error = &refusal as &dyn std::error::Error, "a job was moved against its rules"
            ),
        }
    }

    /// Where the job is.
    #[must_use]
    pub fn state(&self) -> JobState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The evidence so far.
    pub fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest stay in `resolve`: fetching a large base over a slow line, filling its store and its
/// scanner cache. Our own bound, not a measured need.
pub const RESOLVE_TIME: Duration = Duration::from_secs(10 * 60);
/// Longest time in which the Engine takes an image and makes a guest of it: 2 GiB at 10 MiB/s, and some.
/// Part of the stage `scan`, beside which it goes on.
pub const LOAD_TIME: Duration = Duration::from_secs(5 * 60);
/// Longest stay in `collect`: reads of bounded files from a tmpfs.
pub const COLLECT_TIME: Duration = Duration::from_secs(60);

/// One try of a case.
pub struct Walk<'a> {
    /// The outside.
    pub ports: &'a Ports,
    /// The job.
    pub case: &'a Case,
    /// The try.
    pub attempt: AttemptId,
    /// The right to move the job.
    pub token: Token,
}

impl Walk<'_> {
    /// Marks a stage as entered.
    pub fn enter(&self, stage: Stage) {
        points::pass("walk", &stage.to_string(), Side::Before);
        self.case.on(Event::Entered(self.token, stage));
        self.case.evidence().stage = Some(stage);
        self.ports.watch.tell(Progress::StageStarted { stage });
        points::pass("walk", &stage.to_string(), Side::After);
    }

    /// Marks a stage as entered, does `work`, notes how long it took when it ended well.
    pub async fn stage<T, E>(&self, stage: Stage, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.enter(stage);
        let begun = Instant::now();
        let value = work.await?;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.case.evidence().timings_ms.insert(stage, millis);
        self.ports.watch.tell(Progress::StageFinished { stage, millis });
        Ok(value)
    }

    /// A fresh log of a stage, kept as evidence whatever happens.
    #[must_use]
    pub fn log(&self, stage: Stage) -> StageLog {
        let limit = usize::try_from(self.case.settings.policy.limits.log.as_u64()).unwrap_or(usize::MAX);
        let kept = Arc::new(BoundedLog::new(limit));
        self.case.evidence().logs.insert(stage, kept.clone());
        StageLog {
            stage,
            kept,
            watch: self.ports.watch.clone(),
            live: Mutex::new(Live {
                line: Vec::new(),
                told: 0,
                budget: limit,
            }),
        }
    }

    /// The way out of a stage, if the policy gives it one; what is asked of it is kept as evidence
    /// whatever happens.
    #[must_use]
    pub fn way_out(&self, stage: Stage, network: Network) -> Option<EgressRequest> {
        let earlier = self.case.evidence().egress.get(&stage).map(EgressLog::view);
        let seen = EgressLog::after(earlier.unwrap_or_default());
        let way = self.case.settings.policy.way_out(network, seen.clone())?;
        self.case.evidence().egress.insert(stage, seen);
        Some(way)
    }

    /// Tells a note.
    pub fn note(&self, text: impl Into<String>) {
        self.ports.watch.tell(Progress::Note { text: text.into() });
    }
}

/// Keeps a stage's output and tells its lines while they come, as far as a bound in bytes: a
/// flood of output is kept by both ends but not told for ever.
pub struct StageLog {
    stage: Stage,
    kept: Arc<BoundedLog>,
    watch: Arc<dyn Watch>,
    live: Mutex<Live>,
}

struct Live {
    line: Vec<u8>,
    told: usize,
    budget: usize,
}

enum Taken {
    Line(Vec<u8>),
    Part,
    Enough,
}

impl Live {
    /// Takes a line or a part of one.
    fn take(&mut self, piece: &[u8]) -> Taken {
        if self.told >= self.budget {
            return Taken::Enough;
        }
        let ended = piece.ends_with(b"\n");
        let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
        let room = LINE.saturating_sub(self.line.len()).min(piece.len());
        self.line.extend_from_slice(&piece[..room]);
        if !ended {
            return Taken::Part;
        }
        self.told += self.line.len() + 1;
        Taken::Line(std::mem::take(&mut self.line))
    }
}

/// Longest line told, in bytes.
const LINE: usize = 1000;

impl LogSink for StageLog {
    fn write(&self, bytes: &[u8]) {
        self.kept.write(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = match self.live.lock().unwrap_or_else(PoisonError::into_inner).take(piece) {
                Taken::Line(line) => line,
                Taken::Part => continue,
                Taken::Enough => return,
            };
            // Without the lock: whoever watches may be slow, and the other stream's lines go on.
            self.watch.tell(Progress::LogLine {
                stage: self.stage,
                line: String::from_utf8_lossy(&line).into_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Blocks at the first line until it is told to go on.
    struct Slow {
        reached: mpsc::SyncSender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl Watch for Slow {
        fn tell(&self, _: Progress) {
            let _ = self.reached.send(());
            let _ = self.go_on.lock().unwrap().recv_timeout(Duration::from_secs(5));
        }
    }

    #[test]
    fn a_watcher_that_blocks_does_not_stop_another_stream() {
        let (reached, was_reached) = mpsc::sync_channel(1);
        let (go, go_on) = mpsc::channel();
        let log = StageLog {
            stage: Stage::Run,
            kept: Arc::new(BoundedLog::new(1024)),
            watch: Arc::new(Slow {
                reached,
                go_on: Mutex::new(go_on),
            }),
            live: Mutex::new(Live {
                line: Vec::new(),
                told: 0,
                budget: 1024,
            }),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| log.write(b"one\n"));
            was_reached.recv().unwrap();
            let begun = Instant::now();
            log.write(b"two");
            assert!(begun.elapsed() < Duration::from_secs(2));
            go.send(()).unwrap();
        });
    }

    #[test]
    fn a_result_path_stays_under_data() {
        assert_eq!(
            ResultPath::parse("/data/out/perf.json").unwrap().relative(),
            "out/perf.json"
        );
        for bad in [
            "",
            "/data",
            "/data/",
            "perf.json",
            "/etc/passwd",
            "/data/../etc/passwd",
            "/data/./x",
            "/data//x",
            "/data/a\nb",
        ] {
            assert_eq!(ResultPath::parse(bad), Err(BadResultPath), "{bad}");
        }
        let deep = |parts| format!("/data/{}", vec!["x"; parts].join("/"));
        assert!(ResultPath::parse(&deep(16)).is_ok());
        assert_eq!(ResultPath::parse(&deep(17)), Err(BadResultPath));
    }
}
