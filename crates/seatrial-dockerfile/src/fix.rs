//! A text with the corrections of its findings put in.
//!
//! A correction is taken as a whole or not at all. Where two would change the same place the first
//! wins; the other is found again when the result is judged, so who wants all of them judges and
//! applies until nothing changes.

use std::collections::BTreeMap;

use seatrial_core::finding::{Edit, Finding};

/// The findings whose corrections [`apply`] puts in, in their order.
#[must_use]
pub fn chosen<'f>(text: &str, findings: &'f [Finding]) -> Vec<&'f Finding> {
    let mut taken = BTreeMap::new();
    findings
        .iter()
        .filter(|finding| {
            let Some(fix) = &finding.fix else { return false };
            let fits = is_well_formed(text, &fix.edits) && fix.edits.iter().all(|edit| is_free(&taken, edit));
            if fits {
                taken.extend(fix.edits.iter().map(|edit| (edit.span.start, edit.span.end)));
            }
            fits
        })
        .collect()
}

/// The text with every correction that does not touch an earlier one.
#[must_use]
pub fn apply(text: &str, findings: &[Finding]) -> String {
    let mut edits: Vec<&Edit> = chosen(text, findings)
        .into_iter()
        .filter_map(|finding| finding.fix.as_deref())
        .flat_map(|fix| &fix.edits)
        .collect();
    edits.sort_by_key(|edit| edit.span);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        out.push_str(text.get(done..edit.span.start).unwrap_or_default());
        out.push_str(&edit.text);
        done = edit.span.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// In ascending order, apart from each other, at whole characters of the text.
fn is_well_formed(text: &str, edits: &[Edit]) -> bool {
    let in_text = edits.iter().all(|edit| text.get(edit.span.range()).is_some());
    let apart = edits.windows(2).all(|pair| match pair {
        [one, other] => one.span.end <= other.span.start && one.span != other.span,
        _ => true,
    });
    in_text && apart && !edits.is_empty()
}

/// Whether nothing that was taken shares a byte or a point of insertion with an edit.
fn is_free(taken: &BTreeMap<usize, usize>, edit: &Edit) -> bool {
    let span = edit.span;
    let before = taken.range(..span.start).next_back();
    let after = taken.range(span.start..).next();
    before.is_none_or(|(_, end)| *end <= span.start)
        && after.is_none_or(|(start, _)| *start > span.start && *start >= span.end)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use seatrial_core::finding::{Fix, Level, Span};

    use super::*;

    fn finding(edits: &[(usize, usize, &str)]) -> Finding {
        let edits = edits.iter().map(|(start, end, text)| Edit {
            span: Span::new(*start, *end),
            text: (*text).to_owned(),
        });
        Finding {
            rule: Cow::Borrowed("ST999"),
            level: Level::Info,
            line: 1,
            column: 1,
            span: Span::new(0, 0),
            message: String::new(),
            remedy: Cow::Borrowed(""),
            fix: Some(Box::new(Fix {
                title: String::new(),
                edits: edits.collect(),
            })),
        }
    }

    #[test]
    fn corrections_are_put_in_wherever_they_stand() {
        let findings = [
            finding(&[(4, 5, "E"), (5, 5, "!")]),
            finding(&[(0, 1, "")]),
            finding(&[(2, 3, "é")]),
        ];
        assert_eq!(apply("abcdef", &findings), "béd".to_owned() + "E!f");
        assert_eq!(apply("abc", &[]), "abc");
    }

    #[test]
    fn the_first_of_two_at_one_place_wins_as_a_whole() {
        let findings = [
            finding(&[(1, 3, "X")]),
            finding(&[(0, 1, "no"), (2, 4, "no")]),
            finding(&[(3, 4, "D")]),
            finding(&[(1, 1, "no")]),
            finding(&[(2, 2, "no")]),
        ];
        assert_eq!(apply("abcde", &findings), "aXDe");
        assert_eq!(chosen("abcde", &findings).len(), 2);
        let twice = [finding(&[(1, 1, "x")]), finding(&[(1, 1, "no")])];
        assert_eq!(apply("ab", &twice), "axb");
    }

    #[test]
    fn what_does_not_fit_the_text_is_left_out() {
        for edits in [
            &[(0, 9, "")][..],
            &[(1, 2, "")],
            &[(2, 1, "")],
            &[(3, 4, ""), (0, 1, "")],
            &[],
        ] {
            assert_eq!(apply("éabc", &[finding(edits)]), "éabc", "{edits:?}");
        }
    }
}
