//! One lexing under way: a state machine whose nesting lies on a stack of frames.

use super::{Env, LexError, Lexed, LexedWord, Lexer};

/// What waits for the end of a nested part.
enum Frame {
    /// Inside `"…"`; the mark is where its result begins.
    Quote { mark: usize },
    /// Inside `${name op …}` up to `stop`.
    Word {
        stop: char,
        saved_raw: bool,
        mark: usize,
        then: Then,
    },
}

enum Then {
    /// `- + ? # %` or any character after a colon.
    Modifier {
        name: (usize, usize),
        op: Option<char>,
        null_is_unset: bool,
    },
    /// The pattern of `${name/pattern/…}` ended; the replacement follows.
    Pattern { name: (usize, usize) },
    /// The replacement ended.
    Replacement { name: (usize, usize) },
}

#[derive(Default)]
struct Words {
    done: Vec<LexedWord>,
    word: String,
    in_word: bool,
    start: usize,
    end: usize,
}

impl Words {
    fn raw(&mut self, text: &str, start: usize, end: usize) {
        if self.word.is_empty() {
            self.start = start;
        }
        self.end = end;
        self.word.push_str(text);
        self.in_word = true;
    }

    fn split(&mut self, text: &str, start: usize, end: usize) {
        let mut buffer = [0; 4];
        for character in text.chars() {
            if !character.is_whitespace() {
                self.raw(character.encode_utf8(&mut buffer), start, end);
            } else if self.in_word && !self.word.is_empty() {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        if self.word.is_empty() {
            return;
        }
        self.in_word = false;
        self.done.push(LexedWord {
            text: std::mem::take(&mut self.word),
            start: self.start,
            end: self.end,
        });
    }
}

pub(super) struct Run<'a> {
    lexer: Lexer,
    env: &'a dyn Env,
    source: &'a str,
    at: usize,
    out: String,
    words: Words,
    frames: Vec<Frame>,
    raw_escapes: bool,
    /// Where the outermost open part began in the source.
    part_start: usize,
    /// Bytes written in all, thrown away ones included.
    work: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(lexer: Lexer, source: &'a str, env: &'a dyn Env) -> Self {
        Self {
            lexer,
            env,
            source,
            // Go's scanner drops a byte order mark at the start of whatever it reads.
            at: if source.starts_with('\u{feff}') { 3 } else { 0 },
            out: String::with_capacity(source.len()),
            words: Words::default(),
            frames: Vec::new(),
            raw_escapes: lexer.raw_escapes,
            part_start: 0,
            work: 0,
        }
    }

    /// What was written, once [`Run::all`] went through.
    pub(super) fn lexed(mut self) -> Lexed {
        self.words.finish();
        Lexed {
            text: self.out,
            words: self.words.done,
            work: self.work,
        }
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    pub(super) fn all(&mut self) -> Result<(), LexError> {
        loop {
            if self.out.len() > self.lexer.max_len || self.work > self.lexer.max_len.saturating_mul(4) {
                return Err(LexError::TooLarge);
            }
            let stop = match self.frames.last() {
                Some(Frame::Quote { .. }) => {
                    self.step_in_quote()?;
                    continue;
                }
                Some(Frame::Word { stop, .. }) => Some(*stop),
                None => None,
            };
            match (self.peek(), stop) {
                (None, None) => return Ok(()),
                (None, Some(_)) => return Err(LexError::Brace),
                (Some(character), Some(stop)) if character == stop => {
                    self.next();
                    self.end_word()?;
                }
                (Some(character), _) => self.step_in_word(character)?,
            }
        }
    }

    /// At the top level the words collect what is written; inside `${…}` nobody asks for words.
    fn at_top(&self) -> bool {
        self.frames.is_empty()
    }

    fn step_in_word(&mut self, character: char) -> Result<(), LexError> {
        let start = self.at;
        if self.at_top() {
            self.part_start = start;
        }
        match character {
            '$' => self.dollar(),
            '\'' if !self.lexer.skip_quotes => self.single_quote(),
            '"' if !self.lexer.skip_quotes => {
                self.next();
                self.frames.push(Frame::Quote { mark: self.out.len() });
                if self.lexer.raw_quotes {
                    self.out.push('"');
                }
                Ok(())
            }
            '<' => {
                self.possible_heredoc();
                Ok(())
            }
            _ => {
                self.plain(start);
                Ok(())
            }
        }
    }

    fn plain(&mut self, start: usize) {
        let Some(mut character) = self.next() else {
            return;
        };
        let escaped = character == self.lexer.escape;
        let mut buffer = [0; 4];
        if escaped {
            if self.raw_escapes {
                if self.at_top() {
                    let (text, end) = (character.encode_utf8(&mut buffer), self.at);
                    self.words.raw(text, start, end);
                }
                self.out.push(character);
            }
            match self.next() {
                Some(next) => character = next,
                None => return,
            }
        }
        if self.at_top() {
            let (text, end) = (character.encode_utf8(&mut buffer), self.at);
            if escaped {
                self.words.raw(text, start, end);
            } else {
                self.words.split(text, start, end);
            }
        }
        self.out.push(character);
    }

    fn single_quote(&mut self) -> Result<(), LexError> {
        let start = self.at;
        let inner = start + 1;
        let Some(len) = self.source[inner..].find('\'') else {
            return Err(LexError::Quote('\''));
        };
        let (from, to) = if self.lexer.raw_quotes {
            (start, inner + len + 1)
        } else {
            (inner, inner + len)
        };
        let text = &self.source[from..to];
        self.at = inner + len + 1;
        self.out.push_str(text);
        if self.at_top() {
            self.words.raw(text, start, self.at);
        }
        Ok(())
    }

    fn possible_heredoc(&mut self) {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
                self.next();
            }
        }
        let text = &self.source[start..self.at];
        self.out.push_str(text);
        if self.at_top() {
            self.words.raw(text, start, self.at);
        }
    }

