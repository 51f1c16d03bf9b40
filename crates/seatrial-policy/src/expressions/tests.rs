use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::*;
use crate::{Verdict, judge_with};

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn text(when: &str) -> String {
    format!(
        "version = 1\n[[expressions]]\nname = \"mine\"\nwhen = '''{when}'''\nmessage = \"not here\"\nowner = \"ann\"\n"
    )
}

fn policy(when: &str) -> Policy {
    Policy::parse(&text(when), now()).unwrap_or_else(|error| panic!("{when}: {error}"))
}

fn refused(when: &str) -> String {
    Policy::parse(&text(when), now()).map_or_else(|error| error.to_string(), |_| panic!("it is taken: {when}"))
}

fn findings(count: usize) -> Vec<Finding> {
    (0..count)
        .map(|line| Finding {
            rule: "ST101".into(),
            level: Level::Warn,
            line,
            column: 1,
            span: Span::default(),
            message: "x".repeat(300),
            remedy: "".into(),
            fix: None,
        })
        .collect()
}

fn facts() -> Facts {
    Facts {
        bytes: 1_000,
        bases: vec!["docker.io/library/debian:12".to_owned()],
        labels: BTreeMap::from([("team".to_owned(), Some("red".to_owned()))]),
        counts: BTreeMap::from([("run".to_owned(), 3)]),
        checked: Checked::Not,
    }
}

fn holds(when: &str) -> bool {
    let judged = judge_with(&policy(when), &findings(3), Some(&facts()), now());
    let last = judged.findings.last().unwrap();
    assert!(
        last.rule != "expression:mine" || last.message == "not here",
        "{when}: {}",
        last.message
    );
    judged.verdict == Verdict::Deny
}

#[test]
fn a_condition_sees_findings_bases_labels_counts_and_size() {
    for when in [
        "findings.exists(f, f.rule == 'ST101' && f.level == 'warn' && f.line == 2)",
        "findings.filter(f, f.message.startsWith('xx')).size() > 2",
        "findings.map(f, f.rule).exists(r, r in ['ST101', 'ST102'])",
        "findings.all(f, !f.waived)",
        "bases.all(b, b.startsWith('docker.io/library/'))",
        "'team' in labels && labels['team'] == 'red' && labels.team == 'red'",
        "has(counts.run) && counts.run >= 3 && !has(counts.user)",
        "bytes > 999 ? true : false",
        "['ST101'].exists(r, findings.exists(f, f.rule == r))",
        "findings.exists(f, bases.exists(b, b.contains('debian')))",
        "findings.exists_one(f, f.line == 1)",
    ] {
        assert!(holds(when), "{when}");
        assert!(!holds(&format!("!({when})")), "{when}");
    }
}

#[test]
fn a_condition_that_holds_is_a_finding_under_its_name() {
    let judged = judge_with(&policy("true"), &[], Some(&facts()), now());
    assert_eq!(judged.verdict, Verdict::Deny);
    let blocked = &judged.blocking[0];
    assert_eq!(
        (&*blocked.finding.rule, blocked.finding.message.as_str()),
        ("expression:mine", "not here")
    );
    assert!(
        blocked.what_would_change_it.contains("ask ann"),
        "{}",
        blocked.what_would_change_it
    );
    let mut softer = policy("true");
    softer.expressions[0].level = Level::Warn;
    let judged = judge_with(&softer, &[], Some(&facts()), now());
    assert_eq!((judged.verdict, judged.findings.len()), (Verdict::Pass, 1));
}

#[test]
fn what_cannot_be_worked_out_denies_with_the_reason_and_no_waiver_helps() {
    for (when, why) in [
        ("labels['nobody'] == 'x'", "cannot be worked out"),
        ("findings[7].line == 1", "cannot be worked out"),
        ("bytes", "neither true nor false"),
        ("bases < 3", "cannot be worked out"),
    ] {
        let mut policy = policy(when);
        policy.expressions[0].level = Level::Info;
        let waiver = crate::Waiver {
            rule: "expression:mine".to_owned(),
            rules: Vec::new(),
            matches: None,
            reason: "r".to_owned(),
            owner: "o".to_owned(),
            expires: jiff::civil::date(2027, 1, 1),
        };
        policy.waivers.push(waiver);
        let judged = judge_with(&policy, &findings(1), Some(&facts()), now());
        assert_eq!(judged.verdict, Verdict::Deny, "{when}");
        assert!(
            judged.blocking[0].finding.message.contains(why),
            "{}",
            judged.blocking[0].finding.message
        );
    }
}

