//! ST407 and ST408: what loads itself into other programs, lets somebody in, or runs by itself later.

use super::{At, Sink, Site, Variable, quoted, written};
use crate::{
    rules::{
        catalogue::{ST407, ST408},
        sink::unquoted,
    },
    script::{Command, ShellWord},
};
use seatrial_core::finding::Span;

/// Allocators and the like that honest images load in front of everything, where packages put them.
const KNOWN_LIBRARIES: [&str; 10] = [
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libgomp",
    "libfaketime",
    "libnss_wrapper",
    "libeatmydata",
    "libiomp5",
    "libfakeroot",
    "libstdc++",
];

pub(super) fn variable(variable: &Variable<'_>, sink: &mut Sink<'_>) {
    let value = variable.value;
    let reason = match variable.name {
        "LD_PRELOAD" | "LD_AUDIT" => {
            let foreign = value
                .split([':', ' '])
                .any(|library| !library.is_empty() && !is_known_library(library));
            foreign.then_some("every program loads it")
        }
        "BASH_ENV" | "PROMPT_COMMAND" if !value.is_empty() && variable.in_image => Some("every bash runs it"),
        "ENV" if variable.in_image && value.starts_with('/') => Some("every shell runs it"),
        "PERL5OPT" | "RUBYOPT" | "PYTHONSTARTUP" if variable.in_image && value.contains('/') => {
            Some("the interpreter loads it")
        }
        "NODE_OPTIONS" if value.contains("--require") || value.contains("--import") || has_word(value, "-r") => {
            Some("every Node.js loads it")
        }
        "GIT_SSH_COMMAND" | "GIT_EXTERNAL_DIFF" | "GIT_ASKPASS" if variable.in_image && value.starts_with("/tmp/") => {
            Some("git runs it")
        }
        "PATH" if variable.in_image => first_path(unquoted(variable.written)),
        _ => None,
    };
    if let Some(reason) = reason {
        sink.report(&ST407, variable.span, || {
            format!("{}={}: {reason}", variable.name, quoted(value))
        });
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|one| one == word)
}

fn is_known_library(path: &str) -> bool {
    let name = crate::script::base_name(path);
    let is_known = KNOWN_LIBRARIES.iter().any(|known| name.starts_with(known));
    is_known
        && !["/tmp/", "/var/tmp/", "/dev/shm/"]
            .iter()
            .any(|shared| path.starts_with(shared))
}

/// Programs are looked for where anybody may put one, before the usual places.
fn first_path(value: &str) -> Option<&'static str> {
    let mut parts = value.split(':');
    let first = parts.next()?;
    parts.next()?; // one place alone is most often a variable
    match first {
        "" | "." | "./" => Some("programs are looked for in the current folder first"),
        _ if ["/tmp", "/var/tmp", "/dev/shm"]
            .iter()
            .any(|shared| first == *shared || first.strip_prefix(shared).is_some_and(|rest| rest.starts_with('/'))) =>
        {
            Some("programs are looked for first where anybody may put one")
        }
        _ => None,
    }
}

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    for word in written(at) {
        report(&word.text, word.span, sink);
    }
    match command.program() {
        "cp" | "mv" | "ln" | "install" => {
            if let Some(word) = destination(command) {
                report(&word.text, word.span, sink);
            }
        }
        "sed" | "perl" if command.args().iter().any(|word| is_in_place(&word.text)) => {
            for word in command.operands() {
                report(&word.text, word.span, sink);
            }
        }
        "crontab" => {
            let lists = command
                .args()
                .iter()
                .any(|word| matches!(word.text.as_str(), "-l" | "-r"));
            if let (Some(word), false) = (command.words.first(), lists) {
                sink.report(&ST408, word.span, || "crontab has commands run later".into());
            }
        }
        "visudo" => {
            if let Some(word) = command.words.first() {
                sink.report(&ST408, word.span, || "visudo changes who may do what".into());
            }
        }
        _ => {}
    }
}

fn is_in_place(option: &str) -> bool {
    option.starts_with("--in-place")
        || option
            .strip_prefix('-')
            .is_some_and(|letters| !letters.starts_with('-') && letters.contains('i'))
}

/// Where `cp` and its like write to.
fn destination(command: &Command) -> Option<&ShellWord> {
    const VALUED: [&str; 8] = ["-m", "-o", "-g", "-t", "-S", "--mode", "--owner", "--group"];
    if command.args().iter().any(|word| word.text == "-t") {
        return command.args().iter().skip_while(|word| word.text != "-t").nth(1);
    }
    let mut operands = command.operands_without(&VALUED);
    operands.next()?;
    operands.last()
}

pub(super) fn copied(site: Site<'_>, sink: &mut Sink<'_>) {
    let words = site.instruction.words();
    let [sources @ .., target] = words else { return };
    if sources.is_empty() {
        return;
    }
    report(&target.value, target.span, sink);
    for source in sources {
        if target.value.ends_with('/') && target.value.ends_with(".ssh/") && source.value.ends_with("authorized_keys") {
            report("/.ssh/authorized_keys", source.span, sink);
        }
    }
}

fn report(path: &str, span: Span, sink: &mut Sink<'_>) {
    let preload = path == "/etc/ld.so.preload";
    if preload {
        sink.report(&ST407, span, || {
            "every program loads what /etc/ld.so.preload names".into()
        });
        return;
    }
    let Some(reason) = gives_access(path) else { return };
    sink.report(&ST408, span, || format!("{} {reason}", quoted(path)));
}

fn gives_access(path: &str) -> Option<&'static str> {
    let below = |folder: &str| path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    if path.ends_with("/.ssh/authorized_keys") || path.ends_with("/authorized_keys2") {
        return Some("lets somebody in");
    }
    if matches!(path, "/etc/sudoers" | "/etc/doas.conf") || below("/etc/sudoers.d") {
        return Some("lets somebody become root");
    }
    if matches!(path, "/etc/shadow" | "/etc/gshadow") {
        return Some("holds the passwords");
    }
    let cron = [
        "/etc/cron.d",
        "/etc/cron.daily",
        "/etc/cron.hourly",
        "/etc/cron.weekly",
        "/etc/cron.monthly",
        "/var/spool/cron",
        "/etc/periodic",
    ];
    if path == "/etc/crontab" || path == "/etc/crontabs/root" || cron.iter().any(|folder| below(folder)) {
        return Some("is run later, again and again");
    }
    let init = ["/etc/init.d", "/etc/rc.local", "/etc/rc.d", "/etc/inittab"];
    if init.iter().any(|folder| below(folder)) {
        return Some("is run at the start");
    }
    None
}
