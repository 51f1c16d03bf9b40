//! ST018: comments that tell some tool to look away.

use seatrial_core::finding::Span;

use super::{
    catalogue::ST018,
    needle::Needles,
    sink::{Sink, quoted},
};
use crate::ast::Keyword;

/// Pragmas that their tools find anywhere in a comment, in lower case, the longer of two first.
static ANYWHERE: Needles = Needles::new(
    &[
        "bridgecrew:skip",
        "checkov:skip",
        "cortex:skip",
        "dockle:ignore",
        "dockle ignore",
        "gitleaks:allow",
        "kics-scan disable",
        "kics-scan enable",
        "kics-scan ignore",
        "nosemgrep",
        "nosonar",
        "nosec",
        "nosem",
        "seatrial:ignore",
        "seatrial ignore",
        "snyk:ignore",
        "terrascan:skip",
        "tfsec:ignore",
        "trivy:ignore",
        "ts:skip",
    ],
    0,
);

pub(super) fn judge(sink: &mut Sink<'_>) {
    let parsed = sink.parsed();
    for comment in &parsed.dockerfile.comments {
        let text = stripped(&comment.text);
        if switches_off_check(text) || is_hadolint_ignore(text) || has_pragma(text) {
            sink.report(&ST018, comment.span, || told(text));
        }
    }
    for instruction in &parsed.dockerfile.instructions {
        let keyword = instruction
            .trigger()
            .map_or(instruction.keyword, |trigger| trigger.keyword);
        if keyword == Keyword::Run {
            let logical = &instruction.logical;
            trailing(&logical.text, |from, to| logical.span(from, to), sink);
        }
        for heredoc in &instruction.heredocs {
            let mut done = 0;
            for (hash, _) in heredoc.body.match_indices('#') {
                if hash < done {
                    continue; // in a line that was looked at
                }
                let start = heredoc.body[done..hash].rfind('\n').map_or(done, |end| done + end + 1);
                let line = heredoc.body[start..].split('\n').next().unwrap_or_default();
                let origin = heredoc.body_span.start + start;
                trailing(
                    line.trim_end_matches('\r'),
                    |from, to| Span::new(origin + from, origin + to),
                    sink,
                );
                done = start + line.len();
            }
        }
    }
}

/// A shell comment, from the first `#` that a shell would take for one.
fn trailing(text: &str, place: impl Fn(usize, usize) -> Span, sink: &mut Sink<'_>) {
    let begins = |at: &usize| {
        text[..*at]
            .bytes()
            .next_back()
            .is_none_or(|before| matches!(before, b' ' | b'\t' | b';' | b'&' | b'|' | b'(' | b'"' | b'\''))
    };
    let Some(at) = text.match_indices('#').map(|(at, _)| at).find(begins) else {
        return;
    };
    let comment = stripped(&text[at..]);
    let leads = text[..at].trim().is_empty();
    if has_pragma(comment) || (leads && is_hadolint_ignore(comment)) {
        sink.report(&ST018, place(at, text.len()), || told(comment));
    }
}

fn told(text: &str) -> String {
    format!("the comment {} asks a tool to look away", quoted(text))
}

fn stripped(text: &str) -> &str {
    text.trim_start_matches(['#', '!', '/', ' ', '\t']).trim_end()
}

/// The rest after a word in any case and the blanks behind it.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let start = text.get(..word.len())?;
    start
        .eq_ignore_ascii_case(word)
        .then(|| text[word.len()..].trim_start())
}

/// `hadolint ignore=…`, `hadolint global ignore=…`; other words of hadolint's are harmless.
fn is_hadolint_ignore(text: &str) -> bool {
    let Some(rest) = after(text, "hadolint") else {
        return false;
    };
    let rest = after(rest, "global").unwrap_or(rest);
    after(rest, "ignore").is_some_and(|rest| rest.starts_with(['=', ':']))
}

/// BuildKit's `check=skip=…`, also behind other options.
fn switches_off_check(text: &str) -> bool {
    let Some(options) = after(text, "check").and_then(|rest| rest.strip_prefix('=')) else {
        return false;
    };
    options
        .split(';')
        .any(|option| after(option.trim_start(), "skip").is_some_and(|rest| rest.starts_with('=')))
}

fn has_pragma(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (0..bytes.len()).any(|at| {
        ANYWHERE.at(bytes, at).is_some_and(|found| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            // `kics-scan ignore-line` and `checkov:skip=` go on; `nosection` is another word.
            let goes_on = found.starts_with("nos") && word(bytes.get(at + found.len()));
            !word(before) && !goes_on
        })
    })
}
