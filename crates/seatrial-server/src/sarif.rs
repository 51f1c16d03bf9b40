//! Findings and vulnerabilities as SARIF 2.1.0, for code scanning.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::Response};
use seatrial_core::{
    finding::{Finding, Level, Rule, Severity, escape_untrusted},
    scanner::{Secret, Vulnerability},
    view::{AnalysisView, Report, ScanView, WaivedView},
};
use serde_json::{Value, json};

use crate::{answer, problem::Problem};

/// Media type of SARIF.
pub(crate) const MEDIA_TYPE: &str = "application/sarif+json";

/// A SARIF log as an answer.
pub(crate) fn response(log: &Value) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(log).map_err(Problem::internal)?;
    Ok(answer::bytes_of(StatusCode::OK, MEDIA_TYPE, bytes.into()))
}

/// What the judge said.
pub(crate) fn of_analysis(analysis: &AnalysisView) -> Value {
    let mut run = Run::default();
    run.add_analysis(analysis);
    run.log()
}

/// What the judge and the scanner said.
pub(crate) fn of_report(report: &Report) -> Value {
    let mut run = Run::default();
    run.add_analysis(&report.analysis);
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
    fn add_analysis(&mut self, analysis: &AnalysisView) {
        for finding in &analysis.findings {
            let index = self.rule(&finding.rule, || of_ours(&finding.rule));
            self.results.push(of_finding(finding, index));
        }
        for waived in &analysis.waived {
            let index = self.rule(&waived.rule, || of_ours(&waived.rule));
            self.results.push(of_waived(waived, index));
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
    let Some(rule) = known(id) else {
        return json!({"id": id});
    };
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.reason},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": level(rule.level)},
        "properties": {
            "security-severity": security_severity(rule.severity),
            "tags": ["security", "dockerfile"],
        },
    })
}

fn known(id: &str) -> Option<&'static Rule> {
    seatrial_dockerfile::rules::rules().find(|rule| rule.id == id)
}

fn of_finding(finding: &Finding, index: usize) -> Value {
    json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.level),
        "message": {"text": escape_untrusted(&finding.message)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": "Dockerfile"},
            "region": {
                "startLine": finding.line,
                "startColumn": finding.column,
                "byteOffset": finding.span.start,
                "byteLength": finding.span.end.saturating_sub(finding.span.start),
            },
        }}],
        "properties": {"remedy": escape_untrusted(&finding.remedy)},
    })
}

/// A waiver does not keep the place.
fn of_waived(waived: &WaivedView, index: usize) -> Value {
    json!({
        "ruleId": waived.rule,
        "ruleIndex": index,
        "level": "none",
        "kind": "informational",
        "message": {"text": format!("Waived by {} until {}.", waived.owner, waived.expires)},
        "suppressions": [{"kind": "external", "status": "accepted", "justification": waived.reason}],
    })
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
