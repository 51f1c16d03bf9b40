//! Why a verdict is what it is, and the smallest change that turns it.
//!
//! Nothing here is guessed: every change is made on a copy and judged again, so what is called a way out is one.

use std::{collections::BTreeSet, fmt};

use jiff::{Timestamp, civil::Date};
use seatrial_core::{
    finding::{Finding, Level, Severity},
    scanner::ScanReport,
};
use serde::Serialize;

use crate::{
    BlockSeverity, Facts, Policy, Rego, RuleLevel, ScanVerdict, SecretAction, Verdict, Waiver, is_fixed_rule,
    judge_scan, judge_with,
};

mod search;

/// Most single changes that are tried and told.
pub const MAX_CHANGES: usize = 60;

/// What was judged.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What the rules found, at the rules' own levels.
    pub findings: Vec<Finding>,
    /// What the operator's expressions look at, and what came of the checks in Rego; without it both are left out.
    pub facts: Option<Facts>,
    /// What the scanner found, and whether a fixture database may decide.
    pub scan: Option<(std::borrow::Cow<'a, ScanReport>, bool)>,
}

/// Why, and what would change it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// `pass`, `deny`, or `error` when the database is not one to decide by.
    pub verdict: &'static str,
    /// What blocks.
    pub blocking: Vec<Blocker>,
    /// What waivers let pass.
    pub waived: Vec<Waived>,
    /// Waivers that would have helped and have run out.
    pub expired: Vec<Waiver>,
    /// The first day on which waivers that ran out turn the verdict, when it hangs on some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns_on: Option<String>,
    /// Single changes and what each does, the most effective first; at most [`MAX_CHANGES`].
    pub changes: Vec<Tried>,
    /// The fewest changes that turn the verdict, by the author or the operator alone; the least drastic of those.
    pub smallest: Option<Flip>,
    /// The fewest changes of the file.
    pub by_author: Option<Flip>,
    /// The fewest changes of the policy.
    pub by_operator: Option<Flip>,
}

/// One thing that blocks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Blocker {
    /// `ST003`, `CVE-2023-45853`, `secret:github-pat`.
    pub rule: String,
    /// `line 3`, `zlib1g 1.2`, a path. Holds guest bytes: escape before printing.
    pub place: String,
    /// What was seen. As hostile as `place`.
    pub message: String,
    /// Why that blocks.
    pub because: String,
    /// What to do about it.
    pub remedy: String,
}

/// One thing that a waiver lets pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Waived {
    /// The rule, the vulnerability or the secret.
    pub rule: String,
    /// Where. Holds guest bytes: escape before printing.
    pub place: String,
    /// The waiver's words.
    pub waiver: Waiver,
}

/// A change, and what comes of it alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tried {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The change in words.
    pub text: String,
    /// What blocks then.
    pub still_blocking: usize,
    /// The verdict is another one then.
    pub turns: bool,
}

/// Changes that turn the verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Flip {
    /// The verdict then.
    pub to: &'static str,
    /// `author` or `operator`.
    pub by: &'static str,
    /// All of them are needed.
    pub changes: Vec<Change>,
    /// The same in words. Holds guest bytes: escape before printing.
    pub text: Vec<String>,
}

