use std::borrow::Cow;

use jiff::civil::date;
use seatrial_core::{
    finding::Span,
    scanner::{Database, DatabaseKind, Secret, Vulnerability},
};

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn finding(rule: &'static str, level: Level, line: usize) -> Finding {
    Finding {
        rule: rule.into(),
        level,
        line,
        column: 1,
        span: Span::new(line, line + 1),
        message: "seen".to_owned(),
        remedy: "Do it otherwise.".into(),
        fix: None,
    }
}

fn subject(findings: Vec<Finding>) -> Subject<'static> {
    Subject {
        findings,
        facts: None,
        scan: None,
    }
}

fn waiver(rule: &str, expires: Date) -> Waiver {
    Waiver {
        rule: rule.to_owned(),
        rules: Vec::new(),
        matches: None,
        reason: "known".to_owned(),
        owner: "ann".to_owned(),
        expires,
    }
}

fn vulnerability(id: &str, package: &str, severity: Severity, fixed: Option<&str>) -> Vulnerability {
    Vulnerability {
        id: id.to_owned(),
        package: package.to_owned(),
        installed: "1".to_owned(),
        fixed: fixed.map(str::to_owned),
        severity,
        title: String::new(),
        target: String::new(),
        kept_from_base: false,
    }
}

fn scanned(vulnerabilities: Vec<Vulnerability>, secrets: &[&str]) -> Subject<'static> {
    let secret = |path: &&str| Secret {
        rule: "github-pat".to_owned(),
        severity: Severity::Critical,
        path: (*path).to_owned(),
        line: 1,
    };
    let report = ScanReport {
        image: seatrial_core::digest::Digest::of(b"image"),
        scanner: String::new(),
        scanner_image: String::new(),
        database: Database {
            kind: DatabaseKind::Real,
            updated_at: now(),
            sha256: String::new(),
            volume: String::new(),
            java: None,
        },
        os: None,
        packages: 1,
        vulnerabilities,
        secrets: secrets.iter().map(secret).collect(),
        sbom: None,
    };
    Subject {
        findings: Vec::new(),
        facts: None,
        scan: Some((Cow::Owned(report), false)),
    }
}

fn words(flip: &Option<Flip>) -> Vec<String> {
    flip.as_ref().map(|flip| flip.text.clone()).unwrap_or_default()
}

#[test]
fn one_place_is_corrected_and_many_of_one_rule_are_waived() {
    let one = explain(
        &Policy::default(),
        &subject(vec![finding("ST003", Level::Error, 3)]),
        now(),
    );
    assert_eq!(one.verdict, "deny");
    assert_eq!(
        one.blocking[0].because,
        "error is at or above analysis.block = \"error\""
    );
    assert_eq!(words(&one.smallest), ["line 3 (ST003): Do it otherwise"]);
    assert_eq!(words(&one.by_operator), ["waive ST003, with reason, owner and expiry"]);
    let many = vec![finding("ST003", Level::Error, 3), finding("ST003", Level::Error, 4)];
    let many = explain(&Policy::default(), &subject(many), now());
    assert_eq!(many.smallest, many.by_operator);
    assert_eq!(many.by_author.unwrap().changes.len(), 2);
}

#[test]
fn a_threshold_is_told_when_it_takes_fewer_changes_than_waivers() {
    let mut policy = Policy::default();
    policy.analysis.block = Level::Warn;
    let findings = vec![
        finding("ST101", Level::Warn, 1),
        finding("ST102", Level::Warn, 2),
        finding("ST103", Level::Warn, 3),
        finding("ST003", Level::Error, 4),
    ];
    let explained = explain(&policy, &subject(findings), now());
    assert_eq!(
        words(&explained.smallest),
        [
            "set analysis.block to \"error\"",
            "waive ST003, with reason, owner and expiry"
        ]
    );
}

#[test]
fn every_single_change_says_what_still_blocks() {
    let findings = vec![
        finding("ST003", Level::Error, 3),
        finding("ST003", Level::Error, 4),
        finding("ST005", Level::Error, 5),
    ];
    let explained = explain(&Policy::default(), &subject(findings), now());
    let tried = |text: &str| {
        explained
            .changes
            .iter()
            .find(|tried| tried.text.contains(text))
            .unwrap()
    };
    assert_eq!(tried("waive ST003").still_blocking, 1);
    assert_eq!(tried("analysis.levels.ST005 to \"warn\"").still_blocking, 2);
    assert_eq!(tried("line 4").still_blocking, 2);
    assert!(explained.changes.iter().all(|tried| !tried.turns));
}