#[test]
fn more_than_conditions_look_at_denies() {
    let of_findings = policy("findings.size() == 1000");
    let judged = judge_with(&of_findings, &findings(MAX_FINDINGS + 1), Some(&facts()), now());
    assert_eq!(judged.verdict, Verdict::Deny);
    assert!(judged.blocking[0].finding.message.contains("257 findings"));
    // A condition that does not look at them is worked out.
    let judged = judge_with(
        &policy("bytes > 1000000"),
        &findings(MAX_FINDINGS + 1),
        Some(&facts()),
        now(),
    );
    assert_eq!(judged.verdict, Verdict::Pass);
    let judged = judge_with(&policy("false"), &[], None, now());
    assert_eq!(judged.verdict, Verdict::Deny);
}

#[test]
fn what_the_file_does_not_decide_or_is_too_long_denies_where_a_condition_looks_at_it() {
    let judged = |when: &str, facts: &Facts| judge_with(&policy(when), &[], Some(facts), now());
    let mut open = facts();
    open.labels.insert("org.x".to_owned(), None);
    let mut long = facts();
    long.labels.insert("org.x".to_owned(), Some("a".repeat(5000)));
    let mut far = facts();
    far.bases.push(format!("quay.io/{}:latest", "a".repeat(5000)));
    for (facts, when, why) in [
        (
            &open,
            "has(labels.nothing)",
            "does not decide the value of the label org.x",
        ),
        (
            &long,
            "'org.x' in labels && false",
            "the label org.x has more than 1024 bytes",
        ),
        (
            &far,
            "bases.exists(b, b == 'x')",
            "a base's name has more than 1024 bytes",
        ),
    ] {
        let judged = judged(when, facts);
        assert_eq!(judged.verdict, Verdict::Deny, "{when}");
        let finding = &judged.blocking[0].finding;
        assert!(finding.message.contains(why) && finding.rule == FAILED, "{finding:?}");
    }
    assert_eq!(judged("bytes > 1000000", &open).verdict, Verdict::Pass);
}

#[test]
fn a_condition_that_cannot_be_worked_out_cannot_be_waived_nor_have_its_name_taken() {
    for text in [
        text("true").replace("\"mine\"", "\"failed\""),
        format!(
            "{}[[waivers]]\nrule = \"expression:failed\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2026-12-31\"\n",
            text("true")
        ),
    ] {
        assert!(Policy::parse(&text, now()).is_err(), "{text}");
    }
}

#[test]
fn a_condition_is_waived_by_its_name_until_the_waiver_runs_out() {
    let waiver = "[[waivers]]\nrule = \"expression:mine\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2026-12-31\"\n";
    let with = format!("{}{waiver}", text("true"));
    let policy = Policy::parse(&with, now()).unwrap();
    let judged = judge_with(&policy, &[], Some(&facts()), now());
    assert_eq!((judged.verdict, judged.waived.len()), (Verdict::Pass, 1));
    let later = "2027-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(judge_with(&policy, &[], Some(&facts()), later).verdict, Verdict::Deny);
    let nobody = with.replace("expression:mine", "expression:yours");
    let told = Policy::parse(&nobody, now()).unwrap_err().to_string();
    assert!(
        told.contains("line 8") && told.contains("there is no expression"),
        "{told}"
    );
}

