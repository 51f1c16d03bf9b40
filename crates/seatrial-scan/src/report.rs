//! Trivy's JSON, read as from a stranger, and turned into our words.

use std::collections::{BTreeMap, BTreeSet};

use seatrial_core::{
    digest::Digest,
    finding::Severity,
    image::BuiltImage,
    scanner::{Misconfiguration, Secret, Vulnerability},
};
use serde::{Deserialize, Serialize};

/// The bytes are not a report about this image.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not the JSON that Trivy writes.
    #[error("its output is not a report: {0}")]
    NotAReport(#[from] serde_json::Error),
    /// A schema that this version does not know.
    #[error("its report has schema version {0}, only 2 is known")]
    Schema(u64),
    /// About something else.
    #[error("its report is about another image: {0}")]
    OtherImage(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    schema_version: u64,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_empty")]
    results: Vec<TrivyResult>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    #[serde(rename = "OS")]
    os: Option<Os>,
    #[serde(rename = "ImageID")]
    image_id: String,
    #[serde(rename = "DiffIDs", deserialize_with = "null_is_empty")]
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Os {
    family: String,
    #[serde(default)]
    name: String,
    /// Its publisher's support has ended.
    #[serde(default, rename = "EOSL")]
    ended: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyPackage {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    release: String,
    #[serde(default)]
    epoch: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyResult {
    #[serde(default)]
    target: String,
    #[serde(default)]
    class: String,
    #[serde(default, rename = "Type")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    packages: Vec<TrivyPackage>,
    #[serde(default, deserialize_with = "null_is_empty")]
    vulnerabilities: Vec<TrivyVulnerability>,
    #[serde(default, deserialize_with = "null_is_empty")]
    secrets: Vec<TrivySecret>,
    #[serde(default, deserialize_with = "null_is_empty")]
    misconfigurations: Vec<TrivyMisconfiguration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyVulnerability {
    #[serde(rename = "VulnerabilityID")]
    vulnerability_id: String,
    pkg_name: String,
    #[serde(default)]
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    title: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivySecret {
    #[serde(rename = "RuleID")]
    rule_id: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    start_line: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyMisconfiguration {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    cause_metadata: Cause,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Cause {
    start_line: u64,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Versions of packages, by kind (`debian`, `python-pkg`) and name.
pub(crate) type Packages = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A vulnerability, and the kind of package that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    pub(crate) kind: String,
    pub(crate) vulnerability: Vulnerability,
}

/// What a scan of an image saw.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    /// `debian 12.11`.
    pub(crate) os: Option<String>,
    /// The support of that system has ended: its advisories may have ended too.
    pub(crate) support_ended: bool,
    /// Number of packages of the operating system.
    pub(crate) os_packages: usize,
    /// Number of all packages.
    pub(crate) count: usize,
    /// All packages.
    pub(crate) packages: Packages,
    /// Sorted, the worst first.
    pub(crate) vulnerabilities: Vec<Found>,
    /// Sorted by path.
    pub(crate) secrets: Vec<Secret>,
}

/// Reads a report and checks that it is about the image with this id and these diffIDs.
pub(crate) fn read(bytes: &[u8], id: Digest, layers: &[Digest]) -> Result<Seen, ReportError> {
    let report: Report = serde_json::from_slice(bytes)?;
    if report.schema_version != 2 {
        return Err(ReportError::Schema(report.schema_version));
    }
    if report.metadata.image_id != id.to_string() {
        return Err(ReportError::OtherImage(format!(
            "id {} and not {id}",
            report.metadata.image_id.escape_debug()
        )));
    }
    let same_layers = report.metadata.diff_ids.len() == layers.len()
        && report
            .metadata
            .diff_ids
            .iter()
            .zip(layers)
            .all(|(told, layer)| *told == layer.to_string());
    if !same_layers {
        return Err(ReportError::OtherImage("its layers differ".to_owned()));
    }
    let os_packages = report
        .results
        .iter()
        .filter(|result| result.class == "os-pkgs")
        .map(|result| result.packages.len())
        .sum();
    let count = report.results.iter().map(|result| result.packages.len()).sum();
    let mut packages = Packages::new();
    for result in &report.results {
        let of_kind = packages.entry(result.kind.clone()).or_default();
        for package in &result.packages {
            let version = format!("{}:{}-{}", package.epoch, package.version, package.release);
            of_kind.entry(package.name.clone()).or_default().insert(version);
        }
    }
    let mut vulnerabilities: Vec<Found> = report
        .results
        .iter()
        .flat_map(|result| {
            result.vulnerabilities.iter().map(|found| Found {
                kind: result.kind.clone(),
                vulnerability: Vulnerability {
                    id: found.vulnerability_id.clone(),
                    package: found.pkg_name.clone(),
                    installed: found.installed_version.clone(),
                    fixed: (!found.fixed_version.is_empty()).then(|| found.fixed_version.clone()),
                    severity: severity(&found.severity),
                    title: found.title.clone(),
                    target: result.target.clone(),
                    kept_from_base: false,
                },
            })
        })
        .collect();
    sort(&mut vulnerabilities);
    let mut secrets: Vec<Secret> = report
        .results
        .iter()
        .flat_map(|result| {
            result.secrets.iter().map(|found| Secret {
                rule: found.rule_id.clone(),
                severity: severity(&found.severity),
                path: result.target.clone(),
                line: found.start_line,
            })
        })
        .collect();
    secrets.sort_by(|a, b| a.path.cmp(&b.path).then(a.line.cmp(&b.line)));
    let os = report.metadata.os.as_ref();
    Ok(Seen {
        os: os.map(|os| format!("{} {}", os.family, os.name).trim_end().to_owned()),
        support_ended: os.is_some_and(|os| os.ended),
        os_packages,
        count,
        packages,
        vulnerabilities,
        secrets,
    })
}

/// Adds what the base alone has and the image hides: a vulnerability of the base counts unless the
/// image shows its package in other versions only. A package that is gone from the package
/// manager's files may still be there with all its files; nobody can tell.
pub(crate) fn keep_from_base(seen: &mut Seen, packages: &Packages, found: &[Found]) {
    let versions = |of: &Packages, found: &Found| -> BTreeSet<String> {
        let named = of
            .get(&found.kind)
            .and_then(|kind| kind.get(&found.vulnerability.package));
        named.cloned().unwrap_or_default()
    };
    let shown: BTreeSet<(String, String, String)> = seen.vulnerabilities.iter().map(identity).collect();
    for hidden in found.iter().filter(|found| !shown.contains(&identity(found))) {
        let now = versions(&seen.packages, hidden);
        let replaced = !now.is_empty() && now.is_disjoint(&versions(packages, hidden));
        if !replaced {
            let mut kept = hidden.clone();
            kept.vulnerability.kept_from_base = true;
            seen.vulnerabilities.push(kept);
        }
    }
    sort(&mut seen.vulnerabilities);
}

fn identity(found: &Found) -> (String, String, String) {
    let Vulnerability { id, package, .. } = &found.vulnerability;
    (found.kind.clone(), package.clone(), id.clone())
}

fn sort(found: &mut [Found]) {
    found.sort_by(|Found { vulnerability: a, .. }, Found { vulnerability: b, .. }| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| a.id.cmp(&b.id))
            .then_with(|| a.package.cmp(&b.package))
    });
}

/// The same for a built image.
pub(crate) fn read_for(bytes: &[u8], image: &BuiltImage) -> Result<Seen, ReportError> {
    read(bytes, image.id, &image.layers)
}

/// Reads what `trivy config` says.
pub(crate) fn read_config(bytes: &[u8]) -> Result<Vec<Misconfiguration>, ReportError> {
    let report: Report = serde_json::from_slice(bytes)?;
    let mut found: Vec<Misconfiguration> = report
        .results
        .iter()
        .flat_map(|result| &result.misconfigurations)
        .map(|found| Misconfiguration {
            id: found.id.clone(),
            severity: severity(&found.severity),
            message: if found.message.is_empty() {
                found.title.clone()
            } else {
                found.message.clone()
            },
            line: (found.cause_metadata.start_line > 0).then_some(found.cause_metadata.start_line),
        })
        .collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
    Ok(found)
}

fn severity(text: &str) -> Severity {
    match text {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        _ => Severity::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(id: Digest, layers: &[Digest]) -> serde_json::Value {
        json!({"SchemaVersion": 2,
            "Metadata": {"OS": {"Family": "debian", "Name": "12.11"}, "ImageID": id, "DiffIDs": layers},
            "Results": [
                {"Target": "debian", "Class": "os-pkgs", "Type": "debian", "Packages": [{"Name": "a", "Version": "1"}, {"Name": "b", "Version": "1"}],
                 "Vulnerabilities": [
                    {"VulnerabilityID": "CVE-1", "PkgName": "a", "InstalledVersion": "1", "Severity": "LOW"},
                    {"VulnerabilityID": "CVE-2", "PkgName": "b", "InstalledVersion": "1", "FixedVersion": "2", "Severity": "CRITICAL"}]},
                {"Target": "/key", "Class": "secret", "Packages": null, "Secrets": [{"RuleID": "private-key", "Severity": "HIGH", "StartLine": 3}]}]})
    }

    #[test]
    fn the_worst_vulnerability_comes_first_and_an_unfixed_one_says_so() {
        let (id, layers) = (Digest::of(b"c"), [Digest::of(b"l")]);
        let seen = read(report(id, &layers).to_string().as_bytes(), id, &layers).unwrap();
        assert_eq!(seen.vulnerabilities[0].vulnerability.id, "CVE-2");
        assert_eq!(seen.vulnerabilities[1].vulnerability.fixed, None);
        assert_eq!(
            (seen.os.as_deref(), seen.os_packages, seen.secrets.len()),
            (Some("debian 12.11"), 2, 1)
        );
    }

    #[test]
    fn a_report_about_another_image_is_no_report() {
        let (id, layers) = (Digest::of(b"c"), [Digest::of(b"l")]);
        let text = report(id, &layers).to_string();
        assert!(matches!(
            read(text.as_bytes(), Digest::of(b"x"), &layers),
            Err(ReportError::OtherImage(_))
        ));
        assert!(matches!(
            read(text.as_bytes(), id, &[]),
            Err(ReportError::OtherImage(_))
        ));
        assert!(matches!(
            read(text.as_bytes(), id, &[Digest::of(b"x")]),
            Err(ReportError::OtherImage(_))
        ));
    }

    #[test]
    fn empty_output_is_no_report() {
        let id = Digest::of(b"c");
        assert!(read(b"", id, &[]).is_err());
        assert!(read(b"{}", id, &[]).is_err());
        assert!(matches!(
            read(br#"{"SchemaVersion": 3}"#, id, &[]),
            Err(ReportError::Schema(3))
        ));
    }
}
