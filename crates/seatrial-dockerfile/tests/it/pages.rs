//! `docs/rules/` says what the catalogue says.

use std::{collections::BTreeMap, path::Path};

use seatrial_dockerfile::rules::{self, page};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rules");

/// What is written by hand.
const BY_HAND: [&str; 1] = ["DIFFERENCES.md"];

#[test]
fn the_pages_of_the_rules_are_those_of_the_catalogue() {
    let mut wanted: BTreeMap<String, String> = rules::rules()
        .map(|rule| (format!("{}.md", rule.id), page::page(rule)))
        .collect();
    wanted.insert("README.md".to_owned(), page::index());
    // What tools that compare analysers take: a rule, and the ids that it stands for elsewhere.
    let mapping: BTreeMap<_, _> = rules::rules()
        .filter(|rule| !rule.aliases.is_empty())
        .map(|rule| (rule.id, rule.aliases))
        .collect();
    let mapping = serde_json::to_string_pretty(&mapping).unwrap();
    wanted.insert("mapping.json".to_owned(), format!("{mapping}\n"));
    let folder = Path::new(FOLDER);
    if std::env::var_os("SEATRIAL_REFRESH").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let found: BTreeMap<String, String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !BY_HAND.contains(&name.as_str()))
        .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap()))
        .collect();
    let differing: Vec<_> = wanted
        .keys()
        .chain(found.keys())
        .filter(|name| wanted.get(*name) != found.get(*name))
        .collect();
    assert!(
        differing.is_empty(),
        "{differing:?} differ; run the test with SEATRIAL_REFRESH=1 to write them"
    );
}
