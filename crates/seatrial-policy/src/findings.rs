//! Findings to a verdict.

use jiff::{Timestamp, civil::Date};
use seatrial_core::finding::{Finding, Level};

use crate::{Checked, Facts, Policy, Waiver, expressions, is_fixed_rule, rego, utc_date};

/// Yes or no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing blocks.
    Pass,
    /// Something blocks, and is named.
    Deny,
}

impl Verdict {
    /// As the API writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Deny => "deny",
        }
    }
}

/// A finding that blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The finding, at its level under the policy.
    pub finding: Finding,
    /// What the author or the operator would have to change.
    pub what_would_change_it: String,
}

/// What a policy makes of findings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Yes or no.
    pub verdict: Verdict,
    /// All findings in their order, waived ones included, at the policy's levels; without those
    /// whose rule is off.
    pub findings: Vec<Finding>,
    /// Those that block.
    pub blocking: Vec<Blocked>,
    /// Those that a waiver lets pass, whatever their level.
    pub waived: Vec<(Finding, Waiver)>,
    /// Waivers that would have covered a finding but have run out, each once.
    pub expired_waivers: Vec<Waiver>,
}

impl Judgement {
    /// Of nothing.
    fn nothing() -> Self {
        Self {
            verdict: Verdict::Pass,
            findings: Vec::new(),
            blocking: Vec::new(),
            waived: Vec::new(),
            expired_waivers: Vec::new(),
        }
    }
}

/// Decides without knowing the file: a policy with expressions or checks in Rego denies then.
#[must_use]
pub fn judge(policy: &Policy, findings: &[Finding], now: Timestamp) -> Judgement {
    judge_with(policy, findings, None, now)
}

/// Decides. The operator's expressions look at `facts` too.
#[must_use]
pub fn judge_with(policy: &Policy, findings: &[Finding], facts: Option<&Facts>, now: Timestamp) -> Judgement {
    let today = utc_date(now);
    let mut judgement = Judgement::nothing();
    let checked = checked(policy, facts);
    for finding in findings.iter().chain(&checked) {
        let Some(level) = level_under(policy, finding) else {
            continue;
        };
        let finding = Finding {
            level,
            ..finding.clone()
        };
        weigh(policy, finding, today, &mut judgement);
    }
    if !policy.expressions.is_empty() {
        let seen: Vec<(Finding, bool)> = judgement
            .findings
            .iter()
            .map(|finding| {
                (
                    finding.clone(),
                    judgement.waived.iter().any(|(waived, _)| waived == finding),
                )
            })
            .collect();
        for finding in expressions::held(policy, &seen, facts) {
            weigh(policy, finding, today, &mut judgement);
        }
    }
    if policy.rego.is_on() && facts.is_some_and(|facts| facts.checked == Checked::Left) {
        // A note, whatever the policy makes of notes: it decides nothing, and hides nothing.
        judgement.findings.push(rego::left());
    }
    if !judgement.blocking.is_empty() {
        judgement.verdict = Verdict::Deny;
    }
    judgement
}

/// Whether a finding by itself lets a file pass, at its level under the policy and with its waivers.
#[must_use]
pub fn lets_pass(policy: &Policy, finding: &Finding, now: Timestamp) -> bool {
    let Some(level) = level_under(policy, finding) else {
        return true;
    };
    let mut judgement = Judgement::nothing();
    weigh(
        policy,
        Finding {
            level,
            ..finding.clone()
        },
        utc_date(now),
        &mut judgement,
    );
    judgement.blocking.is_empty()
}

/// What the operator's checks found, or that they were not worked out.
fn checked(policy: &Policy, facts: Option<&Facts>) -> Vec<Finding> {
    if !policy.rego.is_on() {
        return Vec::new();
    }
    match facts.map(|facts| &facts.checked) {
        Some(Checked::Found(findings)) => findings.clone(),
        Some(Checked::Failed(why)) => vec![rego::failed(why)],
        Some(Checked::Left) => Vec::new(),
        Some(Checked::Not) | None => vec![rego::failed("nobody worked them out here")],
    }
}

