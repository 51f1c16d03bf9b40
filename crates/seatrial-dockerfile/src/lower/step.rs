//! Instruction by instruction: what BuildKit would do with each, and what is written for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use seatrial_core::{
    finding::{Finding, Rule, Span},
    image::ImageConfig,
};

use super::{
    LoweredBase, PlannedStep, copy,
    emit::{self, Section},
    late::{Late, at_most},
    mount, path,
    rules::{INVALID, NOT_BUILT, NOWHERE, TOO_LARGE, UNDECIDED, UNWRITABLE, at, of_lex},
    stages::{self, Graph, Source},
    vars::{Expander, Vars},
};
use crate::{
    ast::{Args, Dockerfile, Instruction, Keyword},
    heredoc,
    parse::Parsed,
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of instructions that are written; the builder takes 4 MiB of text.
const MAX_WRITTEN: usize = 3 << 20;

/// The whole file, lowered.
pub(super) struct Lowered {
    pub(super) file: Dockerfile,
    pub(super) steps: Vec<PlannedStep>,
    pub(super) final_base: Option<String>,
    pub(super) config: ImageConfig,
}

/// An instruction that is not built: the rule, and what was seen.
pub(super) struct Refusal {
    pub(super) rule: &'static Rule,
    pub(super) span: Option<Span>,
    pub(super) message: String,
}

/// A refusal of the whole instruction.
pub(super) fn refuse(rule: &'static Rule, message: impl Into<String>) -> Refusal {
    Refusal {
        rule,
        span: None,
        message: message.into(),
    }
}

impl From<crate::shell::LexError> for Refusal {
    fn from(error: crate::shell::LexError) -> Self {
        refuse(of_lex(&error), error.to_string())
    }
}

/// What BuildKit's state is at an instruction.
#[derive(Clone, Default)]
pub(super) struct State {
    /// What commands see: the image's variables and the arguments.
    pub(super) env: Vars,
    /// What the image will have.
    pub(super) image: Vars,
    pub(super) config: ImageConfig,
    pub(super) cmd_is_set: bool,
    has_triggers: bool,
    /// The id of the image under all of it, and its config.
    pub(super) root: Option<LoweredBase>,
    pub(super) last_setter: BTreeMap<Late, usize>,
    pub(super) built: Built,
}

/// What the builder's state is.
#[derive(Clone, Default)]
pub(super) struct Built {
    pub(super) env: Vars,
    args: Vars,
    user: String,
    workdir: String,
}

/// The stage that is being written.
pub(super) struct Walk<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) graph: &'a Graph,
    pub(super) expander: Expander,
    pub(super) index: usize,
    pub(super) state: State,
    /// Names whose value the builder may not have.
    dirty: BTreeSet<Arc<str>>,
    section: Section,
    /// Stages of ours that this one needs: images that are copied from, scripts.
    helpers: Section,
    helper_count: usize,
    /// The stages of ours that hold images.
    image_stages: BTreeMap<String, String>,
    pub(super) bases: &'a BTreeMap<String, LoweredBase>,
    names: BTreeMap<usize, String>,
    pub(super) caches: BTreeMap<String, usize>,
    written: usize,
}

