//! Everything outside of commands: bases, stages, users, files, metadata, and how a file is laid out.
//!
//! [`Survey`] remembers, stage by stage, what a later line or the end of the file is judged by. A
//! stage that is built on another one begins with what that one had. Fragments without a `FROM`
//! are judged as well: what stands before the first one gathers in a place of its own.

mod base;
mod command;
mod copy;
mod credential;
mod label;
mod layout;
mod place;
mod port;
mod secret;
mod stage;
mod user;
mod variable;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use seatrial_core::finding::Span;

pub(super) use self::{
    credential::masked,
    place::{cleaned, is_in},
};
use super::{Progress, Site, sink::Sink};
use crate::{
    Parsed,
    ast::{Flag, Keyword},
};

/// What is known of the stages so far.
#[derive(Default)]
pub(super) struct Survey<'a> {
    /// In order; as many as the progress counts.
    stages: Vec<Facts<'a>>,
    /// What stands before the first `FROM`.
    before: Facts<'a>,
    /// How most keywords of the file are written.
    case: stage::Case,
    /// How many stages the whole file has.
    stage_count: usize,
    /// Names that some `ARG` or `ENV` of the file has set so far.
    set: HashSet<Cow<'a, str>>,
    /// A trigger sets the working directory of the stage that is built on this one.
    trigger_workdir: bool,
}

/// A stage as far as it was read.
#[derive(Default)]
struct Facts<'a> {
    /// The image's name in its `FROM`.
    base: Span,
    /// The position of the stage that it is built on.
    parent: Option<usize>,
    /// The name, in lower case.
    name: Option<String>,
    /// Its own last `USER`.
    user: Option<user::User>,
    /// Names that are set here or in the stage below.
    declared: HashSet<Cow<'a, str>>,
    /// Its own last `WORKDIR`.
    workdir: Option<place::Workdir>,
    /// Lines of which the last counts.
    once: command::Once<'a>,
    /// Where it copied to.
    copied: Vec<String>,
    /// Archives in it that no later line has unpacked.
    archives: HashMap<&'a str, Span>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(parsed: &Parsed) -> Self {
        Self {
            case: stage::Case::of(parsed),
            stage_count: parsed
                .dockerfile
                .instructions
                .iter()
                .filter(|instruction| instruction.keyword == Keyword::From)
                .count(),
            ..Self::default()
        }
    }

    fn here(&mut self) -> &mut Facts<'a> {
        match self.stages.last_mut() {
            Some(stage) => stage,
            None => &mut self.before,
        }
    }

    /// The last stage and those that it is built on, itself first.
    fn chain(&self) -> impl Iterator<Item = &Facts<'a>> {
        let last = self.stages.last();
        std::iter::successors(last, |stage| stage.parent.and_then(|parent| self.stages.get(parent)))
    }
}

/// Whether a range can be replaced as it stands, without a continuation or a comment in it.
fn is_one_line(parsed: &Parsed, span: Span) -> bool {
    parsed
        .text
        .get(span.range())
        .is_some_and(|written| !written.contains('\n'))
}

/// The range to take away with a flag: itself and the blanks behind it.
fn with_blanks(flag: &Flag, parsed: &Parsed) -> Option<Span> {
    let behind = parsed.text.get(flag.span.end..)?;
    let blanks = behind.len() - behind.trim_start_matches([' ', '\t']).len();
    Some(Span::new(flag.span.start, flag.span.end + blanks)).filter(|span| is_one_line(parsed, *span))
}

/// What is looked for in the text as a whole.
pub(super) fn text(sink: &mut Sink<'_>) {
    credential::literals(sink);
    base::directive(sink);
}

/// Judges an instruction before the progress takes note of it.
pub(super) fn judge<'a>(site: Site<'a>, progress: &Progress, survey: &mut Survey<'a>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    if !site.is_trigger {
        stage::keyword(instruction, survey, sink);
        layout::empty_lines(instruction, sink);
    }
    variable::judge(site, progress, survey, sink);
    match instruction.keyword {
        Keyword::From if !site.is_trigger => {
            layout::description(instruction, sink);
            let facts = base::judge(instruction, progress, survey, sink);
            stage::from(instruction, survey, sink);
            survey.trigger_workdir = false;
            survey.stages.push(facts);
        }
        Keyword::Arg => {
            layout::description(instruction, sink);
            secret::judge(site, progress, survey, sink);
        }
        Keyword::Env => secret::judge(site, progress, survey, sink),
        Keyword::Label => label::judge(site, progress, sink),
        Keyword::User => user::judge(site, survey, sink),
        Keyword::Copy | Keyword::Add => {
            user::owner_and_mode(site, sink);
            copy::judge(site, progress, survey, sink);
            credential::copied(site, progress, sink);
            secret::copied(site, survey, sink);
        }
        Keyword::Run => {
            copy::mounts(site, progress, sink);
            copy::unpacked(site, survey, sink);
        }
        Keyword::Workdir => place::workdir(site, progress, survey, sink),
        Keyword::Volume => place::volume(site, progress, sink),
        Keyword::Expose => port::judge(site, progress, sink),
        Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck => command::judge(site, survey, sink),
        Keyword::Shell => command::shell(site, survey, sink),
        Keyword::Maintainer => layout::maintainer(site, sink),
        Keyword::Onbuild => layout::trigger(instruction, sink),
        Keyword::From | Keyword::Stopsignal | Keyword::Unknown => {}
    }
}

/// What can be said at the end of the file only.
pub(super) fn finish(survey: &Survey<'_>, sink: &mut Sink<'_>) {
    user::finish(survey, sink);
    command::finish(survey, sink);
}
