//! ST521 to ST530: what a container starts with, and how its health is told.

use seatrial_core::finding::{Rule, Span};

use super::Survey;
use crate::{
    ast::{Args, Instruction, Keyword, Word},
    rules::{
        Site,
        catalogue::{ST521, ST522, ST523, ST524, ST525, ST526, ST527, ST528, ST529, ST530},
        sink::{Sink, quoted, replace},
    },
};

/// Programs that read shell text.
const SHELLS: [&str; 15] = [
    "ash",
    "bash",
    "busybox",
    "cmd",
    "cmd.exe",
    "dash",
    "fish",
    "ksh",
    "mksh",
    "powershell",
    "powershell.exe",
    "pwsh",
    "pwsh.exe",
    "sh",
    "zsh",
];

/// Words that only a shell knows: without it they are no programs.
const BUILTINS: [&str; 45] = [
    "!", ".", ":", "[", "[[", "alias", "break", "case", "cd", "command", "continue", "echo", "eval", "exec", "exit",
    "export", "false", "for", "if", "printf", "pwd", "read", "return", "set", "shift", "source", "test", "times",
    "trap", "true", "type", "ulimit", "until", "while", "getopts", "hash", "jobs", "kill", "let", "local", "readonly",
    "time", "umask", "unset", "wait",
];

/// The lines of a stage that only count once.
#[derive(Default)]
pub(super) struct Once<'a> {
    cmd: Option<&'a Instruction>,
    entrypoint: Option<&'a Instruction>,
    health: Option<&'a Instruction>,
    has_shell: bool,
}

pub(super) fn judge<'a>(site: Site<'a>, survey: &mut Survey<'a>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    detour(instruction, sink);
    if site.is_trigger {
        return;
    }
    let is_uniform = survey.case.is_uniform();
    let once = &mut survey.here().once;
    let (last, rule): (_, &'static Rule) = match instruction.keyword {
        Keyword::Cmd => (&mut once.cmd, &ST521),
        Keyword::Entrypoint => (&mut once.entrypoint, &ST522),
        _ => (&mut once.health, &ST523),
    };
    if let Some(before) = last.replace(instruction) {
        let parsed = sink.parsed();
        let line = instruction.first_line;
        sink.report_fixed(
            rule,
            before.keyword_span,
            || format!("line {line} replaces this {}", instruction.keyword.as_str()),
            || {
                // Without it another case of keywords may be the usual one.
                let start = parsed.line_start(before.first_line).filter(|_| is_uniform)?;
                let end = parsed.line_start(before.last_line + 1)?;
                Some(replace("Remove the line", Span::new(start, end), ""))
            },
        );
    }
    shell_form(instruction, survey, sink);
}

fn shell_form(instruction: &Instruction, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let text = match &instruction.args {
        Args::Text(text) => text,
        Args::Health(health) => match &*health.command {
            Args::Text(text) => text,
            _ => return,
        },
        _ => return,
    };
    let keyword = instruction.keyword;
    let has_shell = survey.chain().any(|stage| stage.once.has_shell) || survey.before.once.has_shell;
    let rule = match keyword {
        Keyword::Healthcheck => &ST528,
        _ if has_shell => &ST527,
        _ => &ST526,
    };
    let parsed = sink.parsed();
    // The program of an ENTRYPOINT, also of one that the base has, would get the words instead of the
    // shell's call; so a CMD means the same only where ENTRYPOINT [] took it away.
    let is_alone = match keyword {
        Keyword::Healthcheck => true,
        Keyword::Cmd => {
            let entrypoint = survey.chain().find_map(|stage| stage.once.entrypoint);
            entrypoint.is_some_and(|entrypoint| entrypoint.json_form() && entrypoint.words().is_empty())
        }
        _ => false,
    };
    sink.report_fixed(
        rule,
        text.span,
        || format!("{} starts a shell for {}", keyword.as_str(), quoted(&text.value)),
        || {
            let json = as_json(text).filter(|_| is_alone && !has_shell)?;
            super::is_one_line(parsed, text.span).then(|| replace("Use the JSON form", text.span, json))
        },
    );
}

/// The JSON form, where a shell would do nothing but split the words and start the program.
fn as_json(text: &Word) -> Option<String> {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b' ' | b'/' | b'.' | b'_' | b'-' | b':' | b'=' | b',' | b'@' | b'+'
            )
    };
    if !text.value.bytes().all(plain) {
        return None;
    }
    let words: Vec<&str> = text.value.split(' ').filter(|word| !word.is_empty()).collect();
    let program = words.first()?;
    if BUILTINS.contains(program) || program.contains('=') {
        return None;
    }
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", words.join(", ")))
}

fn program_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase()
}

pub(super) fn shell(site: Site<'_>, survey: &mut Survey<'_>, sink: &mut Sink<'_>) {
    if !site.is_trigger {
        survey.here().once.has_shell = true;
    }
    let words = site.instruction.words();
    let Some(first) = words.first().filter(|_| site.instruction.json_form()) else {
        return;
    };
    // `env bash` is bash.
    let program = if program_name(&first.value) == "env" {
        let named = words[1..]
            .iter()
            .find(|word| !word.value.starts_with('-') && !word.value.contains('='));
        named.unwrap_or(first)
    } else {
        first
    };
    if !SHELLS.contains(&program_name(&program.value).as_str()) {
        sink.report(&ST529, program.span, || {
            format!("from here on RUN is read by {}", quoted(&program.value))
        });
    }
    detour_of(&first.value, first.span, sink);
}

/// A loader or an open place in front of the real program.
fn detour(instruction: &Instruction, sink: &mut Sink<'_>) {
    let command = match &instruction.args {
        Args::Health(health) => &*health.command,
        other => other,
    };
    match command {
        Args::Json(words) => {
            if let Some(first) = words.first() {
                detour_of(&first.value, first.span, sink);
            }
        }
        Args::Text(text) => {
            let first = text.value.split_whitespace().next().unwrap_or_default();
            detour_of(first, text.span, sink);
        }
        _ => {}
    }
}

fn detour_of(path: &str, span: Span, sink: &mut Sink<'_>) {
    let name = program_name(path);
    let is_loader = (name.starts_with("ld-") || name.starts_with("ld.")) && name.contains(".so");
    let is_open = ["/proc/", "/dev/", "/tmp/", "/var/tmp/"]
        .into_iter()
        .any(|folder| path.starts_with(folder));
    if is_loader || is_open {
        sink.report(&ST530, span, || {
            let what = if is_loader { "a loader" } else { "from an open place" };
            format!("{} starts {what}", quoted(path))
        });
    }
}

pub(super) fn finish(survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let Some(last) = survey.stages.last() else { return };
    if survey.chain().any(|stage| stage.once.health.is_some()) {
        return;
    }
    let elsewhere = survey.stages.iter().any(|stage| stage.once.health.is_some());
    let rule = if elsewhere { &ST525 } else { &ST524 };
    sink.report(rule, last.base, || {
        "nothing tells whether the program still works".into()
    });
}
