//! Settings of the service: where it remembers, where it keeps bytes, how it works.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use seatrial_core::limits::human_duration;
use seatrial_pipeline::service::QueueLimits;
use seatrial_store::vault::Ttl;
use serde::{Deserialize, Serialize, Serializer};

use super::Config;

/// A URL whose password is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretUrl(String);

impl SecretUrl {
    /// The whole of it, for whoever connects.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The scheme, without `://`.
    pub(crate) fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// With a password replaced by `***`.
    pub(crate) fn redacted(&self) -> String {
        match url::Url::parse(&self.0) {
            Ok(mut url) if url.password().is_some() => {
                // Fails only for URLs that cannot have a password.
                let _ = url.set_password(Some("***"));
                url.to_string()
            }
            Ok(_) => self.0.clone(),
            Err(_) => "***".to_owned(),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.redacted())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

/// Where jobs are remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LedgerAt {
    /// `sqlite:/path/to/ledger.db`, `redis://…` or `rediss://…`; a file in `data_dir` when empty.
    pub(crate) url: Option<SecretUrl>,
    /// Use a Redis, as ledger or as vault, that may forget what it acknowledged. `/v1/version` shows `durable: false`.
    pub(crate) allow_loss: bool,
    /// Certificate of the authority that vouches for Redis; the system's when empty.
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Where guests' bytes are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VaultAt {
    /// `redis://…` of a Redis of its own; a folder in `data_dir` when empty.
    pub(crate) url: Option<SecretUrl>,
    /// The key ring. In `data_dir`, made there when it is missing, when empty; a vault that several hosts
    /// share has no default.
    pub(crate) keys: Option<PathBuf>,
    /// Certificate of the authority that vouches for Redis; the system's when empty.
    pub(crate) tls_ca: Option<PathBuf>,
    /// The folder in `data_dir` is enough for a ledger in Redis too: all processes run on this host.
    pub(crate) this_host_only: bool,
    /// How long bytes are kept after their job's end.
    pub(crate) keep: Keep,
}

/// How long bytes are kept after their job's end, by what they are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keep {
    /// Dockerfile, build context, inputs: what was handed in.
    #[serde(with = "human_duration")]
    pub(crate) submission: Duration,
    /// Output of stages.
    #[serde(with = "human_duration")]
    pub(crate) logs: Duration,
    /// What the judge said, report, result, SBOM, other files of `/data`.
    #[serde(with = "human_duration")]
    pub(crate) results: Duration,
}

impl Keep {
    /// As the vault takes it; `life` is the longest life of a job.
    pub(crate) fn ttl(self, life: Duration) -> Ttl {
        let Self {
            submission,
            logs,
            results,
        } = self;
        Ttl {
            dockerfile: submission,
            context: submission,
            submission,
            admission: results,
            report: results,
            result: results,
            sbom: results,
            artifact: results,
            log: logs,
            life,
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        let ttl = Ttl::default();
        Self {
            submission: ttl.submission,
            logs: ttl.log,
            results: ttl.result,
        }
    }
}

/// Who tells workers that there is work.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DispatchAt {
    /// `amqp://…` or `amqps://…` of RabbitMQ; without it the ledger itself tells.
    pub(crate) url: Option<SecretUrl>,
    /// Certificate of the authority that vouches for RabbitMQ; the system's when empty.
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Bounds of the queue and of what is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Queue {
    /// Jobs that may wait; more are refused with 503.
    pub(crate) max_waiting: u64,
    /// A job that waits longer expires.
    #[serde(with = "human_duration")]
    pub(crate) wait: Duration,
    /// Longest delay that a submitter may ask for.
    #[serde(with = "human_duration")]
    pub(crate) max_delay: Duration,
    /// How long an idempotency key is remembered.
    #[serde(with = "human_duration")]
    pub(crate) keep_keys: Duration,
    /// How long a job that is over is remembered.
    #[serde(with = "human_duration")]
    pub(crate) keep_jobs: Duration,
    /// Workers that may be lost with one job before it counts as poison.
    pub(crate) max_losses: u32,
}

impl Queue {
    /// As the pipeline takes them.
    pub(crate) fn limits(&self) -> QueueLimits {
        QueueLimits {
            max_waiting: self.max_waiting,
            wait: self.wait,
            max_delay: self.max_delay,
            keep_keys: self.keep_keys,
            keep_jobs: self.keep_jobs,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        let limits = QueueLimits::default();
        Self {
            max_waiting: limits.max_waiting,
            wait: limits.wait,
            max_delay: limits.max_delay,
            keep_keys: limits.keep_keys,
            keep_jobs: limits.keep_jobs,
            max_losses: seatrial_core::record::Budgets::default().losses,
        }
    }
}

/// How a worker works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Worker {
    /// Jobs at a time; from processors and memory of the Engine's host when empty.
    pub(crate) slots: Option<usize>,
    /// Builders, scanners and holders of `/data` that stand ready for the next jobs: so many of each, started, each used
    /// by one job. They are like those of the last jobs. 0: a job's containers are made when it is there.
    pub(crate) pool: usize,
    /// How long a job is held without a beat.
    #[serde(with = "human_duration")]
    pub(crate) lease: Duration,
    /// How long jobs go on when the worker was asked to stop, before they are handed back.
    #[serde(with = "human_duration")]
    pub(crate) drain: Duration,
    /// First wait before a job is tried again after a fault of ours; doubles each time.
    #[serde(with = "human_duration")]
    pub(crate) back_off: Duration,
    /// Where `seatrial worker` shows `/healthz`, `/readyz` and `/metrics`, such as `127.0.0.1:9464`. It listens
    /// on nothing when empty. `serve` does not look at it: its own port has the metrics of its worker.
    pub(crate) listen: Option<SocketAddr>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            slots: None,
            pool: 0,
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(60),
            back_off: Duration::from_secs(1),
            listen: None,
        }
    }
}