/// Lowers all needed stages.
pub(super) fn walk(
    parsed: &Parsed,
    graph: &Graph,
    bases: &BTreeMap<String, LoweredBase>,
) -> Result<Lowered, Vec<Finding>> {
    let file = &parsed.dockerfile;
    let mut findings = Vec::new();
    let mut out = Section::default();
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    let mut walk = Walk {
        parsed,
        graph,
        expander: Expander::new(file.escape),
        index: 0,
        state: State::default(),
        dirty: BTreeSet::new(),
        section: Section::default(),
        helpers: Section::default(),
        helper_count: 0,
        image_stages: BTreeMap::new(),
        bases,
        names: BTreeMap::new(),
        caches: BTreeMap::new(),
        written: 0,
    };
    let last = graph.stages.len().saturating_sub(1);
    'stages: for stage in graph.stages.iter().filter(|stage| stage.needed) {
        let from = &file.instructions[stage.parts.from];
        let mut note = |instruction: &Instruction, refusal: Refusal| {
            let span = refusal.span.unwrap_or(instruction.span);
            findings.push(at(parsed, refusal.rule, span, refusal.message));
        };
        walk.index = stage.parts.index;
        let first = std::iter::once(stage.parts.from);
        for index in first.chain(stage.parts.body.clone()) {
            let instruction = &file.instructions[index];
            let done = match instruction.keyword {
                Keyword::From => walk.begin(from, &stage.base, &states),
                _ => walk.step(index, instruction),
            };
            if let Err(refusal) = done {
                // What is too large is not worth any more work; the rest is not looked at.
                let is_over = refusal.rule.id == TOO_LARGE.id;
                note(instruction, refusal);
                if is_over {
                    break 'stages;
                }
            }
        }
        if stage.parts.index == last
            && let Err(refusal) = walk.finish(from)
        {
            note(from, refusal);
        }
        out.append(std::mem::take(&mut walk.helpers));
        out.append(std::mem::take(&mut walk.section));
        states.insert(stage.parts.index, std::mem::take(&mut walk.state));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let state = states.remove(&last).unwrap_or_default();
    let (file, steps) = out.into_file();
    Ok(Lowered {
        file,
        steps,
        final_base: state.root.map(|root| root.reference),
        config: ImageConfig {
            env: state.image.list(),
            // Not in the image: see the module's words.
            shell: Vec::new(),
            on_build: Vec::new(),
            healthcheck: None,
            ..state.config
        },
    })
}

