//! One file a command.

pub(crate) mod analyze;
pub(crate) mod attack;
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
    fmt::Write as _,
    io::{Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use seatrial_core::finding::is_deceptive;
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
        host: config.docker.host(),
        certificates: config.docker.certificates(),
        allow_plain: config.docker.allow_plain,
        data_dir: config.data_dir.clone(),
        builder_pin: config.images.builder.clone(),
        scanner_pin: config.images.scanner.clone(),
        pull: config.docker.pull,
    })
    .await
}

/// An error with what it came from, each once.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
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
    print(&json_text(value)?);
    Ok(())
}

/// JSON, indented. What a terminal would obey or hide is written as an escape; JSON itself asks for that below U+0020
/// only, and the rest stands in strings alone, where an escape means the same.
pub(crate) fn json_text(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if (character.is_control() && character != '\n') || is_deceptive(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_drives_no_terminal() {
        let hostile = "a\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{1b}\n\u{fc}";
        let text = json_text(&serde_json::json!({ "x": hostile })).unwrap();
        assert_eq!(
            text,
            "{\n  \"x\": \"a\\u009b2J\\u007f\\u202e\\udb40\\udc41\\u001b\\n\u{fc}\"\n}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["x"], hostile);
    }
}
