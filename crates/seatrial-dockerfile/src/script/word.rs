//! A word of the shell after quotes, escapes and variables.

use std::ops::Range;

use seatrial_core::finding::Span;

use super::{escape, source::Source};

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
    /// It is a pattern of file names, or braces that stand for several words.
    pub(super) pattern: bool,
    /// Its text where variables that nobody knows are empty, which is what a variable is that nothing sets; `None` when it is
    /// sure, or made by a substitution.
    likely: Option<Box<str>>,
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
            ..Self::default()
        }
    }

    /// The best guess at what it is, empty when there is none.
    pub(crate) fn likely(&self) -> &str {
        match &self.likely {
            _ if self.sure => &self.text,
            Some(likely) => likely,
            None => "",
        }
    }

    /// Nothing of it may be left, not even an empty word: variables without quotes that nothing sets.
    pub(super) fn may_vanish(&self) -> bool {
        !self.sure && self.likely.as_deref() == Some("") && (!self.quoted || self.text == "$@")
    }

    /// The variable that it is, when it is nothing else.
    pub(crate) fn variable(&self) -> Option<&str> {
        let name = self.text.strip_prefix('$').filter(|_| !self.sure)?;
        let name = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
            .unwrap_or(name);
        super::wrap::is_name(name).then_some(name)
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
            ..Self::default()
        }
    }
}

/// Where the values of variables come from: `None` when the text does not decide it.
pub(super) trait Values {
    fn value(&self, name: &str) -> Option<String>;

    /// The words of `"$@"`.
    fn positional(&self) -> Option<&[String]> {
        None
    }

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
        let text = source.text.get(range.clone()).unwrap_or_default();
        into.push(ShellWord {
            pattern: is_pattern(text),
            ..ShellWord::plain(text, source.span(range))
        });
        return;
    }
    let mut run = Run {
        source,
        end: range.end,
        values,
        words: Vec::new(),
        open: Open::default(),
        made: 0,
    };
    run.part(range.start, 0, false);
    run.end_word();
    for open in run.words {
        let sure = open.unknown.is_empty() && !open.opaque && !open.guessed;
        let likely = (!sure && !open.opaque).then(|| open.without_unknown().into_boxed_str());
        into.push(ShellWord {
            text: open.text.text.clone(),
            sure,
            span: source.span(range.clone()),
            quoted: open.quoted,
            pattern: is_pattern(&open.marks),
            likely,
            map: Some(Box::new(open.text)),
        });
    }
}

/// Whether text without quotes is a pattern, or braces that bash makes several words of.
fn is_pattern(text: &str) -> bool {
    let pair = |open: char, inner: &[char], close: char| {
        text.split_once(open)
            .and_then(|(_, rest)| rest.rsplit_once(close))
            .is_some_and(|(rest, _)| inner.is_empty() || rest.contains(inner))
    };
    text.contains(['*', '?']) || (!text.starts_with('[') && pair('[', &[], ']')) || pair('{', &[',', '.'], '}')
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
        ..ShellWord::default()
    }
}

struct Run<'a> {
    source: &'a Source,
    end: usize,
    values: &'a dyn Values,
    words: Vec<Open>,
    open: Open,
    /// Bytes of values that went into the words so far.
    made: usize,
}

/// A word that is being put together.
#[derive(Default)]
struct Open {
    text: Source,
    /// Where variables stand in it that nobody knows.
    unknown: Vec<Range<usize>>,
    /// A substitution is in it.
    opaque: bool,
    /// A default was taken for a value.
    guessed: bool,
    quoted: bool,
    started: bool,
    /// What may make it a pattern.
    marks: String,
}

impl Open {
    fn without_unknown(&self) -> String {
        let mut known = String::new();
        let mut at = 0;
        for unknown in &self.unknown {
            known.push_str(self.text.text.get(at..unknown.start).unwrap_or_default());
            at = unknown.end;
        }
        known.push_str(self.text.text.get(at..).unwrap_or_default());
        known
    }
}