/// One change of the file or of the policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The author corrects one place.
    Correct {
        /// The rule.
        rule: String,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
        /// How.
        remedy: String,
    },
    /// The author takes a newer package, or leaves it out.
    Upgrade {
        /// Its name.
        package: String,
        /// Versions without what blocks; empty when there is none.
        to: Vec<String>,
    },
    /// The author leaves a secret out of the image.
    RemoveSecret {
        /// The file.
        path: String,
    },
    /// The operator waives a rule, a vulnerability or a secret.
    Waive {
        /// Which.
        rule: String,
    },
    /// The operator renews a waiver that ran out.
    Renew {
        /// What it says it waives.
        rule: String,
        /// Whose it is.
        owner: String,
        /// When it ended.
        ended: String,
    },
    /// A waiver goes, or runs out.
    Drop {
        /// What it says it waives.
        rule: String,
        /// Whose it is.
        owner: String,
    },
    /// The operator sets another level for a rule.
    Level {
        /// The rule.
        rule: String,
        /// The level.
        to: RuleLevel,
    },
    /// The operator sets `analysis.block`.
    Block {
        /// The level.
        to: Level,
    },
    /// The operator sets `vulnerabilities.block`.
    BlockSeverity {
        /// The severity.
        to: BlockSeverity,
    },
    /// The operator sets `vulnerabilities.ignore_unfixed`.
    IgnoreUnfixed,
    /// The operator sets `vulnerabilities.secrets` to `warn`.
    SecretsWarn,
    /// The operator sets `vulnerabilities.ignore_unfixed` to `false`.
    CountUnfixed,
    /// The operator sets `vulnerabilities.secrets` to `block`.
    SecretsBlock,
}

impl Change {
    /// Whether the author makes it, in the file.
    #[must_use]
    pub fn is_the_authors(&self) -> bool {
        matches!(
            self,
            Self::Correct { .. } | Self::Upgrade { .. } | Self::RemoveSecret { .. }
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Correct { rule, line, remedy, .. } => {
                write!(out, "line {line} ({rule}): {}", remedy.trim_end_matches('.'))
            }
            Self::Upgrade { package, to } if to.is_empty() => {
                write!(out, "do without {package}: no version without it is known")
            }
            Self::Upgrade { package, to } => write!(out, "take {package} {}", to.join(", ")),
            Self::RemoveSecret { path } => write!(out, "leave {path} out of the image"),
            Self::Waive { rule } => write!(out, "waive {rule}, with reason, owner and expiry"),
            Self::Renew { rule, owner, ended } => {
                write!(out, "renew the waiver of {rule} by {owner}, which ended on {ended}")
            }
            Self::Drop { rule, owner } => write!(out, "take the waiver of {rule} by {owner} away, or let it run out"),
            Self::Level { rule, to } => write!(out, "set analysis.levels.{rule} to {}", word(to)),
            Self::Block { to } => write!(out, "set analysis.block to {}", word(to)),
            Self::BlockSeverity { to } => write!(out, "set vulnerabilities.block to {}", word(to)),
            Self::IgnoreUnfixed => write!(out, "set vulnerabilities.ignore_unfixed to true"),
            Self::SecretsWarn => write!(out, "set vulnerabilities.secrets to \"warn\""),
            Self::CountUnfixed => write!(out, "set vulnerabilities.ignore_unfixed to false"),
            Self::SecretsBlock => write!(out, "set vulnerabilities.secrets to \"block\""),
        }
    }
}

fn word(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map_or_else(|_| String::new(), |value| value.to_string())
}

/// Explains a verdict.
#[must_use]
pub fn explain(policy: &Policy, subject: &Subject<'_>, now: Timestamp) -> Explanation {
    let seen = look(policy, subject, now);
    let mut changes = search::single(policy, subject, &seen, now);
    changes.truncate(MAX_CHANGES);
    let (by_author, by_operator) = match seen.verdict {
        "deny" => (
            search::author(policy, subject, &seen, now),
            search::operator(policy, subject, &seen, now),
        ),
        "pass" => (None, search::denial(policy, subject, &seen, now)),
        _ => (None, None),
    };
    // Of as many changes, the file's own are the least drastic.
    let smallest = [&by_author, &by_operator]
        .into_iter()
        .flatten()
        .min_by_key(|flip| flip.changes.len())
        .cloned();
    Explanation {
        verdict: seen.verdict,
        turns_on: turns_on(policy, subject, &seen, now).map(|day| day.to_string()),
        blocking: seen.blocking,
        waived: seen.waived,
        expired: seen.expired,
        changes,
        smallest,
        by_author,
        by_operator,
    }
}

