//! Findings and vulnerabilities as SARIF 2.1.0, for code scanning.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use seatrial_core::{
    digest::Digest,
    finding::{Finding, Level, Severity, escape_untrusted},
    scanner::{Secret, Vulnerability},
    view::{AnalysisView, Report, ScanView, WaivedView},
};
use serde_json::{Value, json};

use crate::{answer, problem::Problem};

/// Media type of SARIF.
pub(crate) const MEDIA_TYPE: &str = "application/sarif+json";

/// A submitted text has no other name.
const DOCKERFILE: &str = "Dockerfile";

/// What stays as it is in the path of a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A SARIF log as an answer.
pub(crate) fn response(log: &Value) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(log).map_err(Problem::internal)?;
    Ok(answer::bytes_of(StatusCode::OK, MEDIA_TYPE, bytes.into()))
}

/// What the judge said of one file.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Its path from the root of the repository, with `/`.
    pub path: &'a str,
    /// Its text; without it the ends of places stay untold.
    pub text: Option<&'a [u8]>,
    /// What was found.
    pub analysis: &'a AnalysisView,
}

/// What the judge said of files.
#[must_use]
pub fn of_files<'a>(files: impl IntoIterator<Item = Judged<'a>>) -> Value {
    let mut run = Run::default();
    for file in files {
        run.add_analysis(file);
    }
    run.log()
}

/// What the judge said.
pub(crate) fn of_analysis(analysis: &AnalysisView) -> Value {
    of_files([Judged {
        path: DOCKERFILE,
        text: None,
        analysis,
    }])
}

/// What the judge and the scanner said.
pub(crate) fn of_report(report: &Report) -> Value {
    let mut run = Run::default();
    run.add_analysis(Judged {
        path: DOCKERFILE,
        text: None,
        analysis: &report.analysis,
    });
    if let Some(scan) = &report.scan {
        run.add_scan(scan);
    }
    run.log()
}

/// Rules in the order in which results first name them, and the results.
#[derive(Default)]
struct Run {
    rules: Vec<Value>,
    places: BTreeMap<String, usize>,
    results: Vec<Value>,
}

impl Run {
    fn add_analysis(&mut self, file: Judged<'_>) {
        let mut alike: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (finding, waiver) in file.analysis.weighed() {
            let index = self.rule(&finding.rule, || of_ours(&finding.rule));
            let nth = alike.entry((&finding.rule, &finding.message)).or_default();
            let mut result = of_finding(file, finding, index, *nth);
            if let Some(waiver) = waiver {
                result["suppressions"] = suppressions(waiver);
            }
            self.results.push(result);
            *nth += 1;
        }
    }

    fn add_scan(&mut self, scan: &ScanView) {
        for vulnerability in &scan.vulnerabilities {
            let id = escape_untrusted(&vulnerability.id);
            let index = self.rule(&id, || of_advisory(&id, vulnerability));
            self.results.push(of_vulnerability(vulnerability, &id, index));
        }
        for secret in &scan.secrets {
            let id = format!("secret:{}", escape_untrusted(&secret.rule));
            let index = self.rule(
                &id,
                || json!({"id": id, "shortDescription": {"text": "A secret lies in the image."}}),
            );
            self.results.push(of_secret(secret, &id, index));
        }
    }

    fn rule(&mut self, id: &str, make: impl FnOnce() -> Value) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        self.rules.push(make());
        self.places.insert(id.to_owned(), self.rules.len() - 1);
        self.rules.len() - 1
    }

    fn log(self) -> Value {
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "Seatrial",
                    "version": env!("CARGO_PKG_VERSION"),
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": self.rules,
                }},
                "columnKind": "unicodeCodePoints",
                "results": self.results,
            }],
        })
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "note",
        Level::Warn => "warning",
        Level::Error => "error",
    }
}

fn of_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unknown | Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

/// A number in the sense of CVSS: code scanning sorts by it.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unknown => "0.0",
        Severity::Low => "3.9",
        Severity::Medium => "6.9",
        Severity::High => "8.9",
        Severity::Critical => "10.0",
    }
}

