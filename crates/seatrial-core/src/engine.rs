//! The seam to a container Engine. No type of a client library crosses it.
//!
//! # Dropping is cancelling
//! Every future here may be dropped at any point: what it had created is handed over to the
//! janitor, which removes it. Time limits and cancellation are built on that, and [`Engine::tidy`]
//! waits until the janitor has nothing left to do.
//!
//! # Whose fault
//! What a guest does is data ([`BuildEnd`], [`RunEnd`]); an [`EngineError`] is never the guest's.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    BoxError,
    digest::Digest,
    egress::EgressRequest,
    id::AttemptId,
    image::{BaseImage, BuiltImage},
    limits::{BuildLimits, RunLimits},
    log::LogSink,
    walls::{Walled, Walls},
};

/// A host's or an upstream's failure.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No answer, or the connection broke.
    #[error("the container engine is unreachable")]
    Unreachable(#[source] BoxError),
    /// It answered no.
    #[error("the container engine refused to {action}")]
    Refused {
        /// What we asked, as a verb phrase.
        action: &'static str,
        /// What it said.
        source: BoxError,
    },
    /// A call took longer than it ever should.
    #[error("the container engine did not {action} within {} s", .after.as_secs())]
    Slow {
        /// What we asked, as a verb phrase.
        action: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// An image that we asked for by name or digest does not exist.
    #[error("there is no image {name}")]
    NoImage {
        /// Completed name.
        name: String,
    },
    /// The registry of an image gave no usable answer.
    #[error("the registry of {name} cannot be reached")]
    Registry {
        /// Completed name.
        name: String,
        /// What happened.
        source: BoxError,
    },
    /// An image of ours is missing or not the pinned one.
    #[error("the {role} image {pin} cannot be used: {problem}")]
    ToolImage {
        /// `builder`, `scanner`.
        role: &'static str,
        /// The configured pin.
        pin: String,
        /// What is wrong, as a clause.
        problem: String,
    },
    /// A limit cannot be enforced on this Engine.
    #[error("the container engine cannot enforce a wall: {0}")]
    WallMissing(String),
    /// The disk under the Engine or our spools is too full for a trial.
    #[error("the disk has {} MiB left for trials, and this one may fill {} MiB", .left >> 20, .need >> 20)]
    DiskFull {
        /// Bytes that are free and not promised.
        left: u64,
        /// Bytes that the trial may fill.
        need: u64,
    },
    /// A part of ours broke the protocol.
    #[error("{0}")]
    Broken(String),
    /// A tool of ours failed before anything of the guest's was run.
    #[error("{0}")]
    Stumbled(String),
    /// A local file operation of ours failed.
    #[error("could not {action}")]
    Local {
        /// As a verb phrase.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl EngineError {
    /// Worth another try: the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Slow { .. }
            | Self::Registry { .. }
            | Self::Stumbled(_)
            | Self::DiskFull { .. } => true,
            // Another worker's disk is another one, a full disk is emptied, and an image that somebody removed
            // meanwhile is brought again. The Engine tells it in words.
            Self::Refused { source, .. } => {
                let words = source.to_string();
                words.contains("no space left on device") || words.contains("No such image")
            }
            Self::Local { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::NoImage { .. } | Self::ToolImage { .. } | Self::WallMissing(_) | Self::Broken(_) => false,
        }
    }
}

/// What the Engine is and which walls it can build.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EngineFacts {
    /// Engine version, `26.1.5`.
    pub version: String,
    /// Negotiated API version, `1.45`.
    pub api_version: String,
    /// Kernel release.
    pub kernel: String,
    /// `linux/amd64`.
    pub platform: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `cgroupfs`, `systemd`, `none`.
    pub cgroup_driver: String,
    /// Containers' root is not the host's root.
    pub user_namespaces: bool,
    /// The daemon itself is not root.
    pub rootless: bool,
    /// Seccomp is available.
    pub seccomp: bool,
    /// AppArmor is available.
    pub apparmor: bool,
    /// Names of runtimes, sorted.
    pub runtimes: Vec<String>,
    /// The default one.
    pub default_runtime: String,
    /// Version text of the default runtime (runc), empty when the Engine does not say.
    pub runtime_version: String,
    /// `overlay2` and so on.
    pub storage_driver: String,
    /// Images are stored by containerd.
    pub containerd_store: bool,
    /// Memory limits are enforced.
    pub memory_limit: bool,
    /// Swap limits are enforced.
    pub swap_limit: bool,
    /// Process limits are enforced.
    pub pids_limit: bool,
    /// CPU quotas are enforced.
    pub cpu_quota: bool,
    /// Processors of the Engine's host.
    pub cpus: u64,
    /// Memory of the Engine's host, in bytes.
    pub memory: u64,
    /// The Engine's data root.
    pub root_dir: String,
    /// What the Engine itself warns of.
    pub warnings: Vec<String>,
}

