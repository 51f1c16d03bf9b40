use jiff::Timestamp;

use super::*;
use crate::{Composed, Facts, Policy, Verdict, judge, judge_with};

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// A folder in which every entry is a file that says its own name.
fn shelf(of: &str, entry: &str) -> Result<Vec<Text>, String> {
    if entry == "missing.rego" {
        return Err(format!("{entry} cannot be read"));
    }
    Ok(vec![Text {
        name: format!("{of}/{entry}"),
        text: entry.to_owned(),
    }])
}

fn both(base: &str, over: &str) -> Result<Composed, String> {
    let (base, over) = (format!("version = 1\n{base}\n"), format!("version = 1\n{over}\n"));
    let sources = [("base.toml", &base), ("over.toml", &over)].map(|(name, text)| Source { name, text });
    Policy::compose_reading(&sources, now(), &[], &shelf).map_err(|error| error.to_string())
}

fn finding(rule: &'static str, level: Level) -> Finding {
    Finding {
        rule: rule.into(),
        level,
        ..note("no")
    }
}

fn judged(text: &str, checked: Checked) -> crate::Judgement {
    let policy = Policy::parse(&format!("version = 1\n[rego]\nfiles = [\"a.rego\"]\n{text}"), now()).unwrap();
    let facts = Facts {
        checked,
        ..Facts::default()
    };
    judge_with(&policy, &[], Some(&facts), now())
}

#[test]
fn files_of_several_policies_add_up_and_are_shown_by_their_digests() {
    let composed = both(
        "[rego]\nfiles = [\"a.rego\"]\nform = \"conftest\"",
        "[rego]\nfiles = [\"b.rego\"]",
    )
    .unwrap();
    let rego = &composed.policy.rego;
    assert_eq!(rego.files, ["a.rego", "b.rego"]);
    assert_eq!(rego.form, Form::Conftest);
    let names: Vec<_> = rego.texts.iter().map(|text| &*text.name).collect();
    assert_eq!(names, ["base.toml/a.rego", "over.toml/b.rego"]);
    let digest = Digest::of(b"b.rego").to_string();
    assert!(
        composed
            .policy
            .to_toml()
            .contains(&format!("# rego.files over.toml/b.rego: {digest}"))
    );
    let origin = composed.origins.iter().find(|origin| origin.value == digest).unwrap();
    assert_eq!((origin.file.as_deref(), origin.line), (Some("over.toml"), Some(3)));
}

#[test]
fn what_is_wrong_with_it_is_told_at_its_place() {
    for (table, part) in [
        (
            "files = [\"missing.rego\"]",
            "line 3, column 10: missing.rego cannot be read",
        ),
        (
            "deadline = \"2m\"",
            "line 3, column 12: it must be between 100ms and 60s",
        ),
        ("memory = \"1MiB\"", "it must be between 64MiB and 4GiB"),
        (
            "namespaces = [\"main\", \"data.user\"]",
            "line 3, column 23: 'data.user' is no package",
        ),
        ("form = \"opa\"", "unknown variant `opa`"),
        ("file = []", "unknown field `file`"),
    ] {
        let told = both(&format!("[rego]\n{table}"), "").unwrap_err();
        assert!(told.starts_with("base.toml: ") && told.contains(part), "{told}");
    }
    let large = |_: &str, _: &str| {
        Ok(vec![Text {
            name: "a".to_owned(),
            text: "x".repeat(MAX_BYTES + 1),
        }])
    };
    let source = Source {
        name: "",
        text: "version = 1\n[rego]\nfiles = [\"a\"]\n",
    };
    let told = Policy::compose_reading(&[source], now(), &[], &large)
        .unwrap_err()
        .to_string();
    assert!(told.contains("line 3") && told.contains("bytes are allowed"), "{told}");
}

#[test]
fn locked_checks_can_neither_be_added_to_nor_softened() {
    let base = "locked = [\"rego\"]\n[rego]\nfiles = [\"a.rego\"]\nnamespaces = [\"user\"]";
    for weaker in [
        "files = [\"b.rego\"]",
        "files = [\"a.rego\"]",
        "form = \"conftest\"",
        "namespaces = [\"other\"]",
        "namespaces = []",
        "deadline = \"6s\"",
        "memory = \"1GiB\"",
    ] {
        let told = both(base, &format!("[rego]\n{weaker}")).unwrap_err();
        assert!(
            told.contains("over.toml: line 3") && told.contains("is locked"),
            "{weaker}: {told}"
        );
    }
    for stricter in ["namespaces = [\"user\", \"other\"]", "deadline = \"1s\""] {
        let told = both(base, &format!("[rego]\n{stricter}"));
        assert!(told.is_ok(), "{stricter}: {told:?}");
    }
}

#[test]
fn what_checks_find_is_weighed_waived_and_seen_by_expressions() {
    let found = || {
        Checked::Found(vec![
            finding("rego:SHOP-1", Level::Error),
            finding("rego:SHOP-2", Level::Warn),
        ])
    };
    let judgement = judged("", found());
    assert_eq!((judgement.verdict, judgement.blocking.len()), (Verdict::Deny, 1));
    let what = &judgement.blocking[0].what_would_change_it;
    assert!(what.contains("waives rego:SHOP-1"), "{what}");
    let waiver = "[[waivers]]\nrule = \"rego:SHOP-1\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n";
    let judgement = judged(waiver, found());
    assert_eq!((judgement.verdict, judgement.waived.len()), (Verdict::Pass, 1));
    let judgement = judged(
        "[analysis.levels]\n\"rego:SHOP-1\" = \"warn\"\n\"rego:SHOP-2\" = \"off\"\n",
        found(),
    );
    assert_eq!((judgement.verdict, judgement.findings.len()), (Verdict::Pass, 1));
    let sees = "[[expressions]]\nname = \"e\"\nwhen = \"findings.exists(f, f.rule == 'rego:SHOP-2')\"\nmessage = \"m\"\nowner = \"o\"\n";
    assert!(
        judged(sees, found())
            .findings
            .iter()
            .any(|finding| finding.rule == "expression:e")
    );
}

#[test]
fn checks_that_were_not_worked_out_deny_and_nothing_waives_that() {
    for checked in [Checked::Not, Checked::Failed("a.rego, line 3: no".to_owned())] {
        let judgement = judged("", checked);
        assert_eq!(judgement.verdict, Verdict::Deny);
        assert_eq!(judgement.blocking[0].finding.rule, FAILED);
        assert!(judgement.blocking[0].what_would_change_it.contains("the operator"));
    }
    let policy = Policy::parse("version = 1\n[rego]\nfiles = [\"a.rego\"]\n", now()).unwrap();
    assert_eq!(judge(&policy, &[], now()).verdict, Verdict::Deny);
    for text in [
        "[[waivers]]\nrule = \"rego:failed\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n",
        "[analysis.levels]\n\"rego:failed\" = \"off\"\n",
    ] {
        assert!(Policy::parse(&format!("version = 1\n{text}"), now()).is_err(), "{text}");
    }
}

#[test]
fn checks_that_are_left_to_others_are_told_and_decide_nothing() {
    let judgement = judged("[analysis]\nblock = \"info\"\n", Checked::Left);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.findings[0].rule, LEFT);
}
