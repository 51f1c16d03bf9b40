//! ST549 and ST554 to ST556: forms that are old, refused or misleading.

use seatrial_core::finding::Span;

use super::{label, variable};
use crate::{
    ast::{Instruction, Keyword},
    rules::{
        Site,
        catalogue::{ST549, ST554, ST555, ST556},
        sink::{Sink, quoted, replace},
    },
};

pub(super) fn maintainer(site: Site<'_>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let parsed = sink.parsed();
    let escape = parsed.dockerfile.escape;
    let name = variable::text(instruction).map_or("", |word| word.value.as_str());
    sink.report_fixed(
        &ST549,
        instruction.keyword_span,
        || format!("MAINTAINER names {}", quoted(name)),
        || {
            let name = name.trim();
            let inner = name
                .strip_prefix('"')
                .and_then(|name| name.strip_suffix('"'))
                .unwrap_or(name);
            let plain = !inner.trim().is_empty() && !inner.contains(['"', '$', escape]) && label::has_address(inner);
            let keyword = if instruction.logical.text.trim_start().starts_with("maintainer") {
                "label"
            } else {
                "LABEL"
            };
            let text = format!("{keyword} org.opencontainers.image.authors=\"{inner}\"");
            let one_line = super::is_one_line(parsed, instruction.span);
            // Of two labels of one name only the last is kept.
            let is_new = !parsed.text.contains("org.opencontainers.image.authors");
            (plain && one_line && is_new && !site.is_trigger).then(|| replace("Use a label", instruction.span, text))
        },
    );
}

pub(super) fn trigger(instruction: &Instruction, sink: &mut Sink<'_>) {
    let Some(trigger) = instruction.trigger() else { return };
    if matches!(trigger.keyword, Keyword::From | Keyword::Maintainer | Keyword::Onbuild) {
        sink.report(&ST554, trigger.keyword_span, || {
            format!("ONBUILD does not take {}", trigger.keyword.as_str())
        });
    }
}

/// Empty lines where the line before asks for more.
pub(super) fn empty_lines(instruction: &Instruction, sink: &mut Sink<'_>) {
    let parsed = sink.parsed();
    for line in &instruction.empty_continuations {
        let Some(start) = parsed.line_start(*line) else {
            continue;
        };
        let end = parsed.line_start(line + 1).unwrap_or(parsed.text.len());
        sink.report_fixed(
            &ST555,
            Span::new(start, start),
            || format!("{} goes on behind this empty line", instruction.keyword.as_str()),
            || (start < end).then(|| replace("Remove the empty line", Span::new(start, end), "")),
        );
    }
}

/// The comment before an `ARG` or a stage, where the file asks for descriptions.
pub(super) fn description(instruction: &Instruction, sink: &mut Sink<'_>) {
    let file = &sink.parsed().dockerfile;
    let asked = file
        .directives
        .iter()
        .any(|directive| directive.name == "check" && asks_for_descriptions(&directive.value));
    let comment = file
        .comments
        .get(instruction.comments.clone())
        .and_then(|comments| comments.iter().rfind(|comment| comment.line < instruction.first_line));
    let Some(comment) = comment.filter(|comment| asked && comment.line + 1 == instruction.first_line) else {
        return;
    };
    if file.directives.iter().any(|directive| directive.line == comment.line) {
        return;
    }
    if comment.text.is_empty() {
        return; // a line that only looks nice
    }
    let first = comment.text.split(' ').next().unwrap_or_default();
    let stage = instruction.stage_name();
    let names: Vec<&str> = match &stage {
        Some(stage) => vec![stage],
        None => instruction
            .pairs()
            .iter()
            .map(|pair| pair.name.value.as_str())
            .collect(),
    };
    let described = names
        .iter()
        .any(|name| *name == first || (instruction.keyword == Keyword::From && name.eq_ignore_ascii_case(first)));
    if !names.is_empty() && !described {
        sink.report(&ST556, comment.span, || {
            format!(
                "the comment does not begin with {}",
                quoted(names.first().copied().unwrap_or_default())
            )
        });
    }
}

fn asks_for_descriptions(options: &str) -> bool {
    options.split(';').any(|option| {
        option.trim().strip_prefix("experimental=").is_some_and(|rules| {
            rules
                .split(',')
                .any(|rule| matches!(rule.trim(), "all" | "InvalidDefinitionDescription"))
        })
    })
}
