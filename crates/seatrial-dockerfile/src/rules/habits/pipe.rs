//! ST451: pipes whose first programs may fail unseen.

use seatrial_core::finding::Level;

use super::joined;
use crate::{
    rules::{
        Progress, Site,
        catalogue::ST451,
        sink::{Sink, quoted},
    },
    script::{Command, Script},
};

/// Shells that know the option.
const KNOWING: [&str; 5] = ["bash", "zsh", "ash", "ksh", "mksh"];

pub(super) fn judge(site: Site<'_>, script: &Script, progress: &Progress, sink: &mut Sink<'_>) {
    let interpreter = progress.interpreter();
    if !site.instruction.json_form() && KNOWING.contains(&interpreter.shell()) && interpreter.sets('\0', "pipefail") {
        return;
    }
    let mut is_set = false;
    let mut pipes = Vec::new();
    let mut is_grave = false;
    for (index, command) in script.commands.iter().enumerate() {
        is_set |= sets_pipefail(command);
        if is_set || command.position == 0 {
            continue;
        }
        is_grave = is_grave || script.feeders(index).iter().any(|feeder| can_fail(script, *feeder));
        if command.position == 1 || pipes.is_empty() {
            pipes.push(index);
        }
    }
    let Some((first, command)) = pipes
        .first()
        .and_then(|first| script.commands.get(*first).map(|command| (*first, command)))
    else {
        return;
    };
    let level = if is_grave { ST451.level } else { Level::Info };
    let feeder = script
        .feeders(first)
        .last()
        .and_then(|feeder| script.commands.get(*feeder));
    let span = feeder.map_or(command.span, |feeder| joined(feeder.span, command.span));
    sink.report_at(level, &ST451, span, ST451.remedy, || {
        let program = feeder.map(Command::program).filter(|program| !program.is_empty());
        let program = program.map_or_else(|| "what stands before the pipe".to_owned(), quoted);
        let more = match pipes.len() {
            1 => "",
            2 => ", and one more pipe is like it",
            _ => ", and more pipes are like it",
        };
        format!("the step goes on when {program} fails{more}")
    });
}

/// What only prints its own words hardly fails.
fn can_fail(script: &Script, index: usize) -> bool {
    let program = script.commands.get(index).map(Command::program);
    !matches!(program, Some("echo" | "printf" | "yes" | "true" | ":"))
}

/// `set -o pipefail`, `set -euo pipefail`.
fn sets_pipefail(command: &Command) -> bool {
    let is_set = command.program() == "set" || command.is_shell();
    is_set && command.arg("pipefail").is_some()
}
