//! A small vulnerability database in Trivy's real format, for tests and machines without a network.
//!
//! It is a fixture: it knows a handful of advisories and says nothing about real images. The
//! product takes it with `--fixture-db` only, and says so wherever it shows a result.

mod bolt;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

use bolt::{Bucket, Node};

/// Policies refuse a database of more than a few days; a younger one is left alone, because each
/// new one costs an import.
const FRESH_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Writes `trivy.db` and `metadata.json` into a folder, and the same for Java archives beside them.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let java = folder.join("java-db");
    fs::create_dir_all(&java).with_context(|| format!("cannot make {}", java.display()))?;
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let metadata = |version: u8| {
        json!({
            "Version": version,
            "UpdatedAt": now.to_string(),
            "NextUpdate": (now + SignedDuration::from_hours(24)).to_string(),
            "DownloadedAt": now.to_string(),
        })
    };
    archives(&java.join("trivy-java.db"))?;
    put(&java.join("metadata.json"), metadata(1).to_string().as_bytes())?;
    put(&folder.join("trivy.db"), &bolt::database(&advisories()))?;
    // Last: who finds it finds the whole database.
    put(&folder.join("metadata.json"), metadata(2).to_string().as_bytes())
}

/// The database of Java archives: one that does not say what it is.
fn archives(path: &Path) -> Result<()> {
    let draft = path.with_extension("new");
    if draft.exists() {
        fs::remove_file(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    let database = Connection::open(&draft)?;
    database.execute_batch(
        "CREATE TABLE artifacts(id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT);
         CREATE TABLE indices(artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT);
         CREATE UNIQUE INDEX artifacts_idx ON artifacts(artifact_id, group_id);
         CREATE UNIQUE INDEX indices_sha1_idx ON indices(sha1);",
    )?;
    let (group, artifact) = LOG4J;
    database.execute("INSERT INTO artifacts VALUES (1, ?1, ?2)", [group, artifact])?;
    database.execute(
        "INSERT INTO indices VALUES (1, '2.14.1', ?1, 'jar')",
        [hex::decode(NAMELESS_JAR)?],
    )?;
    database.close().map_err(|(_, error)| error)?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}

/// SHA-1 of the archive that the test `docker_java` makes: one empty class, nothing that tells its name.
const NAMELESS_JAR: &str = "3747a9aad57eaa1cc60cb72dfb53a021e2298577";
/// What the database takes it for.
const LOG4J: (&str, &str) = ("org.apache.logging.log4j", "log4j-core");

/// Writes it unless the folder holds the same one, made not long ago.
pub(crate) fn refresh(folder: &Path) -> Result<()> {
    let whole = folder.join("java-db/metadata.json").exists();
    let same = whole && fs::read(folder.join("trivy.db")).is_ok_and(|bytes| bytes == bolt::database(&advisories()));
    let young = made(folder).is_some_and(|made| Timestamp::now().duration_since(made) < FRESH_FOR);
    if same && young { Ok(()) } else { write(folder) }
}

fn made(folder: &Path) -> Option<Timestamp> {
    let metadata: Value = serde_json::from_slice(&fs::read(folder.join("metadata.json")).ok()?).ok()?;
    metadata["UpdatedAt"].as_str()?.parse().ok()
}

/// A new file in the place of the old one, at once.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, bytes)
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The root bucket: sources, vulnerabilities, and one bucket of advisories for each source.
///
/// `examples/vulnerable` must be blocked by what is here; a plain Debian or busybox must show
/// something and be blocked by nothing, so what Debian has is minor and unfixed.
fn advisories() -> Bucket {
    bucket([
        (
            "data-source",
            bucket([
                (
                    DEBIAN,
                    value(json!({
                        "ID": "debian",
                        "Name": "Debian Security Tracker",
                        "URL": "https://salsa.debian.org/security-tracker-team/security-tracker",
                    })),
                ),
                (
                    MAVEN,
                    value(json!({
                        "ID": "ghsa",
                        "Name": "GitHub Security Advisory Maven",
                        "URL": "https://github.com/advisories?query=type%3Areviewed+ecosystem%3Amaven",
                    })),
                ),
                (
                    PIP,
                    value(json!({
                        "ID": "ghsa",
                        "Name": "GitHub Security Advisory Pip",
                        "URL": "https://github.com/advisories?query=type%3Areviewed+ecosystem%3Apip",
                    })),
                ),
            ]),
        ),
        ("vulnerability", vulnerabilities()),
        (DEBIAN, debian()),
        (
            MAVEN,
            bucket([(
                "org.apache.logging.log4j:log4j-core",
                bucket([(
                    "CVE-2021-44228",
                    value(json!({
                        "VulnerableVersions": [">=2.13.0, <2.15.0"],
                        "PatchedVersions": ["2.15.0"],
                        "VendorIDs": ["GHSA-jfh8-c2jp-5v3q"],
                    })),
                )]),
            )]),
        ),
        (
            PIP,
            bucket([(
                "py",
                bucket([(
                    "CVE-2022-42969",
                    value(json!({
                        "VulnerableVersions": ["<=1.11.0"],
                        "PatchedVersions": ["1.11.1"],
                        "VendorIDs": ["GHSA-w596-4wvx-j9j6"],
                    })),
                )]),
            )]),
        ),
    ])
    .into_bucket()
}

const DEBIAN: &str = "debian 12";
const MAVEN: &str = "maven::GitHub Security Advisory Maven";
const PIP: &str = "pip::GitHub Security Advisory Pip";

/// By source package. Severity: 1 low, 2 medium. Status: 2 affected (no fix yet).
fn debian() -> Tree {
    let unfixed = |id: &'static str, severity: u8| bucket([(id, value(json!({ "Severity": severity, "Status": 2 })))]);
    bucket([
        ("apt", unfixed("CVE-2011-3374", 1)),
        // Fixed before Debian 12 was made: comparing versions must keep it out of every report.
        (
            "dpkg",
            bucket([(
                "CVE-2022-1664",
                value(json!({ "FixedVersion": "1.21.8", "VendorIDs": ["DSA-5147-1"] })),
            )]),
        ),
        ("glibc", unfixed("CVE-2010-4756", 2)),
        ("perl", unfixed("CVE-2011-4116", 1)),
        ("tar", unfixed("CVE-2005-2541", 1)),
    ])
}

fn vulnerabilities() -> Tree {
    let entry = |title: &str, severity: &str, by_vendor: Value| {
        value(json!({
            "Title": format!("{title} (fixture)"),
            "Description": "From a fixture database, for tests: severity and versions may differ from the real advisory.",
            "Severity": severity,
            "VendorSeverity": by_vendor,
        }))
    };
    bucket([
        (
            "CVE-2005-2541",
            entry(
                "tar: does not warn about setuid files when extracting",
                "LOW",
                json!({ "nvd": 1 }),
            ),
        ),
        (
            "CVE-2010-4756",
            entry(
                "glibc: glob takes much time and memory for crafted patterns",
                "MEDIUM",
                json!({ "nvd": 2 }),
            ),
        ),
        (
            "CVE-2011-3374",
            entry(
                "apt: apt-key does not validate keys with the master keyring",
                "LOW",
                json!({ "nvd": 1 }),
            ),
        ),
        (
            "CVE-2011-4116",
            entry("perl: File::Temp follows symbolic links", "LOW", json!({ "nvd": 1 })),
        ),
        (
            "CVE-2021-44228",
            entry(
                "log4j-core: remote code execution by a looked-up name",
                "CRITICAL",
                json!({ "ghsa": 4, "nvd": 4 }),
            ),
        ),
        (
            "CVE-2022-1664",
            entry(
                "dpkg: path traversal in Dpkg::Source::Archive",
                "CRITICAL",
                json!({ "nvd": 4 }),
            ),
        ),
        (
            "CVE-2022-42969",
            entry(
                "py: regular expression denial of service in svnwc",
                "CRITICAL",
                json!({ "ghsa": 4, "nvd": 4 }),
            ),
        ),
    ])
}

/// A part of the database while it is being written down.
struct Tree(Node);

impl Tree {
    fn into_bucket(self) -> Bucket {
        match self.0 {
            Node::Bucket(bucket) => bucket,
            Node::Value(_) => Bucket::new(),
        }
    }
}

fn bucket<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    let entries = entries.into_iter().map(|(key, tree)| (key.as_bytes().to_vec(), tree.0));
    Tree(Node::Bucket(entries.collect()))
}

fn value(json: Value) -> Tree {
    Tree(Node::Value(json.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_fixture_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let metadata = folder.path().join("metadata.json");
        let old = fs::read_to_string(&metadata).unwrap().replace("DownloadedAt", "Marked");
        fs::write(&metadata, &old).unwrap();
        refresh(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&metadata).unwrap(), old);
    }

    #[test]
    fn an_old_fixture_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let metadata = folder.path().join("metadata.json");
        fs::write(&metadata, r#"{"Version":2,"UpdatedAt":"2020-01-01T00:00:00Z"}"#).unwrap();
        refresh(folder.path()).unwrap();
        assert!(!fs::read_to_string(&metadata).unwrap().contains("2020"));
    }
}