/// A verdict with what it stands on.
pub(crate) struct Seen {
    pub(crate) verdict: &'static str,
    pub(crate) blocking: Vec<Blocker>,
    pub(crate) waived: Vec<Waived>,
    pub(crate) expired: Vec<Waiver>,
}

/// Judges as the pipeline does: the findings, then the report.
pub(crate) fn look(policy: &Policy, subject: &Subject<'_>, now: Timestamp) -> Seen {
    let bare;
    let policy = match subject.facts {
        None if !policy.expressions.is_empty() || policy.rego.is_on() => {
            bare = Policy {
                expressions: Vec::new(),
                rego: Rego::default(),
                ..policy.clone()
            };
            &bare
        }
        _ => policy,
    };
    let judged = judge_with(policy, &subject.findings, subject.facts.as_ref(), now);
    let mut seen = Seen {
        verdict: judged.verdict.word(),
        blocking: Vec::new(),
        waived: Vec::new(),
        expired: judged.expired_waivers,
    };
    for blocked in judged.blocking {
        let Finding {
            rule,
            level,
            line,
            message,
            remedy,
            ..
        } = blocked.finding;
        seen.blocking.push(Blocker {
            because: because(policy, &rule, level),
            rule: rule.into_owned(),
            place: format!("line {line}"),
            message,
            remedy: remedy.into_owned(),
        });
    }
    for (finding, waiver) in judged.waived {
        seen.waived.push(Waived {
            rule: finding.rule.into_owned(),
            place: format!("line {}", finding.line),
            waiver,
        });
    }
    let Some((report, fixture_allowed)) = &subject.scan else {
        return seen;
    };
    let scanned = judge_scan(policy, report, *fixture_allowed, now);
    match scanned.verdict {
        ScanVerdict::Error => {
            seen.verdict = "error";
            seen.blocking.push(Blocker {
                rule: "database".to_owned(),
                place: "the scanner's database".to_owned(),
                message: scanned.message,
                because: "an old or made up database decides nothing".to_owned(),
                remedy: scanned.what_would_change_it,
            });
            return seen;
        }
        ScanVerdict::Deny => seen.verdict = Verdict::Deny.word(),
        ScanVerdict::Pass => {}
    }
    for found in scanned.blocking {
        let fixed = found.fixed.as_deref().filter(|version| !version.is_empty());
        seen.blocking.push(Blocker {
            because: format!(
                "{} is at or above vulnerabilities.block = {}",
                found.severity,
                word(&policy.vulnerabilities.block)
            ),
            remedy: fixed.map_or_else(
                || format!("Do without {}: it has no fixed version.", found.package),
                |version| format!("Take {} {version}.", found.package),
            ),
            place: format!("{} {}", found.package, found.installed),
            message: found.title,
            rule: found.id,
        });
    }
    for secret in scanned.blocking_secrets {
        seen.blocking.push(Blocker {
            rule: format!("secret:{}", secret.rule),
            place: secret.path.clone(),
            message: format!("a secret at line {}", secret.line),
            because: "vulnerabilities.secrets = \"block\"".to_owned(),
            remedy: format!("Leave {} out of the image.", secret.path),
        });
    }
    let vulnerabilities = scanned.waived.into_iter().map(|(found, waiver)| Waived {
        rule: found.id,
        place: format!("{} {}", found.package, found.installed),
        waiver,
    });
    let secrets = scanned.waived_secrets.into_iter().map(|(secret, waiver)| Waived {
        rule: format!("secret:{}", secret.rule),
        place: secret.path,
        waiver,
    });
    seen.waived.extend(vulnerabilities.chain(secrets));
    for waiver in scanned.expired_waivers {
        if !seen.expired.contains(&waiver) {
            seen.expired.push(waiver);
        }
    }
    seen
}

