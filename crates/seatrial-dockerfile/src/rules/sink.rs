//! Where findings gather: bounded in number, then placed and put in order.

use std::{borrow::Cow, collections::BTreeMap};

use seatrial_core::finding::{Edit, Finding, Fix, Level, Rule, Span};

use super::{Parsed, outline::masked};

/// The most findings of one rule that are told one by one.
const MAX_OF_A_RULE: usize = 100;
/// The most characters of the guest's text that a message repeats.
const MAX_QUOTED: usize = 80;
/// The most of it that is searched for credentials.
const MAX_MASKED: usize = 1_000;

struct Draft {
    rule: &'static str,
    level: Level,
    span: Span,
    message: String,
    remedy: Cow<'static, str>,
    fix: Option<Fix>,
}

struct Tally {
    rule: &'static Rule,
    count: usize,
    first_untold: Span,
}

pub(super) struct Sink<'a> {
    parsed: &'a Parsed,
    drafts: Vec<Draft>,
    tallies: BTreeMap<&'static str, Tally>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(parsed: &'a Parsed) -> Self {
        Self {
            parsed,
            drafts: Vec::new(),
            tallies: BTreeMap::new(),
        }
    }

    pub(super) fn parsed(&self) -> &'a Parsed {
        self.parsed
    }

    /// A finding with the rule's own remedy. The message is only made when it is told.
    pub(super) fn report(&mut self, rule: &'static Rule, span: Span, message: impl FnOnce() -> String) {
        self.report_with(rule, span, rule.remedy, message);
    }

    pub(super) fn report_with(
        &mut self,
        rule: &'static Rule,
        span: Span,
        remedy: impl Into<Cow<'static, str>>,
        message: impl FnOnce() -> String,
    ) {
        self.report_at(rule.level, rule, span, remedy, message);
    }

    /// A finding that weighs other than its rule does.
    pub(super) fn report_at(
        &mut self,
        level: Level,
        rule: &'static Rule,
        span: Span,
        remedy: impl Into<Cow<'static, str>>,
        message: impl FnOnce() -> String,
    ) {
        let tally = self.tallies.entry(rule.id).or_insert(Tally {
            rule,
            count: 0,
            first_untold: span,
        });
        tally.count += 1;
        if tally.count > MAX_OF_A_RULE {
            if tally.count == MAX_OF_A_RULE + 1 {
                tally.first_untold = span;
            }
            return;
        }
        self.drafts.push(Draft {
            rule: rule.id,
            level,
            span,
            message: message(),
            remedy: remedy.into(),
            fix: None,
        });
    }

    /// A finding with a correction. What `fix` makes is only asked for when the finding is told.
    pub(super) fn report_fixed(
        &mut self,
        rule: &'static Rule,
        span: Span,
        message: impl FnOnce() -> String,
        fix: impl FnOnce() -> Option<Fix>,
    ) {
        let told = self.drafts.len();
        self.report(rule, span, message);
        if let Some(draft) = self.drafts.get_mut(told) {
            draft.fix = fix();
        }
    }

    /// A finding of lowering: of a rule that [`super::rules`] lists.
    pub(super) fn adopt(&mut self, finding: Finding) {
        if let Some(rule) = super::rules().find(|rule| rule.id == finding.rule) {
            self.report_with(rule, finding.span, finding.remedy, || finding.message);
        }
    }

    /// The findings in the order of their places.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        for tally in self.tallies.values() {
            let Some(untold @ 1..) = tally.count.checked_sub(MAX_OF_A_RULE) else {
                continue;
            };
            self.drafts.push(Draft {
                rule: tally.rule.id,
                level: tally.rule.level,
                span: tally.first_untold,
                message: format!("from here on {untold} more of the same kind, not told one by one"),
                remedy: tally.rule.remedy.into(),
                fix: None,
            });
        }
        for draft in &mut self.drafts {
            draft.span = whole_characters(&self.parsed.text, draft.span);
        }
        self.drafts
            .sort_by(|one, other| (one.span, one.rule, &one.message).cmp(&(other.span, other.rule, &other.message)));
        self.drafts
            .dedup_by(|one, other| (one.span, one.rule, &one.message) == (other.span, other.rule, &other.message));
        let mut places = Places::new(self.parsed);
        self.drafts
            .into_iter()
            .map(|draft| {
                let (line, column) = places.of(draft.span.start);
                Finding {
                    rule: Cow::Borrowed(draft.rule),
                    level: draft.level,
                    line,
                    column,
                    span: draft.span,
                    message: draft.message,
                    remedy: draft.remedy,
                    fix: draft.fix.map(Box::new),
                }
            })
            .collect()
    }
}