/// What a build is made from.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The try.
    pub attempt: AttemptId,
    /// The rendered Dockerfile: never the guest's text.
    pub dockerfile: String,
    /// A tar of the build context, checked and written by us; empty for none.
    pub context_tar: std::sync::Arc<[u8]>,
    /// The bases that the rendering names, each once.
    pub bases: Vec<BaseImage>,
    /// Index in `bases` of the one that the final stage stands on; `None` for `scratch`.
    pub final_base: Option<usize>,
    /// How many steps the builder will count in each stage: for progress.
    pub stage_steps: Vec<usize>,
    /// A stage is built on another one.
    pub stage_on_stage: bool,
    /// Bounds.
    pub limits: BuildLimits,
    /// What its steps may reach; `None` for nothing.
    pub egress: Option<EgressRequest>,
}

/// How a build ended.
#[derive(Clone, Debug)]
pub enum BuildEnd {
    /// An image that passed our checks.
    Built(Box<BuiltImage>, Usage),
    /// The guest's fault.
    Failed(BuildFailure, Usage),
}

/// Why a build failed.
#[derive(Clone, PartialEq, Debug)]
pub enum BuildFailure {
    /// The builder ended with a code that is not 0.
    Step {
        /// The last step that the builder said it began, from 1: a hint.
        step: Option<usize>,
        /// Exit code of the guest's command, when the builder told it: a hint.
        exit_code: Option<i32>,
    },
    /// A process was killed for its memory and the build failed.
    OutOfMemory,
    /// The limit of processes was hit and the build failed.
    TooManyProcesses,
    /// The store or the layers are full.
    TooLarge {
        /// Which bound, in bytes.
        limit: u64,
    },
    /// What was built may not be loaded.
    Refused {
        /// Which check said no. May hold guest bytes.
        why: String,
    },
}

/// An image that the Engine holds, and a guest made of it that waits.
///
/// Made while the scan still runs; only a guest of a cleared image is let go.
#[async_trait]
pub trait Guest: Send {
    /// Lets it go, feeds `logs` with its output, waits for its end. Nothing of its image was executed before.
    ///
    /// # Errors
    /// Only the host's.
    async fn start(self: Box<Self>, logs: &dyn LogSink) -> Result<RunEnd, EngineError>;
}

/// What a run needs.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The try.
    pub attempt: AttemptId,
    /// Bounds.
    pub limits: RunLimits,
    /// `uid:gid` that the guest runs as, whatever the image says.
    pub user: String,
    /// Which runtime, by name; `None` for the Engine's default.
    pub runtime: Option<String>,
    /// Files for `/inputs`: name to bytes.
    pub inputs: BTreeMap<String, std::sync::Arc<[u8]>>,
    /// What the guest may reach; `None` for nothing.
    pub egress: Option<EgressRequest>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Debug)]
pub struct RunEnd {
    /// What the main process left.
    pub exit: RunExit,
    /// What it used.
    pub usage: Usage,
    /// Walls that were in force.
    pub walls: Walls,
}

/// The main process's end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunExit {
    /// It ended by itself with this code (128 + signal when a signal ended it).
    Code(i32),
    /// The kernel killed the main process for its memory.
    OutOfMemory,
    /// The time limit ended it.
    TimedOut,
    /// It could not be started.
    CannotStart,
    /// This volume, which the image declares, cannot be mounted: something of the base or of the job is in the way.
    CannotMount(String),
}

/// What was used. A value that could not be measured is `None`, never 0.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time, in seconds (our clock, from start to end).
    pub wall_s: Option<f64>,
    /// Processor time of all processes, in seconds (cgroup, else rusage of our init).
    pub cpu_s: Option<f64>,
    /// Highest memory, in bytes (cgroup).
    pub memory_peak: Option<u64>,
    /// Out-of-memory kills, of children too (cgroup).
    pub oom_events: Option<u64>,
    /// Refused forks (cgroup).
    pub pids_events: Option<u64>,
    /// Bytes in `/data` at exit (holder, statfs).
    pub data_bytes: Option<u64>,
    /// Where each value came from: `{"cpu_s": "cgroup v1 cpuacct.usage"}`.
    pub sources: BTreeMap<Cow<'static, str>, String>,
}

