//! No input makes the parser or the rules panic, recurse or lose their way.

use proptest::prelude::*;
use seatrial_dockerfile::{
    parse, parse_report,
    rules::{self, Context},
};

/// Pieces out of which odd files are made.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "FROM", "RUN", "COPY", "ENV", "ARG", "ONBUILD", "HEALTHCHECK", "CMD", "LABEL", "ADD", " ", " ", " ",
            "\n", "\n", "\r\n", "\\\n", "`\n", "#", "\t", "<<EOF", "<<-'E'", "EOF", "E", "--from=", "--", "=", "a",
            "\"", "'", "\\", "$x", "${", "}", ":-", "[", "]", "[\"a\"]", "\u{a0}", "\u{85}", "é", "\u{feff}",
            "# escape=`\n", "NONE", "AS", "\r", "\0", "--mount=type=", "cache", ",from=", "--network=", "http://",
            "127.0.0.1", "[::1]", "%31", "@", "/", ".git", "docker.sock", "/var/run/", "/./", "/proc/1/root", "chroot /host",
            "${x}", "$@", "# nosem", "check=skip=", "hadolint ignore=", "io.seatrial.", "http_proxy", "\u{202e}", "VOLUME",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_every_place_is_in_it(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        let parsed = parse(text.as_bytes());
        let _ = parse_report(&parsed);
        for error in &parsed.errors {
            prop_assert!(text.get(error.span.range()).is_some(), "{error:?}");
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
        for instruction in &parsed.dockerfile.instructions {
            prop_assert!(text.get(instruction.span.range()).is_some());
            prop_assert!(instruction.first_line <= instruction.last_line);
            for flag in &instruction.flags {
                prop_assert!(flag.span.end <= text.len());
            }
            for word in instruction.words() {
                prop_assert!(text.get(word.span.range()).is_some(), "{word:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse(&bytes);
        prop_assert_eq!(parsed.text.len(), bytes.len());
    }

    #[test]
    fn any_text_is_judged_without_panic_and_every_place_is_in_it(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        let parsed = parse(text.as_bytes());
        let findings = rules::analyze(text.as_bytes(), &parsed, &Context { allowed: &|_| false });
        prop_assert!(findings.iter().map(|finding| (finding.span, &finding.rule)).is_sorted());
        for finding in &findings {
            prop_assert!(text.get(finding.span.range()).is_some(), "{finding:?}");
            prop_assert_eq!((finding.line, finding.column), parsed.position(finding.span.start));
        }
        prop_assert!(parsed.errors.is_empty() || findings.iter().any(|finding| finding.rule == "ST040"));
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse(&bytes);
        let findings = rules::analyze(&bytes, &parsed, &Context { allowed: &|_| true });
        for finding in &findings {
            prop_assert!(parsed.text.get(finding.span.range()).is_some(), "{finding:?}");
        }
    }
}
