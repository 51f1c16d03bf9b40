//! One joined line: keyword, flags and arguments, each instruction in its own way.

use std::sync::Arc;

use seatrial_core::finding::Span;

use crate::{
    ast::{Args, Flag, Health, Instruction, Keyword, Logical, Pair, Word},
    error::ErrorKind,
    gotext, json,
};

/// An error of BuildKit's line parser, its place already in the file.
pub(crate) struct LineError {
    pub(crate) kind: ErrorKind,
    pub(crate) span: Span,
    pub(crate) message: String,
}

/// Reads the instruction in a joined line. Triggers of triggers are looked at for errors only, one
/// after another: an `ONBUILD` may hold 100,000 of them.
pub(crate) fn instruction(logical: Arc<Logical>, escape: char) -> (Instruction, Vec<LineError>) {
    let mut splitter = Splitter {
        logical: &logical,
        escape,
        errors: Vec::new(),
        errors_only: false,
    };
    let (mut instruction, mut trigger) = splitter.node(0, logical.text.len());
    if let Some((start, end)) = trigger {
        let (inner, deeper) = splitter.node(start, end);
        instruction.args = Args::Trigger(Box::new(inner));
        trigger = deeper;
        splitter.errors_only = true;
        while let Some((start, end)) = trigger {
            trigger = splitter.node(start, end).1;
        }
    }
    let errors = splitter.errors;
    (instruction, errors)
}

struct Splitter<'a> {
    logical: &'a Arc<Logical>,
    escape: char,
    errors: Vec<LineError>,
    /// The tree is thrown away: copy no text into it.
    errors_only: bool,
}

type Range = (usize, usize);