impl Walk<'_> {
    fn begin(&mut self, from: &Instruction, base: &Source, states: &BTreeMap<usize, State>) -> Result<(), Refusal> {
        let mut name = format!("s{}", self.names.len());
        self.names.insert(self.index, name.clone());
        let mut refusal = None;
        let (state, reference) = match base {
            Source::Scratch => (State::default(), "scratch".to_owned()),
            Source::Image(image) => match self.bases.get(image) {
                Some(base) => {
                    if !base.config.on_build.is_empty() {
                        let message = format!("the base image {image} brings ONBUILD triggers, which are not built");
                        refusal = Some(refuse(&NOT_BUILT, message));
                    }
                    (State::on(base), base.reference.clone())
                }
                None => {
                    refusal = Some(refuse(&NOWHERE, format!("the base image {image} was not resolved")));
                    (State::default(), "scratch".to_owned())
                }
            },
            Source::Stage(stage) => {
                self.expander.spend(states.get(stage).map_or(0, State::size))?;
                let state = states.get(stage).cloned().unwrap_or_default();
                if state.has_triggers {
                    refusal = Some(refuse(
                        &NOT_BUILT,
                        "the stage below has ONBUILD triggers, which are not built",
                    ));
                }
                (state, self.names.get(stage).cloned().unwrap_or_default())
            }
        };
        self.expander.spend(32 * (state.env.len() + state.image.len()))?;
        self.state = State {
            cmd_is_set: false,
            has_triggers: false,
            ..state
        };
        self.state.built.args = Vars::default();
        if self.state.image.value("PATH").is_none() {
            let (path, value) = (Arc::from("PATH"), Arc::from(DEFAULT_PATH));
            self.state.image.set(&path, &value);
            self.state.env.set(&path, &value);
        }
        self.dirty = self.state.env.differing(&self.state.built.env);
        name.insert_str(0, "AS ");
        let words = std::iter::once(reference)
            .chain(name.split(' ').map(str::to_owned))
            .collect();
        self.push(from, emit::list(Keyword::From, words))?;
        refusal.map_or(Ok(()), Err)
    }

    pub(super) fn push(&mut self, origin: &Instruction, instruction: Instruction) -> Result<(), Refusal> {
        self.charge(&instruction)?;
        self.section.push(origin, instruction);
        Ok(())
    }

    fn charge(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        self.written += crate::render::line(instruction).len() + 1;
        self.written += instruction
            .heredocs
            .iter()
            .map(|one| one.body.len() + 64)
            .sum::<usize>();
        if self.written > MAX_WRITTEN {
            return Err(refuse(&TOO_LARGE, "the file becomes too large when it is written out"));
        }
        Ok(())
    }

    /// A stage of ours before this one.
    fn helper(&mut self, origin: &Instruction, base: String, then: Option<Instruction>) -> Result<String, Refusal> {
        let name = format!("h{}", self.helper_count);
        self.helper_count += 1;
        let from = emit::list(Keyword::From, vec![base, "AS".to_owned(), name.clone()]);
        for instruction in std::iter::once(from).chain(then) {
            self.charge(&instruction)?;
            self.helpers.push(origin, instruction);
        }
        Ok(name)
    }

    /// The name under which the builder knows what `--from` names.
    pub(super) fn source_name(&mut self, origin: &Instruction, source: Source) -> Result<String, Refusal> {
        let (key, base) = match source {
            Source::Stage(stage) => return Ok(self.names.get(&stage).cloned().unwrap_or_default()),
            Source::Scratch => ("scratch".to_owned(), "scratch".to_owned()),
            Source::Image(image) => match self.bases.get(&image) {
                Some(base) => (image, base.reference.clone()),
                None => return Err(refuse(&NOWHERE, format!("the image {image} was not resolved"))),
            },
        };
        if let Some(name) = self.image_stages.get(&key) {
            return Ok(name.clone());
        }
        let name = self.helper(origin, base, None)?;
        self.image_stages.insert(key, name.clone());
        Ok(name)
    }

    pub(super) fn expand(&mut self, text: &str) -> Result<String, Refusal> {
        Ok(self.expander.word(text, &self.state.env)?)
    }

    fn step(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        match instruction.keyword {
            Keyword::Env => self.env(instruction),
            Keyword::Arg => self.arg(instruction),
            Keyword::Run => self.run(instruction),
            Keyword::Copy | Keyword::Add => {
                for written in copy::lower(self, instruction)? {
                    self.push(instruction, written)?;
                }
                Ok(())
            }
            Keyword::Workdir => self.workdir(instruction),
            Keyword::User => self.user(instruction),
            Keyword::Shell => {
                self.state.config.shell = values(instruction);
                Ok(())
            }
            Keyword::Cmd | Keyword::Entrypoint => self.command(index, instruction),
            Keyword::Label => self.label(index, instruction),
            Keyword::Expose => self.expose(index, instruction),
            Keyword::Volume => self.volume(index, instruction),
            Keyword::Stopsignal => self.stop_signal(index, instruction),
            Keyword::Onbuild => {
                self.state.has_triggers = true;
                Ok(())
            }
            Keyword::Healthcheck | Keyword::Maintainer => Ok(()),
            Keyword::From | Keyword::Unknown => Err(refuse(&INVALID, "not an instruction of a stage")),
        }
    }

    fn env(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        // All values see the variables as they were before the instruction.
        let mut set = Vec::new();
        for pair in instruction.pairs() {
            self.expander.spend_entry()?;
            let name = self.expand(&pair.name.value)?;
            let value = self.expand(pair.value.as_ref().map_or("", |value| &value.value))?;
            if name.is_empty() {
                return Err(refuse(&UNDECIDED, format!("the name {:?} is empty", pair.name.value)));
            }
            set.push((Arc::from(name), Arc::from(value)));
        }
        for (name, value) in set {
            self.state.env.set(&name, &value);
            self.state.image.set(&name, &value);
            self.dirty.insert(name);
        }
        at_most(self.state.image.len(), "variables")?;
        Ok(())
    }

    fn arg(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        for pair in instruction.pairs() {
            self.expander.spend_entry()?;
            let name: Arc<str> = Arc::from(pair.name.value.as_str());
            let value = match &pair.value {
                Some(value) => Some(Arc::from(self.expand(&value.value)?)),
                None => self.graph.globals.value(&name).map(Arc::clone),
            };
            let Some(value) = value else { continue };
            if matches!(&*name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE") {
                continue;
            }
            self.state.env.set(&name, &value);
            self.dirty.insert(name);
        }
        Ok(())
    }

    fn user(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let user = self.expand(&text(instruction))?;
        // An empty one is root; the builder was only seen to leave root alone.
        if user.is_empty() && !self.state.built.user.is_empty() {
            return Err(refuse(&UNDECIDED, "USER is empty when its variables are replaced"));
        }
        self.state.config.user = user;
        Ok(())
    }

    fn workdir(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let path = self.expand(&text(instruction))?;
        if path.is_empty() {
            return Err(refuse(&UNDECIDED, "WORKDIR is empty when its variables are replaced"));
        }
        let path = self.at_workdir(&path, path::absolute)?;
        self.flush_user(instruction)?;
        let Some(written) = emit::text(Keyword::Workdir, &path) else {
            return Err(refuse(&UNWRITABLE, "the path has a line end in it"));
        };
        self.push(instruction, written)?;
        self.state.config.working_dir.clone_from(&path);
        self.state.built.workdir = path;
        Ok(())
    }

    pub(super) fn flush_user(&mut self, origin: &Instruction) -> Result<(), Refusal> {
        if self.state.built.user == self.state.config.user {
            return Ok(());
        }
        let user = self.state.config.user.clone();
        let Some(written) = emit::text(Keyword::User, &user) else {
            return Err(refuse(&UNWRITABLE, "the user has a line end in it"));
        };
        self.push(origin, written)?;
        self.state.built.user = user;
        Ok(())
    }

    /// Gives the builder every variable that a command sees. A name that the image has and that an
    /// `ARG` overrides is set in the image for now: the builder's own `ARG` never overrides `ENV`.
    fn flush_env(&mut self, origin: &Instruction) -> Result<(), Refusal> {
        let state = &mut self.state;
        let mut env = Vec::new();
        let mut args = Vec::new();
        for name in std::mem::take(&mut self.dirty) {
            let Some(value) = state.env.value(&name).map(Arc::clone) else {
                continue;
            };
            let in_image = state.image.value(&name).is_some();
            let known = if in_image {
                &mut state.built.env
            } else {
                &mut state.built.args
            };
            if known.value(&name) == Some(&value) {
                continue;
            }
            known.set(&name, &value);
            if in_image {
                env.push((name, value));
                continue;
            }
            // The builder has its own idea of these and lets nobody change it.
            if stages::builtin(&name) && stages::platform().value(&name) != Some(&value) {
                return Err(refuse(&UNWRITABLE, format!("the builder gives {name} another value")));
            }
            args.push((name, value));
        }
        for (keyword, pairs) in [(Keyword::Arg, args), (Keyword::Env, env)] {
            self.push_pairs(origin, keyword, &pairs)?;
        }
        Ok(())
    }

    pub(super) fn push_pairs(
        &mut self,
        origin: &Instruction,
        keyword: Keyword,
        pairs: &[(Arc<str>, Arc<str>)],
    ) -> Result<(), Refusal> {
        if pairs.is_empty() {
            return Ok(());
        }
        let written = emit::pairs(keyword, pairs.iter().map(|(name, value)| (&**name, &**value)))
            .map_err(|name| refuse(&UNWRITABLE, format!("{name:?} or its value cannot be written")))?;
        self.push(origin, written)
    }

    /// What the shell in force adds to a command: each has a copy of it.
    pub(super) fn spend_command(&mut self) -> Result<(), Refusal> {
        let words = self.state.config.shell.iter();
        Ok(self.expander.spend(words.map(|word| word.len() + 32).sum())?)
    }

    /// A path as seen from the working directory, of which each has a copy: one instruction may name
    /// tens of thousands.
    pub(super) fn at_workdir(&mut self, path: &str, join: fn(&str, &str) -> String) -> Result<String, Refusal> {
        if !path.starts_with('/') {
            self.expander.spend(8 * self.state.workdir().len())?; // it is taken apart and put together
        }
        Ok(join(self.state.workdir(), path))
    }

    pub(super) fn shell(&self) -> Vec<String> {
        match self.state.config.shell.as_slice() {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        }
    }

    fn run(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let mut flags = mount::lower(self, instruction)?;
        self.spend_command()?;
        let command = match &instruction.args {
            Args::Json(_) => values(instruction),
            Args::Text(word) => {
                let script = if instruction.heredocs.is_empty() {
                    word.value.clone()
                } else if matches!(heredoc::opening(&word.value), Ok(Some(_))) {
                    let content = instruction.heredocs[0].content();
                    if content.starts_with("#!") {
                        let (path, flag) = self.script_file(instruction, &content)?;
                        flags.push(flag);
                        path
                    } else {
                        content
                    }
                } else {
                    let mut whole = word.value.clone();
                    for heredoc in &instruction.heredocs {
                        whole.push('\n');
                        whole.push_str(&heredoc.body);
                        whole.push_str(&heredoc.delimiter);
                    }
                    whole
                };
                let mut command = self.shell();
                command.push(script);
                command
            }
            _ => Vec::new(),
        };
        if command.is_empty() {
            return Err(refuse(&INVALID, "RUN has no command"));
        }
        self.flush_user(instruction)?;
        self.flush_env(instruction)?;
        let mut written = emit::json(Keyword::Run, command);
        written.flags = flags;
        self.push(instruction, written)
    }

    /// A here-document that begins with `#!` is executed as a file. As in BuildKit the file stands
    /// in a read-only mount, but not below `/dev`: the builder's commands have a `/dev` of their own.
    fn script_file(&mut self, instruction: &Instruction, content: &str) -> Result<(String, crate::ast::Flag), Refusal> {
        let Some((opening, heredoc)) = emit::heredoc("SEATRIAL-SCRIPT", content) else {
            return Err(refuse(
                &UNWRITABLE,
                "the script holds a line end or a line that ends it early",
            ));
        };
        let mut copied = emit::list(Keyword::Copy, vec![opening, "/script".to_owned()]);
        copied.flags.push(emit::flag("chmod", "0755".to_owned()));
        copied.heredocs.push(heredoc);
        let name = self.helper(instruction, "scratch".to_owned(), Some(copied))?;
        let folder = "/run/seatrial-heredoc";
        let mount = format!("type=bind,from={name},source=/,target={folder}");
        Ok((format!("{folder}/script"), emit::flag("mount", mount)))
    }
}

