//! A scanner's report to a verdict.
//!
//! "Error" is not a milder "deny": it says that nothing was decided, because the database is not
//! one to decide by. The caller settles such a job as errored, never as passed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use seatrial_core::scanner::{Database, DatabaseKind, ScanReport, Secret, Vulnerability};

use crate::{Policy, SecretAction, Waiver, utc_date};

/// How far a database may be in the future before the host's clock, or the database, is not
/// believed.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Most names in a message.
const NAMED: usize = 3;

/// Yes, no, or not decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanVerdict {
    /// Nothing blocks.
    Pass,
    /// Something blocks, and is named.
    Deny,
    /// The database is not one to decide by.
    Error,
}

/// What a policy makes of a report.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanJudgement {
    /// Yes, no, or not decided.
    pub verdict: ScanVerdict,
    /// Vulnerabilities that block, in the report's order.
    pub blocking: Vec<Vulnerability>,
    /// Secrets that block.
    pub blocking_secrets: Vec<Secret>,
    /// Vulnerabilities that would block but for a waiver.
    pub waived: Vec<(Vulnerability, Waiver)>,
    /// Secrets that would block but for a waiver.
    pub waived_secrets: Vec<(Secret, Waiver)>,
    /// Waivers that would have helped but have run out, each once.
    pub expired_waivers: Vec<Waiver>,
    /// One sentence. Holds names from the image: escape before printing.
    pub message: String,
    /// What the author or the operator would have to change. As hostile as `message`.
    pub what_would_change_it: String,
}

/// Why a database is not one to decide by.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DatabaseProblem {
    /// It is older than the policy allows.
    #[error(
        "The vulnerability database is from {updated_at}, {} old; the policy allows {}.",
        in_words(.age), in_words(.allowed)
    )]
    TooOld {
        /// When its publisher made it.
        updated_at: Timestamp,
        /// How long ago.
        age: Duration,
        /// The policy's bound.
        allowed: Duration,
    },
    /// It is from the future: its age cannot be known.
    #[error("The vulnerability database is from {updated_at}, which is in the future: its age cannot be judged.")]
    FromTheFuture {
        /// When it says its publisher made it.
        updated_at: Timestamp,
    },
    /// It is made up.
    #[error("The vulnerability database is a fixture: it says nothing about real vulnerabilities.")]
    Fixture,
}

impl DatabaseProblem {
    fn remedy(&self) -> &'static str {
        match self {
            Self::TooOld { .. } => {
                "Get a new one with `seatrial db update`, or have the operator raise vulnerabilities.max_database_age."
            }
            Self::FromTheFuture { .. } => "Check this host's clock, then get a new database with `seatrial db update`.",
            Self::Fixture => "Get a real one with `seatrial db update`.",
        }
    }
}

/// Whether a database is one to decide by. A fixture is one only where the caller allows it; its
/// age then does not matter.
///
/// # Errors
/// Why it is not.
pub fn database_fresh(
    policy: &Policy,
    database: &Database,
    fixture_allowed: bool,
    now: Timestamp,
) -> Result<(), DatabaseProblem> {
    match database.kind {
        DatabaseKind::Fixture if fixture_allowed => return Ok(()),
        DatabaseKind::Fixture => return Err(DatabaseProblem::Fixture),
        DatabaseKind::Real => {}
    }
    let updated_at = database.updated_at;
    let age = now.duration_since(updated_at);
    if age < -MAX_CLOCK_SKEW {
        return Err(DatabaseProblem::FromTheFuture { updated_at });
    }
    let age = Duration::try_from(age).unwrap_or_default();
    let allowed = policy.vulnerabilities.max_database_age;
    if age > allowed {
        return Err(DatabaseProblem::TooOld {
            updated_at,
            age,
            allowed,
        });
    }
    Ok(())
}

