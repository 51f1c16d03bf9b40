//! Hostile Dockerfiles: what must happen to them, and what must not have happened to the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{assert_clean, docker, root, run};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specimen {
    #[expect(dead_code, reason = "for people")]
    why: String,
    #[expect(dead_code, reason = "for people")]
    incident: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    state: String,
    reason: String,
    blame: String,
    message: Option<String>,
    max_log_bytes: Option<u64>,
    max_artifact_bytes: Option<u64>,
    /// What the guest found out, key by key: the very error that one of our walls answers with is the proof that
    /// the wall was met, and not that the kernel has no such thing.
    result: Option<BTreeMap<String, Value>>,
    /// Keys of what must be some error, where the kernel's version decides which.
    #[serde(default)]
    refused: Vec<String>,
}

/// What of the host a guest must not change.
fn host() -> BTreeMap<&'static str, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    BTreeMap::from([
        ("core_pattern", read("/proc/sys/kernel/core_pattern")),
        ("passwd", read("/etc/passwd")),
        ("images", docker(&["images", "--all", "--quiet", "--no-trunc"])),
    ])
}

/// Without their order: the Engine lists images of the same second in any.
fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

fn judge(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let specimen: Specimen = toml::from_str(&std::fs::read_to_string(folder.join("expect.toml")).unwrap())
        .map_err(|error| format!("{name}: {error}"))?;
    let own = folder.join("policy.toml");
    let policy = if own.is_file() {
        own
    } else {
        root().join("specimens/policy.toml")
    };
    let output = tempfile::tempdir().unwrap();
    let (dockerfile, policy, out) = (
        folder.join("Dockerfile"),
        policy.display().to_string(),
        output.path().display().to_string(),
    );
    let dockerfile = dockerfile.display().to_string();
    let mut args = vec![
        dockerfile.as_str(),
        "--policy",
        &policy,
        "--output",
        &out,
        "--no-sbom",
        "--no-config-checks",
    ];
    args.extend(specimen.args.iter().map(String::as_str));
    let begun = std::time::Instant::now();
    let (_, job) = run(&args);
    eprintln!(
        "{name:<24} {:<10} {:<18} {:5.1} s",
        job["state"].as_str().unwrap_or("-"),
        job["reason"].as_str().unwrap_or("-"),
        begun.elapsed().as_secs_f64()
    );
    let told = [&job["state"], &job["reason"], &job["blame"]].map(|value| value.as_str().unwrap_or("-").to_owned());
    let wanted = [&specimen.expect.state, &specimen.expect.reason, &specimen.expect.blame].map(String::clone);
    if told != wanted {
        return Err(format!(
            "{name}: {told:?} and not {wanted:?}: {} {}",
            job["message"], job["log_tail"]
        ));
    }
    if let Some(words) = &specimen.expect.message
        && !job["message"].as_str().unwrap_or_default().contains(words)
    {
        return Err(format!(
            "{name}: the message does not say '{words}': {}",
            job["message"]
        ));
    }
    let found = &job["result"]["value"];
    for (key, wanted) in specimen.expect.result.iter().flatten() {
        if found[key] != *wanted {
            return Err(format!("{name}: '{key}' is {} and not {wanted}: {found}", found[key]));
        }
    }
    for key in &specimen.expect.refused {
        if found[key].as_u64().is_none_or(|errno| errno == 0) {
            return Err(format!("{name}: '{key}' was not refused: {found}"));
        }
    }
    if let Some(max) = specimen.expect.max_log_bytes {
        let kept = std::fs::metadata(output.path().join("run.log")).map_or(0, |meta| meta.len());
        if kept > max {
            return Err(format!("{name}: {kept} bytes of log were kept"));
        }
    }
    if let Some(max) = specimen.expect.max_artifact_bytes {
        let files = std::fs::read_dir(output.path().join("artifacts")).into_iter().flatten();
        let kept: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        if kept == 0 || kept > max {
            return Err(format!("{name}: {kept} bytes of artifacts were kept"));
        }
    }
    Ok(())
}

#[test]
fn docker_every_specimen_ends_as_it_must_and_leaves_the_host_as_it_was() {
    let only = std::env::var("SPECIMEN").ok();
    let mut folders: Vec<_> = std::fs::read_dir(root().join("specimens"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.retain(|folder| only.as_deref().is_none_or(|only| folder.ends_with(only)));
    assert!(only.is_some() || folders.len() >= 75, "{} specimens", folders.len());
    let (code, job) = run(&["examples/perf/Dockerfile"]); // bases and tools are there from now on
    assert_eq!(code, 0, "{job:#}");
    let before = host();
    let mut wrong = Vec::new();
    for folder in &folders {
        if let Err(why) = judge(folder) {
            wrong.push(why);
        }
        assert_clean(&folder.display().to_string());
        let after = host();
        for (what, state) in &before {
            let (before, after) = (lines(state), lines(&after[what]));
            if before != after {
                wrong.push(format!(
                    "{}: {what} of the host changed: {:?} are gone, {:?} are new",
                    folder.display(),
                    before.difference(&after).collect::<Vec<_>>(),
                    after.difference(&before).collect::<Vec<_>>()
                ));
            }
        }
    }
    let (code, job) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(
        (code, &job["result"]["value"]["perf"]),
        (0, &0.99.into()),
        "the next job is well: {job:#}"
    );
    assert!(
        wrong.is_empty(),
        "{} of {} specimens are wrong:\n{}",
        wrong.len(),
        folders.len(),
        wrong.join("\n")
    );
}
