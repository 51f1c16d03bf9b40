//! Findings the way a good compiler shows them.
//!
//! A finding's columns count in the original text, while what is shown is the escaped one. So the
//! line is escaped first, piece by piece, noting where the span begins and ends in the result;
//! then a window of it is cut out, since a line may be as long as the file.

use annotate_snippets::{AnnotationKind, Group, Level as Style, Origin, Renderer, Snippet};
use seatrial_core::finding::{Finding, Level, escape_untrusted};

/// Most findings shown in full; a hostile file can have thousands.
const MAX_SHOWN: usize = 100;
/// Longest message shown, in characters.
const MAX_MESSAGE: usize = 400;
/// Characters of a line that are shown before and from the place of a finding: together less than
/// the renderer's own width, so that it has nothing to cut.
const BEFORE: usize = 40;
const FROM: usize = 80;

/// All findings of a file, each with its line, an underline and what to do. Empty without any.
pub(crate) fn text(path: &str, text: &[u8], findings: &[Finding]) -> String {
    let path = escape_untrusted(path);
    let mut shown: Vec<String> = findings
        .iter()
        .take(MAX_SHOWN)
        .map(|finding| one(&path, text, finding))
        .collect();
    if findings.len() > MAX_SHOWN {
        shown.push(format!(
            "… and {} more; `--format line` shows them all",
            findings.len() - MAX_SHOWN
        ));
    }
    if let Some(summary) = summary(findings) {
        shown.push(summary);
    }
    let mut joined = shown.join("\n\n");
    if !joined.is_empty() {
        joined.push('\n');
    }
    joined
}

/// The same at the end of a trial, where notes on style are only counted.
pub(crate) fn weighty(path: &str, text: &[u8], findings: &[Finding]) -> String {
    let shown: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.level > Level::Info)
        .cloned()
        .collect();
    let mut told = self::text(path, text, &shown);
    let notes = findings.len() - shown.len();
    if notes > 0 {
        told.push_str(&format!("{notes} note(s) on style; `seatrial analyze` shows them\n"));
    }
    told
}

/// One finding in one line: `path:3:5: error[ST003]: …`.
pub(crate) fn line(path: &str, finding: &Finding) -> String {
    format!(
        "{}:{}:{}: {}[{}]: {}",
        escape_untrusted(path),
        finding.line,
        finding.column,
        finding.level,
        escape_untrusted(&finding.rule),
        message(&finding.message)
    )
}

/// `2 errors, 1 warning`; `None` without any finding.
fn summary(findings: &[Finding]) -> Option<String> {
    let parts: Vec<String> = [
        (Level::Error, "error", "errors"),
        (Level::Warn, "warning", "warnings"),
        (Level::Info, "note", "notes"),
    ]
    .into_iter()
    .filter_map(|(level, one, many)| {
        let number = findings.iter().filter(|finding| finding.level == level).count();
        (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { many }))
    })
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn one(path: &str, text: &[u8], finding: &Finding) -> String {
    let style = match finding.level {
        Level::Error => Style::ERROR,
        Level::Warn => Style::WARNING,
        Level::Info => Style::INFO,
    };
    let excerpt = excerpt(text, finding);
    // A finding may come from a server.
    let rule = escape_untrusted(&finding.rule);
    let place = Origin::path(path).line(finding.line).char_column(finding.column);
    let source = Snippet::source(excerpt.shown)
        .line_start(finding.line)
        .fold(false)
        .annotation(AnnotationKind::Primary.span(excerpt.start..excerpt.end));
    let group: Group<'_> = style
        .primary_title(message(&finding.message))
        .id(&rule)
        .element(place)
        .element(source)
        .element(Style::HELP.message(message(&finding.remedy)));
    // The place is given apart from the source, because the renderer would count columns in the
    // escaped line; it takes the source for one of a second file then, and marks it so.
    let rendered = Renderer::styled().render(&[group]);
    let lines: Vec<&str> = rendered
        .lines()
        .filter(|line| anstream::adapter::strip_str(line).to_string().trim() != ":::")
        .collect();
    lines.join("\n")
}

