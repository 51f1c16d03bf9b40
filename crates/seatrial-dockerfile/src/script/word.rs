//! A word of the shell after quotes, escapes and variables.

use std::ops::Range;

use seatrial_core::finding::Span;

use super::source::Source;

/// How deep `${a:-${b:-…}}` is followed.
const MAX_DEFAULTS: usize = 4;
/// The most that one word may become.
const MAX_WORD: usize = 16 << 10;

/// A word as the command gets it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ShellWord {
    /// Quotes, escapes and known variables are gone; what is not known stands there as it is written.
    pub(crate) text: String,
    /// The text decides it: there is no unknown variable and no substitution in it.
    pub(crate) sure: bool,
    /// Where it stands in the file.
    pub(crate) span: Span,
    /// Some of it was quoted.
    pub(crate) quoted: bool,
    /// The way from `text` to the file; empty when it is one stretch.
    map: Option<Box<Source>>,
}

impl ShellWord {
    /// A word that is what it says.
    pub(crate) fn plain(text: &str, span: Span) -> Self {
        Self {
            text: text.to_owned(),
            sure: true,
            span,
            quoted: false,
            map: None,
        }
    }

    /// Its text as a text of its own, for a shell that is given it.
    pub(super) fn source(&self) -> Source {
        match &self.map {
            Some(map) => (**map).clone(),
            None if self.span.range().len() == self.text.len() => Source::at(&self.text, self.span.start),
            None => {
                let mut source = Source::default();
                source.push_value(&self.text, self.span.start);
                source
            }
        }
    }

    /// What follows the first `at` bytes, as a word.
    pub(super) fn tail(&self, at: usize) -> Self {
        let source = self.source();
        let mut tail = Source::default();
        tail.push_part(&source, at..self.text.len());
        Self {
            text: tail.text.clone(),
            sure: self.sure,
            span: source.span(at..self.text.len()),
            quoted: self.quoted,
            map: Some(Box::new(tail)),
        }
    }
}

/// Where the values of variables come from: `None` when the text does not decide it.
pub(super) trait Values {
    fn value(&self, name: &str) -> Option<String>;

    /// Whether unquoted values are split at blanks.
    fn splits(&self) -> bool {
        true
    }
}

/// Reads one word of a piece: more than one where an unquoted variable holds blanks.
pub(super) fn expand(source: &Source, range: Range<usize>, values: &dyn Values, into: &mut Vec<ShellWord>) {
    let bytes = source.text.as_bytes().get(range.clone()).unwrap_or_default();
    let is_plain = |byte: &u8| !matches!(byte, b'\\' | b'\'' | b'"' | b'$' | b'`' | b'<' | b'>');
    if bytes.iter().all(is_plain) {
        into.push(ShellWord::plain(
            source.text.get(range.clone()).unwrap_or_default(),
            source.span(range),
        ));
        return;
    }
    let mut run = Run {
        source,
        end: range.end,
        values,
        words: Vec::new(),
        text: Source::default(),
        sure: true,
        quoted: false,
        started: false,
    };
    run.part(range.start, 0, false);
    run.end_word();
    for (text, sure, quoted) in run.words {
        into.push(ShellWord {
            text: text.text.clone(),
            sure,
            span: source.span(range.clone()),
            quoted,
            map: Some(Box::new(text)),
        });
    }
}

/// The body of a here-document. Variables in it stay as they are written.
pub(super) fn body(source: &Source, range: Range<usize>, literal: bool) -> ShellWord {
    let mut text = Source::default();
    text.push_part(source, range.clone());
    ShellWord {
        sure: literal || !text.text.contains('$'),
        text: text.text.clone(),
        span: source.span(range),
        quoted: literal,
        map: Some(Box::new(text)),
    }
}

struct Run<'a> {
    source: &'a Source,
    end: usize,
    values: &'a dyn Values,
    words: Vec<(Source, bool, bool)>,
    text: Source,
    sure: bool,
    quoted: bool,
    started: bool,
}

