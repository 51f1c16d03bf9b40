//! ST301 to ST361: package managers: what they install, what they ask, and what they leave behind.
//!
//! [`call`] reads a command as a call of a package manager; the other modules judge calls. They work on what
//! a step runs, so that a name in a comment, in `echo` or in a list of packages to install is no call.

mod cache;
mod call;
mod confirm;
mod fetch;
mod other;
mod pin;
mod upgrade;

use seatrial_core::finding::{Fix, Span};

use super::{
    Progress, Site,
    sink::{Sink, quoted, replace},
};
use crate::{
    Parsed,
    ast::Keyword,
    script::{Script, ShellWord},
};
pub(super) use cache::Leftover;

/// Judges what a `RUN` installs. Other instructions run nothing while the image is built.
pub(super) fn judge(site: Site<'_>, script: &Script, progress: &mut Progress, sink: &mut Sink<'_>) {
    if site.instruction.keyword != Keyword::Run {
        return;
    }
    other::judge(script, sink);
    cache::note(script, progress);
    let calls = call::calls(script);
    if calls.is_empty() {
        return;
    }
    for call in &calls {
        pin::judge(call, sink);
        fetch::judge(call, sink);
        upgrade::judge(call, sink);
        confirm::judge(site, script, call, sink);
    }
    upgrade::alone(&calls, sink);
    confirm::recommended(site, &calls, sink);
    confirm::apt(site, &calls, sink);
    cache::judge(site, script, &calls, progress, sink);
}

/// Says what can be said at the end of the file only.
pub(super) fn finish(progress: &Progress, sink: &mut Sink<'_>) {
    cache::finish(progress, sink);
}

/// The correction that puts an option behind a word, where the word stands in the file as the shell reads it.
pub(super) fn add_behind(site: Site<'_>, parsed: &Parsed, word: &ShellWord, option: &str) -> Option<Fix> {
    is_verbatim(site, parsed, word).then(|| {
        let end = word.span.end;
        let behind = Span::new(end, end);
        replace(format!("Add {option}"), behind, format!(" {option}"))
    })
}

/// Whether a word can be changed where it stands: it is no value of a variable and no element of JSON.
fn is_verbatim(site: Site<'_>, parsed: &Parsed, word: &ShellWord) -> bool {
    !site.instruction.json_form() && parsed.text.get(word.span.range()) == Some(word.text.as_str())
}

/// `a`, `b` and 3 more.
fn listed(words: &[&ShellWord]) -> String {
    match words {
        [] => String::new(),
        [one] => quoted(&one.text),
        [one, other] => format!("{} and {}", quoted(&one.text), quoted(&other.text)),
        [one, other, rest @ ..] => {
            format!("{}, {} and {} more", quoted(&one.text), quoted(&other.text), rest.len())
        }
    }
}
