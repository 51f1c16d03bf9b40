//! ST456: steps that could be one.

use crate::{
    ast::{Instruction, Keyword},
    rules::{Progress, Site, catalogue::ST456, sink::Sink},
    script::{Script, Via},
};

/// Takes note of how many commands a step has.
pub(super) fn note(site: Site<'_>, script: &Script, progress: &mut Progress) {
    if site.is_trigger {
        return;
    }
    // A test is no command of its own here: it decides whether the next one runs.
    let commands = script.commands.iter().filter(|command| {
        matches!(command.via, Via::Text | Via::Substitution) && !matches!(command.program(), "[" | "[[")
    });
    progress
        .habits
        .commands
        .insert(site.instruction.span.start, commands.count());
}

/// Two steps of one command each, one behind the other, with the same flags.
pub(super) fn finish(progress: &Progress, sink: &mut Sink<'_>) {
    let is_single = |step: &Instruction| {
        let is_short = match progress.habits.commands.get(&step.span.start) {
            Some(count) => *count <= 1,
            // For another shell, but most of them join commands in the same way.
            None => !step.rest.value.contains([';', '&', '|', '\n']),
        };
        step.keyword == Keyword::Run && is_short
    };
    let parsed = sink.parsed();
    for pair in parsed.dockerfile.instructions.windows(2) {
        let [before, step] = pair else { continue };
        if !is_single(before) || !is_single(step) || !has_same_flags(before, step) {
            continue;
        }
        sink.report(&ST456, step.keyword_span, || {
            format!("could be one step with the RUN of line {}", before.first_line)
        });
    }
}

fn has_same_flags(one: &Instruction, other: &Instruction) -> bool {
    let flags = one.flags.iter().map(|flag| (&flag.name, &flag.value));
    flags.eq(other.flags.iter().map(|flag| (&flag.name, &flag.value)))
}
