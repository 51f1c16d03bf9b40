//! ST001, ST012, ST013, ST018 and ST040: the text as a whole; and what holds for all rules.

use seatrial_core::finding::Level;

use super::*;

#[test]
fn a_frontend_is_seen_in_every_disguise() {
    check(
        "ST001",
        &[
            "# syntax=evil.example/x\nFROM debian\n",
            "#syntax = docker/dockerfile:1\nFROM debian\n",
            "# SYNTAX=x\r\nFROM debian\r\n",
            "# escape=`\n# syntax=x\nFROM debian\n",
            "#!/bin/x\n# syntax=x\nFROM debian\n",
            "#!/bin/x\n// syntax=x\nFROM debian\n",
            "\u{feff}# syntax=x\nFROM debian\n",
            "// syntax=x\nFROM debian\n",
            "{\"syntax\": \"x\"}",
            "{\"a\": [1], \"synt\\u0061x\": \"x\"}",
            "  # syntax=x\nFROM debian\n",
        ],
        &[
            "FROM debian\n",
            "# hello\n# syntax=x\nFROM debian\n",
            "\n# syntax=x\nFROM debian\n",
            "# escape=`\n# check=error=true\nFROM debian\n",
            "# the syntax=x\nFROM debian\n",
            "FROM debian\n# syntax=x\n",
        ],
    );
    assert_eq!(
        underlined("ST001", "# escape=`\n# syntax=x\nFROM debian\n"),
        ["# syntax=x"]
    );
}

#[test]
fn only_a_released_version_of_dockers_own_frontend_does_not_block() {
    let level = |reference: &str| {
        let found = judged(&format!("# syntax={reference}\nFROM debian\n"));
        let finding = found.iter().find(|finding| finding.rule == "ST001");
        finding.map(|finding| finding.level)
    };
    for own in [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile:1.4",
        "docker/dockerfile:1.7.0",
    ] {
        assert_eq!(level(own), Some(Level::Warn), "{own}");
    }
    for foreign in [
        "docker/dockerfile",
        "docker/dockerfile:1-labs",
        "docker/dockerfile:latest",
        "docker/dockerfile:1.",
        "docker/dockerfile-upstream:1",
        "evil.example/docker/dockerfile:1",
        "docker/dockerfile:1@sha256:00",
    ] {
        assert_eq!(level(foreign), Some(Level::Error), "{foreign}");
    }
}

#[test]
fn comments_that_switch_checks_off_are_seen() {
    check(
        "ST018",
        &[
            "# hadolint ignore=DL3003\nRUN foo bar\n",
            "#hadolint  ignore = DL3003\nFROM debian\n",
            "# hadolint global ignore=DL3003\nFROM debian\n",
            "# HADOLINT IGNORE=DL3003\nFROM debian\n",
            "# check=skip=all\nFROM debian\n",
            "#check = error=true; skip = all\nFROM debian\n",
            "FROM debian\n# check=skip=JSONArgsRecommended\nCMD x\n",
            "FROM debian\n#trivy:ignore:DS002\nUSER root\n",
            "FROM debian\n# a reason checkov:skip=CKV_DOCKER_3: because\nUSER root\n",
            "# kics-scan ignore\nFROM debian\n",
            "# kics-scan disable=abc\nFROM debian\n",
            "# kics-scan ignore-line\nFROM debian\n",
            "FROM debian # nosemgrep\n".replace(" # ", "\n# ").as_str(),
            "FROM debian\nRUN x # nosemgrep: rule\n",
            "FROM debian\nRUN a \\\n# hadolint ignore=DL3003\n b\n",
            "FROM debian\nRUN <<E\na # nosem\nE\n",
            "FROM debian\nRUN <<E\na\n\n  # nosem\nE\n",
            "FROM debian\nONBUILD RUN x # nosemgrep\n",
            "FROM debian\nCOPY <<E /x\n# trivy:ignore:x\nE\n",
            "## dockle ignore=x\nFROM debian\n",
        ],
        &[
            "# hadolint shell=powershell\nRUN foo bar\n",
            "# foobar\nRUN foo bar\n",
            "# check=error=true\nFROM debian\n",
            "# check=experimental=all\nFROM debian\n",
            "# checks: skip=x\nFROM debian\n",
            "# we ignore hadolint here\nFROM debian\n",
            "# kics-scanner runs here\nFROM debian\n",
            "FROM debian\nRUN echo nosemgrep\n",
            "FROM debian\nRUN echo a#nosemgrep\n",
            "# this has nosection\nFROM debian\n",
            "# shellcheck disable=SC2086\nFROM debian\n",
        ],
    );
    assert_eq!(
        underlined("ST018", "FROM debian\nRUN <<E\na\nb # nosem\nE\n"),
        ["# nosem"]
    );
}

