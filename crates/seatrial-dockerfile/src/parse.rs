//! Bytes to instructions, all errors in one pass.
//!
//! A port of what BuildKit's Dockerfile parser does, line by line: directives, a byte order mark,
//! comments, continuations, here-documents, then each instruction's own way of splitting
//! ([`split`]) and of judging its arguments ([`check`]).
//!
//! Where it differs from BuildKit, on purpose, and always by refusing more:
//! - a NUL byte, invalid UTF-8 and a carriage return without a line feed are errors: what a screen,
//!   an editor and another parser show of such a file is not what is built;
//! - a file over 1 MiB, more than 1,000 instructions and more than 100 stages are errors: BuildKit
//!   has no such limits and spends minutes on such files;
//! - BuildKit stops at its first error; we go on and report all. After an error of the line
//!   parser BuildKit yields no instructions, we yield what could be read.

pub(crate) mod check;
pub(crate) mod directive;
pub(crate) mod split;

use std::sync::Arc;

use seatrial_core::finding::Span;

use crate::{
    ast::{Args, Comment, Dockerfile, Heredoc, Instruction, Keyword, Logical},
    error::{ErrorKind, ErrorLevel, ParseError},
    heredoc,
};

/// The largest file that is read: 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The longest physical line without its line feed: BuildKit's own limit.
pub const MAX_LINE_BYTES: usize = 65_535;
/// The most instructions that are read.
pub const MAX_INSTRUCTIONS: usize = 1_000;
/// The most `FROM` instructions that are read.
pub const MAX_STAGES: usize = 100;

/// A file that was read as far as possible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// What could be read.
    pub dockerfile: Dockerfile,
    /// What is wrong, in the order of the places. Empty: the file may be judged and built.
    pub errors: Vec<ParseError>,
    /// The text; bytes that are not UTF-8 are replaced one by one, so that places stay true.
    pub text: String,
    line_starts: Vec<usize>,
}

impl Parsed {
    /// Line and column (in characters) of a byte, both from 1.
    #[must_use]
    pub fn position(&self, at: usize) -> (usize, usize) {
        position(&self.text, &self.line_starts, at)
    }

    /// Where a line (from 1) begins.
    pub(crate) fn line_start(&self, line: usize) -> Option<usize> {
        self.line_starts.get(line.checked_sub(1)?).copied()
    }

    /// The text at a place.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}

/// Reads a Dockerfile. Never panics and never stops at the first error.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    parse_within(bytes, SUBMITTED)
}

/// Reads what we rendered ourselves: expanded, with steps of ours, so within larger limits.
pub(crate) fn parse_rendering(bytes: &[u8]) -> Parsed {
    parse_within(bytes, RENDERED)
}

/// How much of a file is read.
#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    instructions: usize,
    stages: usize,
}

const SUBMITTED: Limits = Limits {
    bytes: MAX_FILE_BYTES,
    instructions: MAX_INSTRUCTIONS,
    stages: MAX_STAGES,
};

/// The builder takes 4 MiB.
const RENDERED: Limits = Limits {
    bytes: 4 * MAX_FILE_BYTES,
    instructions: 10 * MAX_INSTRUCTIONS,
    stages: 10 * MAX_STAGES,
};

fn parse_within(bytes: &[u8], limits: Limits) -> Parsed {
    let mut reader = Reader::new(bytes, limits);
    if bytes.len() > limits.bytes {
        reader.error(
            ErrorKind::FileTooLarge,
            Span::new(0, 0),
            format!("the file has {} bytes, more than {}", bytes.len(), limits.bytes),
        );
    } else {
        reader.check_bytes();
        reader.read();
        check::file(&mut reader);
    }
    reader.finish()
}

fn position(text: &str, line_starts: &[usize], at: usize) -> (usize, usize) {
    let line = line_starts.partition_point(|start| *start <= at).max(1);
    let start = line_starts.get(line - 1).copied().unwrap_or(0);
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (
        line,
        text.get(start..end).map_or(0, |before| before.chars().count()) + 1,
    )
}

/// A physical line: its bytes without the line end, and where the next one begins.
#[derive(Clone, Copy)]
struct Line {
    /// 1-based.
    number: usize,
    start: usize,
    /// Behind the last byte that is not CR or LF.
    end: usize,
    next: usize,
}

pub(crate) struct Reader {
    text: String,
    line_starts: Vec<usize>,
    invalid: Vec<usize>,
    /// Index of the next line.
    next_line: usize,
    escape: char,
    directives: directive::Directives,
    pub(crate) file: Dockerfile,
    errors: Vec<ParseError>,
    limits: Limits,
}