/// Adds a finding at its level under the policy. A fixed one blocks whatever the policy says.
fn weigh(policy: &Policy, finding: Finding, today: Date, judgement: &mut Judgement) {
    let fixed = is_fixed_rule(&finding.rule);
    judgement.findings.push(finding.clone());
    let covering = policy
        .waivers
        .iter()
        .filter(|waiver| !fixed && waiver.covers(&finding.rule, &finding.message));
    let (holding, expired): (Vec<_>, Vec<_>) = covering.partition(|waiver| waiver.holds_on(today));
    if let Some(waiver) = holding.first() {
        judgement.waived.push((finding, (*waiver).clone()));
        return;
    }
    let ran_out = expired.first().copied();
    for waiver in expired {
        if !judgement.expired_waivers.contains(waiver) {
            judgement.expired_waivers.push(waiver.clone());
        }
    }
    if fixed || finding.level >= policy.analysis.block {
        let what_would_change_it = what_would_change_it(policy, &finding, ran_out);
        judgement.blocking.push(Blocked {
            finding,
            what_would_change_it,
        });
    }
}

fn level_under(policy: &Policy, finding: &Finding) -> Option<Level> {
    if is_fixed_rule(&finding.rule) {
        return Some(Level::Error);
    }
    match policy.analysis.levels.get(&*finding.rule) {
        Some(set) => set.level(),
        None => Some(finding.level),
    }
}

