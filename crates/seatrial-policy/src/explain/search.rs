//! The search for the smallest change. Waivers each cover one name, so for fixed thresholds the fewest are as many as
//! there are names left; the thresholds are few enough to try all.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatrial_core::finding::Level;

use super::{Change, Flip, MAX_CHANGES, Seen, Subject, Tried, after, look, severity_word};
use crate::{BlockSeverity, Policy, RuleLevel, SecretAction, is_fixed_rule};

/// Each change that could help (or, of a pass, harm), alone.
pub(super) fn single(policy: &Policy, subject: &Subject<'_>, seen: &Seen, now: Timestamp) -> Vec<Tried> {
    let mut changes = match seen.verdict {
        "deny" => helpful(policy, subject, seen),
        "pass" => harmful(policy, subject, seen),
        _ => Vec::new(),
    };
    changes.truncate(2 * MAX_CHANGES);
    let mut tried: Vec<Tried> = changes
        .into_iter()
        .map(|change| {
            let (policy, subject) = after(policy, subject, std::slice::from_ref(&change), now);
            let then = look(&policy, &subject, now);
            Tried {
                text: change.to_string(),
                change,
                still_blocking: then.blocking.len(),
                turns: then.verdict != seen.verdict,
            }
        })
        .filter(|tried| tried.still_blocking != seen.blocking.len() || tried.turns)
        .collect();
    tried.sort_by_key(|tried| (!tried.turns, tried.still_blocking));
    tried
}

/// The names of what blocks, each once, without what no policy can let pass.
fn names(seen: &Seen) -> BTreeSet<&str> {
    let free = |rule: &&str| !is_fixed_rule(rule);
    seen.blocking
        .iter()
        .map(|blocker| blocker.rule.as_str())
        .filter(free)
        .collect()
}

fn helpful(policy: &Policy, subject: &Subject<'_>, seen: &Seen) -> Vec<Change> {
    let mut changes = renewals(seen);
    let rules: BTreeSet<&str> = subject.findings.iter().map(|finding| &*finding.rule).collect();
    for name in names(seen) {
        changes.push(Change::Waive { rule: name.to_owned() });
        // A condition has its level where it stands.
        if rules.contains(name) && !name.starts_with(crate::expressions::PREFIX) {
            changes.push(Change::Level {
                rule: name.to_owned(),
                to: below(policy.analysis.block),
            });
        }
    }
    changes.extend(thresholds(policy).into_iter().skip(1).flatten());
    changes.extend(of_author(subject, seen));
    let mut once: Vec<Change> = Vec::new();
    for change in changes {
        if !once.contains(&change) {
            once.push(change);
        }
    }
    once
}

fn harmful(policy: &Policy, subject: &Subject<'_>, seen: &Seen) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for waived in &seen.waived {
        let change = Change::Drop {
            rule: waived.waiver.rule.clone(),
            owner: waived.waiver.owner.clone(),
        };
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    for to in [Level::Warn, Level::Info] {
        if to < policy.analysis.block {
            changes.push(Change::Block { to });
        }
    }
    let rules: BTreeSet<&str> = subject.findings.iter().map(|finding| &*finding.rule).collect();
    let own = rules
        .into_iter()
        .filter(|rule| !rule.starts_with(crate::expressions::PREFIX));
    changes.extend(own.map(|rule| Change::Level {
        rule: rule.to_owned(),
        to: RuleLevel::Error,
    }));
    let severities: BTreeSet<_> = subject
        .scan
        .iter()
        .flat_map(|(report, _)| &report.vulnerabilities)
        .map(|found| found.severity)
        .collect();
    for to in severities.into_iter().rev().filter_map(severity_word) {
        if to.rank() < policy.vulnerabilities.block.rank() {
            changes.push(Change::BlockSeverity { to });
        }
    }
    if policy.vulnerabilities.ignore_unfixed {
        changes.push(Change::CountUnfixed);
    }
    if policy.vulnerabilities.secrets == SecretAction::Warn {
        changes.push(Change::SecretsBlock);
    }
    changes
}

fn renewals(seen: &Seen) -> Vec<Change> {
    let renew = |waiver: &crate::Waiver| Change::Renew {
        rule: waiver.rule.clone(),
        owner: waiver.owner.clone(),
        ended: waiver.expires.to_string(),
    };
    seen.expired.iter().map(renew).collect()
}

fn below(level: Level) -> RuleLevel {
    match level {
        Level::Error => RuleLevel::Warn,
        Level::Warn => RuleLevel::Info,
        Level::Info => RuleLevel::Off,
    }
}

