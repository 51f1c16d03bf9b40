//! What variables are worth where a file decides it: BuildKit's scopes of `ARG` and `ENV`.
//!
//! Global `ARG`s serve `FROM`; a stage sees its own `ARG`s and `ENV`s and those of the stage that it
//! is built on. A value that the file does not decide (a variable of the base image, of the
//! platform, an `ARG` over an `ENV`) makes the result unsure, and a rule that guards something then
//! speaks up. All expansion of a file draws on one budget: `ENV a=$b` costs five bytes and may copy
//! thousands.

use std::{borrow::Cow, cell::Cell, collections::HashMap};

use crate::{
    ast::{Instruction, Keyword},
    shell::{Env, LexError, Lexer},
};

/// The most that one word may become.
const MAX_WORD: usize = 4 << 10;
/// What all words of a file may grow by, and all look-ups cost, in bytes.
const BUDGET: usize = 512 << 10;
/// The cost of looking a variable up in one scope.
const LOOKUP: usize = 16;
/// The most variables that a file may set.
const MAX_VARIABLES: usize = 4_096;

/// What the builder sets by itself before the first `FROM`.
pub(super) const PLATFORM: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// A word after expansion.
#[derive(Debug)]
pub(super) struct Expanded<'t> {
    /// As far as it could be expanded.
    pub(super) text: Cow<'t, str>,
    /// The file alone decides it.
    pub(super) sure: bool,
}

#[derive(Clone)]
struct Value {
    text: String,
    sure: bool,
    from_env: bool,
}

#[derive(Default)]
struct Stage {
    values: HashMap<String, Value>,
    parent: Option<usize>,
}

pub(super) struct Variables {
    escape: char,
    globals: HashMap<String, Value>,
    stages: Vec<Stage>,
    count: usize,
    budget: Cell<usize>,
}

impl Variables {
    pub(super) fn new(escape: char) -> Self {
        Self {
            escape,
            globals: HashMap::new(),
            stages: Vec::new(),
            count: 0,
            budget: Cell::new(BUDGET),
        }
    }

