//! One file a command.

pub(crate) mod analyze;
pub(crate) mod cancel;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod parse;
pub(crate) mod policy;
mod remote;
pub(crate) mod result;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod top;
pub(crate) mod wait;
pub(crate) mod workers;

use std::{
    io::{Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use seatrial_engine::{DockerEngine, EngineSettings};
use seatrial_policy::Policy;

use crate::config::Config;

/// Reads a file, or standard input for `-`, at most `max` bytes and one more, so that the judge
/// can say that it is too large.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(max + 1)
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        return Ok(bytes);
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    if !file
        .metadata()
        .with_context(|| format!("cannot open {}", path.display()))?
        .is_file()
    {
        bail!("{} is not a file", path.display());
    }
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// The policy: the named file, else the configured one, else the embedded default.
pub(crate) fn policy(config: &Config, named: Option<&Path>) -> Result<Policy> {
    let Some(path) = named.or(config.policy.file.as_deref()) else {
        return Ok(Policy::default());
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the policy {}", path.display()))?;
    let known: Vec<&str> = seatrial_dockerfile::rules::rules().map(|rule| rule.id).collect();
    Policy::parse_knowing(&text, Timestamp::now(), &known)
        .map_err(|error| anyhow::anyhow!("the policy {} cannot be used\n{error}", path.display()))
}

/// Connects to the Engine that the configuration names.
pub(crate) async fn engine(config: &Config) -> Result<DockerEngine, seatrial_core::engine::EngineError> {
    DockerEngine::connect(EngineSettings {
        host: config.docker.host.clone(),
        data_dir: config.data_dir.clone(),
        builder_pin: config.images.builder.clone(),
        scanner_pin: config.images.scanner.clone(),
        pull: config.docker.pull,
    })
    .await
}

/// Prints to standard output; a reader that went away is no error of ours.
pub(crate) fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Prints JSON, indented.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot write JSON")?);
    Ok(())
}
