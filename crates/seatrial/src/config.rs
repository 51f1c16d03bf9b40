//! The operator's settings: embedded defaults < file < `SEATRIAL__A__B` in the environment.
//!
//! Unknown keys are errors, wherever they stand: a misspelt wall is no wall.

mod service;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

pub(crate) use service::{DispatchAt, LedgerAt, Otlp, Queue, SecretUrl, TelemetryTo, VaultAt, Worker};

/// The whole tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// State of this installation: locks, records of bases, the pointer to the database.
    pub(crate) data_dir: PathBuf,
    /// The Engine.
    pub(crate) docker: Docker,
    /// Images of ours.
    pub(crate) images: Images,
    /// The scanner.
    pub(crate) scan: Scan,
    /// The policy.
    pub(crate) policy: PolicyFile,
    /// The run.
    pub(crate) run: Run,
    /// Our own log.
    pub(crate) log: Log,
    /// Where the service remembers jobs.
    pub(crate) ledger: LedgerAt,
    /// Where the service keeps guests' bytes.
    pub(crate) vault: VaultAt,
    /// Who tells workers that there is work.
    pub(crate) dispatch: DispatchAt,
    /// Bounds of the queue.
    pub(crate) queue: Queue,
    /// The HTTP edge.
    pub(crate) server: seatrial_server::ServerConfig,
    /// How a worker works.
    pub(crate) worker: Worker,
    /// Who is told what happens here.
    pub(crate) telemetry: TelemetryTo,
}

/// Where the Engine is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Docker {
    /// `unix:///var/run/docker.sock`, `tcp://HOST:2376`, `ssh://USER@HOST`; empty takes `DOCKER_HOST`, then the first.
    pub(crate) host: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for `tcp://`. Empty takes `DOCKER_CERT_PATH`; with
    /// `DOCKER_TLS_VERIFY` alone `~/.docker`.
    pub(crate) cert_path: Option<PathBuf>,
    /// Allow `tcp://` without TLS on loopback: whoever may open a port there is root.
    pub(crate) allow_plain: bool,
    /// Pull base images that the Engine does not hold.
    pub(crate) pull: bool,
}

impl Docker {
    /// Where the Engine is: as we are told, else as the Docker client is.
    pub(crate) fn host(&self) -> Option<String> {
        self.host.clone().or_else(|| told("DOCKER_HOST"))
    }

    /// The folder of certificates.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        let verified = || told("DOCKER_TLS_VERIFY").and(told("HOME"));
        self.cert_path
            .clone()
            .or_else(|| told("DOCKER_CERT_PATH").map(PathBuf::from))
            .or_else(|| verified().map(|home| PathBuf::from(home).join(".docker")))
    }
}

/// A variable of the environment that says something.
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Pins of images that do our work: `name@sha256:…` or an image id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Images {
    /// buildah.
    pub(crate) builder: Option<String>,
    /// Trivy.
    pub(crate) scanner: Option<String>,
}

/// What the scanner does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scan {
    /// Folder of a fixture database; used with `--fixture-db` only.
    pub(crate) fixture_db: Option<PathBuf>,
    /// Where `db update` gets the database; the scanner's own default when empty.
    pub(crate) db_repository: Option<String>,
    /// `db update` also gets the database of Java archives, over 1 GB: without it no image that holds one can be scanned.
    pub(crate) java: bool,
    /// Where from; the scanner's own default when empty.
    pub(crate) java_db_repository: Option<String>,
    /// Memory for the scan of a base, which happens once: its whole archive lies in it.
    pub(crate) base_memory: ByteSize,
    /// Make an SBOM of each image.
    pub(crate) sbom: bool,
    /// Let the scanner judge Dockerfiles too; informs only.
    pub(crate) config_checks: bool,
}

/// Which policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    /// A policy file, or several, the base first; the embedded default when empty.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) file: Vec<PathBuf>,
}

/// Reads `"a"` and `["a", "b"]`.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Files {
        None(()),
        One(PathBuf),
        Many(Vec<PathBuf>),
    }
    Ok(match Files::deserialize(deserializer)? {
        Files::None(()) => Vec::new(),
        Files::One(file) => vec![file],
        Files::Many(files) => files,
    })
}

