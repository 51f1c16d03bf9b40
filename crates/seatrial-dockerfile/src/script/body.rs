//! From an instruction to its script: shell form, JSON form, here-documents and `SHELL`.

use seatrial_core::finding::Span;

use super::{
    Script,
    command::{Redirect, Redirection, base_name, is_shell},
    memory::Memory,
    read::{Place, Reader},
    source::Source,
    word::{self, ShellWord},
};
use crate::{
    ast::{Args, Heredoc, Instruction, Keyword, Word},
    gotext, heredoc,
};

/// The most words of a `SHELL` that are kept: each command is asked about them. With more of them the text is read as
/// a shell's, whatever they say.
const MAX_SHELL_WORDS: usize = 32;

/// What `SHELL` makes of the shell form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Interpreter {
    /// A shell in the manner of Bourne's, with the words before the text: `/bin/sh`, `-c`.
    Shell(Vec<String>),
    /// `cmd`, PowerShell, or anything else: the text may be no shell text.
    Other(Vec<String>),
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::Shell(vec!["/bin/sh".into(), "-c".into()])
    }
}

impl Interpreter {
    /// What a `SHELL` instruction sets.
    pub(crate) fn of_instruction(instruction: &Instruction) -> Option<Self> {
        let Args::Json(words) = &instruction.args else {
            return None;
        };
        if words.len() > MAX_SHELL_WORDS {
            return Some(Self::default());
        }
        let words: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        let mut programs = words.iter().map(|word| base_name(word));
        let takes_text = words
            .iter()
            .skip(1)
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('c'));
        Some(if programs.any(is_shell) && takes_text {
            Self::Shell(words)
        } else {
            Self::Other(words)
        })
    }

    /// The words before the text.
    pub(crate) fn words(&self) -> &[String] {
        match self {
            Self::Shell(words) | Self::Other(words) => words,
        }
    }

    /// The base name of the shell, empty for something else.
    pub(crate) fn shell(&self) -> &str {
        match self {
            Self::Shell(words) => words
                .iter()
                .map(|word| base_name(word))
                .find(|name| is_shell(name))
                .unwrap_or_default(),
            Self::Other(_) => "",
        }
    }

    /// An option is set for the text: `e`, or `pipefail` behind `-o`.
    pub(crate) fn sets(&self, short: char, long: &str) -> bool {
        self.words().iter().skip(1).any(|word| {
            word == long || (word.starts_with('-') && !word.starts_with("--") && short != '\0' && word.contains(short))
        })
    }
}

/// The script of `RUN`, `CMD`, `ENTRYPOINT` or `HEALTHCHECK`; `None` for what runs nothing, or no shell text.
/// `outer` says what variables are worth where the file decides it.
pub(crate) fn of_instruction(
    instruction: &Instruction,
    heredocs: &[Heredoc],
    interpreter: &Interpreter,
    outer: &dyn Fn(&str) -> Option<String>,
    memory: &Memory,
) -> Option<Script> {
    let args = match &instruction.args {
        Args::Health(health) => &*health.command,
        args => args,
    };
    let mut reader = Reader::new(memory, outer);
    reader.is_bash = matches!(interpreter.shell(), "bash" | "zsh" | "ksh");
    match args {
        Args::Json(words) => {
            let words = words.iter().map(argument).collect();
            reader.argv(words, Vec::new(), Place::default());
        }
        Args::Text(word) => {
            let heredocs = match instruction.keyword {
                Keyword::Run => heredocs,
                _ => &[],
            };
            text(&mut reader, instruction, word, heredocs, interpreter);
        }
        Args::None | Args::List(_) | Args::Pairs(_) | Args::Health(_) | Args::Trigger(_) => return None,
    }
    Some(reader.finish())
}

/// A here-document that `COPY` makes a file of, when its first line names what runs it. Its variables are those of
/// whoever does.
pub(crate) fn of_document(document: &Heredoc, memory: &Memory) -> Option<Script> {
    document.body.trim_start_matches('\t').strip_prefix("#!")?;
    let mut reader = Reader::new(memory, &|_| None);
    document_alone(&mut reader, document, &Interpreter::default());
    Some(reader.finish())
}

