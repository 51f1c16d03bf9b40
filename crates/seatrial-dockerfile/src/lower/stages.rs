//! Which stages there are, what each stands on, and which the final one needs.

use std::collections::{BTreeMap, BTreeSet};

use seatrial_core::finding::{Finding, Span};

use super::{
    BaseUse,
    rules::{self, NOT_BUILT, NOWHERE, UNDECIDED, at, of_lex},
    vars::{Expander, Vars},
};
use crate::{
    ast::{self, Flag, Instruction, Keyword},
    gotext,
    parse::Parsed,
    reference,
};

/// What a stage stands on, or a copy or mount reads from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Source {
    /// Nothing.
    Scratch,
    /// An image by its completed name.
    Image(String),
    /// An earlier stage.
    Stage(usize),
}

/// A stage and what it stands on.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) parts: ast::Stage,
    pub(super) base: Source,
    /// Why its base is none; counts when the stage is needed.
    problem: Option<Finding>,
    /// The final stage needs it, or it is the final stage.
    pub(super) needed: bool,
}

/// All stages.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) stages: Vec<Stage>,
    /// `ARG`s before the first `FROM`, and those that the platform gives.
    pub(super) globals: Vars,
    /// The stage that a name means in the end: the last one of that name.
    names: BTreeMap<String, usize>,
    uses: Vec<BaseUse>,
}

impl Graph {
    /// Reads the stages of a file that parses.
    pub(super) fn of(parsed: &Parsed) -> Result<Self, Vec<Finding>> {
        let file = &parsed.dockerfile;
        let mut expander = Expander::new(file.escape);
        let mut findings = Vec::new();
        let globals = globals(parsed, &mut expander, &mut findings);
        let mut names = BTreeMap::new();
        let mut stages = Vec::new();
        for parts in file.stages() {
            let from = &file.instructions[parts.from];
            let (base, problem) = match base(parsed, from, &names, &globals, &mut expander) {
                Ok(base) => (base, None),
                Err(finding) => (Source::Scratch, Some(finding)),
            };
            if let Some(name) = &parts.name {
                names.insert(name.clone(), parts.index);
            }
            stages.push(Stage {
                parts,
                base,
                problem,
                needed: false,
            });
        }
        let mut graph = Self {
            stages,
            globals,
            names,
            uses: Vec::new(),
        };
        graph.mark(parsed, &mut findings);
        if findings.is_empty() { Ok(graph) } else { Err(findings) }
    }

    /// The images that are needed, each once.
    pub(super) fn bases(&self) -> Vec<BaseUse> {
        self.uses.clone()
    }

    /// Marks what is needed, from the final stage backwards, and collects the images.
    fn mark(&mut self, parsed: &Parsed, findings: &mut Vec<Finding>) {
        let Some(last) = self.stages.len().checked_sub(1) else {
            findings.push(at(parsed, &NOWHERE, Span::new(0, 0), "there is no stage".to_owned()));
            return;
        };
        let mut waiting = vec![last];
        let mut found: Vec<(usize, String, Span)> = Vec::new();
        while let Some(index) = waiting.pop() {
            if std::mem::replace(&mut self.stages[index].needed, true) {
                continue;
            }
            findings.extend(self.stages[index].problem.take());
            let stage = &self.stages[index];
            let from = &parsed.dockerfile.instructions[stage.parts.from];
            let mut sources = vec![(stage.base.clone(), from)];
            for instruction in &parsed.dockerfile.instructions[stage.parts.body.clone()] {
                for (name, flag) in froms(instruction) {
                    match self.source(parsed, index, instruction.keyword, &name, flag) {
                        Ok(source) => sources.push((source, instruction)),
                        Err(finding) => findings.push(finding),
                    }
                }
            }
            for (source, instruction) in sources {
                match source {
                    Source::Scratch => {}
                    Source::Stage(other) => waiting.push(other),
                    Source::Image(name) => found.push((instruction.first_line, name, instruction.span)),
                }
            }
        }
        found.sort_by_key(|(line, ..)| *line);
        let mut seen = BTreeSet::new();
        for (line, reference, span) in found {
            if seen.insert(reference.clone()) {
                self.uses.push(BaseUse { reference, line, span });
            }
        }
    }

    /// What `--from=name` means in stage `current`: `COPY` knows numbers, mounts do not.
    pub(super) fn source(
        &self,
        parsed: &Parsed,
        current: usize,
        keyword: Keyword,
        name: &str,
        flag: &Flag,
    ) -> Result<Source, Finding> {
        let nowhere = |what: String| at(parsed, &NOWHERE, flag.span, what);
        let number = name.parse::<i64>().ok().filter(|_| keyword == Keyword::Copy);
        let stage = match number {
            Some(number) => Some(
                usize::try_from(number)
                    .ok()
                    .filter(|number| *number < self.stages.len())
                    .ok_or_else(|| nowhere(format!("there is no stage {number}")))?,
            ),
            None => self.names.get(&gotext::lower(name)).copied(),
        };
        match stage {
            Some(stage) if stage < current => Ok(Source::Stage(stage)),
            Some(_) => Err(nowhere(format!("stage {name:?} does not stand before this one"))),
            None => image(name).ok_or_else(|| nowhere(format!("{name:?} is neither a stage nor the name of an image"))),
        }
    }
}

