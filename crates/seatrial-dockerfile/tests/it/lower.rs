//! Rendering and lowering: of real files, of odd ones, of made ones.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seatrial_core::image::ImageConfig;
use seatrial_dockerfile::{
    Parsed,
    lower::{self, LoweredBase, Plan},
    parse,
    render::{render, same},
};

use crate::corpus;

/// Every base as one image with a shell and nothing else.
pub(crate) fn lowered(parsed: &Parsed) -> Result<Plan, Vec<seatrial_core::finding::Finding>> {
    let base = |wanted: lower::BaseUse| {
        let config = ImageConfig {
            env: vec!["PATH=/bin".into()],
            cmd: vec!["sh".into()],
            ..ImageConfig::default()
        };
        let reference = "ab".repeat(32);
        (wanted.reference, LoweredBase { reference, config })
    };
    let bases: BTreeMap<_, _> = lower::base_references(parsed)?.into_iter().map(base).collect();
    lower::lower(parsed, &bases)
}

fn check_rendering(name: &str, parsed: &Parsed) {
    let text = render(&parsed.dockerfile);
    let again = parse(text.as_bytes());
    assert!(again.errors.is_empty(), "{name}: {:?}\n{text}", again.errors);
    assert!(same(&parsed.dockerfile, &again.dockerfile), "{name}:\n{text}");
    assert_eq!(render(&again.dockerfile), text, "{name}: rendering again");
}

#[test]
fn real_files_say_the_same_when_they_are_rendered() {
    for (name, bytes) in corpus::real_files() {
        let parsed = parse(&bytes);
        if parsed.errors.is_empty() {
            check_rendering(&name, &parsed);
        }
    }
}

#[test]
fn odd_files_say_the_same_when_they_are_rendered() {
    for row in corpus::rows("parser_cases.jsonl") {
        let Some(encoded) = row["dockerfile_b64"].as_str() else {
            continue;
        };
        let parsed = parse(&corpus::decode(encoded));
        if parsed.errors.is_empty() {
            check_rendering(row["case"].as_str().unwrap(), &parsed);
        }
    }
}

#[test]
fn most_real_files_can_be_lowered() {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut all, mut good) = (0, 0);
    for (name, bytes) in corpus::real_files() {
        let parsed = parse(&bytes);
        if !parsed.errors.is_empty() {
            continue;
        }
        all += 1;
        match lowered(&parsed) {
            Ok(plan) => {
                good += 1;
                assert_eq!(
                    parse(plan.dockerfile.as_bytes()).dockerfile.instructions.len(),
                    plan.steps.len()
                );
            }
            Err(findings) => {
                let first = &findings[0];
                if std::env::var_os("SHOW_REFUSED").is_some() {
                    eprintln!("{name}:{}: {} {}", first.line, first.rule, first.message);
                }
                *reasons.entry(first.rule.to_owned()).or_default() += 1;
            }
        }
    }
    assert!(all == 0 || good * 100 >= all * 91, "{good} of {all}: {reasons:?}");
    if std::env::var_os("SHOW_REFUSED").is_some() {
        eprintln!("{good} of {all}: {reasons:?}");
    }
}