#[test]
fn errors_point_into_the_file_and_say_what_is_there() {
    let told = refused("findings.exists(f, f.rule == )");
    assert!(
        told.contains("line 4, column 8") && told.contains("it is no CEL, at its character"),
        "{told}"
    );
    assert!(refused("finding.size() > 1").contains("there is no finding; conditions see findings, bases"));
    assert!(refused("env('x')").contains("env is not taken"));
    assert!(refused("f.rule == 'x'").contains("there is no f"));
    assert!(refused("findings.map(f, f.line + f.line).size() > 1").contains("+ is not taken"));
    assert!(refused("{'a': 1}.a == 1").contains("neither maps nor structures"));
    assert!(refused("bytes * 2 > 1").contains("* is not taken"));
    assert!(refused("findings.exists(f, has(f.rul))").contains("a finding has no rul; it has rule, level"));
    for multiplied in [
        "[1].map(x, [x, x, x, x]).size() > 3",
        "findings.map(f, findings) == findings.map(f, findings)",
        "findings.map(f, true ? findings : findings).size() > 1",
        "findings.map(f, findings.filter(g, true)).size() > 1",
        "[[1]].size() > 1",
    ] {
        assert!(
            refused(multiplied).contains("a list holds single values"),
            "{multiplied}"
        );
    }
    assert!(refused("'x'.matches('(a+)+b')").contains("matches is not taken"));
    assert!(refused("duration('1s') < duration('2s')").contains("not taken"));
    let nameless = text("true").replace("\"mine\"", "\"My Rule\"");
    assert!(
        Policy::parse(&nameless, now())
            .unwrap_err()
            .to_string()
            .contains("is no name")
    );
    let twice = format!("{}{}", text("true"), text("true").replace("version = 1\n", ""));
    assert!(
        Policy::parse(&twice, now())
            .unwrap_err()
            .to_string()
            .contains("there are two expressions mine")
    );
}

#[test]
fn hostile_conditions_are_refused_when_the_policy_is_read() {
    let nested = |depth: usize| {
        let mut inner = "true".to_owned();
        for level in 0..depth {
            inner = format!("findings.all(v{level}, {inner})");
        }
        inner
    };
    let doubled = (0..20).fold("'xxxxxxxx'".to_owned(), |inner, level| {
        format!("[{inner}].map(v{level}, v{level} + v{level})[0]")
    });
    let begun = Instant::now();
    for hostile in [
        nested(2),
        nested(3),
        nested(15),
        nested(40),
        format!("size({doubled}) > 0"),
        format!("{}true{}", "(".repeat(400), ")".repeat(400)),
        format!("{}1{}", "[".repeat(500), "]".repeat(500)),
        format!("{}true", "true ? true : ".repeat(60)),
        format!("findings.all(f, {} true)", "f == f && ".repeat(60)),
        format!("labels{}", ".b".repeat(500)),
        format!("labels{}", "[0]".repeat(300)),
        format!("true{}", " && true".repeat(10_000)),
        ")".repeat(1_000),
        "a.all(".repeat(150),
        "[findings, findings].all(a, [a, a].all(b, b.all(c, c in a)))".to_owned(),
    ] {
        refused(&hostile);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The worst that is taken: measured, since the price is only an estimate.
#[test]
fn what_is_taken_is_worked_out_in_bounded_time() {
    let messages = format!(
        "findings.all(f, {} true)",
        "f.message.contains('xy') == false && ".repeat(20)
    );
    let compared = format!("true{}", " && findings == findings".repeat(40));
    for expensive in [
        "findings.all(f, bases.all(b, f.line >= 0))",
        "[1, 2, 3, 4, 5, 6, 7, 8].all(a, findings.filter(f, f.line >= 0).size() > 0)",
        "[1, 2].all(a, findings.map(f, findings[0]) == findings.map(f, findings[0]) || true)",
        "[1, 2, 3, 4, 5, 6, 7, 8].all(a, [1, 2, 3, 4, 5, 6, 7, 8].all(b, findings.all(f, f.line >= 0)))",
        "findings.all(f, f in findings)",
        messages.as_str(),
        compared.as_str(),
    ] {
        let Ok(policy) = Policy::parse(&text(expensive), now()) else {
            continue;
        };
        let facts = Facts {
            bases: vec!["docker.io/library/debian:12".to_owned(); MAX_BASES],
            ..facts()
        };
        let begun = Instant::now();
        let _ = judge_with(&policy, &findings(MAX_FINDINGS), Some(&facts), now());
        let took = begun.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{took:?} for {} steps: {expensive}",
            price(&policy)
        );
    }
}
