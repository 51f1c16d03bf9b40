//! Agreement of the rules with the test suites of other tools, and silence on honest files.

use std::collections::BTreeMap;

use seatrial_core::finding::Level;
use seatrial_dockerfile::{
    parse,
    rules::{self, Context},
};
use serde_json::Value;

use crate::corpus;

/// Rows where we say something else on purpose: rule, text, why.
const ARGUED: [(&str, &str, &str); 2] = [
    (
        "ST016",
        "COPY --from=haskell:latest bar .",
        "hadolint takes a name with a tag for an intended image; to us any image is one to declare as a stage",
    ),
    (
        "ST015",
        "FROM random.com/debian\n",
        "hadolint's row has no allow-list at all, and then takes any image; ours is never empty",
    ),
];

fn fires(text: &str, wanted: &[&str]) -> bool {
    let allowed = |name: &str| name.starts_with("docker.io/");
    let context = Context {
        allowed: &allowed,
        pinned: false,
    };
    rules::analyze(text.as_bytes(), &parse(text.as_bytes()), &context)
        .iter()
        .any(|finding| wanted.contains(&&*finding.rule))
}

/// The rules by the ids that other tools have for them.
fn ours() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut ours: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for rule in rules::rules() {
        for alias in rule.aliases {
            ours.entry(*alias).or_default().push(rule.id);
        }
    }
    ours
}

#[test]
fn other_tools_tests_of_the_same_rules_agree() {
    let ours = ours();
    let mut wrong = Vec::new();
    let mut argued = Vec::new();
    let mut checked = 0;
    for row in corpus::rows("conformance.jsonl") {
        let id = format!("{}:{}", text(&row, "tool"), text(&row, "id"));
        let Some(rules) = ours.get(id.as_str()) else {
            continue;
        };
        let dockerfile = text(&row, "dockerfile");
        checked += 1;
        if row["expected"].as_bool() == Some(fires(dockerfile, rules)) {
            continue;
        }
        match ARGUED
            .iter()
            .find(|(of, whole, _)| rules.contains(of) && *whole == dockerfile)
        {
            Some(row) => argued.push(row),
            None => wrong.push(format!(
                "{id} as {rules:?}, expected {}: {dockerfile:?}",
                row["expected"]
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked == 0 || argued.len() == ARGUED.len(), "only {argued:?} differ");
}

fn text<'r>(row: &'r Value, key: &str) -> &'r str {
    row[key].as_str().unwrap()
}

#[test]
fn every_alias_is_an_id_that_the_catalogue_has_for_the_concern() {
    let Some(folder) = corpus::folder() else { return };
    let known: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("concerns.json")).unwrap()).unwrap();
    for rule in rules::rules() {
        for alias in rule.aliases {
            let concern = known[alias].as_str();
            assert!(
                concern.is_some_and(|concern| rule.concerns.contains(&concern)),
                "{alias}"
            );
        }
    }
}

/// How often each rule that blocks may fire on real files. Those of the rarer rules were looked at one by
/// one and are what the rule says; another number is a false alarm until somebody has looked.
const ON_REAL_FILES: [(&str, usize); 17] = [
    ("ST001", 3),
    ("ST002", 2),
    ("ST006", 45),
    ("ST007", 2),
    ("ST008", 4),
    ("ST010", 1),
    ("ST011", 14),
    ("ST015", 481),
    ("ST016", 27),
    ("ST017", 4),
    ("ST018", 15),
    ("ST040", 1),
    ("ST090", 16),
    ("ST091", 8),
    ("ST092", 19),
    ("ST093", 9),
    ("ST096", 18),
];

#[test]
fn honest_files_raise_only_what_was_looked_at() {
    let files = corpus::real_files();
    if files.is_empty() {
        return;
    }
    let allowed = |name: &str| name.starts_with("docker.io/library/");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, bytes) in &files {
        for finding in rules::analyze(
            bytes,
            &parse(bytes),
            &Context {
                allowed: &allowed,
                pinned: false,
            },
        ) {
            if finding.level < Level::Error {
                continue;
            }
            *counts.entry(finding.rule.to_string()).or_default() += 1;
        }
    }
    assert_eq!(
        counts,
        ON_REAL_FILES.map(|(rule, count)| (rule.to_owned(), count)).into()
    );
}
