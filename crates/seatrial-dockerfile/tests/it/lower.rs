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
    let mut refused = Vec::new();
    let mut all = 0;
    for (name, bytes) in corpus::real_files() {
        let parsed = parse(&bytes);
        if !parsed.errors.is_empty() {
            continue;
        }
        all += 1;
        match lowered(&parsed) {
            Ok(plan) => assert_eq!(plan.stage_steps.iter().sum::<usize>(), plan.steps.len(), "{name}"),
            Err(findings) => {
                let first = &findings[0];
                refused.push(format!("{} {name}:{}: {}", first.rule, first.line, first.message));
            }
        }
    }
    refused.sort();
    // Half of them need a variable of their real base.
    assert!(
        refused.len() * 10 < all.max(1),
        "{} of {all}:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

/// Each of these took seconds to minutes before copies were counted and too large was the end.
#[test]
fn what_multiplies_is_refused_once_and_not_worked_through() {
    let shell = format!("SHELL [{}\"a\"]\n", "\"a\",".repeat(16_000));
    let stages: String = (1..99).map(|at| format!("FROM s{} AS s{at}\n", at - 1)).collect();
    let many = |keyword: &str, item: fn(usize) -> String| {
        let items: String = (0..1001).map(item).collect();
        format!("FROM busybox AS s0\n{keyword} {items}\n{stages}CMD a\n")
    };
    for text in [
        format!("FROM busybox\n{shell}{}", "RUN a\n".repeat(990)),
        format!("FROM busybox\n{shell}CMD a\n"),
        // More variables than an image may have, as arguments of the build.
        format!(
            "FROM busybox\nARG {}\nCMD a\n",
            (0..10_000).map(|at| format!("a{at}=1 ")).collect::<String>().repeat(4)
        ),
        many("LABEL", |at| format!("l{at}=x ")),
        many("ENV", |at| format!("e{at}=x ")),
        many("VOLUME", |at| format!("/v{at} ")),
        many("EXPOSE", |at| format!("{} ", at + 1)),
    ] {
        let found = lowered(&parse(text.as_bytes())).unwrap_err();
        let rules: Vec<&str> = found.iter().map(|finding| &*finding.rule).collect();
        assert_eq!(rules, ["ST095"], "{}", &text[..60]);
    }
}

/// 60,000 bytes for each of 2,000 mounts: refused before they are made, not when they are written.
#[test]
fn a_long_working_directory_is_not_copied_into_each_mount() {
    let mounts = "--mount=type=tmpfs,target=a ".repeat(2_000);
    let text = format!("FROM busybox\nWORKDIR /{}\nRUN {mounts} true\n", "w".repeat(60_000));
    let found = lowered(&parse(text.as_bytes())).unwrap_err();
    assert_eq!(found[0].rule, "ST095");
    assert!(!found[0].message.contains("written"), "{}", found[0].message);
}

/// Text that readers of Dockerfiles stumble over.
fn odd() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        6 => prop::sample::select(vec![
            "a", "b1", " ", "  ", "\t", "\"", "'", "\\", "`", "$", "$a", "${a}", "${a:-x}", "${", "}", "[", "]", "\"x\"",
            "[\"a\",\"b\"]", ",", "=", "--", "--from=s", "#", "<<", "<<EOF", "<<-'E F'", "<", ">", "&&", "\\\\", "\u{a0}",
            "\u{85}", "é", "\u{202e}", "漢", "\u{b}", "\u{feff}", "\\\n", "`\n", "\\\n# c\n", "\\\n\n", "/", ".", "..", ":",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_filter("no line ends, no NUL", |one| !"\n\r\0".contains(*one)).prop_map(String::from),
    ];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn instruction() -> impl Strategy<Value = String> {
    let flags = prop::sample::select(vec![
        "",
        "",
        "",
        "--from=s ",
        "--chown=a:b ",
        "--chmod=\"6 4\" ",
        "--link ",
        "--mount=type=cache,target=/c ",
        "--mount=\"type=bind,from=s,target=/d\" ",
        "--interval=5s ",
        "-- ",
        "--chown=\u{e0}x ",
        "--network=none ",
    ]);
    let keyword = prop::sample::select(vec![
        "RUN",
        "run",
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "ENV a=",
        "ARG",
        "ARG a=",
        "LABEL",
        "LABEL x=",
        "COPY",
        "COPY a",
        "ADD",
        "USER",
        "WORKDIR",
        "EXPOSE",
        "VOLUME",
        "STOPSIGNAL",
        "SHELL",
        "HEALTHCHECK CMD",
        "HEALTHCHECK",
        "ONBUILD RUN",
        "MAINTAINER",
        "FROM busybox AS",
        "FROM busybox\nRUN",
        "FROM s\nRUN",
        "CMD [\"a\",",
        "RUN cat",
    ]);
    let heredoc = prop_oneof![
        3 => Just(String::new()),
        1 => (prop::sample::select(vec!["EOF", "'EOF'", "\"E F\"", "-EOF", "-'x y'", "#!x", "a.b"]), odd(), odd()).prop_map(
            |(word, one, two)| {
                let name: String = word.trim_start_matches('-').replace(['\'', '"'], "");
                format!(" <<{word}\n#!/bin/sh\n\t{one}\n{two}\n\n{name}")
            }
        ),
    ];
    (keyword, flags, odd(), heredoc)
        .prop_map(|(keyword, flags, text, heredoc)| format!("{keyword} {flags}{text}{heredoc}\n"))
}

fn file() -> impl Strategy<Value = String> {
    let head = prop::sample::select(vec!["", "# escape=`\n", "ARG a=1\n", "# escape=`\nARG a=x\\y\n"]);
    (head, prop::collection::vec(instruction(), 0..6))
        .prop_map(|(head, body)| format!("{head}FROM busybox AS s\n{}", body.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_parses_says_the_same_when_it_is_rendered(text in file()) {
        let parsed = parse(text.as_bytes());
        if parsed.errors.is_empty() {
            let rendering = render(&parsed.dockerfile);
            let again = parse(rendering.as_bytes());
            prop_assert!(again.errors.is_empty(), "{:?}\n{}", again.errors, rendering);
            prop_assert!(same(&parsed.dockerfile, &again.dockerfile), "{}", rendering);
        } else {
            let _ = render(&parsed.dockerfile);
        }
    }

    #[test]
    fn whatever_parses_is_lowered_or_refused_with_a_place(text in file()) {
        let parsed = parse(text.as_bytes());
        if parsed.errors.is_empty() {
            match lowered(&parsed) {
                Ok(plan) => {
                    let again = parse(plan.dockerfile.as_bytes());
                    prop_assert!(again.errors.is_empty(), "{:?}\n{}", again.errors, plan.dockerfile);
                    prop_assert_eq!(again.dockerfile.instructions.len(), plan.steps.len());
                    prop_assert_eq!(plan.stage_steps.iter().sum::<usize>(), plan.steps.len());
                    prop_assert_eq!(again.dockerfile.escape, '\\');
                    for instruction in &again.dockerfile.instructions {
                        for word in instruction.words().iter().filter(|_| !instruction.json_form()) {
                            prop_assert!(!word.value.contains('$') || word.value.contains('\''), "{}", plan.dockerfile);
                        }
                    }
                    prop_assert!(plan.mismatches(&plan.config).is_empty());
                }
                Err(findings) => {
                    prop_assert!(!findings.is_empty());
                    for finding in findings {
                        prop_assert!(text.get(finding.span.range()).is_some());
                        prop_assert!(finding.rule != "ST094" || finding.span.end > 0, "{text}");
                    }
                }
            }
            let _ = lower::findings(&parsed);
        }
    }
}