fn message(text: &str) -> String {
    let mut bounded: String = text.chars().take(MAX_MESSAGE).collect();
    if bounded.len() < text.len() {
        bounded.push('…');
    }
    escape_untrusted(&bounded)
}

/// One line as it is shown, and the underlined part of it in bytes.
struct Excerpt {
    shown: String,
    start: usize,
    end: usize,
}

/// The line on which a finding begins; a span that goes on is underlined as far as its end.
fn excerpt(text: &[u8], finding: &Finding) -> Excerpt {
    let from = finding.span.start.min(text.len());
    let to = finding.span.end.clamp(from, text.len());
    let line_start = text[..from]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let line_end = text[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(text.len(), |length| from + length);
    let line_end = match text[line_start..line_end].last() {
        Some(b'\r') => line_end - 1,
        _ => line_end,
    };
    let (from, to) = (from.min(line_end), to.min(line_end));
    // Bytes are cut before they are escaped: a line may be as long as the file. A character that
    // is cut in two shows as an invalid one, outside of what the window keeps.
    let cut_start = from.saturating_sub(BEFORE * 4).max(line_start);
    let cut_end = (from + FROM * 4).min(line_end);
    let before = escape_bytes(&text[cut_start..from]);
    let within = escape_bytes(&text[from..to.min(cut_end)]);
    let after = escape_bytes(&text[to.min(cut_end)..cut_end]);

    let (before, dropped) = last_chars(&before, BEFORE);
    let head = if dropped || cut_start > line_start { "…" } else { "" };
    let (within, within_cut) = first_chars(&within, FROM);
    let room = FROM.saturating_sub(within.chars().count());
    let (after, after_cut) = first_chars(&after, room);
    let tail = if within_cut || after_cut || cut_end < line_end {
        "…"
    } else {
        ""
    };

    let start = head.len() + before.len();
    Excerpt {
        shown: format!("{head}{before}{within}{after}{tail}"),
        start,
        end: start + within.len(),
    }
}

/// Escapes bytes that need not be UTF-8: what is not shows as `\xNN`; a tab as four blanks.
fn escape_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (index, piece) in chunk.valid().split('\t').enumerate() {
            if index > 0 {
                safe.push_str("    ");
            }
            safe.push_str(&escape_untrusted(piece));
        }
        for byte in chunk.invalid() {
            safe.push_str(&format!("\\x{byte:02x}"));
        }
    }
    safe
}

