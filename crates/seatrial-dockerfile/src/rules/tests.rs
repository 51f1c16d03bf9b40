//! Each rule on texts that must fire it and on their harmless twins.

mod attacks;
mod bases;
mod commands;
mod files;
mod habits;
mod images;
mod packages;
mod remote;
mod secrets;
mod shell;
mod steps;
mod users;
mod whole;

use std::collections::BTreeSet;

use seatrial_core::finding::Level;

use super::*;

fn judged(text: &str) -> Vec<Finding> {
    let allowed = |name: &str| name.starts_with("docker.io/library/");
    analyze(
        text.as_bytes(),
        &crate::parse(text.as_bytes()),
        &Context {
            allowed: &allowed,
            pinned: false,
        },
    )
}

fn fired(text: &str) -> BTreeSet<std::borrow::Cow<'static, str>> {
    judged(text).into_iter().map(|finding| finding.rule).collect()
}

/// Every text of the first list fires the rule, none of the second does.
fn check(rule: &str, bad: &[&str], good: &[&str]) {
    let start = |text: &&str| text.chars().take(200).collect::<String>();
    let silent: Vec<_> = bad
        .iter()
        .filter(|text| !fired(text).contains(rule))
        .map(start)
        .collect();
    let loud: Vec<_> = good
        .iter()
        .filter(|text| fired(text).contains(rule))
        .map(start)
        .collect();
    assert!(silent.is_empty(), "{rule} is silent on {silent:#?}");
    assert!(loud.is_empty(), "{rule} fires on {loud:#?}");
}

/// The same with each line put behind a `FROM`, and as a trigger of `ONBUILD`.
fn check_lines(rule: &str, bad: &[&str], good: &[&str]) {
    for keyword in ["", "ONBUILD "] {
        let put = |lines: &[&str]| -> Vec<String> {
            lines
                .iter()
                .map(|line| match line.rsplit_once("\u{1}") {
                    Some((before, line)) => format!("FROM debian\n{before}\n{keyword}{line}\n"),
                    None => format!("FROM debian\n{keyword}{line}\n"),
                })
                .collect()
        };
        let (bad, good) = (put(bad), put(good));
        check(
            rule,
            &bad.iter().map(String::as_str).collect::<Vec<_>>(),
            &good.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}

#[test]
fn each_rule_finds_its_bad_example_and_not_its_good_one() {
    // ST091 speaks when the base is known: it may set the variable.
    for rule in rules().filter(|rule| rule.id != "ST091") {
        check(rule.id, &[rule.bad], &[rule.good]);
    }
}

#[test]
fn the_good_example_of_a_rule_has_nothing_that_blocks() {
    for rule in rules() {
        let blocking: Vec<_> = judged(rule.good)
            .into_iter()
            .filter(|finding| finding.level == Level::Error)
            .collect();
        assert!(blocking.is_empty(), "{}: {blocking:#?}", rule.id);
    }
}

/// What the findings of a rule underline.
fn underlined(rule: &str, text: &str) -> Vec<String> {
    judged(text)
        .iter()
        .filter(|finding| finding.rule == rule)
        .map(|finding| text[finding.span.range()].to_owned())
        .collect()
}
