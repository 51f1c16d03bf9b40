//! What is refused here, each as a rule with a stable id.

use std::{borrow::Cow, collections::BTreeMap};

use seatrial_core::finding::{Finding, Level, Rule, Severity, Span};

use super::{LoweredBase, stages, step};
use crate::{parse::Parsed, shell::LexError};

/// The most characters of a message: it may repeat the guest's text.
const MAX_MESSAGE: usize = 200;

const fn rule(
    id: &'static str,
    title: &'static str,
    reason: &'static str,
    remedy: &'static str,
    [bad, good]: [&'static str; 2],
) -> Rule {
    Rule {
        id,
        title,
        level: Level::Error,
        severity: Severity::Medium,
        reason,
        remedy,
        concerns: &[],
        aliases: &[],
        bad,
        good,
    }
}

/// A form that is not built.
pub(super) static NOT_BUILT: Rule = rule(
    "ST090",
    "Form that is not built here",
    "It needs what a build here does not have (a network, secrets, devices, other platforms), or would bring instructions that were not judged.",
    "Put what it would fetch into the build context, and leave the form out.",
    [
        "FROM debian:12\nADD https://example.com/a.tar.gz /a/\n",
        "FROM debian:12\nCOPY a.tar.gz /a/\n",
    ],
);

/// A variable that cannot be decided.
pub(super) static UNDECIDED: Rule = rule(
    "ST091",
    "Variable that cannot be decided",
    "What is judged must be what is built, so every variable outside of commands is replaced before the build; this one gives no usable value.",
    "Give the ARG a default, write the value itself, or use ${name}, ${name:-word} or ${name:+word}.",
    [
        "FROM debian:12\nARG VERSION=1.2\nWORKDIR /app-${VERSION%.*}\n",
        "FROM debian:12\nARG VERSION=1.2\nWORKDIR /app-${VERSION}\n",
    ],
);

/// A flag or option that is not supported.
pub(super) static FLAG: Rule = rule(
    "ST092",
    "Flag, option or pattern that is not supported",
    "The builder does not take it, or means something else by it than BuildKit does.",
    "Leave it out or use the plain form: octal --chmod, --chown=user:group, *, ? and [abc] in sources.",
    [
        "FROM debian:12\nCOPY --chmod=u+x run.sh /\n",
        "FROM debian:12\nCOPY --chmod=755 run.sh /\n",
    ],
);

/// A stage or image that is not there.
pub(super) static NOWHERE: Rule = rule(
    "ST093",
    "Stage or image that cannot be found",
    "FROM, COPY --from and --mount=from= must name an earlier stage or a valid image.",
    "Name an earlier stage of this file, or a complete image name.",
    [
        "FROM debian:12\nCOPY --from=3 /a /a\n",
        "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=build /a /a\n",
    ],
);

/// A text that cannot be handed over unchanged.
pub(super) static UNWRITABLE: Rule = rule(
    "ST094",
    "Text that the builder would read in another way",
    "It cannot be written so that the builder reads what was judged: a line end within a value, a name with =, a delimiter that its own text holds.",
    "Use a simpler text, or put it into a file of the build context.",
    [
        "FROM debian:12\nARG TARGETARCH=mips\nRUN make\n",
        "FROM debian:12\nARG TARGETARCH\nRUN make\n",
    ],
);

/// Too large when expanded.
pub(super) static TOO_LARGE: Rule = rule(
    "ST095",
    "File that becomes too large when its variables are replaced",
    "Values that contain each other grow without bound.",
    "Use shorter values.",
    [DOUBLING, "FROM debian:12\nENV a=xx\nWORKDIR /$a\n"],
);

/// A value that no builder takes.
pub(super) static INVALID: Rule = rule(
    "ST096",
    "Value that no builder takes",
    "The build would fail at this instruction.",
    "See the reference of this instruction for its values.",
    [
        "FROM debian:12\nSTOPSIGNAL SIGNONE\n",
        "FROM debian:12\nSTOPSIGNAL SIGTERM\n",
    ],
);

/// A value of 4,096 times 4,096 bytes in the end.
const DOUBLING: &str = "FROM debian:12
ENV a=xxxxxxxxxxxxxxxx
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
WORKDIR /$a
";

/// All of them.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        &NOT_BUILT,
        &UNDECIDED,
        &FLAG,
        &NOWHERE,
        &UNWRITABLE,
        &TOO_LARGE,
        &INVALID,
    ]
    .into_iter()
}

/// What can be refused from the text alone, whatever the bases bring.
#[must_use]
pub fn findings(parsed: &Parsed) -> Vec<Finding> {
    if !parsed.errors.is_empty() {
        return Vec::new();
    }
    let graph = match stages::Graph::of(parsed) {
        Ok(graph) => graph,
        Err(findings) => return findings,
    };
    let unknown = |base: super::BaseUse| {
        let lowered = LoweredBase {
            reference: "0".repeat(64),
            config: Default::default(),
        };
        (base.reference, lowered)
    };
    let bases: BTreeMap<String, LoweredBase> = graph.bases().into_iter().map(unknown).collect();
    let mut findings = step::walk(parsed, &graph, &bases).err().unwrap_or_default();
    // A base may set the variable.
    findings.retain(|finding| finding.rule != UNDECIDED.id);
    findings
}

/// A finding at a place. A flag may end within a character, a finding may not.
pub(super) fn at(parsed: &Parsed, rule: &'static Rule, mut span: Span, message: String) -> Finding {
    while !parsed.text.is_char_boundary(span.start) {
        span.start -= 1;
    }
    while span.end < parsed.text.len() && !parsed.text.is_char_boundary(span.end) {
        span.end += 1;
    }
    let (line, column) = parsed.position(span.start);
    let message = match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    };
    Finding {
        rule: Cow::Borrowed(rule.id),
        level: rule.level,
        line,
        column,
        span,
        message,
        remedy: Cow::Borrowed(rule.remedy),
        fix: None,
    }
}

/// The rule of a text that cannot be expanded.
pub(super) fn of_lex(error: &LexError) -> &'static Rule {
    match error {
        LexError::TooLarge => &TOO_LARGE,
        LexError::Quote(_) | LexError::Brace | LexError::BadSubstitution | LexError::Modifier => &INVALID,
        LexError::Required { .. } | LexError::Pattern { .. } => &UNDECIDED,
    }
}