/// Who is told what happens here, beside the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryTo {
    /// A collector of traces.
    pub(crate) otlp: Otlp,
}

/// A collector of traces that speaks OTLP, over HTTP with protobuf.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otlp {
    /// `http://…` or `https://…`, such as `http://127.0.0.1:4318`; `/v1/traces` is added. No traces are told
    /// when empty.
    pub(crate) endpoint: Option<SecretUrl>,
    /// Certificate of the authority that vouches for the collector; the system's when empty.
    pub(crate) tls_ca: Option<PathBuf>,
    /// Longest wait for the collector's answer; jobs never wait for it.
    #[serde(with = "human_duration")]
    pub(crate) timeout: Duration,
    /// Share of the traces that begin here and are told, 0 to 1. A caller's trace is told if its caller says so.
    pub(crate) sample: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            tls_ca: None,
            timeout: Duration::from_secs(5),
            sample: 1.0,
        }
    }
}

/// What must hold between settings.
pub(super) fn validate(config: &Config) -> Result<()> {
    if let Some(url) = &config.ledger.url
        && !matches!(url.scheme(), "sqlite" | "redis" | "rediss")
    {
        bail!("ledger.url must begin with sqlite:, redis:// or rediss://");
    }
    if let Some(url) = &config.vault.url
        && !matches!(url.scheme(), "redis" | "rediss")
    {
        bail!("vault.url must begin with redis:// or rediss://; leave it empty for a folder in data_dir");
    }
    if let Some(url) = &config.dispatch.url
        && !matches!(url.scheme(), "amqp" | "amqps")
    {
        bail!("dispatch.url must begin with amqp:// or amqps://");
    }
    if config.vault.url.is_some() && config.vault.keys.is_none() {
        bail!(
            "vault.keys is empty: a vault in Redis needs a key ring that all processes have; `seatrial keys new FILE` makes one"
        );
    }
    let shared = matches!(&config.ledger.url, Some(url) if url.scheme() != "sqlite");
    if shared && config.vault.url.is_none() && !config.vault.this_host_only {
        bail!(
            "ledger.url is shared and vault.url is empty: a worker on another host would not find the bytes. Set vault.url \
             and vault.keys; or, when all processes run on this host with this data_dir, vault.this_host_only = true"
        );
    }
    if config.vault.url.is_some() && config.vault.url == config.ledger.url {
        bail!("vault.url is ledger.url: guests' bytes live apart from the queue, in a Redis of their own");
    }
    if config.worker.slots == Some(0) {
        bail!("worker.slots is 0; leave it empty, or use `seatrial serve --no-worker`");
    }
    if config.worker.pool > 64 {
        bail!("worker.pool is {}; it must be 0 to 64", config.worker.pool);
    }
    if config.worker.lease < Duration::from_secs(1) || config.worker.lease > Duration::from_secs(3600) {
        bail!("worker.lease must be 1 s to 1 h");
    }
    let otlp = &config.telemetry.otlp;
    if let Some(url) = &otlp.endpoint
        && !matches!(url.scheme(), "http" | "https")
    {
        bail!("telemetry.otlp.endpoint must begin with http:// or https://");
    }
    if !(0.0..=1.0).contains(&otlp.sample) {
        bail!("telemetry.otlp.sample must be 0 to 1");
    }
    if otlp.timeout.is_zero() || otlp.timeout > Duration::from_secs(60) {
        bail!("telemetry.otlp.timeout must be more than 0 and at most 60 s");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        let url = SecretUrl("redis://worker:hunter2@ledger:6379/0".to_owned());
        assert_eq!(format!("{url:?}"), "redis://worker:***@ledger:6379/0");
        assert!(!serde_json::to_string(&url).unwrap().contains("hunter2"));
        assert!(!SecretUrl("redis//hunter2".to_owned()).redacted().contains("hunter2"));
    }
}