    fn step_in_quote(&mut self) -> Result<(), LexError> {
        match self.peek() {
            None => Err(LexError::Quote('"')),
            Some('"') => {
                self.next();
                if self.lexer.raw_quotes {
                    self.out.push('"');
                }
                if let Some(Frame::Quote { mark }) = self.frames.pop()
                    && self.frames.is_empty()
                {
                    self.words.raw(&self.out[mark..], self.part_start, self.at);
                }
                Ok(())
            }
            Some('$') => self.dollar(),
            Some(mut character) => {
                self.next();
                if character == self.lexer.escape {
                    if self.raw_escapes {
                        self.out.push(character);
                    }
                    match self.peek() {
                        None => return Ok(()),
                        Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                            self.next();
                            character = next;
                        }
                        Some(_) => {}
                    }
                }
                self.out.push(character);
                Ok(())
            }
        }
    }

    fn dollar(&mut self) -> Result<(), LexError> {
        let start = self.at;
        let mark = self.out.len();
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            let (from, to) = name;
            if from == to {
                self.out.push('$');
            } else {
                match self.env.get(&self.source[from..to]) {
                    Some(value) => self.write_value(mark, Some(value)),
                    None if self.lexer.skip_unset => self.out.push_str(&self.source[start..to]),
                    None => {}
                }
            }
            self.end_dollar(mark, start);
            return Ok(());
        }
        self.next();
        match self.peek() {
            None => return Err(LexError::Brace),
            Some('{' | '}' | ':') => return Err(LexError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let keep = self.kept_as_written(name);
        match self.next() {
            Some('}') => {
                let value = self.value(name);
                if keep {
                    self.out.push_str(&self.source[start..self.at]);
                } else {
                    self.write_value(mark, value);
                }
                self.end_dollar(mark, start);
            }
            Some(':') => {
                let op = self.next();
                self.open_modifier(mark, name, op, true, keep);
            }
            Some(op @ ('+' | '-' | '?' | '#' | '%')) => {
                self.open_modifier(mark, name, Some(op), false, keep);
            }
            Some('/') => {
                if self.peek() == Some('/') {
                    self.next();
                }
                if keep {
                    self.out.push_str("${");
                    self.out.push_str(&self.source[name.0..name.1]);
                    self.out.push('/');
                }
                self.open('/', true, mark, Then::Pattern { name });
            }
            _ => return Err(LexError::Modifier),
        }
        Ok(())
    }

    fn kept_as_written(&self, (from, to): (usize, usize)) -> bool {
        self.lexer.skip_unset && self.env.get(&self.source[from..to]).is_none()
    }

    fn value(&self, (from, to): (usize, usize)) -> Option<&'a str> {
        self.env.get(&self.source[from..to])
    }

    fn open_modifier(&mut self, mark: usize, name: (usize, usize), op: Option<char>, null_is_unset: bool, keep: bool) {
        if keep {
            self.out.push_str("${");
            self.out.push_str(&self.source[name.0..name.1]);
            if null_is_unset {
                self.out.push(':');
            }
            self.out.extend(op);
        }
        let raw = matches!(op, Some('#' | '%'));
        self.open(
            '}',
            raw,
            mark,
            Then::Modifier {
                name,
                op,
                null_is_unset,
            },
        );
    }

    fn open(&mut self, stop: char, raw_escapes: bool, mark: usize, then: Then) {
        let saved_raw = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        self.frames.push(Frame::Word {
            stop,
            saved_raw,
            mark,
            then,
        });
    }

    fn end_word(&mut self) -> Result<(), LexError> {
        let Some(Frame::Word {
            saved_raw, mark, then, ..
        }) = self.frames.pop()
        else {
            return Ok(());
        };
        self.raw_escapes = saved_raw;
        match then {
            Then::Pattern { name } => {
                if self.kept_as_written(name) {
                    self.out.push('/');
                }
                self.open('}', true, mark, Then::Replacement { name });
                return Ok(());
            }
            Then::Replacement { name } => {
                if !self.kept_as_written(name) {
                    return Err(LexError::Pattern {
                        name: self.source[name.0..name.1].to_owned(),
                    });
                }
                self.out.push('}');
            }
            Then::Modifier {
                name,
                op,
                null_is_unset,
            } => {
                if self.kept_as_written(name) {
                    self.out.push('}');
                } else {
                    self.apply(mark, name, op, null_is_unset)?;
                }
            }
        }
        self.end_dollar(mark, self.part_start);
        Ok(())
    }

    fn apply(
        &mut self,
        mark: usize,
        name: (usize, usize),
        op: Option<char>,
        null_is_unset: bool,
    ) -> Result<(), LexError> {
        let value = self.value(name);
        let missing = match value {
            None => true,
            Some(value) => null_is_unset && value.is_empty(),
        };
        match op {
            Some('-') if missing => Ok(()),
            Some('+') if !missing => Ok(()),
            Some('+') => {
                self.write_value(mark, None);
                Ok(())
            }
            Some('?') if missing => {
                let word = &self.out[mark..];
                let message = match (word, value) {
                    ("", None) => "is not allowed to be unset",
                    ("", Some(_)) => "is not allowed to be empty",
                    (word, _) => word,
                };
                Err(LexError::Required {
                    name: self.source[name.0..name.1].to_owned(),
                    message: message.to_owned(),
                })
            }
            Some('-' | '?') => {
                self.write_value(mark, value);
                Ok(())
            }
            Some('#' | '%') => Err(LexError::Pattern {
                name: self.source[name.0..name.1].to_owned(),
            }),
            _ => Err(LexError::Modifier),
        }
    }

    /// Replaces what was written since `mark`.
    fn write_value(&mut self, mark: usize, value: Option<&str>) {
        self.out.truncate(mark);
        if let Some(value) = value {
            self.work += value.len();
            self.out.push_str(value);
        }
    }

    /// The result of a `$…` is split into words when it stands at the top level.
    fn end_dollar(&mut self, mark: usize, start: usize) {
        if self.frames.is_empty() {
            self.words.split(&self.out[mark..], start, self.at);
        }
    }

    /// A name: digits, or one special character, or letters, digits and `_`.
    fn name(&mut self) -> (usize, usize) {
        let start = self.at;
        let digit = |character: char| character.is_ascii_digit() || (!character.is_ascii() && character.is_numeric());
        match self.peek() {
            Some(first) if digit(first) => {
                while self.peek().is_some_and(digit) {
                    self.next();
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.next();
            }
            _ => {
                while self
                    .peek()
                    .is_some_and(|character| character == '_' || character.is_alphabetic() || digit(character))
                {
                    self.next();
                }
            }
        }
        (start, self.at)
    }
}