/// Decides about a report of the image's own bytes.
#[must_use]
pub fn judge_scan(policy: &Policy, report: &ScanReport, fixture_allowed: bool, now: Timestamp) -> ScanJudgement {
    let mut judgement = ScanJudgement {
        verdict: ScanVerdict::Pass,
        blocking: Vec::new(),
        blocking_secrets: Vec::new(),
        waived: Vec::new(),
        waived_secrets: Vec::new(),
        expired_waivers: Vec::new(),
        message: String::new(),
        what_would_change_it: String::new(),
    };
    if let Err(problem) = database_fresh(policy, &report.database, fixture_allowed, now) {
        judgement.verdict = ScanVerdict::Error;
        judgement.what_would_change_it = problem.remedy().to_owned();
        judgement.message = problem.to_string();
        return judgement;
    }
    let rules = &policy.vulnerabilities;
    let today = utc_date(now);
    for vulnerability in &report.vulnerabilities {
        let unfixed = vulnerability.fixed.as_deref().is_none_or(str::is_empty);
        if !rules.block.blocks(vulnerability.severity) || (unfixed && rules.ignore_unfixed) {
            continue;
        }
        match waived(policy, &vulnerability.id, &vulnerability.package, today) {
            Cover::Holds(waiver) => judgement.waived.push((vulnerability.clone(), waiver.clone())),
            Cover::None(expired) => {
                note_expired(&mut judgement.expired_waivers, expired);
                judgement.blocking.push(vulnerability.clone());
            }
        }
    }
    if rules.secrets == SecretAction::Block {
        for secret in &report.secrets {
            match waived(policy, &format!("secret:{}", secret.rule), &secret.path, today) {
                Cover::Holds(waiver) => {
                    judgement.waived_secrets.push((secret.clone(), waiver.clone()));
                }
                Cover::None(expired) => {
                    note_expired(&mut judgement.expired_waivers, expired);
                    judgement.blocking_secrets.push(secret.clone());
                }
            }
        }
    }
    say(&mut judgement);
    judgement
}

enum Cover<'a> {
    Holds(&'a Waiver),
    None(Option<&'a Waiver>),
}

fn waived<'a>(policy: &'a Policy, id: &str, text: &str, today: jiff::civil::Date) -> Cover<'a> {
    let mut expired = None;
    for waiver in policy.waivers.iter().filter(|waiver| waiver.covers_value(id, text)) {
        if waiver.holds_on(today) {
            return Cover::Holds(waiver);
        }
        expired = Some(waiver);
    }
    Cover::None(expired)
}

fn note_expired(known: &mut Vec<Waiver>, expired: Option<&Waiver>) {
    if let Some(waiver) = expired
        && !known.contains(waiver)
    {
        known.push(waiver.clone());
    }
}

/// Puts the verdict into words.
fn say(judgement: &mut ScanJudgement) {
    let mut facts = Vec::new();
    let mut ways = Vec::new();
    if !judgement.blocking.is_empty() {
        facts.push(format!(
            "{} ({})",
            counted(
                judgement.blocking.len(),
                "vulnerability blocks",
                "vulnerabilities block"
            ),
            named(&judgement.blocking, |vulnerability| format!(
                "{} {} in {} {}",
                vulnerability.severity, vulnerability.id, vulnerability.package, vulnerability.installed
            ))
        ));
        let fixes = named(&judgement.blocking, |vulnerability| match &vulnerability.fixed {
            Some(fixed) if !fixed.is_empty() => format!("{} {fixed}", vulnerability.package),
            _ => format!("{} without it", vulnerability.package),
        });
        ways.push(format!("Use a newer base or newer packages ({fixes})"));
    }
    if !judgement.blocking_secrets.is_empty() {
        facts.push(format!(
            "{} ({})",
            counted(judgement.blocking_secrets.len(), "secret blocks", "secrets block"),
            named(&judgement.blocking_secrets, |secret| format!(
                "{} in {}",
                secret.rule, secret.path
            ))
        ));
        ways.push("Keep secrets out of the image".to_owned());
    }
    if facts.is_empty() {
        judgement.message = "Nothing that the policy blocks was found.".to_owned();
        return;
    }
    judgement.verdict = ScanVerdict::Deny;
    judgement.message = format!("{}.", facts.join("; "));
    ways.push(match judgement.expired_waivers.first() {
        Some(waiver) => format!(
            "or have the operator renew the waiver of {} for {} that ended on {}",
            waiver.owner, waiver.rule, waiver.expires
        ),
        None => "or have the operator add a waiver with reason, owner and expiry".to_owned(),
    });
    judgement.what_would_change_it = format!("{}.", ways.join("; "));
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn named<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let mut names: Vec<String> = items.iter().take(NAMED).map(name).collect();
    if items.len() > NAMED {
        names.push(format!("{} more", items.len() - NAMED));
    }
    names.join(", ")
}