impl Run<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        if at >= self.end {
            return None;
        }
        self.source.text.as_bytes().get(at).copied()
    }

    fn copy(&mut self, range: Range<usize>) {
        self.open.started = true;
        if self.open.text.text.len() < MAX_WORD + self.source.text.len() {
            self.open.text.push_part(self.source, range);
        }
    }

    /// A variable as it is written: nobody knows what it will be.
    fn copy_unknown(&mut self, range: Range<usize>) {
        let start = self.open.text.text.len();
        self.copy(range);
        self.open.unknown.push(start..self.open.text.text.len());
    }

    /// A substitution.
    fn copy_opaque(&mut self, range: Range<usize>) {
        self.open.opaque = true;
        self.copy(range);
    }

    fn end_word(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.started {
            self.words.push(open);
        }
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
                    self.open.quoted = true;
                    self.open.started = true;
                    at + 1
                }
                b'\'' if !in_quotes => self.single_quotes(at),
                b'\\' => self.escape(at, in_quotes),
                b'$' => self.dollar(at, depth, in_quotes),
                b'<' | b'>' if !in_quotes && self.byte(at + 1) == Some(b'(') => {
                    self.copy_opaque(at..(at + 3).min(self.end));
                    at + 3
                }
                _ => {
                    let stop = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b'$' | b'<' | b'>');
                    let mut next = self.after(at);
                    while self.byte(next).is_some_and(|byte| !stop(byte)) {
                        next += 1;
                    }
                    if !in_quotes {
                        let text = self.source.text.get(at..next).unwrap_or_default();
                        let marks = text.matches(['*', '?', '[', ']', '{', '}', ',', '.']);
                        self.open.marks.extend(marks);
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
        self.open.quoted = true;
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
            self.open.quoted = true;
            self.copy(at + 1..end);
        }
        end
    }

    fn dollar(&mut self, at: usize, depth: usize, in_quotes: bool) -> usize {
        match self.byte(at + 1) {
            Some(b'(') => {
                let end = (at + 3).min(self.end);
                self.copy_opaque(at..end);
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
        let name = self.source.text.get(name).unwrap_or_default();
        if name == "@"
            && in_quotes
            && let Some(words) = self.values.positional()
        {
            self.fields(words.iter().map(String::as_str), whole.start, true);
            return;
        }
        match self.values.value(name) {
            Some(value) => self.value(&value, whole.start, in_quotes),
            None => self.copy_unknown(whole),
        }
    }

    fn value(&mut self, value: &str, at: usize, in_quotes: bool) {
        let place = self.source.original(at);
        if self.open.text.text.len() + value.len() > MAX_WORD {
            self.open.opaque = true;
            return;
        }
        if in_quotes || !self.values.splits() {
            self.open.started = true;
            self.open.text.push_value(value, place);
            return;
        }
        self.fields(value.split([' ', '\t', '\n']), at, false);
    }

    /// Words of their own, the first and the last joined to what stands around them.
    fn fields<'v>(&mut self, fields: impl Iterator<Item = &'v str>, at: usize, in_quotes: bool) {
        let place = self.source.original(at);
        for (index, field) in fields.enumerate() {
            if index > 0 {
                self.end_word();
            }
            self.made += field.len() + 1;
            if self.made > MAX_WORD {
                self.open.started = true;
                self.open.opaque = true;
                return;
            }
            if in_quotes || !field.is_empty() {
                self.open.started = true;
                self.open.quoted |= in_quotes;
                self.open.text.push_value(field, place);
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
        // All of an array: its words, as far as no quotes hold some of them together.
        if matches!(self.source.text.get(name_end..close), Some("[@]" | "[*]"))
            && let Some(list) = known
                .as_deref()
                .and_then(|value| value.strip_prefix('(')?.strip_suffix(')'))
        {
            self.fields(list.split_whitespace(), at, false);
            return end;
        }
        match (operator, known) {
            (Some(b'-' | b'=' | b'?'), Some(value)) if !value.is_empty() => self.value(&value, at, in_quotes),
            // Whether it is set is not known; that it has this default, or takes the other text, is the best guess there is.
            (Some(b'-' | b'='), _) | (Some(b'+'), None) if depth < MAX_DEFAULTS => {
                let outer = std::mem::replace(&mut self.end, close);
                self.part(name_end + colon + 1, depth + 1, in_quotes);
                self.end = outer;
                self.open.started = true;
                self.open.guessed = true;
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
        self.open.quoted = true;
        self.open.started = true;
        let mut at = start;
        while let Some(byte) = self.byte(at) {
            let place = self.source.original(at);
            match byte {
                b'\'' => return at + 1,
                b'\\' => {
                    let (decoded, end) = self.ansi_escape(at + 1);
                    self.open.text.push_value(decoded.encode_utf8(&mut [0; 4]), place);
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
        let rest = self.source.text.get(at..self.end).unwrap_or_default();
        match (escape::decode(rest, false), rest.chars().next()) {
            (Some((decoded, len)), _) => (decoded, at + len),
            (None, Some(itself)) => (itself, at + itself.len_utf8()),
            (None, None) => ('\\', at),
        }
    }
}
