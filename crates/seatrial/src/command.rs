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
pub(crate) mod lsp;
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
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use seatrial_core::{engine::EngineError, finding::is_deceptive};
use seatrial_engine::{DockerEngine, EngineSettings};
use seatrial_policy::{Composed, KnownRule, Policy, Source};

use crate::config::Config;

/// Reads a file, or standard input for `-`, at most `max` bytes and one more, so that the judge
/// can say that it is too large.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        return Ok(bytes);
    }
    let cannot = || format!("cannot open {}", path.display());
    // Looked at first: to open a pipe waits for somebody who writes to it.
    if !std::fs::metadata(path).with_context(cannot)?.is_file() {
        bail!("{} is not a file", path.display());
    }
    let file = std::fs::File::open(path).with_context(cannot)?;
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// Largest policy file, in bytes.
const MAX_POLICY: u64 = 4 << 20;

/// The policy: the named files, else the configured ones, else the embedded default.
pub(crate) fn policy(config: &Config, named: &[PathBuf]) -> Result<Policy> {
    composed(config, named).map(|composed| composed.policy)
}

/// The same with where each value comes from.
pub(crate) fn composed(config: &Config, named: &[PathBuf]) -> Result<Composed> {
    let files = if named.is_empty() {
        &config.policy.file[..]
    } else {
        named
    };
    compose(files)
}

/// Makes one policy of files, the base first.
pub(crate) fn compose(files: &[PathBuf]) -> Result<Composed> {
    let mut texts = Vec::new();
    for path in files {
        let cannot = || format!("cannot read the policy {}", path.display());
        let bytes = read_bounded(path, MAX_POLICY).with_context(cannot)?;
        if bytes.len() as u64 > MAX_POLICY {
            bail!("the policy {} is larger than {MAX_POLICY} bytes", path.display());
        }
        texts.push((
            path.display().to_string(),
            String::from_utf8(bytes).with_context(cannot)?,
        ));
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    Policy::compose_reading(&sources, Timestamp::now(), &known_rules(), &crate::rego::read)
        .map_err(|error| anyhow::anyhow!("the policy cannot be used\n{error}"))
}

/// The catalogue, as far as a policy needs it.
pub(crate) fn known_rules() -> Vec<KnownRule<'static>> {
    seatrial_dockerfile::rules::rules()
        .map(|rule| KnownRule {
            id: rule.id,
            level: rule.level,
            aliases: rule.aliases,
        })
        .collect()
}

/// Connects to the Engine that the configuration names.
pub(crate) async fn engine(config: &Config) -> Result<DockerEngine, EngineError> {
    // A command that works on one job has no next one.
    engine_with_pool(config, 0).await
}

/// The same for a worker, with so many containers of a kind that stand ready for its next jobs.
pub(crate) async fn engine_with_pool(config: &Config, pool: usize) -> Result<DockerEngine, EngineError> {
    DockerEngine::connect(EngineSettings {
        host: config.docker.host(),
        certificates: config.docker.certificates(),
        allow_plain: config.docker.allow_plain,
        data_dir: config.data_dir.clone(),
        builder_pin: config.images.builder.clone(),
        scanner_pin: config.images.scanner.clone(),
        pull: config.docker.pull,
        pool,
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
    // In one piece: anstream would write each colourless piece for itself.
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => write(&anstream::adapter::strip_str(text).to_string()),
        _ => write(text),
    }
}

/// Prints JSON, indented.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    write(&json_text(value)?);
    Ok(())
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
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