impl State {
    /// What a copy of it costs, in bytes or so. Variables share theirs and are counted apart.
    fn size(&self) -> usize {
        let config = &self.config;
        let lists = [&config.entrypoint, &config.cmd, &config.shell];
        let words = lists.into_iter().flatten().map(String::len);
        let keys = config
            .volumes
            .keys()
            .chain(config.exposed_ports.keys())
            .map(String::len);
        let labels = config.labels.iter().map(|(name, value)| name.len() + value.len());
        words.chain(keys).chain(labels).map(|len| len + 64).sum()
    }

    pub(super) fn workdir(&self) -> &str {
        &self.config.working_dir
    }

    fn on(base: &LoweredBase) -> Self {
        let config = base.config.clone();
        let env = Vars::of_list(&config.env);
        Self {
            built: Built {
                env: env.clone(),
                user: config.user.clone(),
                workdir: config.working_dir.clone(),
                ..Built::default()
            },
            image: env.clone(),
            env,
            config,
            root: Some(base.clone()),
            ..Self::default()
        }
    }
}

pub(super) fn values(instruction: &Instruction) -> Vec<String> {
    instruction.words().iter().map(|word| word.value.clone()).collect()
}

pub(super) fn text(instruction: &Instruction) -> String {
    instruction
        .words()
        .first()
        .map(|word| word.value.clone())
        .unwrap_or_default()
}