impl Run<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        if at >= self.end {
            return None;
        }
        self.source.text.as_bytes().get(at).copied()
    }

    fn copy(&mut self, range: Range<usize>) {
        self.started = true;
        if self.text.text.len() < MAX_WORD + self.source.text.len() {
            self.text.push_part(self.source, range);
        }
    }

    /// As it is written: nobody knows what it will be.
    fn copy_unknown(&mut self, range: Range<usize>) {
        self.sure = false;
        self.copy(range);
    }

    fn end_word(&mut self) {
        if self.started {
            let text = std::mem::take(&mut self.text);
            self.words.push((text, self.sure, self.quoted));
        }
        self.sure = true;
        self.quoted = false;
        self.started = false;
    }

    /// The byte behind the character at `at`.
    fn after(&self, at: usize) -> usize {
        let mut next = at + 1;
        while next < self.end && !self.source.text.is_char_boundary(next) {
            next += 1;
        }
        next.min(self.end)
    }

    fn part(&mut self, mut at: usize, depth: usize, mut in_quotes: bool) {
        while let Some(byte) = self.byte(at) {
            at = match byte {
                b'"' => {
                    in_quotes = !in_quotes;
                    self.quoted = true;
                    self.started = true;
                    at + 1
                }
                b'\'' if !in_quotes => self.single_quotes(at),
                b'\\' => self.escape(at, in_quotes),
                b'$' => self.dollar(at, depth, in_quotes),
                b'<' | b'>' if !in_quotes && self.byte(at + 1) == Some(b'(') => {
                    self.copy_unknown(at..(at + 3).min(self.end));
                    at + 3
                }
                _ => {
                    let stop = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b'$' | b'<' | b'>');
                    let mut next = self.after(at);
                    while self.byte(next).is_some_and(|byte| !stop(byte)) {
                        next += 1;
                    }
                    self.copy(at..next);
                    next
                }
            };
        }
    }

    fn single_quotes(&mut self, at: usize) -> usize {
        let rest = self.source.text.get(at + 1..self.end).unwrap_or_default();
        let end = at + 1 + rest.find('\'').unwrap_or(rest.len());
        self.quoted = true;
        self.copy(at + 1..end);
        end + 1
    }

    fn escape(&mut self, at: usize, in_quotes: bool) -> usize {
        let Some(next) = self.byte(at + 1) else {
            self.copy(at..at + 1);
            return at + 1;
        };
        let end = self.after(at + 1);
        if in_quotes && !matches!(next, b'$' | b'`' | b'"' | b'\\') {
            self.copy(at..end);
        } else {
            self.quoted = true;
            self.copy(at + 1..end);
        }
        end
    }

    fn dollar(&mut self, at: usize, depth: usize, in_quotes: bool) -> usize {
        match self.byte(at + 1) {
            Some(b'(') => {
                let end = (at + 3).min(self.end);
                self.copy_unknown(at..end);
                end
            }
            Some(b'{') => self.braces(at, depth, in_quotes),
            Some(b'\'') if !in_quotes => self.ansi(at + 2),
            Some(b'"') if !in_quotes => at + 1,
            Some(byte) if byte == b'_' || byte.is_ascii_alphabetic() => {
                let end = self.name_end(at + 1);
                self.variable(at..end, at + 1..end, in_quotes);
                end
            }
            Some(b'@' | b'*' | b'#' | b'?' | b'$' | b'!' | b'-' | b'0'..=b'9') => {
                self.variable(at..at + 2, at + 1..at + 2, in_quotes);
                at + 2
            }
            _ => {
                self.copy(at..at + 1);
                at + 1
            }
        }
    }

    fn name_end(&self, mut at: usize) -> usize {
        while self
            .byte(at)
            .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        {
            at += 1;
        }
        at
    }

    fn variable(&mut self, whole: Range<usize>, name: Range<usize>, in_quotes: bool) {
        let value = self.values.value(self.source.text.get(name).unwrap_or_default());
        match value {
            Some(value) => self.value(&value, whole.start, in_quotes),
            None => self.copy_unknown(whole),
        }
    }

    fn value(&mut self, value: &str, at: usize, in_quotes: bool) {
        let place = self.source.original(at);
        if self.text.text.len() + value.len() > MAX_WORD {
            self.sure = false;
            return;
        }
        if in_quotes || !self.values.splits() {
            self.started = true;
            self.text.push_value(value, place);
            return;
        }
        for (index, field) in value.split([' ', '\t', '\n']).enumerate() {
            if index > 0 {
                self.end_word();
            }
            if !field.is_empty() {
                self.started = true;
                self.text.push_value(field, place);
            }
        }
    }

    /// `${…}`: a name, maybe with a default.
    fn braces(&mut self, at: usize, depth: usize, in_quotes: bool) -> usize {
        let close = self.close_of_brace(at + 2, in_quotes);
        let end = (close + 1).min(self.end);
        let name_end = match self.byte(at + 2) {
            Some(b'@' | b'*' | b'#' | b'?' | b'$' | b'!' | b'-') => at + 3,
            Some(b'0'..=b'9') => {
                let mut digits = at + 2;
                while self.byte(digits).is_some_and(|byte| byte.is_ascii_digit()) {
                    digits += 1;
                }
                digits
            }
            _ => self.name_end(at + 2),
        };
        if name_end == close {
            self.variable(at..end, at + 2..close, in_quotes);
            return end;
        }
        let (colon, operator) = match self.byte(name_end) {
            Some(b':') => (1, self.byte(name_end + 1)),
            other => (0, other),
        };
        let known = self
            .values
            .value(self.source.text.get(at + 2..name_end).unwrap_or_default());
        match (operator, known) {
            (Some(b'-' | b'=' | b'?'), Some(value)) if !value.is_empty() => self.value(&value, at, in_quotes),
            // Whether it is set is not known; that it has this default is the best guess there is.
            (Some(b'-' | b'='), _) if depth < MAX_DEFAULTS => {
                let outer = std::mem::replace(&mut self.end, close);
                self.part(name_end + colon + 1, depth + 1, in_quotes);
                self.end = outer;
                self.started = true;
                self.sure = false;
            }
            _ => self.copy_unknown(at..end),
        }
        end
    }

    fn close_of_brace(&self, mut at: usize, in_quotes: bool) -> usize {
        let mut open = 1_usize;
        let mut quoted = in_quotes;
        while let Some(byte) = self.byte(at) {
            match byte {
                b'\\' => at += 1,
                b'"' => quoted = !quoted,
                b'\'' if !quoted && !in_quotes => {
                    let rest = self.source.text.get(at + 1..self.end).unwrap_or_default();
                    at += 1 + rest.find('\'').unwrap_or(rest.len());
                }
                b'$' if self.byte(at + 1) == Some(b'{') => {
                    open += 1;
                    at += 1;
                }
                b'}' => {
                    open -= 1;
                    if open == 0 {
                        return at;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.end
    }

    /// `$'…'` with the escapes of C.
    fn ansi(&mut self, start: usize) -> usize {
        self.quoted = true;
        self.started = true;
        let mut at = start;
        while let Some(byte) = self.byte(at) {
            let place = self.source.original(at);
            match byte {
                b'\'' => return at + 1,
                b'\\' => {
                    let (decoded, end) = self.ansi_escape(at + 1);
                    self.text.push_value(decoded.encode_utf8(&mut [0; 4]), place);
                    at = end.max(at + 2);
                }
                _ => {
                    let next = self.after(at);
                    self.copy(at..next);
                    at = next;
                }
            }
        }
        at
    }

    fn ansi_escape(&self, at: usize) -> (char, usize) {
        let number = |from: usize, radix: u32, most: usize| {
            let digits = (from..from + most)
                .take_while(|at| self.byte(*at).is_some_and(|byte| char::from(byte).is_digit(radix)))
                .count();
            let text = self.source.text.get(from..from + digits).unwrap_or_default();
            let value = u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
            (value.unwrap_or('?'), from + digits)
        };
        match self.byte(at) {
            Some(b'n') => ('\n', at + 1),
            Some(b't') => ('\t', at + 1),
            Some(b'r') => ('\r', at + 1),
            Some(b'e' | b'E') => ('\u{1b}', at + 1),
            Some(b'x') => number(at + 1, 16, 2),
            Some(b'u') => number(at + 1, 16, 4),
            Some(b'U') => number(at + 1, 16, 8),
            Some(b'0'..=b'7') => number(at, 8, 3),
            Some(_) => {
                let end = self.after(at);
                let text = self.source.text.get(at..end).unwrap_or_default();
                (text.chars().next().unwrap_or('?'), end)
            }
            None => ('\\', at),
        }
    }
}
