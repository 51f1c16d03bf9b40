//! What makes a file unsafe to build, whatever the sandbox: one finding for each place.
//!
//! The rules work on what the parser could read, also when the file has errors, and on the text
//! itself. They look at an instruction and at the trigger of an `ONBUILD` alike, after quotes,
//! escapes and continuations are gone and variables are put in where the file decides them
//! (`scope`). What cannot be decided counts as the worst that it may be.
//!
//! `catalogue` says what each rule means and why it is there; the other modules detect.
//!
//! Invariant: time is linear in the file and nothing recurses on its depth.

mod base;
mod catalogue;
mod frontend;
mod host;
mod names;
mod needle;
mod paths;
mod remote;
mod run;
mod scope;
mod sink;
mod switches;
mod text;

use std::collections::HashMap;

use seatrial_core::finding::{Finding, Rule};

use self::{scope::Variables, sink::Sink};
use crate::{
    ast::{Heredoc, Instruction, Keyword},
    lower,
    parse::Parsed,
};

/// What the rules need to know from outside.
pub struct Context<'a> {
    /// Whether a base image may be used; the name is completed
    /// (`docker.io/library/debian:bookworm-slim`).
    pub allowed: &'a dyn Fn(&str) -> bool,
}

/// Every rule there is, by id.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    catalogue::ALL.iter().copied().chain(lower::rules())
}

/// Everything that is wrong with a file, in the order of the places. `text` is what was parsed.
#[must_use]
pub fn analyze(text: &[u8], parsed: &Parsed, context: &Context<'_>) -> Vec<Finding> {
    let mut sink = Sink::new(parsed);
    text::parse_errors(&mut sink);
    text::characters(text, &mut sink);
    frontend::judge(&mut sink);
    switches::judge(&mut sink);
    let mut progress = Progress {
        variables: Variables::new(parsed.dockerfile.escape),
        stages: HashMap::new(),
        stage_count: 0,
    };
    for instruction in &parsed.dockerfile.instructions {
        text::sizes(instruction, &mut sink);
        paths::judge(instruction, &progress, &mut sink);
        let site = Site {
            instruction,
            heredocs: &instruction.heredocs,
            is_trigger: false,
        };
        site.judge(&mut progress, context, &mut sink);
        if let Some(trigger) = instruction.trigger() {
            let site = Site {
                instruction: trigger,
                heredocs: &instruction.heredocs,
                is_trigger: true,
            };
            site.judge(&mut progress, context, &mut sink);
        }
    }
    text::expansion(&progress, &mut sink);
    for finding in lower::findings(parsed) {
        sink.adopt(finding);
    }
    sink.finish()
}

/// Only what does not parse.
#[must_use]
pub fn parse_findings(parsed: &Parsed) -> Vec<Finding> {
    let mut sink = Sink::new(parsed);
    for error in &parsed.errors {
        text::unparsable(error, &mut sink);
    }
    sink.finish()
}

/// What is known of the file up to an instruction.
struct Progress {
    variables: Variables,
    /// The names of the stages so far, in lower case, and their positions.
    stages: HashMap<String, usize>,
    stage_count: usize,
}

impl Progress {
    /// The stage of that name, if it stands before the one that is open now.
    fn earlier_stage(&self, name: &str) -> Option<usize> {
        let index = *self.stages.get(name)?;
        (index + 1 < self.stage_count).then_some(index)
    }
}

/// An instruction, or the trigger in one.
#[derive(Clone, Copy)]
struct Site<'a> {
    instruction: &'a Instruction,
    heredocs: &'a [Heredoc],
    is_trigger: bool,
}

impl Site<'_> {
    fn judge(self, progress: &mut Progress, context: &Context<'_>, sink: &mut Sink<'_>) {
        match self.instruction.keyword {
            Keyword::From => base::from(self, progress, context, sink),
            Keyword::Run => run::judge(self, progress, sink),
            Keyword::Copy => base::copy(self, progress, sink),
            Keyword::Add => {
                base::copy(self, progress, sink);
                remote::judge(self, progress, sink);
            }
            Keyword::Arg | Keyword::Env | Keyword::Label => {
                names::judge(self, progress, sink);
                if !self.is_trigger {
                    progress.variables.learn(self.instruction);
                }
            }
            Keyword::Cmd
            | Keyword::Entrypoint
            | Keyword::Expose
            | Keyword::Healthcheck
            | Keyword::Maintainer
            | Keyword::Onbuild
            | Keyword::Shell
            | Keyword::Stopsignal
            | Keyword::User
            | Keyword::Volume
            | Keyword::Workdir
            | Keyword::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests;
