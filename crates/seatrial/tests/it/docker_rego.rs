//! The checks that Trivy publishes, out of the very binary that scans here: in our process for Rego they must say what
//! they say in Trivy.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::{assert_clean, dev_config, docker, folder, on_engine, seatrial};

/// What Trivy finds something in, and busybox can still build.
const SLOPPY: &str = "FROM busybox
MAINTAINER ann@example.org
ENV AWS_SECRET_ACCESS_KEY=abc
WORKDIR tmp
EXPOSE 22
RUN cd /tmp && ls
RUN true || apt-get update
RUN true || (apt-get install x && yum install x && zypper install x && dnf install x)
RUN true || apk add x && true || sudo ls
RUN true || wget http://x.test && true || curl http://x.test
CMD true
CMD true
ENTRYPOINT [\"true\"]
ENTRYPOINT [\"true\"]
";

/// A number of the file's own byte order.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let number = bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}

/// Files that a Go program has in itself (`embed.FS`): pointer and length of a name, then of its text.
fn embedded(elf: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let (start, size, count) = (number(elf, 32, 8), number(elf, 54, 2), number(elf, 56, 2));
    let (start, size, count) = (start.unwrap(), size.unwrap(), count.unwrap());
    // Of what is loaded: where it is in the file, at which address, how long it is.
    let segments: Vec<(usize, usize, usize)> = (0..count)
        .map(|index| start + index * size)
        .filter(|head| number(elf, *head, 4) == Some(1))
        .map(|head| [8, 16, 32].map(|at| number(elf, head + at, 8).unwrap()).into())
        .collect();
    let at = |address: usize, length: usize| {
        let (offset, base, _) = segments
            .iter()
            .find(|(_, base, length)| (*base..base + length).contains(&address))?;
        let from = offset + (address - base);
        std::str::from_utf8(elf.get(from..from.checked_add(length)?)?).ok()
    };
    let mut found = BTreeSet::new();
    for (offset, _, length) in &segments {
        for place in (*offset..offset + length).step_by(8) {
            let length = |at| number(elf, place + at, 8).filter(|length| (6..200_000).contains(length));
            let (Some(of_name @ ..200), Some(of_text)) = (length(8), length(24)) else {
                continue;
            };
            let name = number(elf, place, 8).and_then(|address| at(address, of_name));
            let Some(name) = name.filter(|name| wanted(name)) else {
                continue;
            };
            if let Some(text) = number(elf, place + 16, 8).and_then(|address| at(address, of_text)) {
                found.insert((name.to_owned(), text.to_owned()));
            }
        }
    }
    found.into_iter().collect()
}

/// The scanner's program.
fn trivy(folder: &Path) -> Vec<u8> {
    let config: toml::Table = fs::read_to_string(dev_config()).unwrap().parse().unwrap();
    let image = config["images"]["scanner"].as_str().unwrap().to_owned();
    let container = docker(&["create", &image, "version"]).trim().to_owned();
    let path = folder.join("trivy");
    docker(&[
        "cp",
        &format!("{container}:/usr/local/bin/trivy"),
        path.to_str().unwrap(),
    ]);
    docker(&["rm", &container]);
    fs::read(path).unwrap()
}

#[test]
fn docker_trivys_own_checks_say_in_our_rego_what_they_say_in_trivy() {
    let policy = "version = 1\n[rego]\nfiles = [\"checks\"]\ndeadline = \"60s\"\n";
    let folder = folder(&[
        ("Dockerfile", SLOPPY),
        ("plain.toml", "version = 1\n[analysis]\nblock = \"never\"\n"),
    ]);
    let checks = embedded(&trivy(folder.path()), |name| {
        name.ends_with(".rego") && (name.contains("/docker/") || name.starts_with("lib/docker/"))
    });
    let own = checks
        .iter()
        .filter(|(name, _)| !name.contains("_test") && name.contains("checks/docker/"));
    assert!(own.count() > 20, "{checks:?}");
    for (name, text) in &checks {
        let path = folder.path().join("checks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(folder.path().join("policy.toml"), policy).unwrap();

    let output = seatrial()
        .current_dir(folder.path())
        .args(["analyze", "--format", "json", "--policy", "policy.toml", "Dockerfile"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours: BTreeSet<&str> = document["files"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["rule"].as_str()?.strip_prefix("rego:"))
        .collect();

    let output = on_engine()
        .args(["run", "--fixture-db", "--no-sbom", "--format", "json"])
        .arg(folder.path().join("Dockerfile"))
        .output()
        .unwrap();
    let job = crate::support::job(&output);
    let theirs: BTreeSet<&str> = job["scan"]["misconfigurations"]
        .as_array()
        .unwrap_or_else(|| panic!("{job:#}"))
        .iter()
        .map(|found| found["id"].as_str().unwrap())
        .collect();
    assert_eq!(ours, theirs);
    assert!(ours.len() > 12, "{ours:?}");
    assert_clean("a scan");
}