#[test]
fn a_waiver_that_ran_out_is_renewed_before_a_new_one_is_made() {
    let policy = Policy {
        waivers: vec![waiver("ST003", date(2026, 1, 1))],
        ..Policy::default()
    };
    let explained = explain(&policy, &subject(vec![finding("ST003", Level::Error, 3)]), now());
    assert_eq!(
        words(&explained.by_operator),
        ["renew the waiver of ST003 by ann, which ended on 2026-01-01"]
    );
    assert_eq!(explained.expired.len(), 1);
}

#[test]
fn no_policy_helps_what_was_not_understood() {
    let findings = vec![finding("ST040", Level::Error, 3), finding("ST003", Level::Error, 4)];
    let explained = explain(&Policy::default(), &subject(findings), now());
    assert_eq!(explained.by_operator, None);
    assert_eq!(explained.by_author.as_ref().unwrap().changes.len(), 2);
    assert_eq!(explained.blocking[0].because, "what was not understood always blocks");
}

#[test]
fn a_pass_says_on_which_waiver_it_hangs_and_until_when() {
    let policy = Policy {
        waivers: vec![waiver("ST003", date(2026, 12, 31)), waiver("ST101", date(2026, 12, 1))],
        ..Policy::default()
    };
    let findings = vec![finding("ST003", Level::Error, 3), finding("ST101", Level::Warn, 4)];
    let explained = explain(&policy, &subject(findings), now());
    assert_eq!(
        (explained.verdict, explained.turns_on.as_deref()),
        ("pass", Some("2027-01-01"))
    );
    assert_eq!(
        words(&explained.smallest),
        ["take the waiver of ST003 by ann away, or let it run out"]
    );
    assert_eq!(explained.smallest.unwrap().to, "deny");
    let clean = explain(&policy, &subject(Vec::new()), now());
    assert_eq!(
        (clean.smallest, clean.turns_on, clean.changes),
        (None, None, Vec::new())
    );
}

#[test]
fn a_pass_with_warnings_says_which_threshold_would_deny_it() {
    let explained = explain(
        &Policy::default(),
        &subject(vec![finding("ST101", Level::Warn, 1)]),
        now(),
    );
    assert_eq!(words(&explained.smallest), ["set analysis.block to \"warn\""]);
}

#[test]
fn vulnerabilities_are_upgraded_package_by_package_or_let_pass_by_threshold() {
    let found = vec![
        vulnerability("CVE-1", "zlib", Severity::High, Some("2")),
        vulnerability("CVE-2", "zlib", Severity::High, Some("2")),
        vulnerability("CVE-3", "zlib", Severity::High, Some("2")),
    ];
    let explained = explain(&Policy::default(), &scanned(found, &[]), now());
    assert_eq!(words(&explained.smallest), ["take zlib 2"]);
    assert_eq!(
        words(&explained.by_operator),
        ["set vulnerabilities.block to \"critical\""]
    );
    let both = vec![
        vulnerability("CVE-1", "zlib", Severity::Critical, Some("2")),
        vulnerability("CVE-2", "bash", Severity::High, Some("5")),
    ];
    let explained = explain(&Policy::default(), &scanned(both, &[".env"]), now());
    assert_eq!(
        words(&explained.by_author),
        ["take bash 5", "take zlib 2", "leave .env out of the image"]
    );
    assert_eq!(explained.by_operator.unwrap().changes.len(), 2);
}

#[test]
fn what_has_no_fix_passes_by_that_setting() {
    let mut policy = Policy::default();
    policy.vulnerabilities.ignore_unfixed = false;
    let found = vec![
        vulnerability("CVE-1", "zlib", Severity::High, None),
        vulnerability("CVE-2", "bash", Severity::Critical, None),
    ];
    let explained = explain(&policy, &scanned(found, &[]), now());
    let tried = |text: &str| {
        explained
            .changes
            .iter()
            .any(|tried| tried.turns && tried.text.contains(text))
    };
    assert!(tried("ignore_unfixed") && tried("vulnerabilities.block to \"none\""));
    assert_eq!(explained.by_operator.unwrap().changes.len(), 1);
}

#[test]
fn an_old_database_is_no_verdict_and_no_waiver_turns_it() {
    let mut old = scanned(Vec::new(), &[]);
    old.scan.as_mut().unwrap().0.to_mut().database.updated_at = "2020-01-01T00:00:00Z".parse().unwrap();
    let explained = explain(&Policy::default(), &old, now());
    assert_eq!((explained.verdict, explained.smallest), ("error", None));
    assert!(explained.blocking[0].remedy.contains("seatrial db update"));
}

#[test]
fn many_rules_are_explained_in_bounded_time() {
    let findings: Vec<Finding> = (0..2_000).map(|line| finding("ST003", Level::Error, line)).collect();
    let begun = std::time::Instant::now();
    let explained = explain(&Policy::default(), &subject(findings), now());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert!(explained.changes.len() <= MAX_CHANGES);
}