fn first_chars(text: &str, number: usize) -> (&str, bool) {
    match text.char_indices().nth(number) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

fn last_chars(text: &str, number: usize) -> (&str, bool) {
    match number.checked_sub(1).and_then(|nth| text.char_indices().nth_back(nth)) {
        Some((start, _)) => (&text[start..], start > 0),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::Span;

    use super::*;

    fn finding(text: &[u8], start: usize, end: usize, message: &str) -> Finding {
        let before = &text[..start];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Finding {
            rule: "ST003".into(),
            level: Level::Error,
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            span: Span::new(start, end),
            message: message.to_owned(),
            remedy: "Leave the flag out.".into(),
            fix: None,
        }
    }

    #[test]
    fn at_the_end_of_a_trial_notes_are_only_counted() {
        let text = b"FROM scratch\nRUN --security=insecure id\n";
        let note = Finding {
            level: Level::Info,
            ..finding(text, 0, 4, "a matter of style")
        };
        let told = weighty("Dockerfile", text, &[finding(text, 17, 36, "a fault"), note]);
        let told = anstream::adapter::strip_str(&told).to_string();
        assert!(
            told.contains("a fault") && !told.contains("a matter of style"),
            "{told}"
        );
        assert!(
            told.ends_with("1 error\n1 note(s) on style; `seatrial analyze` shows them\n"),
            "{told}"
        );
    }

    fn plain(text: &[u8], finding: &Finding) -> String {
        let styled = super::text("Dockerfile", text, std::slice::from_ref(finding));
        anstream::adapter::strip_str(&styled).to_string()
    }

    #[test]
    fn a_finding_is_shown_with_its_line_an_underline_and_a_remedy() {
        let text = b"FROM scratch\nRUN --security=insecure id\n";
        let shown = plain(text, &finding(text, 17, 36, "the step asks for all privileges"));
        assert_eq!(
            shown,
            "error[ST003]: the step asks for all privileges\n \
             --> Dockerfile:2:5\n  \
             |\n\
             2 | RUN --security=insecure id\n  \
             |     ^^^^^^^^^^^^^^^^^^^\n  \
             |\n  \
             = help: Leave the flag out.\n\n\
             1 error\n"
        );
    }

    #[test]
    fn hostile_bytes_are_made_visible_and_the_underline_stays_under_its_word() {
        let text = "RUN \u{202e}\u{1b}[31m\u{0}ä EVIL end\n".as_bytes();
        let start = text.windows(4).position(|word| word == b"EVIL").unwrap();
        let shown = plain(text, &finding(text, start, start + 4, "a\u{1b}]0;x\u{7}b"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "error[ST003]: a\\u{1b}]0;x\\u{7}b");
        let source = lines.iter().find(|line| line.starts_with("1 |")).unwrap();
        let under = lines.iter().find(|line| line.contains("^^^^")).unwrap();
        let column = |line: &str, what: &str| line.split(what).next().unwrap().chars().count();
        assert!(source.contains("\\u{202e}\\u{1b}[31m\\u{0}ä EVIL end"), "{shown}");
        assert_eq!(column(source, "EVIL"), column(under, "^^^^"), "{shown}");
        assert!(
            !shown
                .chars()
                .any(|character| character.is_control() && character != '\n')
        );
    }

    #[test]
    fn bytes_that_are_no_utf8_are_shown_as_numbers() {
        let text = b"RUN a\xff\xfeb\n";
        assert!(plain(text, &finding(text, 5, 7, "m")).contains("RUN a\\xff\\xfeb"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let mut text = vec![b'x'; 200_000];
        text.extend_from_slice(b" EVIL ");
        text.extend(vec![b'y'; 50_000]);
        let shown = plain(&text, &finding(&text, 200_001, 200_005, "m"));
        assert!(shown.len() < 1000, "{}", shown.len());
        assert!(
            shown.contains("EVIL") && shown.contains("…x") && shown.contains("y…"),
            "{shown}"
        );
    }

    #[test]
    fn a_span_over_several_lines_is_underlined_on_its_first() {
        let text = b"RUN a \\\r\n  b\r\n";
        let shown = plain(text, &finding(text, 0, 12, "m"));
        assert!(shown.contains("1 | RUN a \\\n  | ^^^^^^^\n"), "{shown}");
    }

    #[test]
    fn odd_places_are_shown_without_a_panic() {
        for text in [&b""[..], b"\n", b"FROM x", b"\xf0\x9f", "ä\u{301}".as_bytes()] {
            for start in 0..=text.len() {
                for end in [start, text.len(), text.len() + 9] {
                    let mut odd = finding(text, start, end, "m");
                    assert!(!plain(text, &odd).is_empty());
                    odd.span.start += 100;
                    assert!(!plain(text, &odd).is_empty());
                }
            }
        }
    }

    #[test]
    fn one_line_says_where_what_and_which() {
        let text = b"FROM x\n";
        assert_eq!(
            line("a\nb", &finding(text, 5, 6, "bad\nname")),
            "a\\nb:1:6: error[ST003]: bad\\nname"
        );
    }

    #[test]
    fn many_findings_are_counted_and_not_all_shown() {
        let text = b"FROM x\n";
        let findings = vec![finding(text, 0, 4, "m"); 150];
        let shown = super::text("D", text, &findings);
        assert!(shown.contains("and 50 more") && shown.contains("150 errors"), "{shown}");
        assert_eq!(super::text("D", text, &[]), "");
    }
}