fn of_ours(id: &str) -> Value {
    let Some(rule) = seatrial_dockerfile::rules::find(id) else {
        return json!({"id": id});
    };
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.reason},
        "help": {"text": rule.remedy},
        "helpUri": rule.page(),
        "defaultConfiguration": {"level": level(rule.level)},
        "properties": {
            "security-severity": security_severity(rule.severity),
            "tags": ["security", "dockerfile"],
        },
    })
}

fn uri(file: Judged<'_>) -> String {
    utf8_percent_encode(file.path, PATH).to_string()
}

/// `nth` of those in this file that say the same.
fn of_finding(file: Judged<'_>, finding: &Finding, index: usize, nth: usize) -> Value {
    let uri = uri(file);
    let mut region = json!({
        "startLine": finding.line,
        "startColumn": finding.column,
        "byteOffset": finding.span.start,
        "byteLength": finding.span.end.saturating_sub(finding.span.start),
    });
    if let Some((line, column)) = file.text.map(|text| finding.end(text)) {
        region["endLine"] = line.into();
        region["endColumn"] = column.into();
    }
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.level),
        "message": {"text": escape_untrusted(&finding.message)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
        "partialFingerprints": {"seatrialFinding/v1": fingerprint(finding, nth)},
        "properties": {"remedy": escape_untrusted(&finding.remedy)},
    });
    if let Some(fix) = &finding.fix {
        let replacements: Vec<Value> = fix
            .edits
            .iter()
            .map(|edit| {
                json!({
                    "deletedRegion": {
                        "byteOffset": edit.span.start,
                        "byteLength": edit.span.end.saturating_sub(edit.span.start),
                    },
                    "insertedContent": {"text": edit.text},
                })
            })
            .collect();
        result["fixes"] = json!([{
            "description": {"text": escape_untrusted(&fix.title)},
            "artifactChanges": [{"artifactLocation": {"uri": uri}, "replacements": replacements}],
        }]);
    }
    result
}

/// The same for a finding that only moved, so that code scanning knows it again.
#[must_use]
pub fn fingerprint(finding: &Finding, nth: usize) -> String {
    let said = format!("{}\0{}\0{nth}", finding.rule, finding.message);
    Digest::of(said.as_bytes()).hex()[..32].to_owned()
}

fn suppressions(waiver: &WaivedView) -> Value {
    let why = format!("{} ({}, until {})", waiver.reason, waiver.owner, waiver.expires);
    json!([{"kind": "external", "status": "accepted", "justification": escape_untrusted(&why)}])
}

fn of_advisory(id: &str, vulnerability: &Vulnerability) -> Value {
    json!({
        "id": id,
        "shortDescription": {"text": one_line(&vulnerability.title, id)},
        "properties": {
            "security-severity": security_severity(vulnerability.severity),
            "tags": ["security", "vulnerability"],
        },
    })
}

fn one_line(text: &str, or: &str) -> String {
    if text.is_empty() {
        or.to_owned()
    } else {
        escape_untrusted(text)
    }
}

fn of_vulnerability(found: &Vulnerability, id: &str, index: usize) -> Value {
    let fixed = found.fixed.as_deref().map_or_else(
        || "there is no fixed version".to_owned(),
        |version| format!("fixed in {}", escape_untrusted(version)),
    );
    let package = escape_untrusted(&found.package);
    json!({
        "ruleId": id,
        "ruleIndex": index,
        "level": of_severity(found.severity),
        "message": {"text": format!("{package} {} has {id}; {fixed}.", escape_untrusted(&found.installed))},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": "Dockerfile"}, "region": {"startLine": 1}},
            "logicalLocations": [{
                "name": package,
                "fullyQualifiedName": format!("{}/{package}", escape_untrusted(&found.target)),
                "kind": "package",
            }],
        }],
        "properties": {"kept_from_base": found.kept_from_base},
    })
}

fn of_secret(found: &Secret, id: &str, index: usize) -> Value {
    let path = escape_untrusted(&found.path);
    json!({
        "ruleId": id,
        "ruleIndex": index,
        "level": of_severity(found.severity),
        "message": {"text": format!("A secret lies in {path}, line {}.", found.line)},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": "Dockerfile"}, "region": {"startLine": 1}},
            "logicalLocations": [{"fullyQualifiedName": path, "kind": "resource"}],
        }],
    })
}
