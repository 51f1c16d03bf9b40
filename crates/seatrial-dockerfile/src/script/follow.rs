//! Into what a command runs: shell text wherever it comes from, functions of the script, and what a variable in the place
//! of the program may be.

use super::{
    Why,
    command::{Command, Redirection, Via, base_name, is_input},
    given::{self, Run},
    memory::MAX_BYTES,
    read::{MAX_DEPTH, Place, Reader, join},
    shown,
    source::Source,
    variables::{MAX_MAYBE, Positional},
    word::ShellWord,
};

/// How many commands a text passes through unchanged (`cat`) before it is lost sight of.
const MAX_PASSED: usize = 8;

impl Reader<'_> {
    /// Keeps what a command writes to a file, for a shell that reads it.
    pub(super) fn remember(&mut self, index: usize) {
        let Some(command) = self.script.commands.get(index) else {
            return;
        };
        let program = command.program();
        match program {
            "cp" | "mv" | "ln" | "install" => self.carry(command),
            "echo" | "printf" | "cat" | "tee" => {}
            _ => return,
        }
        let redirected = command.redirects.iter().rev().find(|redirect| {
            matches!(redirect.kind, Redirection::Write | Redirection::Append)
                && redirect.descriptor.is_none_or(|descriptor| descriptor == 1)
        });
        let mut files: Vec<(String, bool)> = Vec::new();
        if let Some(redirect) = redirected {
            let appends = redirect.kind == Redirection::Append;
            files.push((redirect.target.likely().to_owned(), appends));
        }
        if program == "tee" {
            let appends = command.flag('a', "append").is_some();
            files.extend(command.operands().map(|word| (word.likely().to_owned(), appends)));
        }
        if files.is_empty() {
            return;
        }
        let Some(text) = self.output(index, 0) else { return };
        for (path, appends) in files {
            self.memory.write(&path, &text, appends);
        }
    }

    /// A file, or one of the system's programs, has another name as well.
    fn carry(&self, command: &Command) {
        let mut operands = command.operands();
        let (Some(from), Some(to), None) = (operands.next(), operands.next(), operands.next()) else {
            return;
        };
        let path = from.likely();
        let name = base_name(path);
        let is_program = path.len() > name.len()
            && path
                .get(..path.len() - name.len())
                .is_some_and(|folder| folder.ends_with("bin/"));
        let text = self.memory.read(path).or_else(|| {
            is_program.then(|| {
                let mut text = Source::default();
                text.push_value(&format!("{name} \"$@\""), from.span.start);
                text
            })
        });
        let target = to.likely();
        match text {
            Some(text) if target.ends_with('/') => self.memory.write(&format!("{target}{name}"), &text, false),
            Some(text) => self.memory.write(target, &text, false),
            None => {}
        }
    }

    /// What a command gives to a shell, or to a function of the script.
    pub(super) fn descend(&mut self, index: usize, place: Place) {
        let Some(command) = self.script.commands.get(index) else {
            return;
        };
        let span = command.span;
        let mut runs = given::runs(command);
        runs.extend(self.hidden(command, index));
        let calls = command
            .words
            .first()
            .is_some_and(|first| self.functions.contains_key(first.likely()));
        if place.depth + 1 >= MAX_DEPTH {
            if calls || !runs.is_empty() {
                self.unread(span, place.limit());
            }
            return;
        }
        let inner = Place {
            outer: Some((command.pipeline, command.position)),
            parent: Some(index),
            via: Via::Shell,
            context: command.context,
            depth: place.depth + 1,
            is_guess: place.is_guess,
        };
        for run in runs {
            self.run(run, index, inner);
        }
        if calls {
            self.call(index, inner);
        }
    }

    fn run(&mut self, run: Run, index: usize, inner: Place) {
        let guess = Place {
            is_guess: true,
            ..inner
        };
        match run {
            Run::Text { source, sure, args } => {
                let place = if sure { inner } else { guess };
                if matches!(source.text.trim(), "$()" | "<()") {
                    self.given(self.substituted_output(index, 0), args, guess);
                } else {
                    self.given(Some(source), args, place);
                }
            }
            Run::Words(words) => {
                let inner = Place {
                    via: Via::Exec,
                    ..inner
                };
                self.argv(words, Vec::new(), inner);
            }
            Run::Input { args } => {
                let command = self.script.commands.get(index);
                match command.and_then(given::here) {
                    Some(word) if !word.text.trim().starts_with("$()") => {
                        let place = if word.sure { inner } else { guess };
                        let source = word.source();
                        self.given(Some(source), args, place);
                    }
                    _ => {
                        let slot = self.script.near_feeders(index).map(|(slot, _)| slot);
                        // A text does not read itself again where it has a shell read what is left of it.
                        if slot.is_some_and(|slot| self.open_inputs.contains(&slot)) {
                            return;
                        }
                        let text = self.input(index, 0);
                        self.open_inputs.extend(slot);
                        self.given(text, args, guess);
                        if slot.is_some() {
                            self.open_inputs.pop();
                        }
                    }
                }
            }
            Run::File { word, args } => {
                if word.text == "<()" {
                    self.given(self.substituted_output(index, 0), args, guess);
                    return;
                }
                let name = base_name(word.likely()).to_owned();
                // As with functions, no file runs itself.
                if let Some(text) = self.memory.read(&name).filter(|_| !self.open_files.contains(&name)) {
                    self.open_files.push(name);
                    self.given(Some(text), args, guess);
                    self.open_files.pop();
                }
            }
            Run::Beyond(why) => {
                if let Some(command) = self.script.commands.get(index) {
                    let span = command.span;
                    self.unread(span, why);
                }
            }
        }
    }

    fn given(&mut self, source: Option<Source>, args: Option<Positional>, place: Place) {
        let Some(source) = source else { return };
        match args {
            Some(args) => {
                self.positional.push(args);
                self.text(source, place);
                self.positional.pop();
            }
            None => self.text(source, place),
        }
    }

    /// What runs behind a word that is no program by itself: a variable, a substitution, a file that the script wrote.
    fn hidden(&self, command: &Command, index: usize) -> Vec<Run> {
        let Some(first) = command.words.first() else {
            return Vec::new();
        };
        let rest = command.args();
        if first.sure {
            return if self.memory.holds_program(&first.text) {
                vec![Run::File {
                    word: first.clone(),
                    args: Some(None),
                }]
            } else {
                Vec::new()
            };
        }
        if first.text == "$()" {
            // `$(which nsenter) -t 1`
            let Some(mut source) = self.substituted_output(index, 0) else {
                return Vec::new();
            };
            source.push_value(" ", first.span.end);
            let rest = given::joined(rest);
            source.push_part(&rest, 0..rest.text.len());
            return vec![Run::Text {
                source,
                sure: false,
                args: None,
            }];
        }
        let maybe = first.variable().and_then(|name| self.assigned.get(name));
        let values = maybe.map_or(&[] as &[String], |assigned| &assigned.maybe);
        let mut runs: Vec<Run> = Vec::new();
        let work: usize = rest.iter().map(|word| word.text.len() + 1).sum();
        for value in values {
            if !self.memory.guesses.spend(value.len() + work) {
                break;
            }
            let words = value.split([' ', '\t', '\n']).filter(|word| !word.is_empty());
            let words = words.map(|word| ShellWord::plain(word, first.span));
            runs.push(Run::Words(words.chain(rest.iter().cloned()).collect()));
        }
        if values.len() >= MAX_MAYBE {
            runs.push(Run::Beyond(Why::Guesses));
        }
        let begins = rest.first().is_some_and(|word| !word.text.starts_with('-'));
        if runs.is_empty() && first.may_vanish() && begins {
            runs.push(Run::Words(rest.to_vec()));
        }
        runs
    }

    /// What a command reads, as far as the text says it: a here-document, a file that the script wrote, what the command
    /// before it in its pipeline writes.
    fn input(&self, index: usize, passed: usize) -> Option<Source> {
        let command = self.script.commands.get(index)?;
        if let Some(word) = given::here(command) {
            return match word.text.trim() {
                "$()" => self.substituted_output(index, passed),
                _ => Some(word.source()),
            };
        }
        let file = command
            .redirects
            .iter()
            .rev()
            .find(|redirect| redirect.kind == Redirection::Read);
        if let Some(file) = file {
            return match file.target.text.as_str() {
                "<()" => self.substituted_output(index, passed),
                _ => self.memory.read(file.target.likely()),
            };
        }
        let (_, feeders) = self.script.near_feeders(index)?;
        let mut written: Option<Source> = None;
        for feeder in feeders {
            if matches!(self.script.commands.get(feeder)?.program(), "cat" | "tee") && written.is_some() {
                continue; // it passes on what stands there already
            }
            if let Some(text) = self.output(feeder, passed + 1) {
                self.append(&mut written, &text);
            }
        }
        written
    }

    /// What a command writes, as far as the text says it. Asked once for each: in a long pipeline all depend on each other.
    fn output(&self, index: usize, passed: usize) -> Option<Source> {
        if let Some(known) = self.outputs.borrow().get(&index) {
            let known = known.as_ref()?;
            return self.memory.guesses.spend(known.text.len() + 1).then(|| known.clone());
        }
        if passed >= MAX_PASSED || !self.memory.guesses.spend(1) {
            return None;
        }
        let text = self.written(index, passed);
        let text = text.filter(|text| text.text.len() <= MAX_BYTES && self.memory.guesses.spend(text.text.len()));
        self.outputs.borrow_mut().insert(index, text.clone());
        text
    }

    fn written(&self, index: usize, passed: usize) -> Option<Source> {
        let command = self.script.commands.get(index)?;
        match command.program() {
            "echo" => {
                let options = command
                    .args()
                    .iter()
                    .take_while(|word| matches!(word.text.as_str(), "-e" | "-n" | "-E" | "-ne" | "-en"));
                Some(shown::unescaped(&given::joined(
                    command.args().iter().skip(options.count()),
                )))
            }
            "printf" => {
                let (format, values) = command.args().split_first()?;
                Some(shown::formatted(format, values))
            }
            "cat" => {
                let mut written = None;
                let mut operands = command.operands().peekable();
                if operands.peek().is_none() {
                    written = self.input(index, passed);
                }
                let mut has_read = false;
                for word in operands {
                    let text = if !is_input(&word.text) {
                        self.memory.read(word.likely())
                    } else if std::mem::replace(&mut has_read, true) {
                        None // it is at its end
                    } else {
                        self.input(index, passed)
                    };
                    if let Some(text) = text {
                        self.append(&mut written, &text);
                    }
                }
                written
            }
            "tee" => self.input(index, passed),
            "which" | "command" | "type" => Some(command.operands().next()?.source()),
            _ => None,
        }
    }

    /// What the commands in the substitutions of a command write.
    fn substituted_output(&self, index: usize, passed: usize) -> Option<Source> {
        let mut written = None;
        for (inner, _) in self.script.substituted(index) {
            if let Some(text) = self.output(inner, passed + 1) {
                self.append(&mut written, &text);
            }
        }
        written
    }

    /// Adds a text, as long as the whole may be a script.
    fn append(&self, whole: &mut Option<Source>, text: &Source) {
        let source = whole.get_or_insert_default();
        if source.text.len() + text.text.len() >= MAX_BYTES || !self.memory.guesses.spend(text.text.len() + 1) {
            return;
        }
        if !source.text.is_empty() {
            source.push_value("\n", text.original(0));
        }
        source.push_part(text, 0..text.text.len());
    }

    fn call(&mut self, index: usize, inner: Place) {
        let Some(command) = self.script.commands.get(index) else {
            return;
        };
        let Some(first) = command.words.first() else { return };
        let name = first.likely().to_owned();
        let Some(function) = self.functions.get_mut(&name) else {
            return;
        };
        // The first call shows what it does; what others cost takes nothing from what stands in the file.
        let is_again = function.is_called;
        function.is_called = true;
        let function = function.clone();
        let args = command.args();
        let known = args.iter().all(|word| word.sure);
        // `$0` stays what it was, which nobody knows.
        let args = std::iter::once(String::new()).chain(args.iter().map(|word| word.text.clone()));
        let args = known.then(|| args.collect());
        let context = join(function.context, inner.context);
        // Each call takes the function away while it runs: none calls itself.
        self.functions.remove(&name);
        self.positional.push(args);
        let inner = Place {
            via: Via::Call,
            context,
            is_guess: inner.is_guess || is_again,
            ..inner
        };
        self.region(&function.outline, function.piece, function.body.clone(), inner);
        self.positional.pop();
        self.functions.entry(name).or_insert(function);
    }
}
