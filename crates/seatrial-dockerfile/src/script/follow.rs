//! Into what a command runs: shell text wherever it comes from, functions of the script, and what a variable in the place
//! of the program may be.

use super::{
    Why,
    command::{Command, Redirection, Via, base_name},
    given::{self, Run},
    read::{MAX_CALLS, MAX_DEPTH, Place, Reader, join},
    source::Source,
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
        if !matches!(command.program(), "echo" | "printf" | "cat" | "tee") {
            return;
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
        if command.program() == "tee" {
            let appends = command.flag('a', "append").is_some();
            files.extend(command.operands().map(|word| (word.likely().to_owned(), appends)));
        }
        if files.is_empty() {
            return;
        }
        let Some(text) = self.output(index, 0) else { return };
        for (path, appends) in files {
            let before = if appends { self.memory.read(&path) } else { None };
            let mut whole = before.unwrap_or_default();
            if !whole.text.is_empty() {
                whole.push_value("\n", text.original(0));
            }
            whole.push_part(&text, 0..text.text.len());
            if self.memory.budget.spend(whole.text.len()) {
                self.memory.write(&path, whole);
            }
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
                self.unread(span, Why::Limit);
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
                    self.given(self.substituted_output(index), args, guess);
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
                    _ => self.given(self.input(index, 0), args, guess),
                }
            }
            Run::File { word, args } => {
                if word.text == "<()" {
                    self.given(self.substituted_output(index), args, guess);
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
            Run::Beyond => {
                if let Some(command) = self.script.commands.get(index) {
                    let span = command.span;
                    self.unread(span, Why::Limit);
                }
            }
        }
    }

    fn given(&mut self, source: Option<Source>, args: Option<super::read::Positional>, place: Place) {
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
            let Some(mut source) = self.substituted_output(index) else {
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
        let mut runs: Vec<Run> = values
            .iter()
            .map(|value| {
                let words = value.split_whitespace().map(|word| ShellWord::plain(word, first.span));
                Run::Words(words.chain(rest.iter().cloned()).collect())
            })
            .collect();
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
                "$()" => self.substituted_output(index),
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
                "<()" => self.substituted_output(index),
                _ => self.memory.read(file.target.likely()),
            };
        }
        if passed >= MAX_PASSED {
            return None;
        }
        let mut written: Option<Source> = None;
        for feeder in self.script.feeders(index).into_iter().rev() {
            if matches!(self.script.commands.get(feeder)?.program(), "cat" | "tee") && written.is_some() {
                continue; // it passes on what stands there already
            }
            if let Some(text) = self.output(feeder, passed + 1) {
                append(&mut written, &text);
            }
        }
        written
    }

    /// What a command writes, as far as the text says it.
    fn output(&self, index: usize, passed: usize) -> Option<Source> {
        let command = self.script.commands.get(index)?;
        let text = match command.program() {
            "echo" => {
                let options = command
                    .args()
                    .iter()
                    .take_while(|word| matches!(word.text.as_str(), "-e" | "-n" | "-E" | "-ne" | "-en"));
                lines(&given::joined(command.args().iter().skip(options.count())))
            }
            "printf" => {
                let (format, values) = command.args().split_first()?;
                if format.text.contains('%') {
                    lines(&given::joined(values))
                } else {
                    lines(&format.source())
                }
            }
            "cat" => {
                let mut written = None;
                let mut operands = command.operands().peekable();
                if operands.peek().is_none() {
                    written = self.input(index, passed);
                }
                for word in operands {
                    let text = if given::is_input(&word.text) {
                        self.input(index, passed)
                    } else {
                        self.memory.read(word.likely())
                    };
                    if let Some(text) = text {
                        append(&mut written, &text);
                    }
                }
                written?
            }
            "tee" => self.input(index, passed)?,
            "which" => command.operands().next()?.source(),
            "command" | "type" => command.operands().next()?.source(),
            _ => return None,
        };
        self.memory.budget.spend(text.text.len()).then_some(text)
    }

    /// What the commands in the substitutions of a command write.
    fn substituted_output(&self, index: usize) -> Option<Source> {
        let mut written = None;
        for (inner, _) in self.script.substituted(index) {
            if let Some(text) = self.output(inner, 0) {
                append(&mut written, &text);
            }
        }
        written
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
        if self.calls >= MAX_CALLS {
            let span = command.span;
            self.unread(span, Why::Limit);
            return;
        }
        self.calls += 1;
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
            ..inner
        };
        self.region(&function.outline, function.piece, function.body.clone(), inner);
        self.positional.pop();
        self.functions.entry(name).or_insert(function);
    }
}

fn append(whole: &mut Option<Source>, text: &Source) {
    let source = whole.get_or_insert_default();
    if !source.text.is_empty() {
        source.push_value("\n", text.original(0));
    }
    source.push_part(text, 0..text.text.len());
}

/// `\n` as the line end that `echo` and `printf` make of it.
fn lines(source: &Source) -> Source {
    if !source.text.contains("\\n") {
        return source.clone();
    }
    let mut lines = Source::default();
    let mut at = 0;
    for (found, escape) in source.text.match_indices("\\n") {
        lines.push_part(source, at..found);
        lines.push_value("\n", source.original(found));
        at = found + escape.len();
    }
    lines.push_part(source, at..source.text.len());
    lines
}
