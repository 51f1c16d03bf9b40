//! Findings in the forms of other tools' worlds.
//!
//! Messages hold the text of strangers: each form escapes what would end a message in it, after what no
//! screen should print is escaped.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use seatrial_core::finding::{Finding, Level, escape_untrusted};
use seatrial_server::sarif::fingerprint;
use serde_json::{Value, json};

/// One workflow command of GitHub for a finding: an annotation at its place.
pub(crate) fn github(path: &str, text: &[u8], finding: &Finding) -> String {
    let kind = match finding.level {
        Level::Info => "notice",
        Level::Warn => "warning",
        Level::Error => "error",
    };
    let (end_line, end_column) = finding.end(text);
    // Columns are only shown when both are in one line.
    let columns = if end_line == finding.line {
        format!(",col={},endColumn={end_column}", finding.column)
    } else {
        String::new()
    };
    format!(
        "::{kind} file={},line={},endLine={end_line}{columns},title={}::{} {}",
        property(path),
        finding.line,
        property(&finding.rule),
        data(&finding.message),
        data(&finding.remedy),
    )
}

/// The data of a workflow command.
fn data(text: &str) -> String {
    escape_untrusted(text).replace('%', "%25")
}

/// A property of one.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// GitLab's code quality report; `files` are paths and what was found in them.
pub(crate) fn gitlab<'a>(files: impl IntoIterator<Item = (&'a str, Cow<'a, [Finding]>)>) -> Value {
    let mut issues = Vec::new();
    for (path, findings) in files {
        let mut alike: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for finding in findings.iter() {
            let nth = alike.entry((&finding.rule, &finding.message)).or_default();
            issues.push(json!({
                "description": escape_untrusted(&finding.message),
                "check_name": finding.rule,
                "fingerprint": fingerprint_in(path, finding, *nth),
                "severity": match finding.level {
                    Level::Info => "info",
                    Level::Warn => "minor",
                    Level::Error => "critical",
                },
                "location": {"path": path, "lines": {"begin": finding.line}},
            }));
            *nth += 1;
        }
    }
    Value::Array(issues)
}

/// GitLab's are unique in the report, not in the file.
fn fingerprint_in(path: &str, finding: &Finding, nth: usize) -> String {
    let whole = format!("{path}\0{}", fingerprint(finding, nth));
    seatrial_core::digest::Digest::of(whole.as_bytes()).hex()
}

/// Checkstyle's XML.
pub(crate) fn checkstyle<'a>(files: impl IntoIterator<Item = (&'a str, Cow<'a, [Finding]>)>) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n".to_owned();
    for (path, findings) in files {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "  <file name=\"{}\">", attribute(path));
        for finding in findings.iter() {
            let severity = match finding.level {
                Level::Info => "info",
                Level::Warn => "warning",
                Level::Error => "error",
            };
            let _ = writeln!(
                xml,
                "    <error line=\"{}\" column=\"{}\" severity=\"{severity}\" message=\"{}\" source=\"seatrial.{}\"/>",
                finding.line,
                finding.column,
                attribute(&finding.message),
                attribute(&finding.rule),
            );
        }
        xml.push_str("  </file>\n");
    }
    xml.push_str("</checkstyle>\n");
    xml
}

/// A value between double quotes. What XML cannot hold (controls) is escaped before.
fn attribute(text: &str) -> String {
    let text: String = escape_untrusted(text)
        .chars()
        // Non-characters are no XML either.
        .map(|character| {
            if matches!(character, '\u{fffe}' | '\u{ffff}') {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::Span;

    use super::*;

    fn finding(message: &str) -> Finding {
        Finding {
            rule: "ST003".into(),
            level: Level::Error,
            line: 2,
            column: 5,
            span: Span::new(4, 6),
            message: message.to_owned(),
            remedy: "Leave it.".into(),
            fix: None,
        }
    }

    #[test]
    fn an_annotation_has_its_place_and_no_text_can_end_it() {
        assert_eq!(
            github("a,b:c", b"F x\nab\n", &finding("100 % `a`\n::error::b")),
            "::error file=a%2Cb%3Ac,line=2,endLine=2,col=5,endColumn=7,title=ST003::100 %25 `a`\\n::error::b Leave it."
        );
    }

    #[test]
    fn code_quality_knows_alike_findings_apart_and_files_too() {
        let two = [finding("a"), finding("a")];
        let report = gitlab([("x", two[..].into()), ("y", two[..].into())]);
        let prints: std::collections::BTreeSet<_> = report
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| issue["fingerprint"].as_str().unwrap())
            .collect();
        assert_eq!(prints.len(), 4);
        assert_eq!(report[0]["location"], json!({"path": "x", "lines": {"begin": 2}}));
        assert_eq!(report[0]["severity"], "critical");
    }

    #[test]
    fn xml_stays_xml_whatever_a_message_holds() {
        let xml = checkstyle([("a&b", vec![finding("\"<x>\u{1}\u{ffff}")].into())]);
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n  <file name=\"a&amp;b\">\n    \
             <error line=\"2\" column=\"5\" severity=\"error\" message=\"&quot;&lt;x&gt;\\u{1}\u{fffd}\" \
             source=\"seatrial.ST003\"/>\n  </file>\n</checkstyle>\n"
        );
    }
}