/// `scratch` or an image.
fn image(name: &str) -> Option<Source> {
    if name == "scratch" {
        return Some(Source::Scratch);
    }
    reference::complete(name).map(Source::Image)
}

/// The names that `--from` and `--mount=…,from=` give.
pub(super) fn froms(instruction: &Instruction) -> Vec<(String, &Flag)> {
    let mut names = Vec::new();
    for flag in &instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        match (instruction.keyword, flag.name.as_str()) {
            (Keyword::Copy, "from") if !value.is_empty() => names.push((value.to_owned(), flag)),
            (Keyword::Run, "mount") => {
                let fields = gotext::csv_fields(value).unwrap_or_default();
                let from = fields.iter().rev().find_map(|field| {
                    let (key, value) = field.split_once('=')?;
                    (gotext::lower(key) == "from").then(|| value.to_owned())
                });
                names.extend(from.filter(|name| !name.is_empty()).map(|name| (name, flag)));
            }
            _ => {}
        }
    }
    names
}

/// The platform on which builds happen, as Docker writes it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The variables that the platform gives; visible where an `ARG` names them.
pub(super) fn platform() -> Vars {
    let architecture = architecture();
    let mut list = vec!["TARGETSTAGE=default".to_owned()];
    for side in ["BUILD", "TARGET"] {
        list.extend([
            format!("{side}PLATFORM=linux/{architecture}"),
            format!("{side}OS=linux"),
            format!("{side}ARCH={architecture}"),
            format!("{side}VARIANT="),
        ]);
    }
    Vars::of_list(&list)
}

/// Whether the builder itself sets a variable of this name.
pub(super) fn builtin(name: &str) -> bool {
    let rest = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    rest.is_some_and(|rest| matches!(rest, "PLATFORM" | "OS" | "ARCH" | "VARIANT"))
}

fn globals(parsed: &Parsed, expander: &mut Expander, findings: &mut Vec<Finding>) -> Vars {
    let mut globals = platform();
    let head = parsed
        .dockerfile
        .instructions
        .iter()
        .take_while(|instruction| instruction.keyword != Keyword::From);
    for pair in head.flat_map(Instruction::pairs) {
        let Some(value) = &pair.value else { continue };
        match expander.word(&value.value, &globals) {
            Ok(expanded) => globals.set(&pair.name.value.as_str().into(), &expanded.into()),
            Err(error) => findings.push(at(parsed, of_lex(&error), value.span, error.to_string())),
        }
    }
    globals
}

fn base(
    parsed: &Parsed,
    from: &Instruction,
    names: &BTreeMap<String, usize>,
    globals: &Vars,
    expander: &mut Expander,
) -> Result<Source, Finding> {
    let failed = |span: Span| move |error: crate::shell::LexError| at(parsed, of_lex(&error), span, error.to_string());
    if let Some(flag) = from.flag("platform") {
        let written = flag.value.as_deref().unwrap_or_default();
        let platform = expander.word(written, globals).map_err(failed(flag.span))?;
        if !is_ours(&platform) {
            let message = format!("images of platform {platform:?} are not built here");
            return Err(at(parsed, &NOT_BUILT, flag.span, message));
        }
    }
    let Some(word) = from.words().first() else {
        return Err(at(parsed, &NOWHERE, from.span, "FROM names nothing".to_owned()));
    };
    let name = expander.word(&word.value, globals).map_err(failed(word.span))?;
    if name.is_empty() {
        let message = format!(
            "the base image {:?} is empty when its variables are replaced",
            word.value
        );
        return Err(at(parsed, &UNDECIDED, word.span, message));
    }
    if let Some(stage) = names.get(&name) {
        return Ok(Source::Stage(*stage));
    }
    image(&name).ok_or_else(|| {
        let message = format!("{name:?} is neither an earlier stage nor the name of an image");
        at(parsed, &rules::NOWHERE, word.span, message)
    })
}

fn is_ours(platform: &str) -> bool {
    let platform = platform.to_ascii_lowercase();
    let architecture = platform.strip_prefix("linux/").unwrap_or(&platform);
    match architecture {
        "linux" => true,
        "x86_64" | "x86-64" | "amd64/v1" => super::stages::architecture() == "amd64",
        "aarch64" | "arm64/v8" => super::stages::architecture() == "arm64",
        other => other == super::stages::architecture(),
    }
}