impl Splitter<'_> {
    fn text(&self) -> &str {
        &self.logical.text
    }

    fn word(&self, (start, end): Range) -> Word {
        Word {
            value: self.text()[start..end].to_owned(),
            span: self.logical.span(start, end),
        }
    }

    fn error(&mut self, kind: ErrorKind, (start, end): Range, message: String) {
        let span = self.logical.span(start, end);
        self.errors.push(LineError { kind, span, message });
    }

    /// The instruction within `start..end`, and the range of an `ONBUILD`'s trigger.
    fn node(&mut self, start: usize, end: usize) -> (Instruction, Option<Range>) {
        let (start, end) = gotext::trim_range(self.text(), start, end);
        let bytes = self.text().as_bytes();
        let keyword_end = (start..end).find(|at| gotext::is_separator(bytes[*at])).unwrap_or(end);
        let mut args_start = keyword_end;
        while args_start < end && gotext::is_separator(bytes[args_start]) {
            args_start += 1;
        }
        let (flags, rest_start) = self.flags(args_start, end);
        let rest = gotext::trim_range(self.text(), rest_start, end);
        let name = gotext::lower(&self.text()[start..keyword_end]);
        let keyword = Keyword::from_lower(&name);
        let args = self.args(keyword, rest);
        let trigger = (keyword == Keyword::Onbuild && rest.0 < rest.1).then_some(rest);
        let instruction = Instruction {
            keyword,
            name,
            keyword_span: self.logical.span(start, keyword_end),
            first_line: 0,
            last_line: 0,
            span: self.logical.span(start, end),
            logical: Arc::clone(self.logical),
            flags,
            rest: if self.errors_only {
                Word::default()
            } else {
                self.word(rest)
            },
            args,
            heredocs: Vec::new(),
            empty_continuations: Vec::new(),
            comments: 0..0,
        };
        (instruction, trigger)
    }

    /// Leading words that begin with `--`. BuildKit walks BYTES here and takes each for a rune:
    /// bytes outside ASCII come out as Latin-1, and 0x85 and 0xA0 are blanks. The escape is `\`
    /// whatever the file says.
    fn flags(&self, start: usize, end: usize) -> (Vec<Flag>, usize) {
        let bytes = &self.text().as_bytes()[..end];
        let mut flags = Vec::new();
        let mut at = start;
        loop {
            while at < end && gotext::is_byte_space(bytes[at]) {
                at += 1;
            }
            if !bytes[at..].starts_with(b"--") {
                return (flags, self.boundary(at));
            }
            let from = at;
            let mut word = String::new();
            let mut equals = None;
            let mut quote = None;
            while at < end {
                let byte = bytes[at];
                match quote {
                    None if gotext::is_byte_space(byte) => break,
                    None if matches!(byte, b'\'' | b'"') => quote = Some(byte),
                    Some(open) if byte == open => quote = None,
                    _ => {
                        let mut literal = byte;
                        if byte == b'\\' {
                            at += 1;
                            match bytes.get(at) {
                                Some(next) => literal = *next,
                                None => break,
                            }
                        }
                        if literal == b'=' && equals.is_none() {
                            equals = Some((word.len(), at));
                        }
                        word.push(char::from(literal));
                    }
                }
                at += 1;
            }
            let at_end = at >= end;
            at = at.min(end);
            // The blank that ended it may stand within a character; a place may not.
            let place_end = self.boundary(at);
            if word == "--" {
                return (flags, self.boundary(at));
            }
            let (name, value, value_span) = match equals {
                Some((split, place)) => (
                    word[2..split].to_owned(),
                    Some(word[split + 1..].to_owned()),
                    self.logical.span((place + 1).min(at), place_end),
                ),
                None => (word[2..].to_owned(), None, self.logical.span(place_end, place_end)),
            };
            flags.push(Flag {
                name,
                value,
                span: self.logical.span(from, place_end),
                value_span,
            });
            if at_end {
                return (flags, end);
            }
        }
    }

    fn boundary(&self, mut at: usize) -> usize {
        while !self.text().is_char_boundary(at) {
            at += 1;
        }
        at
    }

    fn args(&mut self, keyword: Keyword, rest: Range) -> Args {
        match keyword {
            Keyword::Add | Keyword::Copy | Keyword::Volume => self.json(rest).unwrap_or_else(|| self.list(rest)),
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
                self.json(rest).unwrap_or_else(|| self.whole(rest))
            }
            Keyword::Expose | Keyword::From => self.list(rest),
            Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir => self.whole(rest),
            Keyword::Arg => self.names(rest),
            Keyword::Env | Keyword::Label => self.pairs(keyword, rest),
            Keyword::Healthcheck => self.health(rest),
            Keyword::Onbuild | Keyword::Unknown => Args::None,
        }
    }

    fn whole(&self, rest: Range) -> Args {
        if rest.0 == rest.1 {
            return Args::None;
        }
        Args::Text(self.word(rest))
    }

    fn list(&self, (start, end): Range) -> Args {
        let ranges = gotext::split_separators(&self.text()[start..end]);
        if ranges.is_empty() {
            return Args::None;
        }
        Args::List(
            ranges
                .into_iter()
                .map(|(from, to)| self.word((start + from, start + to)))
                .collect(),
        )
    }

    /// `None`: not JSON, try another way.
    fn json(&mut self, (start, end): Range) -> Option<Args> {
        match json::array(&self.text()[start..end]) {
            json::Array::Not => None,
            json::Array::Mixed => {
                let message = "when using JSON array syntax, arrays must be comprised of strings only".into();
                self.error(ErrorKind::JsonNotStrings, (start, end), message);
                Some(Args::None)
            }
            json::Array::Strings(strings) => Some(Args::Json(
                strings
                    .into_iter()
                    .map(|(value, from, to)| Word {
                        value,
                        span: self.logical.span(start + from, start + to),
                    })
                    .collect(),
            )),
        }
    }

    fn health(&mut self, (start, end): Range) -> Args {
        let bytes = self.text().as_bytes();
        let kind_end = (start..end).find(|at| gotext::is_byte_space(bytes[*at])).unwrap_or(end);
        let command = (kind_end..end)
            .find(|at| !gotext::is_byte_space(bytes[*at]))
            .unwrap_or(end);
        if start == kind_end {
            return Args::None;
        }
        let kind = self.word((start, self.boundary(kind_end)));
        let rest = (self.boundary(command), end);
        let command = self.json(rest).unwrap_or_else(|| self.whole(rest));
        Args::Health(Health {
            kind,
            command: Box::new(command),
        })
    }

    /// `ARG a b=c`.
    fn names(&self, rest: Range) -> Args {
        let words = self.quoted_words(rest);
        if words.is_empty() {
            return Args::None;
        }
        Args::Pairs(words.into_iter().map(|word| self.pair(word)).collect())
    }

    fn pair(&self, (start, end): Range) -> Pair {
        match self.text()[start..end].find('=') {
            Some(at) => Pair {
                name: self.word((start, start + at)),
                value: Some(self.word((start + at + 1, end))),
                equals: true,
            },
            None => Pair {
                name: self.word((start, end)),
                value: None,
                equals: false,
            },
        }
    }

    /// `ENV a=b c=d` or `ENV a b c`: whether the first word has a `=` decides.
    fn pairs(&mut self, keyword: Keyword, rest: Range) -> Args {
        let words = self.quoted_words(rest);
        let Some(first) = words.first().copied() else {
            return Args::None;
        };
        if !self.text()[first.0..first.1].contains('=') {
            return self.old_pair(keyword, rest);
        }
        let mut pairs = Vec::with_capacity(words.len());
        let mut complete = true;
        for word in words {
            let pair = self.pair(word);
            if pair.value.is_none() {
                let message = format!(
                    "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                    pair.name.value
                );
                self.error(ErrorKind::MissingEquals, word, message);
                complete = false;
                break;
            }
            pairs.push(pair);
        }
        if complete { Args::Pairs(pairs) } else { Args::None }
    }

    fn old_pair(&mut self, keyword: Keyword, (start, end): Range) -> Args {
        let bytes = self.text().as_bytes();
        let Some(name_end) = (start..end).find(|at| gotext::is_separator(bytes[*at])) else {
            let message = format!("{} must have two arguments", keyword.as_str());
            self.error(ErrorKind::MissingValue, (start, end), message);
            return Args::None;
        };
        let value = (name_end..end)
            .find(|at| !gotext::is_separator(bytes[*at]))
            .unwrap_or(end);
        Args::Pairs(vec![Pair {
            name: self.word((start, name_end)),
            value: Some(self.word((value, end))),
            equals: false,
        }])
    }

    /// Words split at Unicode blanks that are not quoted or escaped. Quotes and escapes stay; an
    /// escape that ends the text is dropped.
    fn quoted_words(&self, (start, end): Range) -> Vec<Range> {
        let mut words = Vec::new();
        let mut word = None;
        let mut quote = None;
        let mut characters = self.text()[start..end].char_indices();
        while let Some((at, character)) = characters.next() {
            let at = start + at;
            if word.is_none() {
                if character.is_whitespace() {
                    continue;
                }
                word = Some(at);
            }
            let escapes = character == self.escape && quote != Some('\'');
            match quote {
                None if character.is_whitespace() => {
                    words.extend(word.take().map(|from| (from, at)));
                    continue;
                }
                None if matches!(character, '\'' | '"') => quote = Some(character),
                Some(open) if character == open => quote = None,
                _ => {}
            }
            if escapes && characters.next().is_none() {
                if let Some(from) = word.take()
                    && from < at
                {
                    words.push((from, at));
                }
                return words;
            }
        }
        words.extend(word.map(|from| (from, end)));
        words
    }
}
