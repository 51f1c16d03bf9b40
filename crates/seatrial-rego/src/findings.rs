//! Results of checks as findings of ours.

use seatrial_core::finding::{Finding, Span};
use seatrial_dockerfile::Parsed;
use seatrial_policy::rego::PREFIX;

use crate::Hit;

/// Results of checks as findings, at the places that they name.
#[must_use]
pub fn findings(hits: Vec<Hit>, parsed: &Parsed) -> Vec<Finding> {
    let mut starts = vec![0];
    starts.extend(parsed.text.match_indices('\n').map(|(at, _)| at + 1));
    // Without its line feed; a line that there is not has no place.
    let line = |number: usize| {
        let start = *starts.get(number.checked_sub(1)?)?;
        let end = starts.get(number).map_or(parsed.text.len(), |next| next - 1);
        Some(Span::new(start, end.max(start)))
    };
    let finding = |hit: Hit| {
        let first = line(hit.first_line);
        let last = line(hit.last_line).filter(|_| hit.last_line >= hit.first_line);
        let span = first.map_or_else(Span::default, |first| {
            Span::new(first.start, last.map_or(first.end, |last| last.end))
        });
        let title = hit
            .title
            .as_deref()
            .map_or("Change what it is about", |title| title.trim_end_matches('.'));
        Finding {
            rule: format!("{PREFIX}{}", hit.check).into(),
            level: hit.level,
            line: if first.is_some() { hit.first_line } else { 1 },
            column: 1,
            span,
            message: hit.message,
            remedy: format!("{title}: the operator asks for it in {}.", hit.file).into(),
            fix: None,
        }
    };
    hits.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::Level;

    use super::*;

    #[test]
    fn a_result_stands_at_its_lines_and_one_without_at_the_first() {
        let parsed = seatrial_dockerfile::parse(b"FROM a\nRUN b \\\n c\nUSER x\n");
        let at = |first_line, last_line| {
            let hit = Hit {
                check: "X-1".into(),
                title: None,
                file: "a.rego".into(),
                message: "m".into(),
                level: Level::Error,
                first_line,
                last_line,
            };
            let finding = findings(vec![hit], &parsed).remove(0);
            (finding.line, parsed.slice(finding.span).to_owned())
        };
        assert_eq!(at(2, 3), (2, "RUN b \\\n c".to_owned()));
        assert_eq!(at(4, 1), (4, "USER x".to_owned()));
        assert_eq!(at(0, 0), (1, String::new()));
        assert_eq!(at(usize::MAX, usize::MAX), (1, String::new()));
    }
}