/// Keeps a here-document that `COPY` makes a file of, for a step that gives it to a shell. The last word of the instruction
/// is where it goes.
pub(crate) fn remember_document(document: &Heredoc, target: &str, memory: &Memory) {
    let text = body_of(document);
    if target.ends_with('/') {
        memory.write(&format!("{target}{}", document.delimiter), &text, false);
    } else {
        memory.write(target, &text, false);
    }
}

/// An element of the JSON form: no quotes, no variables.
fn argument(word: &Word) -> ShellWord {
    ShellWord::plain(&word.value, word.span)
}

fn text(
    reader: &mut Reader<'_>,
    instruction: &Instruction,
    word: &Word,
    heredocs: &[Heredoc],
    interpreter: &Interpreter,
) {
    let is_lone = matches!(heredoc::opening(&word.value), Ok(Some(_)));
    if let ([document], true) = (heredocs, is_lone) {
        document_alone(reader, document, interpreter);
        return;
    }
    let program = word
        .value
        .split([' ', '\t', '\n'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_windows = matches!(
        program.strip_suffix(".exe").unwrap_or(&program),
        "powershell" | "pwsh" | "cmd"
    );
    let mut source = written(instruction, word);
    if !heredocs.is_empty() {
        source.push_value("\n", word.span.end);
        for document in heredocs {
            source.push(&document.body, document.body_span.start);
            source.push(&document.delimiter, document.terminator_span.start);
            source.push_value("\n", document.terminator_span.end);
        }
    }
    // Text for another shell: it may not be readable as ours, and what is readable is judged.
    let is_other = foreign(reader, interpreter, &source);
    let place = Place {
        is_guess: is_windows || is_other,
        ..Place::default()
    };
    reader.text(source, place);
}

/// Text for something else than a shell in the manner of Bourne's is an argument of that, whatever else it is.
fn foreign(reader: &mut Reader<'_>, interpreter: &Interpreter, source: &Source) -> bool {
    let Interpreter::Other(words) = interpreter else {
        return false;
    };
    let span = source.span(0..source.text.len());
    let text = ShellWord::plain(&source.text, span);
    let words = words.iter().map(|word| ShellWord::plain(word, span));
    reader.argv(words.chain([text]).collect(), Vec::new(), Place::default());
    reader.script.is_foreign = true;
    true
}

/// `RUN <<EOF`: the document is the script, or a program for the interpreter that its first line names.
fn document_alone(reader: &mut Reader<'_>, document: &Heredoc, interpreter: &Interpreter) {
    let source = body_of(document);
    let first = source.text.lines().next().unwrap_or_default();
    let Some(shebang) = first.strip_prefix("#!") else {
        let is_guess = foreign(reader, interpreter, &source);
        let place = Place {
            is_guess,
            ..Place::default()
        };
        reader.text(source, place);
        return;
    };
    let words: Vec<&str> = shebang.split_whitespace().collect();
    // `#!/bin/busybox sh`, `#!/usr/bin/env -S a=b sh`
    if words.iter().any(|word| is_shell(base_name(word))) {
        reader.text(source, Place::default());
        return;
    }
    let place = Span::new(document.body_span.start, document.body_span.start + first.len());
    let words = words.iter().map(|word| ShellWord::plain(word, place)).collect();
    let body = Redirect {
        kind: Redirection::Here,
        descriptor: None,
        target: word::body(&source, 0..source.text.len(), true),
        span: place,
    };
    reader.argv(words, vec![body], Place::default());
}

/// The text of a document, as the file or program that it becomes has it.
fn body_of(document: &Heredoc) -> Source {
    let mut source = Source::default();
    let mut at = document.body_span.start;
    for line in document.body.split_inclusive('\n') {
        let tabs = if document.chomp {
            line.len() - line.trim_start_matches('\t').len()
        } else {
            0
        };
        source.push(line.get(tabs..).unwrap_or_default(), at + tabs);
        at += line.len();
    }
    source
}

/// The text as it is written, with its places in the file.
fn written(instruction: &Instruction, word: &Word) -> Source {
    let logical = &instruction.logical;
    let (_, end) = gotext::trim_range(&logical.text, 0, logical.text.len());
    match end.checked_sub(word.value.len()) {
        Some(start) if logical.text.get(start..end) == Some(word.value.as_str()) => {
            Source::of_logical(logical, start..end)
        }
        _ => {
            let mut source = Source::default();
            source.push_value(&word.value, word.span.start);
            source
        }
    }
}
