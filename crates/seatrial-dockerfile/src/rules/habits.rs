//! ST451 to ST459: what steps do that does little harm and little good.

mod pipe;
mod row;
mod single;

use std::collections::HashMap;

use seatrial_core::finding::Span;

use super::{Progress, Site, packages::Leftover, sink::Sink};
use crate::{
    ast::Keyword,
    script::{Command, Script},
};

/// What steps did that later ones or the end of the file are judged by.
#[derive(Default)]
pub(super) struct Habits {
    /// What may stay behind in the image.
    pub(super) leftovers: Vec<Leftover>,
    /// The stage, from 1, where apt was told to keep what it downloads.
    pub(super) keeps_archives: Option<usize>,
    /// How many commands each `RUN` has, by where it begins.
    commands: HashMap<usize, usize>,
    /// What downloads in the stage that is open.
    downloads: single::Downloads,
}

/// Judges what a `RUN` does. Other instructions run nothing while the image is built.
pub(super) fn judge(site: Site<'_>, script: &Script, progress: &mut Progress, sink: &mut Sink<'_>) {
    if site.instruction.keyword != Keyword::Run {
        return;
    }
    pipe::judge(site, script, progress, sink);
    single::judge(site, script, sink);
    single::downloads(site, script, progress, sink);
    row::note(site, script, progress);
}

/// Says what can be said at the end of the file only.
pub(super) fn finish(progress: &Progress, sink: &mut Sink<'_>) {
    row::finish(progress, sink);
}

/// `command -v wget` runs nothing.
fn only_asks(command: &Command) -> bool {
    let wrapper = command.wrapper("command");
    wrapper.is_some_and(|wrapper| {
        wrapper
            .words
            .iter()
            .any(|word| matches!(word.text.as_str(), "-v" | "-V"))
    })
}

/// From the first byte of one to the last of the other.
fn joined(first: Span, last: Span) -> Span {
    Span::new(first.start.min(last.start), first.end.max(last.end))
}