fn because(policy: &Policy, rule: &str, level: Level) -> String {
    if is_fixed_rule(rule) {
        return "what was not understood always blocks".to_owned();
    }
    let block = word(&policy.analysis.block);
    match policy.analysis.levels.get(rule) {
        Some(_) => format!("the policy sets {rule} to {level}, which is at or above analysis.block = {block}"),
        None => format!("{level} is at or above analysis.block = {block}"),
    }
}

/// The day after the first waiver without which the verdict is another one.
fn turns_on(policy: &Policy, subject: &Subject<'_>, seen: &Seen, now: Timestamp) -> Option<Date> {
    if seen.verdict != "pass" {
        return None;
    }
    let ends: BTreeSet<Date> = seen.waived.iter().map(|waived| waived.waiver.expires).collect();
    ends.into_iter().find_map(|last| {
        let after = last.tomorrow().ok()?;
        let mut later = policy.clone();
        later.waivers.retain(|waiver| waiver.holds_on(after));
        (look(&later, subject, now).verdict != seen.verdict).then_some(after)
    })
}

/// The severity from which on as many block as can.
fn severity_word(severity: Severity) -> Option<BlockSeverity> {
    match severity {
        Severity::Unknown => None,
        Severity::Low => Some(BlockSeverity::Low),
        Severity::Medium => Some(BlockSeverity::Medium),
        Severity::High => Some(BlockSeverity::High),
        Severity::Critical => Some(BlockSeverity::Critical),
    }
}

/// The policy and the subject after a change.
fn after<'a>(policy: &Policy, subject: &Subject<'a>, changes: &[Change], now: Timestamp) -> (Policy, Subject<'a>) {
    let mut policy = policy.clone();
    let mut subject = subject.clone();
    for change in changes {
        match change {
            Change::Correct { rule, line, column, .. } => subject
                .findings
                .retain(|found| found.rule != *rule || (found.line, found.column) != (*line, *column)),
            Change::Upgrade { package, .. } => {
                if let Some((report, _)) = &mut subject.scan {
                    report
                        .to_mut()
                        .vulnerabilities
                        .retain(|found| found.package != *package);
                }
            }
            Change::RemoveSecret { path } => {
                if let Some((report, _)) = &mut subject.scan {
                    report.to_mut().secrets.retain(|secret| secret.path != *path);
                }
            }
            Change::Waive { rule } => policy.waivers.push(Waiver {
                rule: rule.clone(),
                rules: Vec::new(),
                matches: None,
                reason: "tried".to_owned(),
                owner: "tried".to_owned(),
                expires: Date::MAX,
            }),
            Change::Renew { rule, owner, ended } => {
                let same = |waiver: &&mut Waiver| {
                    waiver.rule == *rule && waiver.owner == *owner && waiver.expires.to_string() == *ended
                };
                policy
                    .waivers
                    .iter_mut()
                    .filter(same)
                    .for_each(|waiver| waiver.expires = Date::MAX);
            }
            Change::Drop { rule, owner } => {
                let today = crate::utc_date(now);
                policy
                    .waivers
                    .retain(|waiver| waiver.rule != *rule || waiver.owner != *owner || !waiver.holds_on(today));
            }
            Change::Level { rule, to } => {
                policy.analysis.levels.insert(rule.clone(), *to);
            }
            Change::Block { to } => policy.analysis.block = *to,
            Change::BlockSeverity { to } => policy.vulnerabilities.block = *to,
            Change::IgnoreUnfixed => policy.vulnerabilities.ignore_unfixed = true,
            Change::SecretsWarn => policy.vulnerabilities.secrets = SecretAction::Warn,
            Change::CountUnfixed => policy.vulnerabilities.ignore_unfixed = false,
            Change::SecretsBlock => policy.vulnerabilities.secrets = SecretAction::Block,
        }
    }
    (policy, subject)
}

#[cfg(test)]
mod tests;