/// Positions of ascending places. Asking for each by itself would count a line of 1 MiB from its
/// start for every finding on it.
struct Places<'a> {
    parsed: &'a Parsed,
    last: Option<(usize, (usize, usize))>,
}

impl<'a> Places<'a> {
    fn new(parsed: &'a Parsed) -> Self {
        Self { parsed, last: None }
    }

    fn of(&mut self, at: usize) -> (usize, usize) {
        let found = match self.last {
            Some((from, (line, column))) if !self.parsed.text[from..at].contains('\n') => {
                (line, column + self.parsed.text[from..at].chars().count())
            }
            _ => self.parsed.position(at),
        };
        self.last = Some((at, found));
        found
    }
}

/// The span widened to whole characters and cut to the text: BuildKit ends a flag in the middle of
/// a character where one of its bytes looks like a blank.
fn whole_characters(text: &str, span: Span) -> Span {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    Span::new(start, end)
}

/// The correction that puts one text in the place of a range.
pub(super) fn replace(title: impl Into<String>, span: Span, text: impl Into<String>) -> Fix {
    Fix {
        title: title.into(),
        edits: vec![Edit {
            span,
            text: text.into(),
        }],
    }
}

/// Without the quotes that an author put around it.
pub(super) fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

/// The guest's text for a message: in backticks, at most 80 characters, credentials left out. Backticks of its own are
/// apostrophes, so that nothing in it can look like another quoted text: waivers go by these.
pub(super) fn quoted(text: &str) -> String {
    // A credential may begin before the cut and end behind it.
    let window = text
        .char_indices()
        .nth(MAX_MASKED)
        .map_or(text, |(end, _)| &text[..end]);
    let masked = masked(window).replace('`', "'");
    match masked.char_indices().nth(MAX_QUOTED) {
        Some((cut, _)) => format!("`{}…`", &masked[..cut]),
        None => format!("`{masked}`"),
    }
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::Severity;

    use super::*;

    static RULE: Rule = Rule {
        id: "ST999",
        title: "",
        level: Level::Error,
        severity: Severity::Low,
        reason: "",
        remedy: "",
        concerns: &[],
        aliases: &[],
        bad: "",
        good: "",
    };

    #[test]
    fn a_hundred_are_told_and_the_rest_is_counted() {
        let text = "x".repeat(300);
        let parsed = crate::parse(text.as_bytes());
        let mut sink = Sink::new(&parsed);
        for at in 0..150 {
            sink.report(&RULE, Span::new(at, at + 1), || at.to_string());
        }
        let findings = sink.finish();
        assert_eq!(findings.len(), 101);
        assert_eq!(
            findings[100].message,
            "from here on 50 more of the same kind, not told one by one"
        );
        assert_eq!((findings[100].line, findings[100].column), (1, 101));
    }

    #[test]
    fn places_are_those_of_the_parser() {
        let text = "é é\n\nab é\r\né";
        let parsed = crate::parse(text.as_bytes());
        let mut places = Places::new(&parsed);
        for (at, _) in text.char_indices() {
            assert_eq!(places.of(at), parsed.position(at), "{at}");
        }
    }

    #[test]
    fn spans_are_widened_to_whole_characters_and_stay_in_the_text() {
        assert_eq!(whole_characters("aéb", Span::new(2, 2)), Span::new(1, 3));
        assert_eq!(whole_characters("a", Span::new(5, 9)), Span::new(1, 1));
    }

    #[test]
    fn quoted_text_is_cut() {
        assert_eq!(quoted("a"), "`a`");
        assert_eq!(quoted("a` `b"), "`a' 'b`");
        assert_eq!(quoted(&"é".repeat(81)).chars().count(), 83);
    }
}
