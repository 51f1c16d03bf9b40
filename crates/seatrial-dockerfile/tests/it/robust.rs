//! No input makes the parser or the rules panic, recurse or lose their way.

use proptest::prelude::*;
use seatrial_dockerfile::{
    fix, parse, parse_report,
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
            "${x}", "$@", "# nosem", "check=skip=", "hadolint ignore=", "io.seatrial.", "http_proxy", "\u{202e}", "VOLUME", "USER", "root",
            "WORKDIR", "EXPOSE", "22-", "/TCP", "SHELL", "ENTRYPOINT", "MAINTAINER", "from", "--platform=", "$TARGETPLATFORM",
            "--chmod=4755", "--chown=0:0", "PATH=", "LD_PRELOAD", "password", "ghp_0a1B2c3D4e5F", "eyJhbGciOiJIUzI1NiJ9.", "://",
            "user:pass@", "-----BEGIN ", "PRIVATE KEY-----", "AKIA", ".tar.gz", "tar -x", "org.opencontainers.image.created",
            "# check=experimental=all\n", ":latest", "@sha256:", "localhost/",
            "$(", "$((", "<(", ")", "))", "`", "\\`", "{ ", ";}", "(", "((", "|", "||", "&&", "&", ";", ";;", "case a in ", "esac",
            "if ", "then ", "fi", "do ", "done", "while ", "for i in ", "f() ", "f ", "eval ", "sh -c '", "bash <<EOF", "<<< ",
            "[[ ", "]]", "! ", "$'", "\\x41", "sudo ", "env a=", "curl ", "SHELL [\"bash\", \"-c\"]", "xargs ", "a=(", "<<\\E",
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
        let findings = rules::analyze(text.as_bytes(), &parsed, &Context { allowed: &|_| false, pinned: false });
        prop_assert!(findings.iter().map(|finding| (finding.span, &finding.rule)).is_sorted());
        let _ = fix::apply(&text, &findings);
        for finding in &findings {
            prop_assert!(text.get(finding.span.range()).is_some(), "{finding:?}");
            for edit in finding.fix.iter().flat_map(|fix| &fix.edits) {
                prop_assert!(text.get(edit.span.range()).is_some(), "{finding:?}");
            }
            prop_assert_eq!((finding.line, finding.column), parsed.position(finding.span.start));
        }
        prop_assert!(parsed.errors.is_empty() || findings.iter().any(|finding| finding.rule == "ST040"));
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse(&bytes);
        let findings = rules::analyze(&bytes, &parsed, &Context { allowed: &|_| true, pinned: false });
        for finding in &findings {
            prop_assert!(parsed.text.get(finding.span.range()).is_some(), "{finding:?}");
        }
    }
}

/// Pieces out of which odd scripts are made.
fn shell_piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            " ", " ", " ", "\n", ";", "|", "&&", "||", "&", "a", "x=", "$x", "${x", ":-", "}", "$(", ")", "`", "\"", "'", "\\", "$'", "#",
            "<<E", "<<'E'", "\nE\n", "<<<", "<(", ">", "2>&1", "((", "))", "$((", "{ ", ";}", "if ", ";then ", ";fi", "case a in ", "b)",
            ";;", "esac", "while ", ";do ", ";done", "f()", "f ", "eval ", "sh -c ", "curl ", "-o /x ", "sh", "sudo ", "env A=b ",
            "base64 -d", "find -exec ", "xargs ", "chmod 4755 ", "/dev/tcp/h/1", "nc -e ", "python3 -c ", "é", "\u{0}", "set -- ", "$1",
            "exec ", "https://e", "dd if=/dev/zero of=/x ", "trap 'a' ", "su -c ", "export ", "@", "[", "]", "!", "=", "-", "*", "\t",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn any_script_is_judged_without_panic(pieces in prop::collection::vec(shell_piece(), 0..40), calm in any::<bool>()) {
        let body = pieces.concat();
        let text = if calm {
            format!("FROM a\nENV x='c d' y=e\nRUN {}\n", body.replace('\n', " \\\n "))
        } else {
            format!("FROM a\nSHELL [\"bash\", \"-c\"]\nRUN <<END\n{body}\nEND\n")
        };
        let parsed = parse(text.as_bytes());
        for finding in rules::analyze(text.as_bytes(), &parsed, &Context { allowed: &|_| true, pinned: false }) {
            prop_assert!(text.get(finding.span.range()).is_some(), "{finding:?}");
        }
    }
}

/// Openings and closings of what nests in shell text.
const NESTS: [(&str, &str); 29] = [
    ("$(", ")"),
    ("a $(", ")"),
    ("\"$(", ")\""),
    ("<(", ")"),
    ("(", ")"),
    ("((", "))"),
    ("$((", "))"),
    ("$(( ", ") )"),
    ("{ ", ";}"),
    ("${a:-", "}"),
    ("\"${a:-", "}\""),
    ("`", ""),
    ("\\`", ""),
    ("if a; then ", ";fi"),
    ("if ", ";then b;fi"),
    ("case a in b) ", ";;esac"),
    ("while ", ";do b;done"),
    ("for x in y; do ", ";done"),
    ("f() { ", ";}"),
    ("f() ", ""),
    ("! ", ""),
    ("a|", ""),
    ("a&&", ""),
    ("a=(", ")"),
    ("a[", "]"),
    ("sh -c \"", "\""),
    ("eval ", ""),
    ("cat <<E\n", "\nE"),
    ("$(cat <<E\n", "\nE\n)"),
];

/// What may follow one another without end.
const REPEATS: [&str; 22] = [
    "a;",
    ";",
    "a ",
    "$a",
    "${a}",
    "$(a)",
    "`a`",
    "\"$(a)\"",
    "{a,",
    "@(",
    "a=b ",
    "> a ",
    "<<E ",
    "'",
    "\"",
    "\\",
    "é",
    "}",
    ")",
    "f(){ a|f& };f;",
    "curl x|sh;",
    "a=$a$a;",
];

#[test]
fn no_shell_text_breaks_the_stack_or_the_time() {
    let judge = |text: &str| {
        let parsed = parse(text.as_bytes());
        let findings = rules::analyze(
            text.as_bytes(),
            &parsed,
            &Context {
                allowed: &|_| true,
                pinned: false,
            },
        );
        assert!(findings.iter().all(|finding| text.get(finding.span.range()).is_some()));
    };
    for size in [10, 40, 700, 8_000] {
        let nests = NESTS.iter().flat_map(|(open, close)| {
            [
                open.repeat(size),
                format!("{}a{}", open.repeat(size), close.repeat(size)),
            ]
        });
        for body in nests.chain(REPEATS.iter().map(|part| part.repeat(size))) {
            judge(&format!("FROM a\nRUN {}\n", body.replace('\n', " ")));
            judge(&format!("FROM a\nRUN <<END\n{body}\nEND\n"));
            judge(&format!("FROM a\nRUN [[ {body} ]] $(({body})) \"{body}\"\n").replace("\n\n", "\n"));
        }
    }
    judge(&format!("FROM a\nRUN <<END\necho {}\nEND\n", "x".repeat(900_000)));
    let nested = "RUN a $(b $(c $(d $(e $(f $(g $(h $(i $(j k)))))))))\n".repeat(900);
    judge(&format!("FROM a\n{nested}"));
}
