//! Documents about this installation: limits, policy, readiness.

use seatrial_core::limits::Limits;
use seatrial_pipeline::service::QueueLimits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{config::ServerConfig, submission};

/// What is allowed here. Sizes are in bytes, times in seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LimitsDocument {
    /// Largest Dockerfile.
    pub dockerfile_bytes: u64,
    /// Largest build context, as a tar.
    pub context_bytes: u64,
    /// Largest sum of input files.
    pub inputs_bytes: u64,
    /// Most input files.
    pub inputs: usize,
    /// Most labels.
    pub labels: usize,
    /// Kept log of one stage.
    pub log_bytes: u64,
    /// Largest result.
    pub result_bytes: u64,
    /// The build.
    pub build: BuildLimits,
    /// The scan.
    pub scan: ScanLimits,
    /// The run.
    pub run: RunLimits,
    /// The queue.
    pub queue: QueueView,
    /// Requests.
    pub request: RequestLimits,
}

/// Bounds of a build.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BuildLimits {
    /// Wall time.
    pub time_s: f64,
    /// Processors.
    pub cpus: f64,
    /// Memory and swap together.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// What the build may write; lives in its memory.
    pub store_bytes: u64,
    /// Sum of the new layers.
    pub layers_bytes: u64,
}

/// Bounds of a scan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScanLimits {
    /// Wall time.
    pub time_s: f64,
    /// Processors.
    pub cpus: f64,
    /// Memory and swap together.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// Bounds of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunLimits {
    /// Wall time.
    pub time_s: f64,
    /// Processors.
    pub cpus: f64,
    /// Memory, without any swap.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
    /// Size of `/data`.
    pub data_bytes: u64,
    /// Files and directories in `/data`.
    pub data_files: u32,
}

/// Bounds of the queue and of what is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Jobs that may wait.
    pub max_waiting: u64,
    /// Longest wait.
    pub wait_s: f64,
    /// Longest delay that a submitter may ask for.
    pub max_delay_s: f64,
    /// How long an idempotency key is remembered.
    pub keep_keys_s: f64,
    /// How long a job that is over is remembered.
    pub keep_jobs_s: f64,
}

/// Bounds of requests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RequestLimits {
    /// Time for a body to arrive.
    pub body_time_s: f64,
    /// Longest `Prefer: wait`.
    pub max_wait_s: f64,
    /// Most jobs on a page.
    pub page: usize,
    /// Submitters may ask for a call back.
    pub webhooks: bool,
}

impl LimitsDocument {
    /// Of what the operator set.
    #[must_use]
    pub fn new(limits: &Limits, queue: &QueueLimits, config: &ServerConfig) -> Self {
        Self {
            dockerfile_bytes: limits.dockerfile.as_u64(),
            context_bytes: limits.context.as_u64(),
            inputs_bytes: limits.inputs.as_u64(),
            inputs: submission::MAX_INPUTS,
            labels: submission::MAX_LABELS,
            log_bytes: limits.log.as_u64(),
            result_bytes: limits.result.as_u64(),
            build: BuildLimits {
                time_s: limits.build.time.as_secs_f64(),
                cpus: limits.build.cpus,
                memory_bytes: limits.build.memory.as_u64(),
                pids: limits.build.pids,
                store_bytes: limits.build.store.as_u64(),
                layers_bytes: limits.build.layers.as_u64(),
            },
            scan: ScanLimits {
                time_s: limits.scan.time.as_secs_f64(),
                cpus: limits.scan.cpus,
                memory_bytes: limits.scan.memory.as_u64(),
                pids: limits.scan.pids,
            },
            run: RunLimits {
                time_s: limits.run.time.as_secs_f64(),
                cpus: limits.run.cpus,
                memory_bytes: limits.run.memory.as_u64(),
                pids: limits.run.pids,
                tmp_bytes: limits.run.tmp.as_u64(),
                data_bytes: limits.run.data.as_u64(),
                data_files: limits.run.data_files,
            },
            queue: QueueView {
                max_waiting: queue.max_waiting,
                wait_s: queue.wait.as_secs_f64(),
                max_delay_s: queue.max_delay.as_secs_f64(),
                keep_keys_s: queue.keep_keys.as_secs_f64(),
                keep_jobs_s: queue.keep_jobs.as_secs_f64(),
            },
            request: RequestLimits {
                body_time_s: config.body_time.as_secs_f64(),
                max_wait_s: config.max_wait.as_secs_f64(),
                page: crate::routes::jobs::MAX_PAGE,
                webhooks: config.webhooks.enabled,
            },
        }
    }
}

/// The policy in force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyDocument {
    /// SHA-256 of `toml`.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    pub digest: String,
    /// Every value, as `seatrial policy show` prints it.
    pub toml: String,
    /// The same as JSON.
    #[schema(value_type = Object)]
    pub policy: serde_json::Value,
}

/// Whether this process can serve.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// `ledger`, `vault`, `workers`, `process`.
    pub name: String,
    /// It is as it should be.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}
