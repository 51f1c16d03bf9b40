//! What makes a file unsafe to build, unsure in what comes of it, or a surprise to its reader: one
//! finding for each place.
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
mod habits;
mod host;
mod names;
mod needle;
mod outline;
mod packages;
pub mod page;
mod paths;
mod remote;
mod run;
mod scope;
mod shell;
mod sink;
mod switches;
mod text;

use std::collections::{BTreeMap, HashMap};

use seatrial_core::finding::{Finding, Rule, Span};

use self::{outline::Survey, scope::Variables, sink::Sink};
use crate::{
    ast::{Heredoc, Instruction, Keyword},
    lower,
    parse::Parsed,
    script::{self, Interpreter, Memory, Script},
};

/// What the rules need to know from outside.
pub struct Context<'a> {
    /// Whether a base image may be used; the name is completed
    /// (`docker.io/library/debian:bookworm-slim`).
    pub allowed: &'a dyn Fn(&str) -> bool,
    /// Whether a base image must be named with a registry's digest.
    pub pinned: bool,
}

/// Most labels that are told.
pub const MAX_LABELS: usize = 100;

/// Every rule there is, table by table.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    catalogue::all()
}

/// The rule of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.id == id)
}

/// Everything that is wrong with a file, in the order of the places. `text` is what was parsed.
#[must_use]
pub fn analyze(text: &[u8], parsed: &Parsed, context: &Context<'_>) -> Vec<Finding> {
    let mut sink = Sink::new(parsed);
    text::parse_errors(&mut sink);
    text::characters(text, &mut sink);
    frontend::judge(&mut sink);
    switches::judge(&mut sink);
    outline::text(&mut sink);
    let mut progress = Progress::new(parsed);
    let mut survey = Survey::new(parsed);
    for instruction in &parsed.dockerfile.instructions {
        text::sizes(instruction, &mut sink);
        paths::judge(instruction, &progress, &mut sink);
        let site = Site {
            instruction,
            heredocs: &instruction.heredocs,
            is_trigger: false,
        };
        outline::judge(site, &progress, &mut survey, &mut sink);
        site.judge(&mut progress, context, &mut sink);
        if let Some(trigger) = instruction.trigger() {
            let site = Site {
                instruction: trigger,
                heredocs: &instruction.heredocs,
                is_trigger: true,
            };
            outline::judge(site, &progress, &mut survey, &mut sink);
            site.judge(&mut progress, context, &mut sink);
        }
    }
    outline::finish(&survey, &mut sink);
    packages::finish(&progress, &mut sink);
    habits::finish(&progress, &mut sink);
    text::expansion(&progress, &mut sink);
    for finding in lower::findings(parsed) {
        sink.adopt(finding);
    }
    sink.finish()
}

/// The labels that the last stage and the stages under it set, at most [`MAX_LABELS`]: `None` where the file alone does not
/// decide a value.
#[must_use]
pub fn labels(parsed: &Parsed) -> BTreeMap<String, Option<String>> {
    let mut sink = Sink::new(parsed); // what stages are built on is not judged here
    let context = Context {
        allowed: &|_| true,
        pinned: false,
    };
    let mut progress = Progress::new(parsed);
    let mut labels: Vec<BTreeMap<String, Option<String>>> = Vec::new();
    for instruction in &parsed.dockerfile.instructions {
        let site = Site {
            instruction,
            heredocs: &[],
            is_trigger: false,
        };
        match instruction.keyword {
            Keyword::From => {
                let parent = base::from(site, &mut progress, &context, &mut sink);
                let below = parent.and_then(|parent| labels.get(parent).cloned());
                labels.push(below.unwrap_or_default());
            }
            Keyword::Label => {
                if let Some(own) = labels.last_mut() {
                    set_labels(instruction, &progress, own);
                }
            }
            _ => {}
        }
        if matches!(instruction.keyword, Keyword::Arg | Keyword::Env | Keyword::Label) {
            progress.variables.learn(instruction);
        }
    }
    labels.pop().unwrap_or_default()
}

fn set_labels(instruction: &Instruction, progress: &Progress, labels: &mut BTreeMap<String, Option<String>>) {
    for pair in instruction.pairs() {
        if labels.len() >= MAX_LABELS {
            return;
        }
        let [key, value] = [Some(&pair.name), pair.value.as_ref()].map(|word| {
            let word = word.map_or("", |word| word.value.as_str());
            progress.variables.expand_here(word, false)
        });
        // A key that nobody knows could be any.
        let value = (key.sure && value.sure).then(|| value.text.into_owned());
        labels.insert(key.text.into_owned(), value);
    }
}