#[test]
fn characters_that_deceive_are_seen_and_those_of_languages_are_not() {
    check(
        "ST013",
        &[
            "FROM debian\n# \u{202e}x\n",
            "FROM debian\nRUN echo a\u{200b}b\n",
            "FROM deb\u{ad}ian\n",
            "FROM debian\u{feff}\n",
            "FROM debian\nRUN <<E\n\u{2066}\nE\n",
            "FROM debian\nONBUILD RUN \u{200d}\n",
            "FROM debian\nRUN a\0b\n",
            "FROM debian\nRUN a\rUSER root\n",
            "FROM debian\n# \u{1b}[2J\n",
            "FROM debian\n# \u{e0041}\n",
            "FROM debian\nENV a\u{3164}=b\n",
            "FROM debian\nRUN rm\u{200d}-x\n",
            "FROM debian\nENV ж\u{200b}ж=b\n",
            "FROM debian\n# می\u{200c}\u{200c}خواهم\n",
        ],
        &[
            "\u{feff}FROM debian\n",
            "FROM debian\r\nRUN a\r\n",
            "FROM debian\n# größer ✓ 日本語 العربية עברית 🚢\n",
            "FROM debian\n\tRUN\ta\n",
            "FROM debian\n# 👨\u{200d}👩\u{200d}👧 می\u{200c}خواهم\n",
            "FROM debian\n# 葛\u{e0100} ភាសា\u{200b}ខ្មែរ\n",
            "FROM debian\n# سرویس API\u{200c}ها می\u{200c} را 5\u{200c}ام \u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}\n",
        ],
    );
    let bytes = b"FROM debian\nRUN a\xff\xfeb\n";
    let found = analyze(
        bytes,
        &crate::parse(bytes),
        &Context {
            allowed: &|_| true,
            pinned: false,
        },
    );
    let kinds: Vec<_> = found
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .map(|finding| (&*finding.rule, finding.span.range()))
        .collect();
    assert_eq!(kinds, [("ST040", 17..18), ("ST013", 17..19)]);
}

#[test]
fn sizes_have_limits() {
    let big = "x".repeat(65_000);
    let line = format!("RUN {big}\\\n{big}\\\n{big}\n");
    let body = format!("{}\n", "x".repeat(60_000)).repeat(2);
    let heredocs = format!("RUN {}\n{}", "<<E ".repeat(70), "E\n".repeat(70));
    let strings = format!("CMD [{}\"a\"]\n", "\"a\",".repeat(1_000));
    let health = format!("HEALTHCHECK CMD [{}\"a\"]\n", "\"a\",".repeat(1_000));
    let instructions = "RUN a\n".repeat(1_001);
    let stages = "FROM debian\n".repeat(101);
    let doubling = format!("ENV a=xxxxxxxx\n{}", "ENV a=$a$a\nENV b=$a$a$a$a\n".repeat(300));
    let file = |rest: &str| format!("FROM debian\n{rest}");
    let bad = [
        file(&line),
        file(&format!("ONBUILD {line}")),
        file(&format!("RUN <<E\n{body}E\n")),
        file(&format!("ONBUILD COPY <<E /x\n{body}E\n")),
        file(&heredocs),
        file(&strings),
        file(&health),
        file(&format!("ONBUILD {strings}")),
        file(&instructions),
        file(&stages),
        file(&doubling),
        file(&format!("RUN {}", "x".repeat(70_000))),
        "x".repeat(2 << 20),
    ];
    check(
        "ST012",
        &bad.iter().map(String::as_str).collect::<Vec<_>>(),
        &[
            "FROM debian\nRUN <<E\na\nE\nCMD [\"a\"]\n",
            &file(&"ENV PATH=$PATH:/opt/a/bin\n".repeat(100)),
            &file(&"RUN a\n".repeat(900)),
        ],
    );
}

#[test]
fn each_error_of_the_parser_is_one_finding() {
    let text = "FROM debian\nRUNN a\nCOPY a\n";
    let mut found = judged(text);
    found.retain(|finding| finding.rule == "ST040");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].message, "unknown instruction: runn");
    assert_eq!((found[0].line, found[0].column), (2, 1));
    assert_eq!(parse_findings(&crate::parse(text.as_bytes())), found);
    check(
        "ST040",
        &["", "# a\n", "LABEL a=b\nFROM debian\n"],
        &["FROM debian\nLABEL a=b\n"],
    );
}

#[test]
fn files_that_do_not_parse_are_judged_as_far_as_they_can_be_read() {
    let found = fired(
        "FROM evil/x\nOOPS\nRUN --security=insecure --oops x\nADD http://127.0.0.1/\nRUN ls /var/run/docker.sock <<E\n",
    );
    for rule in ["ST003", "ST009", "ST015", "ST017", "ST040"] {
        assert!(found.contains(rule), "{rule} of {found:?}");
    }
}

#[test]
fn ids_are_unique_and_every_text_is_there() {
    let ids: BTreeSet<_> = rules().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), rules().count());
    for rule in rules() {
        for text in [rule.title, rule.reason, rule.remedy] {
            assert!(!text.is_empty() && !text.contains("  "), "{}: {text}", rule.id);
        }
        // From ST090 on: what our own way of building does not take.
        assert!(!rule.concerns.is_empty() || rule.id >= "ST090", "{}", rule.id);
    }
}

#[test]
fn findings_stand_in_the_order_of_their_places_and_are_bounded() {
    let text = format!(
        "FROM debian\n{}",
        "ENV http_proxy=a SEATRIAL_X=b BUILDKIT_X=c\n".repeat(900)
    );
    let found = judged(&text);
    let places: Vec<_> = found
        .iter()
        .map(|finding| (finding.span, finding.rule.clone()))
        .collect();
    assert!(places.is_sorted());
    assert_eq!(found.iter().filter(|finding| finding.rule == "ST014").count(), 101);
    let long = format!("FROM {}/x\n", "y".repeat(60_000));
    assert!(
        judged(&long)
            .iter()
            .all(|finding| finding.message.chars().count() < 300)
    );
}
