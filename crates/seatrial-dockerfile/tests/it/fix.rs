//! Corrections: a corrected file parses, has what was corrected no more, and nothing new.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seatrial_core::finding::Finding;
use seatrial_dockerfile::{
    fix, parse,
    rules::{self, Context},
};

use crate::{corpus, lower};

fn judged(text: &str) -> Vec<Finding> {
    let allowed = |name: &str| name.starts_with("docker.io/");
    rules::analyze(
        text.as_bytes(),
        &parse(text.as_bytes()),
        &Context {
            allowed: &allowed,
            pinned: false,
        },
    )
}

fn counts<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        // Lowering tells the first thing that it cannot take of an instruction, so one may uncover another.
        let rule = if finding.rule.starts_with("ST09") {
            "ST09x"
        } else {
            &finding.rule
        };
        *counts.entry(rule.to_owned()).or_default() += 1;
    }
    counts
}

fn instructions(text: &str) -> usize {
    parse(text.as_bytes()).dockerfile.instructions.len()
}

/// What a corrected text has that the corrections did not promise; the text, corrected to the end.
pub(crate) fn surprises(text: &str) -> (Vec<String>, String) {
    let mut surprises = Vec::new();
    let mut text = text.to_owned();
    for _ in 0..8 {
        let before = judged(&text);
        let fixed = counts(fix::chosen(&text, &before));
        if fixed.is_empty() {
            return (surprises, text);
        }
        let corrected = fix::apply(&text, &before);
        if parse(text.as_bytes()).errors.is_empty() && !parse(corrected.as_bytes()).errors.is_empty() {
            surprises.push(format!("does not parse: {corrected}"));
        }
        let before = counts(&before);
        for (rule, count) in counts(&judged(&corrected)) {
            let had = before.get(&rule).copied().unwrap_or_default();
            let gone = fixed.get(&rule).copied().unwrap_or_default();
            // Steps between which an instruction went away are neighbours now: that is so, and no fault of it.
            if rule == "ST456" && instructions(&corrected) < instructions(&text) {
                continue;
            }
            // Of more than a hundred the rest is only counted.
            if count > had - gone && had <= 100 {
                surprises.push(format!(
                    "{rule}: {had} before, {gone} corrected, {count} left\n{text}\n->\n{corrected}"
                ));
            }
        }
        text = corrected;
    }
    surprises.push("is never done".to_owned());
    (surprises, text)
}

#[test]
fn real_files_are_corrected_without_surprises() {
    let mut all = Vec::new();
    let mut corrected = 0;
    for (name, bytes) in corpus::real_files() {
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let (found, after) = surprises(&text);
        corrected += usize::from(after != text);
        all.extend(found.into_iter().map(|surprise| {
            let short: String = surprise.chars().take(300).collect();
            format!("{name}: {short}")
        }));
    }
    assert!(all.is_empty(), "{} of {corrected}:\n{}", all.len(), all.join("\n"));
}

#[test]
fn bad_examples_that_can_be_corrected_are() {
    for rule in rules::rules() {
        let (found, after) = surprises(rule.bad);
        assert!(found.is_empty(), "{}: {}", rule.id, found.join("\n"));
        assert!(parse(after.as_bytes()).text == after);
    }
}

/// Rules whose corrections write the same thing in another way.
const OF_FORM: [&str; 10] = [
    "ST109", "ST112", "ST113", "ST114", "ST511", "ST517", "ST521", "ST522", "ST553", "ST555",
];

#[test]
fn real_files_build_the_same_when_their_form_is_corrected() {
    let mut different = Vec::new();
    for (name, bytes) in corpus::real_files() {
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let mut findings = judged(&text);
        findings.retain(|finding| OF_FORM.contains(&&*finding.rule));
        let corrected = fix::apply(&text, &findings);
        let Ok(before) = lower::lowered(&parse(text.as_bytes())) else {
            continue;
        };
        let same = lower::lowered(&parse(corrected.as_bytes()))
            .is_ok_and(|after| (before.dockerfile, before.config) == (after.dockerfile, after.config));
        if !same {
            different.push(name);
        }
    }
    assert!(different.is_empty(), "{different:?}");
}

fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "b.txt",
        "app/",
        "/srv",
        "/tmp/x",
        ".",
        "/",
        "$X",
        "${X:-y}",
        "\"a b\"",
        "'q'",
        "x=y",
        "é",
        "\\ ",
        "it's",
        "a.tar.gz",
        "--",
        "80/TCP",
        "root",
        "22",
        "me@x.org",
        "#x",
        "\\\n  z",
        "\\\n\n  z",
        "\t",
        "[\"a\", \"b\"]",
        "<<E",
        "echo",
        "/proc",
        "..",
        "sleep",
        "`",
        "$",
        "&&",
    ]);
    let head = prop::sample::select(vec![
        "ENV A",
        "ENV A ",
        "ENV A=",
        "env b ",
        "LABEL k ",
        "LABEL k=",
        "label K ",
        "MAINTAINER ",
        "maintainer ",
        "ADD ",
        "add ",
        "COPY ",
        "COPY --chown=root:root ",
        "COPY --chown=0 ",
        "ADD --chown=root ",
        "WORKDIR ",
        "WORKDIR /a\nWORKDIR ",
        "EXPOSE ",
        "CMD ",
        "cmd ",
        "ENTRYPOINT ",
        "HEALTHCHECK CMD ",
        "healthcheck --retries=1 cmd ",
        "Run ",
        "RUN ",
        "ONBUILD ADD ",
        "onbuild maintainer ",
        "ONBUILD CMD ",
        "FROM --platform=$TARGETPLATFORM debian as ",
        "from debian AS ",
        "FROM debian as B",
        "From debian As ",
        "SHELL [\"/bin/sh\", \"-c\"]\nCMD ",
        "USER ",
        "VOLUME ",
        "ARG A=",
    ]);
    (head, prop::collection::vec(word, 1..4)).prop_map(|(head, words)| {
        let tail = if words.contains(&"<<E") { "\nE" } else { "" };
        format!("{head}{}{tail}\n", words.join(" "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_correction_of_form_alone_changes_nothing_that_is_built(lines in prop::collection::vec(line(), 1..6), tick in any::<bool>()) {
        let head = if tick { "# escape=`\n" } else { "" };
        let text = format!("{head}FROM debian\n{}", lines.concat());
        let mut findings = judged(&text);
        findings.retain(|finding| OF_FORM.contains(&&*finding.rule));
        let corrected = fix::apply(&text, &findings);
        if let Ok(before) = lower::lowered(&parse(text.as_bytes())) {
            let after = lower::lowered(&parse(corrected.as_bytes()));
            prop_assert!(after.is_ok(), "{text}\n->\n{corrected}");
            if let Ok(after) = after {
                prop_assert_eq!(&before.dockerfile, &after.dockerfile, "{}\n->\n{}", text, corrected);
                prop_assert_eq!(before.config, after.config, "{}\n->\n{}", text, corrected);
            }
        }
    }

    #[test]
    fn made_files_are_corrected_without_surprises(lines in prop::collection::vec(line(), 1..6), tick in any::<bool>()) {
        let head = if tick { "# escape=`\n" } else { "" };
        let text = format!("{head}FROM debian\n{}", lines.concat());
        let (found, _) = surprises(&text);
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