/// The finding about a base image by its completed name, for who resolves names: the same as a `FROM` gets. It stands at no
/// place.
#[must_use]
pub fn base_finding(name: &str, context: &Context<'_>) -> Option<Finding> {
    let (message, remedy) = base::refusal(name, context)?;
    Some(Finding {
        rule: catalogue::ST015.id.into(),
        level: catalogue::ST015.level,
        line: 1,
        column: 1,
        span: Span::default(),
        message,
        remedy: remedy.into(),
        fix: None,
    })
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
    /// What `SHELL` says in each stage so far.
    interpreters: Vec<Interpreter>,
    /// What scripts share: work that they may still ask for, files that they wrote.
    memory: Memory,
    /// What steps of the open stage downloaded.
    downloads: shell::Downloads,
    /// What steps did that later ones or the end of the file are judged by.
    habits: habits::Habits,
}

impl Progress {
    fn new(parsed: &Parsed) -> Self {
        Self {
            variables: Variables::new(parsed.dockerfile.escape),
            stages: HashMap::new(),
            stage_count: 0,
            interpreters: Vec::new(),
            memory: Memory::default(),
            downloads: shell::Downloads::default(),
            habits: habits::Habits::default(),
        }
    }

    /// What reads the shell form here.
    fn interpreter(&self) -> Interpreter {
        self.interpreters.last().cloned().unwrap_or_default()
    }

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
            Keyword::From => {
                progress.downloads = shell::Downloads::default();
                base::from(self, progress, context, sink);
            }
            Keyword::Run => {
                run::judge(self, progress, sink);
                self.judge_script(progress, sink);
            }
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck => self.judge_script(progress, sink),
            Keyword::Shell => {
                self.judge_script(progress, sink); // `SHELL ["sh", "-c", "…"]` runs its text in each RUN
                let interpreter = Interpreter::of_instruction(self.instruction);
                if let (Some(interpreter), Some(last), false) =
                    (interpreter, progress.interpreters.last_mut(), self.is_trigger)
                {
                    *last = interpreter;
                }
            }
            Keyword::Copy => {
                base::copy(self, progress, sink);
                shell::judge_copy(self, sink);
                self.judge_documents(progress, sink);
            }
            Keyword::Add => {
                base::copy(self, progress, sink);
                remote::judge(self, progress, sink);
                shell::judge_copy(self, sink);
                self.judge_documents(progress, sink);
            }
            Keyword::Arg | Keyword::Env | Keyword::Label => {
                names::judge(self, progress, sink);
                if self.instruction.keyword != Keyword::Label {
                    shell::judge_variables(self, progress, sink);
                }
                if !self.is_trigger {
                    progress.variables.learn(self.instruction);
                }
            }
            Keyword::Expose
            | Keyword::Maintainer
            | Keyword::Onbuild
            | Keyword::Stopsignal
            | Keyword::User
            | Keyword::Volume
            | Keyword::Workdir
            | Keyword::Unknown => {}
        }
    }
}

impl Site<'_> {
    /// What the instruction runs, read once for all rules.
    fn script(self, progress: &Progress) -> Option<Script> {
        // A trigger finds the same ENV in the image that is built on this one.
        let values = |name: &str| progress.variables.sure_value(name);
        let interpreter = progress.interpreter();
        let mut script =
            script::of_instruction(self.instruction, self.heredocs, &interpreter, &values, &progress.memory)?;
        script.is_trigger = self.is_trigger;
        Some(script)
    }

    fn judge_script(self, progress: &mut Progress, sink: &mut Sink<'_>) {
        let Some(script) = self.script(progress) else { return };
        paths::judge_script(&script, progress, sink);
        if self.instruction.keyword == Keyword::Run && !self.is_trigger {
            shell::judge(self, &script, &mut progress.downloads, sink);
        } else {
            shell::judge(self, &script, &mut shell::Downloads::default(), sink);
        }
        if script.is_foreign {
            return;
        }
        packages::judge(self, &script, progress, sink);
        habits::judge(self, &script, progress, sink);
    }

    /// Scripts that stand in the file itself: `COPY <<EOF /script`.
    fn judge_documents(self, progress: &Progress, sink: &mut Sink<'_>) {
        let target = self.instruction.words().last().map_or("", |word| word.value.as_str());
        for document in self.heredocs {
            script::remember_document(document, target, &progress.memory);
            if let Some(script) = script::of_document(document, &progress.memory) {
                shell::judge(self, &script, &mut shell::Downloads::default(), sink);
            }
        }
    }
}

#[cfg(test)]
mod tests;
