//! `cargo xtask fuzz`: the judge under texts that a coverage-guided fuzzer makes up.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{dev::workspace, sh};

/// The targets in `fuzz/`.
const TARGETS: [&str; 2] = ["judge", "differential"];
/// Real files, as seeds.
const SEEDS: &str = "../shared/corpus/files";
/// The longest text that is tried, in bytes: most of what there is to find is short.
const MAX_BYTES: u32 = 8 << 10;
/// One text may take so many seconds, in a build with assertions.
const MAX_SECONDS: u32 = 5;

/// Runs each target for its share of the time; what it finds new stays in `fuzz/corpus/`, for the next time on this machine: seeds are others' files, so it is in no commit.
///
/// The compiler is a stable one: coverage needs no nightly flag, address sanitizer would, and the judge has no unsafe code.
pub(crate) fn run(minutes: f64) -> Result<()> {
    if !sh::succeeds(sh::command("cargo").args(["fuzz", "--version"])) {
        sh::run(sh::command("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let folder = workspace().join("fuzz");
    let seconds = (minutes * 60.0 / TARGETS.len() as f64).ceil();
    let mut failed = Vec::new();
    for target in TARGETS {
        let corpus = folder.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let mut command = sh::command("cargo");
        command
            .current_dir(workspace())
            .args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"])
            .arg(&folder)
            .arg(target)
            .arg(&corpus);
        let seeds: PathBuf = workspace().join(SEEDS);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        command.arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_BYTES}"),
            format!("-timeout={MAX_SECONDS}"),
            "-rss_limit_mb=2048".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        if let Err(error) = sh::run(&mut command) {
            eprintln!("{target}: {error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} failed: what broke it lies in fuzz/artifacts/; `cargo fuzz run TARGET FILE` repeats it",
            failed.join(" and ")
        );
    }
    Ok(())
}