/// `/data` of one attempt: a sized tmpfs, kept alive by a holder until dropped.
#[async_trait]
pub trait DataVolume: Send + Sync {
    /// The Engine's name of the volume, for [`Engine::load`].
    fn volume(&self) -> &str;
    /// Reads one file after the guest has EXITED. `name` is relative to `/data`, `max` at most
    /// [`MAX_READ`](crate::limits::MAX_READ).
    ///
    /// # Errors
    /// Only the host's; what the guest put there is a [`ReadEnd`].
    async fn read(&self, name: &str, max: u64) -> Result<ReadEnd, EngineError>;
    /// The names at the top level, bounded in count; bytes, for names are hostile.
    ///
    /// # Errors
    /// Only the host's.
    async fn list(&self) -> Result<DataListing, EngineError>;
}

/// What stands in `/data`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DataListing {
    /// Names of entries, raw, sorted; at most 1,000.
    pub names: Vec<Vec<u8>>,
    /// There were more.
    pub truncated: bool,
    /// Used bytes of the volume.
    pub used_bytes: Option<u64>,
}

/// What reading a file of the guest's gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadEnd {
    /// Its bytes, at most `max`.
    Bytes(Vec<u8>),
    /// Nothing has that name, or it cannot be opened.
    Missing,
    /// Something has that name which is not a plain file; the clause says what.
    NotAFile(String),
    /// Larger than `max`; the size that it claims, in bytes.
    TooLarge(u64),
}

/// A trusted container of ours that does one thing: scanner, database writer.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    /// For names: `scan`, `db`.
    pub role: &'static str,
    /// The try it belongs to; `None` for work of the process itself.
    pub attempt: Option<AttemptId>,
    /// Which image.
    pub image: ToolImage,
    /// Arguments of our static binary, which is the entry point in every tool container and is
    /// mounted read-only at `/.seatrial/holder`.
    pub args: Vec<String>,
    /// Volumes.
    pub mounts: Vec<ToolMount>,
    /// Size of `/tmp`, in bytes.
    pub tmp: u64,
    /// Memory and swap together, in bytes.
    pub memory: u64,
    /// Processors.
    pub cpus: f64,
    /// Processes.
    pub pids: u32,
    /// Wall time, from the moment all input was given.
    pub time: Duration,
    /// The only tool with a network is the database updater.
    pub network: bool,
    /// Standard output is cut off, and the tool killed, beyond this many bytes.
    pub max_output: u64,
    /// Run as this `uid:gid`.
    pub user: String,
}

/// Image of a tool container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToolImage {
    /// FROM scratch, with our static binary only.
    Holder,
    /// The configured builder.
    Builder,
    /// The configured scanner.
    Scanner,
}

/// A volume in a tool container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolMount {
    /// Name of the volume.
    pub volume: String,
    /// Where.
    pub path: &'static str,
    /// Whether it may be written.
    pub writable: bool,
}

/// What a tool left.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolEnd {
    /// Exit code.
    pub code: i32,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of standard error.
    pub stderr: Vec<u8>,
    /// The memory limit killed something in it.
    pub out_of_memory: bool,
    /// It ran out of time and was killed.
    pub timed_out: bool,
}

/// Where a tool's standard input comes from. The container starts at once and waits for it, so a
/// source that becomes ready later overlaps the start with other work.
#[async_trait]
pub trait ToolInput: Send {
    /// The next bytes, `None` at the end.
    ///
    /// # Errors
    /// What the source reports: the tool is then killed.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError>;
}

/// Bytes that are there already.
#[derive(Debug)]
pub struct ReadyInput(Option<Vec<u8>>);

impl ReadyInput {
    /// One chunk.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Some(bytes))
    }
}

#[async_trait]
impl ToolInput for ReadyInput {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(self.0.take())
    }
}