/// Sets of thresholds that let more pass than the policy's, the policy's own (no change) first.
fn thresholds(policy: &Policy) -> Vec<Vec<Change>> {
    let mut sets = vec![Vec::new()];
    let mut widen = |choices: Vec<Change>| {
        let known = sets.clone();
        for choice in choices {
            sets.extend(
                known
                    .iter()
                    .map(|set: &Vec<Change>| [&set[..], std::slice::from_ref(&choice)].concat()),
            );
        }
    };
    let levels = [Level::Warn, Level::Error].into_iter();
    widen(
        levels
            .filter(|to| *to > policy.analysis.block)
            .map(|to| Change::Block { to })
            .collect(),
    );
    let severities = [
        BlockSeverity::Medium,
        BlockSeverity::High,
        BlockSeverity::Critical,
        BlockSeverity::None,
    ];
    let block = policy.vulnerabilities.block;
    widen(
        severities
            .into_iter()
            .filter(|to| to.rank() > block.rank())
            .map(|to| Change::BlockSeverity { to })
            .collect(),
    );
    if !policy.vulnerabilities.ignore_unfixed {
        widen(vec![Change::IgnoreUnfixed]);
    }
    if policy.vulnerabilities.secrets == SecretAction::Block {
        widen(vec![Change::SecretsWarn]);
    }
    sets.sort_by_key(Vec::len);
    sets
}

/// What the author would do about each thing that blocks: a place, a package or a file at a time.
fn of_author(subject: &Subject<'_>, seen: &Seen) -> Vec<Change> {
    let blocking: BTreeSet<(&str, &str)> = seen
        .blocking
        .iter()
        .map(|blocker| (blocker.rule.as_str(), blocker.place.as_str()))
        .collect();
    let blocks = |rule: &str, place: &str| blocking.contains(&(rule, place));
    let mut changes: Vec<Change> = subject
        .findings
        .iter()
        .filter(|finding| blocks(&finding.rule, &format!("line {}", finding.line)))
        .map(|finding| Change::Correct {
            rule: finding.rule.to_string(),
            line: finding.line,
            column: finding.column,
            remedy: finding.remedy.to_string(),
        })
        .collect();
    let Some((report, _)) = &subject.scan else {
        return changes;
    };
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for found in &report.vulnerabilities {
        if blocks(&found.id, &format!("{} {}", found.package, found.installed)) {
            let versions = packages.entry(&found.package).or_default();
            versions.extend(found.fixed.as_deref().filter(|version| !version.is_empty()));
        }
    }
    changes.extend(packages.into_iter().map(|(package, to)| Change::Upgrade {
        package: package.to_owned(),
        to: to.into_iter().map(str::to_owned).collect(),
    }));
    let paths: BTreeSet<&str> = report
        .secrets
        .iter()
        .filter(|secret| blocks(&format!("secret:{}", secret.rule), &secret.path))
        .map(|secret| secret.path.as_str())
        .collect();
    changes.extend(
        paths
            .into_iter()
            .map(|path| Change::RemoveSecret { path: path.to_owned() }),
    );
    changes
}

/// What the author alone must do.
pub(super) fn author(policy: &Policy, subject: &Subject<'_>, seen: &Seen, now: Timestamp) -> Option<Flip> {
    flip(policy, subject, seen, now, "author", of_author(subject, seen))
}

/// The fewest changes of the policy; `None` when no policy can allow it.
pub(super) fn operator(policy: &Policy, subject: &Subject<'_>, seen: &Seen, now: Timestamp) -> Option<Flip> {
    if seen.blocking.iter().any(|blocker| is_fixed_rule(&blocker.rule)) {
        return None;
    }
    let mut best: Option<Vec<Change>> = None;
    for thresholds in thresholds(policy) {
        if best.as_ref().is_some_and(|best| best.len() <= thresholds.len()) {
            continue;
        }
        let mut changes = thresholds;
        let (changed, same) = after(policy, subject, &changes, now);
        let then = look(&changed, &same, now);
        let mut left = names(&then);
        // A waiver that ran out was thought about once: renewing it is less than a new one.
        for renewal in renewals(&then) {
            let (renewed, same) = after(&changed, &same, std::slice::from_ref(&renewal), now);
            let freed = look(&renewed, &same, now);
            let still = names(&freed);
            let before = left.len();
            left.retain(|name| still.contains(name));
            if left.len() < before {
                changes.push(renewal);
            }
        }
        changes.extend(left.into_iter().map(|rule| Change::Waive { rule: rule.to_owned() }));
        if best.as_ref().is_none_or(|best| changes.len() < best.len()) {
            best = Some(changes);
        }
    }
    flip(policy, subject, seen, now, "operator", best?)
}

/// The one change that would deny what passes.
pub(super) fn denial(policy: &Policy, subject: &Subject<'_>, seen: &Seen, now: Timestamp) -> Option<Flip> {
    harmful(policy, subject, seen)
        .into_iter()
        .take(MAX_CHANGES)
        .find_map(|change| flip(policy, subject, seen, now, "operator", vec![change]))
}

/// Only what really turns the verdict is told.
fn flip(
    policy: &Policy,
    subject: &Subject<'_>,
    seen: &Seen,
    now: Timestamp,
    by: &'static str,
    changes: Vec<Change>,
) -> Option<Flip> {
    let (policy, subject) = after(policy, subject, &changes, now);
    let to = look(&policy, &subject, now).verdict;
    (to != seen.verdict && !changes.is_empty()).then(|| Flip {
        to,
        by,
        text: changes.iter().map(Change::to_string).collect(),
        changes,
    })
}
