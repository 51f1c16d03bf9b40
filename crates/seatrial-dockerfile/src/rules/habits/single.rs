//! ST452 to ST455, ST457 and ST458: single commands.

use seatrial_core::finding::Span;

use super::only_asks;
use crate::{
    Parsed,
    rules::{
        Progress, Site,
        catalogue::{ST452, ST453, ST454, ST455, ST457, ST458, ST459},
        packages::add_behind,
        sink::{Sink, quoted},
    },
    script::{Command, Script, Via},
};

/// Programs for people at a terminal, for services and for machines.
const SENSELESS: [&str; 9] = [
    "free", "kill", "mount", "ps", "service", "shutdown", "ssh", "top", "vim",
];
/// The number of digits from which useradd is slow.
const HIGH: usize = 6;

pub(super) fn judge(site: Site<'_>, script: &Script, sink: &mut Sink<'_>) {
    for command in &script.commands {
        if only_asks(command) {
            continue;
        }
        match command.program() {
            "cd" => change(site, command, sink),
            "wget" => progress_bar(command, sink),
            "ln" | "cp" | "mv" => replaced_shell(command, sink),
            "useradd" => high_number(site, command, sink),
            program if SENSELESS.contains(&program) => {
                sink.report(&ST454, command.span, || {
                    format!("{program} has nothing to do in a build")
                });
            }
            _ => {}
        }
    }
}

/// What another shell is told to do has no WORKDIR.
fn change(site: Site<'_>, command: &Command, sink: &mut Sink<'_>) {
    if command.via == Via::Shell {
        return;
    }
    let rule = if is_link(site, sink.parsed(), command) {
        &ST452
    } else {
        &ST459
    };
    sink.report(rule, command.span, || {
        let folder = command.args().first().map(|word| quoted(&word.text));
        format!("cd to {}", folder.as_deref().unwrap_or("the home"))
    });
}

/// A command is the first of its step, or follows `&&`.
fn is_link(site: Site<'_>, parsed: &Parsed, command: &Command) -> bool {
    let start = site.instruction.rest.span.start;
    let comments = &parsed.dockerfile.comments;
    let mut before = parsed.text.get(start..command.span.start).unwrap_or_default();
    loop {
        before = before.trim_end();
        let end = start + before.len();
        let last = comments.partition_point(|comment| comment.span.start < end);
        let comment = last.checked_sub(1).and_then(|last| comments.get(last));
        match comment.filter(|comment| comment.span.end >= end && comment.span.start >= start) {
            Some(comment) => before = before.get(..comment.span.start - start).unwrap_or_default(),
            None => match before.strip_suffix(parsed.dockerfile.escape) {
                Some(rest) => before = rest,
                None => return before.is_empty() || before.ends_with("&&"),
            },
        }
    }
}

/// wget without an option that says where its progress goes.
fn progress_bar(command: &Command, sink: &mut Sink<'_>) {
    let mut args = command.args().iter().map(|word| word.text.as_str());
    let quiet = [
        "--quiet",
        "--no-verbose",
        "--progress",
        "--output-file",
        "--append-output",
        "--background",
        "--version",
        "--help",
    ];
    let is_quiet = args.any(|word| match word.strip_prefix('-') {
        Some(letters) if letters.starts_with('-') => quiet.contains(&word.split('=').next().unwrap_or_default()),
        // What follows a letter that takes a value is the value.
        Some(letters) => {
            let own = letters.split(['O', 'P', 't', 'T', 'U', 'e', 'i', 'w', 'Q']).next();
            letters.contains("nv") || own.is_some_and(|own| own.contains(['q', 'o', 'a', 'b']))
        }
        None => false,
    });
    if is_quiet || command.args().is_empty() {
        return;
    }
    let Some(program) = command.words.first() else { return };
    sink.report(&ST455, program.span, || "wget without -q or --progress".into());
}

fn replaced_shell(command: &Command, sink: &mut Sink<'_>) {
    let Some(target) = command.operands().last() else {
        return;
    };
    if command.operands().count() > 1 && matches!(target.text.as_str(), "/bin/sh" | "/usr/bin/sh") {
        sink.report(&ST457, command.span, || {
            format!(
                "{} puts another program in the place of {}",
                command.program(),
                target.text
            )
        });
    }
}

fn high_number(site: Site<'_>, command: &Command, sink: &mut Sink<'_>) {
    let Some(number) = command.value('u', "uid") else {
        return;
    };
    let digits = number.trim_start_matches('0');
    let is_high = digits.len() >= HIGH && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_high || command.flag('l', "no-log-init").is_some() {
        return;
    }
    let parsed = sink.parsed();
    sink.report_fixed(
        &ST458,
        command.span,
        || format!("useradd gives the number {} without --no-log-init", quoted(number)),
        || add_behind(site, parsed, command.words.first()?, "--no-log-init"),
    );
}

/// The programs that download in a stage.
#[derive(Default)]
pub(super) struct Downloads {
    stage: usize,
    wget: Option<Span>,
    curl: Option<Span>,
}

/// wget and curl in one stage; told once, at the second of the two.
pub(super) fn downloads(site: Site<'_>, script: &Script, progress: &mut Progress, sink: &mut Sink<'_>) {
    if site.is_trigger {
        return;
    }
    let stage = progress.stage_count;
    let seen = &mut progress.habits.downloads;
    if seen.stage != stage {
        *seen = Downloads {
            stage,
            ..Downloads::default()
        };
    }
    for command in &script.commands {
        let program = command.program();
        let own = match program {
            "wget" => &mut seen.wget,
            "curl" => &mut seen.curl,
            _ => continue,
        };
        if only_asks(command) || own.is_some() {
            continue;
        }
        *own = Some(command.span);
        if let (Some(_), Some(_)) = (seen.wget, seen.curl) {
            sink.report(&ST453, command.span, || {
                let other = if program == "wget" { "curl" } else { "wget" };
                format!("{program} downloads here, {other} before")
            });
        }
    }
}