/// The container Engine, as the pipeline sees it.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What it is and which walls it can build.
    ///
    /// # Errors
    /// It cannot be reached.
    async fn probe(&self) -> Result<EngineFacts, EngineError>;

    /// The walls that stand around a build, and around a run in `runtime` (`None`: the Engine's default): met by a
    /// probe of ours in a container of each kind, not longer ago than some minutes.
    ///
    /// # Errors
    /// A container of that kind cannot be started, or the Engine does not keep to what it was asked for.
    async fn prove(&self, runtime: Option<&str>) -> Result<Walled<Walls>, EngineError>;

    /// Bytes free on the disk that trials fill, the least where there are several; `None` where none of them is seen
    /// from here.
    fn free_disk(&self, facts: &EngineFacts) -> Option<u64>;

    /// Finds `name` on the Engine or pulls it, and fills its read-only store once. `name` was
    /// allowed by the policy.
    ///
    /// # Errors
    /// No such image, registry or Engine gone.
    async fn prepare_base(&self, name: &str) -> Result<BaseImage, EngineError>;

    /// The whole base as a `docker save` archive: for the trusted scan that fills its cache.
    ///
    /// # Errors
    /// The Engine's.
    async fn export_base(&self, base: &BaseImage) -> Result<Box<dyn ToolInput>, EngineError>;

    /// Builds in a throw-away builder, checks what comes out. `logs` gets the builder's own lines
    /// and the guest's; `step` is called when the builder says that it begins step n.
    ///
    /// # Errors
    /// Only the host's.
    async fn build(
        &self,
        request: &BuildRequest,
        logs: &dyn LogSink,
        step: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<BuildEnd, EngineError>;

    /// Loads a checked image under our own tag and makes a guest of it that waits: nothing of its image is executed.
    ///
    /// # Errors
    /// Only the host's.
    async fn load(
        &self,
        image: &BuiltImage,
        request: &RunRequest,
        data: &dyn DataVolume,
    ) -> Result<Box<dyn Guest>, EngineError>;

    /// Opens `/data` of an attempt.
    ///
    /// # Errors
    /// The Engine's.
    async fn open_data(&self, attempt: AttemptId, limits: &RunLimits) -> Result<Box<dyn DataVolume>, EngineError>;

    /// Runs a tool container to its end.
    ///
    /// # Errors
    /// The Engine's, or the input's.
    async fn tool(&self, spec: ToolSpec, input: Box<dyn ToolInput>) -> Result<ToolEnd, EngineError>;

    /// Whether a volume of ours exists.
    ///
    /// # Errors
    /// The Engine's.
    async fn has_volume(&self, name: &str) -> Result<bool, EngineError>;

    /// Creates a lasting volume of ours (base cache, database) if it is not there.
    ///
    /// # Errors
    /// The Engine's.
    async fn create_volume(&self, name: &str) -> Result<(), EngineError>;

    /// Removes a volume of ours; a missing one is fine.
    ///
    /// # Errors
    /// The Engine's: it is in use, or the Engine is gone.
    async fn remove_volume(&self, name: &str) -> Result<(), EngineError>;

    /// The configured image of a tool, checked against its pin: its id on the Engine.
    ///
    /// # Errors
    /// [`EngineError::ToolImage`].
    async fn tool_image(&self, image: ToolImage) -> Result<Digest, EngineError>;

    /// Removes what dead processes left: objects of instances whose lock is free on this host, or
    /// past their deadline. Never a living sibling's.
    ///
    /// # Errors
    /// The Engine's.
    async fn sweep(&self) -> Result<Swept, EngineError>;

    /// Whether it answers now; nothing that was remembered counts.
    ///
    /// # Errors
    /// The Engine's.
    async fn answers(&self) -> Result<(), EngineError> {
        self.probe().await.map(drop)
    }

    /// Waits until the janitor has removed all that was handed over to it, at most `patience`.
    async fn tidy(&self, patience: Duration);
}

/// What a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Volumes.
    pub volumes: usize,
    /// Tags of images.
    pub images: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_of_the_host_passes_and_another_refusal_does_not() {
        let refused = |words: &str| EngineError::Refused {
            action: "create a volume",
            source: words.into(),
        };
        assert!(refused("mkdir /var/lib/docker/volumes/x: no space left on device").is_transient());
        assert!(!refused("name is in use").is_transient());
        let local = |kind: std::io::ErrorKind| EngineError::Local {
            action: "write a spool",
            source: kind.into(),
        };
        assert!(local(std::io::ErrorKind::StorageFull).is_transient());
        assert!(!local(std::io::ErrorKind::PermissionDenied).is_transient());
    }
}