fn in_words(duration: &Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours >= 48 {
        format!("{} days", hours / 24)
    } else {
        counted(usize::try_from(hours).unwrap_or(usize::MAX), "hour", "hours")
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use seatrial_core::finding::Severity;

    use super::*;
    use crate::BlockSeverity;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn report(updated_at: &str, vulnerabilities: Vec<Vulnerability>) -> ScanReport {
        ScanReport {
            image: seatrial_core::digest::Digest::of(b"image"),
            scanner: "trivy 0.76.0".to_owned(),
            scanner_image: String::new(),
            database: Database {
                kind: DatabaseKind::Real,
                updated_at: updated_at.parse().unwrap(),
                sha256: String::new(),
                volume: String::new(),
                java: None,
            },
            os: None,
            packages: 1,
            vulnerabilities,
            secrets: Vec::new(),
            sbom: None,
        }
    }

    const FRESH: &str = "2026-11-23T00:00:00Z";

    fn vulnerability(id: &str, severity: Severity, fixed: Option<&str>) -> Vulnerability {
        Vulnerability {
            id: id.to_owned(),
            package: "zlib1g".to_owned(),
            installed: "1.2".to_owned(),
            fixed: fixed.map(str::to_owned),
            severity,
            title: String::new(),
            target: String::new(),
            kept_from_base: false,
        }
    }

    fn waiver(rule: &str, matches: Option<&str>) -> Waiver {
        Waiver {
            rule: rule.to_owned(),
            rules: Vec::new(),
            matches: matches.map(str::to_owned),
            reason: "known".to_owned(),
            owner: "ann".to_owned(),
            expires: date(2026, 11, 23),
        }
    }

    #[test]
    fn a_high_one_with_a_fix_blocks_and_the_others_do_not() {
        let report = report(
            FRESH,
            vec![
                vulnerability("CVE-1", Severity::Critical, None),
                vulnerability("CVE-2", Severity::High, Some("1.3")),
                vulnerability("CVE-3", Severity::Medium, Some("1.3")),
                vulnerability("CVE-4", Severity::Unknown, Some("1.3")),
            ],
        );
        let judgement = judge_scan(&Policy::default(), &report, false, now());
        assert_eq!(judgement.verdict, ScanVerdict::Deny);
        assert_eq!(judgement.blocking.len(), 1);
        assert_eq!(judgement.message, "1 vulnerability blocks (high CVE-2 in zlib1g 1.2).");
        assert_eq!(
            judgement.what_would_change_it,
            "Use a newer base or newer packages (zlib1g 1.3); or have the operator add a waiver with reason, owner and expiry."
        );
    }

    #[test]
    fn unfixed_ones_block_when_the_policy_says_so() {
        let mut policy = Policy::default();
        policy.vulnerabilities.ignore_unfixed = false;
        let report = report(FRESH, vec![vulnerability("CVE-1", Severity::High, None)]);
        assert_eq!(judge_scan(&policy, &report, false, now()).verdict, ScanVerdict::Deny);
        policy.vulnerabilities.block = BlockSeverity::None;
        assert_eq!(judge_scan(&policy, &report, false, now()).verdict, ScanVerdict::Pass);
    }

    #[test]
    fn an_old_database_never_passes_and_never_denies() {
        for vulnerabilities in [vec![], vec![vulnerability("CVE-2", Severity::High, Some("1.3"))]] {
            let judgement = judge_scan(
                &Policy::default(),
                &report("2026-11-16T11:59:59Z", vulnerabilities),
                false,
                now(),
            );
            assert_eq!(judgement.verdict, ScanVerdict::Error);
            assert_eq!(
                judgement.message,
                "The vulnerability database is from 2026-11-16T11:59:59Z, 7 days old; the policy allows 7 days."
            );
        }
        let on_the_day = report("2026-11-16T12:00:00Z", vec![]);
        assert_eq!(
            judge_scan(&Policy::default(), &on_the_day, false, now()).verdict,
            ScanVerdict::Pass
        );
    }

    #[test]
    fn a_database_from_the_future_never_passes() {
        let tomorrow = report("2026-11-24T12:00:01Z", vec![]);
        assert_eq!(
            judge_scan(&Policy::default(), &tomorrow, false, now()).verdict,
            ScanVerdict::Error
        );
        let soon = report("2026-11-23T13:00:00Z", vec![]);
        assert_eq!(
            judge_scan(&Policy::default(), &soon, false, now()).verdict,
            ScanVerdict::Pass
        );
    }

    #[test]
    fn a_fixture_decides_only_where_the_caller_allows_it() {
        let mut fixture = report(
            "2020-01-01T00:00:00Z",
            vec![vulnerability("CVE-2", Severity::High, Some("1.3"))],
        );
        fixture.database.kind = DatabaseKind::Fixture;
        assert_eq!(
            judge_scan(&Policy::default(), &fixture, false, now()).verdict,
            ScanVerdict::Error
        );
        assert_eq!(
            judge_scan(&Policy::default(), &fixture, true, now()).verdict,
            ScanVerdict::Deny
        );
    }

    #[test]
    fn a_waiver_covers_its_package_until_the_end_of_its_day() {
        let policy = Policy {
            waivers: vec![waiver("CVE-2", Some("zlib")), waiver("CVE-5", Some("openssl"))],
            ..Policy::default()
        };
        let report = report(
            FRESH,
            vec![
                vulnerability("CVE-2", Severity::High, Some("1.3")),
                vulnerability("CVE-5", Severity::High, Some("1.3")),
            ],
        );
        let today = judge_scan(&policy, &report, false, now());
        assert_eq!((today.waived.len(), today.blocking.len()), (1, 1));
        let tomorrow = judge_scan(&policy, &report, false, "2026-11-24T00:00:00Z".parse().unwrap());
        assert_eq!((tomorrow.waived.len(), tomorrow.blocking.len()), (0, 2));
        assert_eq!(tomorrow.expired_waivers.len(), 1);
        assert!(tomorrow.what_would_change_it.contains("ended on 2026-11-23"));
    }

    #[test]
    fn a_secret_blocks_unless_warned_or_waived() {
        let mut report = report(FRESH, vec![]);
        report.secrets.push(Secret {
            rule: "github-pat".to_owned(),
            severity: Severity::Critical,
            path: "/app/.env".to_owned(),
            line: 1,
        });
        let mut policy = Policy::default();
        let judgement = judge_scan(&policy, &report, false, now());
        assert_eq!(judgement.verdict, ScanVerdict::Deny);
        assert_eq!(judgement.message, "1 secret blocks (github-pat in /app/.env).");
        policy.waivers.push(waiver("secret:github-pat", Some("/app/")));
        assert_eq!(judge_scan(&policy, &report, false, now()).waived_secrets.len(), 1);
        policy.waivers.clear();
        policy.vulnerabilities.secrets = SecretAction::Warn;
        assert_eq!(judge_scan(&policy, &report, false, now()).verdict, ScanVerdict::Pass);
    }
}
