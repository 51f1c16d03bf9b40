//! What is written: instructions of ours, each with the place that asked for it.

use seatrial_core::finding::Span;

use super::{PlannedStep, stages};
use crate::ast::{Args, Dockerfile, Flag, Heredoc, Instruction, Keyword, Pair, Word};

/// Longest text that is kept of an original instruction, in characters.
const MAX_TEXT: usize = 300;

/// Instructions and their steps, in order.
#[derive(Default)]
pub(super) struct Section {
    instructions: Vec<Instruction>,
    steps: Vec<PlannedStep>,
}

impl Section {
    /// Adds an instruction that `origin` asked for.
    pub(super) fn push(&mut self, origin: &Instruction, instruction: Instruction) {
        self.instructions.push(instruction);
        self.steps.push(PlannedStep {
            line: origin.first_line,
            text: origin.logical.text.trim().chars().take(MAX_TEXT).collect(),
        });
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.instructions.append(&mut other.instructions);
        self.steps.append(&mut other.steps);
    }

    pub(super) fn into_file(self) -> (Dockerfile, Vec<PlannedStep>) {
        let file = Dockerfile {
            escape: '\\',
            directives: Vec::new(),
            syntax: None,
            comments: Vec::new(),
            instructions: self.instructions,
        };
        (file, self.steps)
    }
}

pub(super) fn instruction(keyword: Keyword, args: Args) -> Instruction {
    Instruction {
        keyword,
        name: keyword.as_str().to_ascii_lowercase(),
        keyword_span: Span::default(),
        first_line: 0,
        last_line: 0,
        span: Span::default(),
        logical: std::sync::Arc::default(),
        flags: Vec::new(),
        rest: Word::default(),
        args,
        heredocs: Vec::new(),
        empty_continuations: Vec::new(),
        comments: 0..0,
    }
}

pub(super) fn word(value: impl Into<String>) -> Word {
    Word {
        value: value.into(),
        span: Span::default(),
    }
}

pub(super) fn json(keyword: Keyword, words: Vec<String>) -> Instruction {
    instruction(keyword, Args::Json(words.into_iter().map(word).collect()))
}

pub(super) fn list(keyword: Keyword, words: Vec<String>) -> Instruction {
    instruction(keyword, Args::List(words.into_iter().map(word).collect()))
}

pub(super) fn flag(name: &str, value: String) -> Flag {
    Flag {
        name: name.to_owned(),
        value: Some(value),
        span: Span::default(),
        value_span: Span::default(),
    }
}

/// `USER`, `WORKDIR`, `STOPSIGNAL` with a literal text.
pub(super) fn text(keyword: Keyword, value: &str) -> Option<Instruction> {
    Some(instruction(keyword, Args::Text(word(quoted(value)?))))
}

/// `ENV`, `ARG`, `LABEL` with literal names and values; the name that cannot be written, if one.
pub(super) fn pairs<'a>(
    keyword: Keyword,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Instruction, String> {
    let mut written = Vec::new();
    for (name, value) in pairs {
        let (Some(quoted_name), Some(value), false) = (quoted(name), quoted(value), name.contains('=')) else {
            return Err(name.to_owned());
        };
        // The builder gives these their values and takes no other.
        let builtin = keyword == Keyword::Arg && stages::builtin(name);
        written.push(Pair {
            name: word(quoted_name),
            value: (!builtin).then(|| word(value)),
            equals: !builtin,
        });
    }
    Ok(instruction(keyword, Args::Pairs(written)))
}

/// A here-document that gives a file of exactly this text. The builder makes an empty one into a
/// line end, takes the first delimiter line for the end, and names the file after the delimiter.
pub(super) fn heredoc(name: &str, body: &str) -> Option<(String, Heredoc)> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    let sound = !name.is_empty() && name.len() < 200 && name.chars().all(plain) && !name.starts_with(['.', '-']);
    let clashes = body.lines().any(|line| line == name);
    let lone = body.replace("\r\n", "\n").contains('\r') || body.contains('\0');
    if !sound || clashes || lone || !body.ends_with('\n') {
        return None;
    }
    let heredoc = Heredoc {
        descriptor: 0,
        chomp: false,
        expand: false,
        delimiter: name.to_owned(),
        word_span: Span::default(),
        body: body.to_owned(),
        body_span: Span::default(),
        terminator_span: Span::default(),
    };
    Some((format!("<<'{name}'"), heredoc))
}

/// The text so that every reader takes it literally; `None` for what has a line end in it.
pub(super) fn quoted(text: &str) -> Option<String> {
    if text.contains(['\n', '\r', '\0']) {
        return None;
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || "_./:@+,-".contains(character);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        return Some(text.to_owned());
    }
    Some(format!("'{}'", text.replace('\'', "'\\''")))
}
