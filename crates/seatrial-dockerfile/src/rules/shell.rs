//! What scripts run (ST210 to ST213, ST227, ST228, ST240 to ST259, ST400 to ST420), and what variables and
//! copied files do to them.
//!
//! Rules ask for programs and arguments, which [`crate::script`] reads out of the text; quoted text, comments
//! and data are none.

mod attack;
mod connection;
mod credential;
mod download;
mod fetch;
mod habit;
mod hook;
mod inline;
mod origin;
mod privilege;
mod trust;

use seatrial_core::finding::{Level, Span};

pub(super) use self::fetch::Downloads;

use super::{
    Progress, Site,
    catalogue::ST420,
    sink::{Sink, quoted},
};
use crate::{
    ast::Keyword,
    script::{Command, Redirection, Script, ShellWord, Why},
};

/// A command where it stands.
#[derive(Clone, Copy)]
struct At<'a> {
    site: Site<'a>,
    script: &'a Script,
    index: usize,
    command: &'a Command,
    overview: &'a connection::Overview<'a>,
}

/// `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, `SHELL`, and scripts that `COPY` holds.
pub(super) fn judge(site: Site<'_>, script: &Script, downloads: &mut Downloads, sink: &mut Sink<'_>) {
    for unread in &script.not_understood {
        let written = quoted(sink.parsed().slice(unread.span).trim());
        match unread.why {
            Why::Grammar => sink.report(&ST420, unread.span, || {
                format!("no rule knows what this runs: {written}")
            }),
            Why::Pattern => sink.report(&ST420, unread.span, || {
                format!("no rule knows which program this pattern names: {written}")
            }),
            Why::Guesses => sink.report(&ST420, unread.span, || {
                format!("more is handed from command to command than is followed: {written}")
            }),
            // What nobody writes by chance would hide anything from every rule.
            Why::Limit => sink.report_at(Level::Error, &ST420, unread.span, ST420.remedy, || {
                format!("this is nested too deeply, or there is too much of it, to know what it runs: {written}")
            }),
        }
    }
    let overview = connection::Overview::of(script);
    for (index, command) in script.commands.iter().enumerate() {
        let at = At {
            overview: &overview,
            site,
            script,
            index,
            command,
        };
        privilege::judge(at, sink);
        credential::judge(at, sink);
        trust::judge(at, sink);
        origin::judge(at, sink);
        fetch::judge(at, sink);
        connection::judge(at, sink);
        attack::judge(at, sink);
        hook::judge(at, sink);
        habit::judge(at, sink);
        for (name, value) in &command.assignments {
            variable(
                &Variable {
                    name,
                    value: &value.text,
                    written: &value.text,
                    span: value.span,
                    in_image: false,
                },
                sink,
            );
        }
    }
    fetch::judge_files(script, downloads, sink);
}

/// `ENV` and `ARG`.
pub(super) fn judge_variables(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for pair in site.instruction.pairs() {
        let Some(value) = &pair.value else { continue };
        let name = progress.variables.expand_here(&pair.name.value, site.is_trigger);
        let expanded = progress.variables.expand_here(&value.value, site.is_trigger);
        let span = Span::new(pair.name.span.start, value.span.end.max(pair.name.span.end));
        variable(
            &Variable {
                name: &name.text,
                value: &expanded.text,
                written: &value.value,
                span,
                in_image: site.instruction.keyword == Keyword::Env,
            },
            sink,
        );
    }
}

/// `COPY` and `ADD`.
pub(super) fn judge_copy(site: Site<'_>, sink: &mut Sink<'_>) {
    hook::copied(site, sink);
    for heredoc in site.heredocs {
        attack::document(heredoc, sink);
    }
}

/// A variable that is set, in the image or for a command.
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
    /// The value before variables are put in.
    written: &'a str,
    span: Span,
    /// Every later step and container has it.
    in_image: bool,
}

fn variable(variable: &Variable<'_>, sink: &mut Sink<'_>) {
    trust::variable(variable, sink);
    origin::variable(variable, sink);
    hook::variable(variable, sink);
    attack::variable(variable, sink);
}

/// What a command writes or is given: its words, and the text of its here-documents.
fn texts(command: &Command) -> impl Iterator<Item = &ShellWord> {
    let here = command
        .redirects
        .iter()
        .filter(|redirect| redirect.kind == Redirection::Here)
        .map(|redirect| &redirect.target);
    command.args().iter().chain(here)
}

/// Files that a command writes to, by redirects and as `tee`.
fn written(at: At<'_>) -> impl Iterator<Item = &ShellWord> {
    let redirected = at
        .command
        .redirects
        .iter()
        .filter(|redirect| {
            matches!(
                redirect.kind,
                Redirection::Write | Redirection::Append | Redirection::ReadWrite
            )
        })
        .map(|redirect| &redirect.target);
    let tee = if at.command.program() == "tee" {
        at.command.args()
    } else {
        &[]
    };
    redirected.chain(tee.iter().filter(|word| !word.text.starts_with('-')))
}

/// The letter of an option, alone or among others: `-fsSLk`. `valued` are the letters that take the rest of
/// their word, or the next one, as their value.
fn letter<'c>(command: &'c Command, wanted: char, valued: &str) -> Option<&'c ShellWord> {
    let mut is_value = false;
    for word in command.args() {
        if std::mem::take(&mut is_value) {
            continue;
        }
        if word.text == "--" {
            return None;
        }
        let Some(letters) = word.text.strip_prefix('-').filter(|letters| !letters.starts_with('-')) else {
            continue;
        };
        for (place, letter) in letters.char_indices() {
            if letter == wanted {
                return Some(word);
            }
            if valued.contains(letter) {
                is_value = place + letter.len_utf8() == letters.len();
                break;
            }
        }
    }
    None
}

/// Whether a text is one of the words for no.
fn is_off(value: &str) -> bool {
    ["0", "false", "no", "off", "never"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

/// `python`, `python3`, `python3.12` and the like for a name and what may follow it.
fn is_versioned(program: &str, name: &str) -> bool {
    program
        .strip_prefix(name)
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Whether a program is one of these in any version.
fn is_one_of(program: &str, names: &[&str]) -> bool {
    names.iter().any(|name| is_versioned(program, name))
}

/// What pip is asked for, however it is called: `pip3 install x`, `python -m pip install x`, `uv pip install x`.
fn pip_args(command: &Command) -> Option<&[ShellWord]> {
    let program = command.program();
    let args = command.args();
    if is_versioned(program, "pip") || program == "pipx" {
        return Some(args);
    }
    let skipped = match (program, args) {
        ("uv", [first, ..]) if first.text == "pip" => 1,
        (_, [first, second, ..]) if is_versioned(program, "python") && first.text == "-m" && second.text == "pip" => 2,
        _ => return None,
    };
    args.get(skipped..)
}

/// The host in a URL, without user and port; `None` when it is no URL.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(six) => six.split(']').next(),
        None => host.split(':').next(),
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    matches!(host, "localhost" | "::1" | "0.0.0.0" | "0" | "")
        || (host.starts_with("127.") && host.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()))
        || host.ends_with(".localhost")
}