    /// Whether the file sets or expands more than is looked at.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget.get() == 0 || self.count > MAX_VARIABLES
    }

    /// Begins a stage; `parent` is the stage that it is built on.
    pub(super) fn open_stage(&mut self, parent: Option<usize>) {
        self.stages.push(Stage {
            values: HashMap::new(),
            parent,
        });
    }

    /// A word of `FROM`, which sees global arguments only.
    pub(super) fn expand_global<'t>(&self, word: &'t str) -> Expanded<'t> {
        self.expand(word, Lookup::new(self, None))
    }

    /// A word of an instruction in the stage that is open; in a trigger nothing is sure, because it
    /// runs in another stage.
    pub(super) fn expand_here<'t>(&self, word: &'t str, is_trigger: bool) -> Expanded<'t> {
        let mut expanded = self.expand(word, Lookup::new(self, self.stages.len().checked_sub(1)));
        if is_trigger && word.contains('$') {
            expanded.sure = false;
        }
        expanded
    }

    /// The value that a running step would find, when the file decides one.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let lookup = Lookup::new(self, self.stages.len().checked_sub(1));
        let value = lookup.find(name)?.text.as_str();
        self.spend(value.len()).then_some(value)
    }

    /// The value that a running step finds, when the file alone decides it.
    pub(super) fn sure_value(&self, name: &str) -> Option<String> {
        let lookup = Lookup::new(self, self.stages.len().checked_sub(1));
        let value = lookup.find(name).filter(|value| value.sure)?;
        self.spend(value.text.len()).then(|| value.text.clone())
    }

    fn expand<'t>(&self, word: &'t str, lookup: Lookup<'_>) -> Expanded<'t> {
        let is_plain = |byte: u8| !matches!(byte, b'$' | b'\'' | b'"') && char::from(byte) != self.escape;
        if word.bytes().all(is_plain) {
            return Expanded {
                text: Cow::Borrowed(word),
                sure: true,
            };
        }
        let unsure = Expanded {
            text: Cow::Borrowed(word),
            sure: false,
        };
        if self.budget.get() == 0 {
            return unsure;
        }
        let max = MAX_WORD.max(word.len());
        match Lexer::expanding(self.escape, max).lex(word, &lookup) {
            Ok(lexed) if self.spend(lexed.text.len().saturating_sub(word.len())) => Expanded {
                text: Cow::Owned(lexed.text),
                sure: lookup.sure.get(),
            },
            Err(LexError::TooLarge) => {
                self.spend(max); // the work was done
                unsure
            }
            Ok(_) | Err(_) => unsure,
        }
    }

    fn spend(&self, cost: usize) -> bool {
        let left = self.budget.get().saturating_sub(cost);
        self.budget.set(left);
        left > 0
    }

    /// Takes note of what an `ARG` or `ENV` sets.
    pub(super) fn learn(&mut self, instruction: &Instruction) {
        match instruction.keyword {
            Keyword::Arg if self.stages.is_empty() => self.learn_global(instruction),
            Keyword::Arg => self.learn_arg(instruction),
            Keyword::Env => self.learn_env(instruction),
            _ => {}
        }
    }

    fn learn_global(&mut self, instruction: &Instruction) {
        for pair in instruction.pairs() {
            let Some(value) = &pair.value else { continue };
            let expanded = self.expand_global(&value.value);
            let value = Value {
                sure: expanded.sure,
                text: expanded.text.into_owned(),
                from_env: false,
            };
            if !self.has_room() {
                return;
            }
            self.globals.insert(pair.name.value.clone(), value);
        }
    }

    fn learn_arg(&mut self, instruction: &Instruction) {
        for pair in instruction.pairs() {
            let name = self.expand_here(&pair.name.value, false).text.into_owned();
            let value = match &pair.value {
                Some(value) => {
                    let expanded = self.expand_here(&value.value, false);
                    Value {
                        sure: expanded.sure,
                        text: expanded.text.into_owned(),
                        from_env: false,
                    }
                }
                None => match self.globals.get(&name) {
                    Some(value) => value.clone(),
                    None => continue,
                },
            };
            self.set(name, value);
        }
    }

    fn learn_env(&mut self, instruction: &Instruction) {
        // All values of one ENV see the variables as they were before it.
        let mut values = Vec::new();
        for pair in instruction.pairs() {
            if self.count + values.len() > MAX_VARIABLES {
                break;
            }
            let Some(value) = &pair.value else { continue };
            let name = self.expand_here(&pair.name.value, false).text.into_owned();
            let expanded = self.expand_here(&value.value, false);
            let sure = expanded.sure;
            let text = expanded.text.into_owned();
            values.push((
                name,
                Value {
                    text,
                    sure,
                    from_env: true,
                },
            ));
        }
        for (name, value) in values {
            self.set(name, value);
        }
    }

    fn has_room(&mut self) -> bool {
        self.count += 1;
        self.count <= MAX_VARIABLES && self.spend(LOOKUP)
    }

    fn set(&mut self, name: String, mut value: Value) {
        if !self.has_room() {
            return;
        }
        let inherited_from_env = Lookup::new(self, self.stages.len().checked_sub(1))
            .find(&name)
            .is_some_and(|before| before.from_env && before.text != value.text);
        let Some(stage) = self.stages.last_mut() else {
            return;
        };
        // Builders differ on who wins when an ARG follows an ENV of the same name.
        if inherited_from_env && !value.from_env {
            value.sure = false;
            value.from_env = true;
        }
        stage.values.insert(name, value);
    }
}

/// One expansion's view of the variables.
struct Lookup<'a> {
    variables: &'a Variables,
    /// `None`: global.
    stage: Option<usize>,
    sure: Cell<bool>,
}

impl<'a> Lookup<'a> {
    fn new(variables: &'a Variables, stage: Option<usize>) -> Self {
        Self {
            variables,
            stage,
            sure: Cell::new(true),
        }
    }

    fn find(&self, name: &str) -> Option<&'a Value> {
        let Some(mut at) = self.stage else {
            return self.variables.globals.get(name);
        };
        loop {
            if !self.variables.spend(LOOKUP) {
                return None;
            }
            let stage = self.variables.stages.get(at)?;
            if let Some(value) = stage.values.get(name) {
                return Some(value);
            }
            at = stage.parent?;
        }
    }
}

impl Env for Lookup<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.find(name);
        let sure = match found {
            Some(value) => value.sure,
            // Nothing else is set before the first FROM; a stage inherits its base's variables.
            None => self.stage.is_none() && !PLATFORM.contains(&name),
        };
        self.sure.set(self.sure.get() && sure);
        found.map(|value| value.text.as_str())
    }
}