impl Reader {
    fn new(bytes: &[u8], limits: Limits) -> Self {
        let (text, invalid) = if bytes.len() > limits.bytes {
            (String::new(), Vec::new())
        } else {
            decode(bytes)
        };
        let mut line_starts = vec![0];
        line_starts.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1),
        );
        if line_starts.last() == Some(&text.len()) {
            line_starts.pop();
        }
        Self {
            text,
            line_starts,
            invalid,
            next_line: 0,
            escape: '\\',
            directives: directive::Directives::default(),
            file: Dockerfile {
                escape: '\\',
                directives: Vec::new(),
                syntax: None,
                comments: Vec::new(),
                instructions: Vec::new(),
            },
            errors: Vec::new(),
            limits,
        }
    }

    pub(crate) fn error(&mut self, kind: ErrorKind, span: Span, message: String) {
        let (line, column) = position(&self.text, &self.line_starts, span.start);
        self.errors.push(ParseError {
            kind,
            span,
            line,
            column,
            message,
            remedy: kind.remedy(),
        });
    }

    fn finish(mut self) -> Parsed {
        self.file.escape = self.escape;
        self.errors.sort_by_key(|error| (error.span.start, error.kind));
        Parsed {
            dockerfile: self.file,
            errors: self.errors,
            text: self.text,
            line_starts: self.line_starts,
        }
    }

    fn check_bytes(&mut self) {
        if let Some(at) = self.invalid.first().copied() {
            let count = self.invalid.len();
            self.error(
                ErrorKind::InvalidUtf8,
                Span::new(at, at + 1),
                format!("{count} bytes are not valid UTF-8"),
            );
        }
        if let Some(at) = self.text.find('\0') {
            self.error(
                ErrorKind::NulByte,
                Span::new(at, at + 1),
                "the file holds a NUL byte".into(),
            );
        }
        let bytes = self.text.as_bytes();
        let lone = self
            .text
            .match_indices('\r')
            .map(|(at, _)| at)
            .find(|at| bytes.get(at + 1) != Some(&b'\n'));
        if let Some(at) = lone {
            let message = "a carriage return stands without a line feed".into();
            self.error(ErrorKind::LoneCarriageReturn, Span::new(at, at + 1), message);
        }
        self.file.syntax = directive::detect_syntax(&self.text);
    }

    /// The next physical line; notes one that is too long.
    fn line(&mut self) -> Option<Line> {
        let start = *self.line_starts.get(self.next_line)?;
        let next = self
            .line_starts
            .get(self.next_line + 1)
            .copied()
            .unwrap_or(self.text.len());
        self.next_line += 1;
        let whole = &self.text[start..next];
        let content = whole.strip_suffix('\n').unwrap_or(whole).len();
        let end = start + whole.trim_end_matches(['\r', '\n']).len();
        if content > MAX_LINE_BYTES {
            self.error(
                ErrorKind::LineTooLong,
                Span::new(start, start + content),
                format!("dockerfile line greater than max allowed size of {MAX_LINE_BYTES}"),
            );
        }
        Some(Line {
            number: self.next_line,
            start,
            end,
            next,
        })
    }

    /// The part of a line that counts: nothing of a comment, and the directive it may hold.
    /// `None`: a comment.
    fn content(&mut self, line: Line, trim_front: bool) -> Option<(usize, usize)> {
        let text = &self.text[line.start..line.end];
        let blank = text.len() - text.trim_start().len();
        let start = if trim_front { line.start + blank } else { line.start };
        let is_comment = text[blank..].starts_with('#');
        match self.directives.line(&self.text[start..line.end]) {
            directive::Found::Nothing => {}
            directive::Found::Directive { name, value } => {
                let span = Span::new(start, line.end);
                if name == "escape" {
                    match value.as_str() {
                        "\\" => self.escape = '\\',
                        "`" => self.escape = '`',
                        other => {
                            let message = format!("invalid escape token '{other}' does not match ` or \\");
                            self.error(ErrorKind::InvalidEscape, span, message);
                        }
                    }
                }
                self.file.directives.push(crate::ast::Directive {
                    name,
                    value,
                    line: line.number,
                    span,
                });
            }
            directive::Found::Duplicate { name } => {
                let message = format!("only one {name} parser directive can be used");
                self.error(ErrorKind::DuplicateDirective, Span::new(start, line.end), message);
            }
        }
        if is_comment {
            let start = line.start + blank;
            self.file.comments.push(Comment {
                line: line.number,
                span: Span::new(start, line.end),
                text: self.text[start + 1..line.end].trim().to_owned(),
            });
            return None;
        }
        Some((start, line.end))
    }

    /// The end without the continuation character, when the line has one.
    fn continued(&self, start: usize, end: usize) -> Option<usize> {
        let text = self.text[start..end].trim_end_matches([' ', '\t']);
        let before = text.strip_suffix(self.escape)?;
        (!before.ends_with(self.escape)).then_some(start + before.len())
    }

    fn read(&mut self) {
        let mut stages = 0;
        let mut comments_from = 0;
        while let Some(mut line) = self.line() {
            if line.number == 1 && self.text.starts_with('\u{feff}') {
                line.start = 3;
            }
            let Some((start, end)) = self.content(line, true) else {
                continue;
            };
            if start == end {
                continue;
            }
            if self.file.instructions.len() == self.limits.instructions {
                let message = format!("more than {} instructions", self.limits.instructions);
                self.error(ErrorKind::TooManyInstructions, Span::new(start, end), message);
                return;
            }
            let mut instruction = self.joined(line, start, end);
            instruction.comments = comments_from..self.file.comments.len();
            comments_from = self.file.comments.len();
            let complete = self.heredocs(&mut instruction);
            if instruction.keyword == Keyword::From {
                stages += 1;
                if stages == self.limits.stages + 1 {
                    let message = format!("more than {} stages", self.limits.stages);
                    self.error(ErrorKind::TooManyStages, instruction.keyword_span, message);
                }
            }
            self.file.instructions.push(instruction);
            if !complete {
                return;
            }
        }
        if self.file.instructions.is_empty() {
            self.error(
                ErrorKind::NoInstructions,
                Span::new(0, 0),
                "file with no instructions".into(),
            );
        }
    }

    /// Joins the continued lines and reads the instruction in them.
    fn joined(&mut self, first: Line, start: usize, end: usize) -> Instruction {
        let mut logical = Logical::default();
        let mut empty_continuations = Vec::new();
        let mut open = self.push(&mut logical, start, end);
        let mut last = first;
        while open {
            let Some(line) = self.line() else { break };
            last = line;
            let Some((start, end)) = self.content(line, false) else {
                continue;
            };
            if self.text[start..end].trim_start().is_empty() {
                empty_continuations.push(line.number);
                continue;
            }
            open = self.push(&mut logical, start, end);
        }
        let (mut instruction, errors) = split::instruction(Arc::new(logical), self.escape);
        instruction.first_line = first.number;
        instruction.last_line = last.number;
        instruction.empty_continuations = empty_continuations;
        instruction.span = Span::new(start, last.end.max(start));
        if let Args::Trigger(trigger) = &mut instruction.args {
            trigger.first_line = first.number;
            trigger.last_line = last.number;
            trigger.span = Span::new(trigger.keyword_span.start, instruction.span.end);
        }
        for error in errors {
            self.error(error.kind, error.span, error.message);
        }
        instruction
    }

    fn push(&self, logical: &mut Logical, start: usize, end: usize) -> bool {
        let stop = self.continued(start, end);
        logical.push(&self.text[start..stop.unwrap_or(end)], start);
        stop.is_some()
    }

    /// Reads the bodies of the instruction's here-documents. False: one has no end, and took the
    /// rest of the file.
    fn heredocs(&mut self, instruction: &mut Instruction) -> bool {
        let bearer = instruction.trigger().unwrap_or(instruction);
        let takes = matches!(bearer.keyword, Keyword::Add | Keyword::Copy | Keyword::Run);
        if !takes || bearer.json_form() || !instruction.logical.text.contains("<<") {
            return true;
        }
        let openings = match heredoc::openings(&instruction.logical.text) {
            Ok(openings) => openings,
            Err(error) => {
                let message = format!("the delimiter of a here-document cannot be read: {error}");
                self.error(ErrorKind::HeredocDelimiter, instruction.span, message);
                return true;
            }
        };
        for opening in openings {
            let word_span = instruction.logical.span(opening.start, opening.end);
            let body_start = self.line_starts.get(self.next_line).copied().unwrap_or(self.text.len());
            let mut ended = None;
            while let Some(line) = self.line() {
                instruction.last_line = line.number;
                instruction.span.end = line.end.max(instruction.span.end);
                let text = &self.text[line.start..line.end];
                let candidate = if opening.chomp {
                    text.trim_start_matches('\t')
                } else {
                    text
                };
                if candidate == opening.delimiter {
                    ended = Some(line);
                    break;
                }
            }
            let Some(line) = ended else {
                let message = format!("unterminated heredoc: no line holds {:?} alone", opening.delimiter);
                self.error(ErrorKind::UnterminatedHeredoc, word_span, message);
                return false;
            };
            instruction.heredocs.push(Heredoc {
                descriptor: opening.descriptor,
                chomp: opening.chomp,
                expand: opening.expand,
                delimiter: opening.delimiter,
                word_span,
                body: self.text[body_start..line.start].to_owned(),
                body_span: Span::new(body_start, line.start),
                terminator_span: Span::new(line.start, line.end),
            });
            debug_assert!(line.next >= line.end);
        }
        true
    }
}

/// The text, and the places of bytes that are not UTF-8, each replaced by `?`.
fn decode(bytes: &[u8]) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(bytes.len());
    let mut invalid = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            invalid.push(text.len());
            text.push('?');
        }
    }
    (text, invalid)
}

impl Parsed {
    /// Whether an error of the line parser is among the errors: BuildKit then has no instructions.
    #[must_use]
    pub fn fails_at_line_level(&self) -> bool {
        self.errors.iter().any(|error| error.kind.level() == ErrorLevel::Line)
    }
}