fn what_would_change_it(policy: &Policy, finding: &Finding, ran_out: Option<&Waiver>) -> String {
    let rule = &*finding.rule;
    let remedy = finding.remedy.trim_end_matches('.');
    if is_fixed_rule(rule) {
        return format!("{remedy}. No policy can allow it: what was not understood was not judged.");
    }
    if let Some(waiver) = ran_out {
        return format!(
            "{remedy}; or the operator renews the waiver of {} that ended on {}.",
            waiver.owner, waiver.expires
        );
    }
    if rule.starts_with(expressions::PREFIX) {
        return format!("{remedy}; or the operator waives {rule}, or changes it.");
    }
    let below = match policy.analysis.block {
        Level::Error => "\"warn\"",
        Level::Warn => "\"info\"",
        Level::Info => "\"off\"",
    };
    format!("{remedy}; or the operator waives {rule}, or sets analysis.levels.{rule} to {below}.")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use seatrial_core::finding::Span;

    use super::*;
    use crate::RuleLevel;

    fn finding(rule: &'static str, level: Level, message: &str) -> Finding {
        Finding {
            rule: rule.into(),
            level,
            line: 1,
            column: 1,
            span: Span::new(0, 1),
            message: message.to_owned(),
            remedy: "Do it otherwise.".into(),
            fix: None,
        }
    }

    fn waiver(rule: &str, matches: Option<&str>) -> Waiver {
        Waiver {
            rule: rule.to_owned(),
            rules: Vec::new(),
            matches: matches.map(str::to_owned),
            reason: "known".to_owned(),
            owner: "ann".to_owned(),
            expires: date(2026, 12, 31),
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn today() -> Timestamp {
        at("2026-11-23T12:00:00Z")
    }

    #[test]
    fn an_error_blocks_and_a_warning_does_not() {
        let judgement = judge(
            &Policy::default(),
            &[finding("ST003", Level::Error, "a"), finding("ST010", Level::Warn, "b")],
            today(),
        );
        assert_eq!(judgement.verdict, Verdict::Deny);
        assert_eq!(judgement.findings.len(), 2);
        assert_eq!(judgement.blocking.len(), 1);
        assert_eq!(
            judgement.blocking[0].what_would_change_it,
            "Do it otherwise; or the operator waives ST003, or sets analysis.levels.ST003 to \"warn\"."
        );
    }

    #[test]
    fn a_rule_that_is_off_is_not_told_and_another_level_is() {
        let mut policy = Policy::default();
        policy.analysis.levels.insert("ST003".to_owned(), RuleLevel::Off);
        policy.analysis.levels.insert("ST010".to_owned(), RuleLevel::Error);
        let judgement = judge(
            &policy,
            &[finding("ST003", Level::Error, "a"), finding("ST010", Level::Warn, "b")],
            today(),
        );
        assert_eq!(judgement.findings, [finding("ST010", Level::Error, "b")]);
        assert_eq!(judgement.blocking.len(), 1);
    }

    #[test]
    fn a_waiver_covers_only_what_it_matches() {
        let policy = Policy {
            waivers: vec![waiver("ST003", Some("left-pad"))],
            ..Policy::default()
        };
        let judgement = judge(
            &policy,
            &[
                finding("ST003", Level::Error, "uses left-pad"),
                finding("ST003", Level::Error, "uses x"),
            ],
            today(),
        );
        assert_eq!(judgement.waived.len(), 1);
        assert_eq!(judgement.blocking.len(), 1);
        assert_eq!(judgement.findings.len(), 2);
    }

    #[test]
    fn a_waiver_matches_the_beginning_of_what_is_quoted_first() {
        let index = waiver("ST257", Some("https://good.example/"));
        for (message, covered) in [
            ("`https://good.example/simple` is another index", true),
            ("`https://evil.example/x?https://good.example/` is another index", false),
            ("`https://evil.example/ https://good.example/` is another index", false),
            ("`https://good.example/ https://evil.example/` is another index", false),
            ("`https://evil.example/` is used beside `https://good.example/`", false),
            ("it is from https://good.example/simple", true),
            ("it is from evil.example/https://good.example/", false),
        ] {
            assert_eq!(index.covers("ST257", message), covered, "{message}");
        }
        let whole = waiver("ST553", Some("`old`"));
        assert!(whole.covers("ST553", "`old` and its value are parted by a blank"));
        assert!(!whole.covers("ST553", "`older` and its value are parted by a blank"));
        assert!(!whole.covers("ST553", "`x` is not `old`"));
        let secret = Waiver {
            rule: "secret:x".to_owned(),
            ..waiver("x", Some("testdata/key"))
        };
        assert!(secret.covers_value("secret:x", "testdata/key.pem"));
        assert!(secret.covers_value("secret:x", "/app/testdata/key.pem"));
        assert!(!secret.covers_value("secret:x", "/app/mytestdata/key.pem"));
    }

    #[test]
    fn a_waiver_holds_on_its_last_day_and_not_after() {
        let policy = Policy {
            waivers: vec![waiver("ST003", None)],
            ..Policy::default()
        };
        let findings = [finding("ST003", Level::Error, "a"), finding("ST003", Level::Error, "b")];
        assert_eq!(
            judge(&policy, &findings, at("2026-12-31T23:59:59Z")).verdict,
            Verdict::Pass
        );
        let late = judge(&policy, &findings, at("2027-01-01T00:00:00Z"));
        assert_eq!(late.verdict, Verdict::Deny);
        assert_eq!(late.expired_waivers.len(), 1);
        assert!(late.blocking[0].what_would_change_it.contains("ended on 2026-12-31"));
    }

    #[test]
    fn a_renewed_waiver_hides_the_one_that_ran_out() {
        let mut old = waiver("ST003", None);
        old.expires = date(2020, 1, 1);
        let policy = Policy {
            waivers: vec![old, waiver("ST003", None)],
            ..Policy::default()
        };
        let judgement = judge(&policy, &[finding("ST003", Level::Error, "a")], today());
        assert_eq!(judgement.verdict, Verdict::Pass);
        assert_eq!(judgement.expired_waivers, []);
    }

    #[test]
    fn what_was_not_understood_blocks_under_any_policy() {
        // Built by hand: the parser refuses such a file.
        let mut policy = Policy {
            waivers: vec![waiver("ST040", None), waiver("ST091", None)],
            ..Policy::default()
        };
        policy.analysis.levels.insert("ST040".to_owned(), RuleLevel::Off);
        let judgement = judge(
            &policy,
            &[finding("ST040", Level::Error, "a"), finding("ST091", Level::Info, "b")],
            today(),
        );
        assert_eq!(judgement.blocking.len(), 2);
        assert_eq!(judgement.waived, []);
    }
}
