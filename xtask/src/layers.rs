//! The house rules that a machine can check: who may depend on whom, long files, leftovers of
//! writing, and a reason for each dependency.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{demo::cargo, dev, sh};

/// Crates of ours, and which others of ours each may use. Data goes one way; there is no circle.
const ARROWS: &[(&str, &[&str])] = &[
    ("seatrial-address", &[]),
    ("seatrial-core", &[]),
    ("seatrial-holder", &[]),
    ("seatrial-egress", &["seatrial-address"]),
    ("seatrial-dockerfile", &["seatrial-core"]),
    ("seatrial-policy", &["seatrial-core"]),
    ("seatrial-engine", &["seatrial-core"]),
    ("seatrial-scan", &["seatrial-core"]),
    (
        "seatrial-rego",
        &["seatrial-core", "seatrial-dockerfile", "seatrial-policy"],
    ),
    ("seatrial-store", &["seatrial-core"]),
    (
        "seatrial-pipeline",
        &["seatrial-core", "seatrial-dockerfile", "seatrial-policy"],
    ),
    (
        "seatrial-server",
        &[
            "seatrial-address",
            "seatrial-core",
            "seatrial-dockerfile",
            "seatrial-policy",
            "seatrial-pipeline",
        ],
    ),
    (
        "seatrial",
        &[
            "seatrial-core",
            "seatrial-dockerfile",
            "seatrial-policy",
            "seatrial-engine",
            "seatrial-scan",
            "seatrial-rego",
            "seatrial-pipeline",
            "seatrial-store",
            "seatrial-server",
        ],
    ),
    ("xtask", &[]),
];

/// Dependencies that stay behind one seam.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("bollard", &["seatrial-engine"]),
    ("anyhow", &["seatrial", "xtask"]),
    ("axum", &["seatrial-server"]),
    ("opentelemetry", &["seatrial"]),
    ("opentelemetry-otlp", &["seatrial"]),
    ("opentelemetry_sdk", &["seatrial"]),
    ("hickory-resolver", &["seatrial-egress"]),
    ("lapin", &["seatrial-store"]),
    ("redis", &["seatrial-store"]),
    ("regorus", &["seatrial-rego"]),
    ("rusqlite", &["seatrial-store", "xtask"]),
];

/// A longer file is hard to hold in the head.
const LONGEST_FILE: usize = 600;

/// What is fine while writing and never on main. Cut in two, so that this file does not hold them.
const LEFTOVERS: &[&str] = &[
    concat!("to", "do!("),
    concat!("un", "implemented!("),
    concat!("d", "bg!("),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// A folder of ours, else a registry's crate.
    path: Option<PathBuf>,
    /// `dev` for tests alone: those may put real stores under what they test.
    kind: Option<String>,
}

/// Checks everything, then says everything that is wrong.
pub(crate) fn check() -> Result<()> {
    let text = sh::output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot understand `cargo metadata`")?;
    let mut wrong = arrows(&metadata.packages);
    wrong.extend(reasons(&metadata.packages)?);
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest without a folder")?;
        wrong.extend(sources(folder)?);
    }
    if wrong.is_empty() {
        eprintln!("{} crates keep the rules", metadata.packages.len());
        return Ok(());
    }
    for sentence in &wrong {
        eprintln!("error: {sentence}");
    }
    bail!("{} rules are broken", wrong.len())
}

fn arrows(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            wrong.push(format!(
                "the crate {} has no place in ARROWS of xtask/src/layers.rs",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            // A crate may use its own test doubles.
            let shipped = dependency.kind.as_deref() != Some("dev");
            let of_ours = shipped && dependency.path.is_some() && dependency.name != package.name;
            if of_ours && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
            let seam = ONLY_IN.iter().find(|(name, _)| *name == dependency.name);
            if seam.is_some_and(|(_, users)| !users.contains(&package.name.as_str())) {
                wrong.push(format!("{} must not use {}", package.name, dependency.name));
            }
        }
    }
    wrong
}

/// Each direct dependency has a line in docs/DEPENDENCIES.md, and each line there a dependency.
fn reasons(packages: &[Package]) -> Result<Vec<String>> {
    let path = dev::workspace().join("docs/DEPENDENCIES.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let explained: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let used: BTreeSet<&str> = packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.path.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect();
    let missing = used
        .difference(&explained)
        .map(|name| format!("docs/DEPENDENCIES.md does not say why we depend on {name}"));
    let gone = explained
        .difference(&used)
        .map(|name| format!("docs/DEPENDENCIES.md explains {name}, which nobody uses"));
    Ok(missing.chain(gone).collect())
}

fn sources(folder: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for path in rust_files(folder)? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path
            .strip_prefix(dev::workspace())
            .unwrap_or(&path)
            .display()
            .to_string();
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{shown} has {lines} lines, more than {LONGEST_FILE}"));
        }
        for (number, line) in text.lines().enumerate() {
            if let Some(leftover) = LEFTOVERS.iter().find(|leftover| line.contains(**leftover)) {
                wrong.push(format!("{shown}:{} holds {leftover})", number + 1));
            }
        }
    }
    Ok(wrong)
}

/// All Rust files beneath a folder. Crates hold no build output.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: dependencies
                .iter()
                .map(|(name, ours)| Dependency {
                    name: (*name).to_owned(),
                    kind: None,
                    path: ours.then(|| PathBuf::from("crates")),
                })
                .collect(),
        }
    }

    #[test]
    fn an_arrow_against_the_current_is_named() {
        let wrong = arrows(&[package("seatrial-core", &[("seatrial-engine", true), ("serde", false)])]);
        assert_eq!(wrong, ["seatrial-core must not depend on seatrial-engine"]);
    }

    #[test]
    fn the_engine_library_stays_behind_its_seam() {
        let wrong = arrows(&[package("seatrial-pipeline", &[("bollard", false)])]);
        assert_eq!(wrong, ["seatrial-pipeline must not use bollard"]);
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        assert_eq!(arrows(&[package("seatrial-util", &[])]).len(), 1);
    }

    #[test]
    fn the_arrows_make_no_circle() {
        let mut placed: Vec<&str> = Vec::new();
        for (name, uses) in ARROWS {
            assert!(uses.iter().all(|used| placed.contains(used)), "{name}");
            placed.push(name);
        }
    }
}