/// How jobs are run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// Runtime by name; the strongest that the Engine has when empty.
    pub(crate) runtime: Option<String>,
    /// Tries, the first included, when the fault is ours and may pass.
    pub(crate) attempts: u32,
}

/// Our own log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or a filter such as `warn,seatrial=debug`. When empty, `serve` and
    /// `worker` log each call, job and stage, and the other commands warnings alone.
    pub(crate) level: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            docker: Docker {
                host: None,
                cert_path: None,
                allow_plain: false,
                pull: true,
            },
            images: Images::default(),
            scan: Scan {
                fixture_db: None,
                db_repository: None,
                java: false,
                java_db_repository: None,
                base_memory: ByteSize::gib(4),
                sbom: true,
                config_checks: true,
            },
            policy: PolicyFile::default(),
            run: Run {
                runtime: None,
                attempts: 2,
            },
            log: Log {
                format: LogFormat::Text,
                level: None,
            },
            ledger: LedgerAt::default(),
            vault: VaultAt::default(),
            dispatch: DispatchAt::default(),
            queue: Queue::default(),
            server: seatrial_server::ServerConfig::default(),
            worker: Worker::default(),
            telemetry: TelemetryTo::default(),
        }
    }
}

/// `$XDG_STATE_HOME/seatrial`, `~/.local/state/seatrial`, else `/var/lib/seatrial`.
fn default_data_dir() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from("/var/lib/seatrial"), |state| state.join("seatrial"))
}

/// Loads the tree. `file` was asked for by name; without it the usual places are looked at.
pub(crate) fn load(file: Option<&Path>) -> Result<Config> {
    let mut sources = Figment::from(Serialized::defaults(Config::default()));
    match file {
        Some(path) if !path.is_file() => bail!("there is no configuration file {}", path.display()),
        Some(path) => sources = sources.merge(Toml::file_exact(path)),
        None => {
            for path in usual_places() {
                sources = sources.merge(Toml::file_exact(path));
            }
        }
    }
    let config: Config = sources
        .merge(Env::prefixed("SEATRIAL__").split("__"))
        .extract()
        .context("the configuration cannot be used")?;
    if config.run.attempts == 0 || config.run.attempts > 10 {
        bail!("run.attempts is {}; it must be 1 to 10", config.run.attempts);
    }
    service::validate(&config)?;
    if !config.data_dir.is_absolute() {
        bail!("data_dir is {}; it must be an absolute path", config.data_dir.display());
    }
    Ok(config)
}

fn usual_places() -> Vec<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let places = [
        Some(PathBuf::from("/etc/seatrial/seatrial.toml")),
        home.map(|home| home.join("seatrial/seatrial.toml")),
    ];
    places.into_iter().flatten().filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config> {
        let file = std::env::temp_dir().join(format!("seatrial-config-{}-{}.toml", std::process::id(), text.len()));
        std::fs::write(&file, text)?;
        let loaded = load(Some(&file));
        std::fs::remove_file(file)?;
        loaded
    }

    #[test]
    fn a_file_overrides_the_defaults_and_leaves_the_rest() {
        let config = load_text("[scan]\nsbom = false\n").unwrap();
        assert!(!config.scan.sbom && config.scan.config_checks);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = format!("{:#}", load_text("[docker]\nhots = \"unix:///x\"\n").unwrap_err());
        assert!(error.contains("hots"), "{error}");
    }

    #[test]
    fn a_policy_is_one_file_or_several() {
        let files = |text: &str| load_text(text).unwrap().policy.file;
        assert_eq!(files("[policy]\nfile = \"a.toml\"\n"), [PathBuf::from("a.toml")]);
        assert_eq!(files("[policy]\nfile = [\"a.toml\", \"b.toml\"]\n").len(), 2);
        assert!(files("").is_empty());
    }

    #[test]
    fn a_missing_file_that_was_asked_for_is_an_error() {
        assert!(load(Some(Path::new("/nonexistent/seatrial.toml"))).is_err());
    }
}
