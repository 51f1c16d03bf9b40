//! The pass that cuts: quotes, brackets, comments and here-documents as the shell reads them.

use super::{
    Kind, MAX_DEPTH, Outline, Piece,
    heredoc::{self, Awaited},
};
use crate::script::source::Source;

/// What an open bracket or quote is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    /// Commands: the whole text or a substitution.
    Code,
    /// `"`.
    Quote,
    /// `${`.
    Brace,
    /// The body of a here-document.
    Body,
}

#[derive(Debug)]
struct Frame {
    open: Open,
    /// The piece that its text goes to.
    piece: usize,
    /// An apostrophe is one: in double quotes and bodies.
    quoted: bool,
    /// The end of the body that all this stands in.
    limit: usize,
    /// Where to go on behind a body.
    resume: usize,
    /// Round brackets that are open in it.
    brackets: usize,
    /// `case` without its `esac`.
    cases: usize,
    /// A command may begin here.
    at_command: bool,
    awaited: Vec<Awaited>,
    /// Began as `$((`; where its own first bracket was closed.
    double: bool,
    first_closed: Option<usize>,
}

impl Frame {
    fn new(open: Open, piece: usize, outer: Option<&Self>) -> Self {
        Self {
            open,
            piece,
            quoted: match open {
                Open::Code => false,
                Open::Quote | Open::Body => true,
                Open::Brace => outer.is_some_and(|outer| outer.quoted),
            },
            limit: outer.map_or(usize::MAX, |outer| outer.limit),
            resume: 0,
            brackets: 0,
            cases: 0,
            at_command: true,
            awaited: Vec::new(),
            double: false,
            first_closed: None,
        }
    }
}

struct Scan<'a> {
    source: &'a Source,
    outline: &'a mut Outline,
    frames: Vec<Frame>,
    at: usize,
    /// All before this went to its piece.
    done: usize,
}

/// Reads `source` into the piece at `target` and new ones.
pub(super) fn scan(source: &Source, target: usize, outline: &mut Outline) -> Option<()> {
    let mut scan = Scan {
        source,
        outline,
        frames: vec![Frame::new(Open::Code, target, None)],
        at: 0,
        done: 0,
    };
    while scan.at < source.text.len() {
        scan.step()?;
    }
    scan.flush();
    while scan.frames.last()?.open == Open::Body {
        scan.frames.pop();
    }
    (scan.frames.len() == 1).then_some(())
}

impl Scan<'_> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.text.as_bytes().get(self.at + ahead).copied()
    }

    fn piece(&mut self) -> Option<&mut Piece> {
        let piece = self.frames.last()?.piece;
        self.outline.pieces.get_mut(piece)
    }

    /// Copies what was passed over into the piece that it belongs to.
    fn flush(&mut self) {
        let (from, to) = (self.done, self.at.min(self.source.text.len()));
        let source = self.source;
        if let Some(piece) = self.piece()
            && from < to
        {
            piece.source.push_part(source, from..to);
        }
        self.done = self.at;
    }

    /// Leaves out the next bytes.
    fn leave_out(&mut self, count: usize) {
        self.flush();
        self.at += count;
        self.done = self.at;
    }

    fn step(&mut self) -> Option<()> {
        let frame = self.frames.last()?;
        if self.at >= frame.limit {
            if frame.open != Open::Body {
                return None; // reaches out of the here-document that it began in
            }
            self.at = self.at.max(frame.resume);
            self.frames.pop();
            return Some(());
        }
        match frame.open {
            Open::Quote if self.byte(0) == Some(b'"') => {
                self.at += 1;
                self.frames.pop();
                Some(())
            }
            Open::Quote | Open::Body => self.expansions(),
            Open::Brace => self.brace(),
            Open::Code => self.code(),
        }
    }

    /// Where only backslash, `$` and backquote mean anything.
    fn expansions(&mut self) -> Option<()> {
        match self.byte(0)? {
            b'\\' if self.byte(1) == Some(b'\n') => self.leave_out(2),
            b'\\' => self.skip(2),
            b'$' => return self.dollar(),
            b'`' => return self.backquote(),
            _ => self.at += 1,
        }
        Some(())
    }

    /// Passes over bytes and does not end within a character.
    fn skip(&mut self, count: usize) {
        self.at += count;
        while self.at < self.source.text.len() && !self.source.text.is_char_boundary(self.at) {
            self.at += 1;
        }
    }

    fn brace(&mut self) -> Option<()> {
        match self.byte(0)? {
            b'}' => {
                self.at += 1;
                self.frames.pop();
            }
            b'\'' if !self.frames.last()?.quoted => return self.single_quotes(),
            b'"' => self.push(Open::Quote),
            _ => return self.expansions(),
        }
        Some(())
    }

    /// Opens a quote or brace, whose text stays in the same piece. The byte itself is passed over.
    fn push(&mut self, open: Open) {
        self.at += 1;
        if let Some(outer) = self.frames.last() {
            let inner = Frame::new(open, outer.piece, Some(outer));
            self.frames.push(inner);
        }
    }

    fn single_quotes(&mut self) -> Option<()> {
        let rest = self.source.text.get(self.at + 1..)?;
        self.at += rest.find('\'')? + 2;
        Some(())
    }

    fn code(&mut self) -> Option<()> {
        let byte = self.byte(0)?;
        let continues = self.byte(1) == Some(b'\n');
        let begins_word = self.begins_word();
        let frame = self.frames.last_mut()?;
        let at_command = std::mem::replace(&mut frame.at_command, false);
        match byte {
            b'\\' if continues => {
                frame.at_command = at_command;
                self.leave_out(2);
            }
            b'\\' => self.skip(2),
            b'\'' => return self.single_quotes(),
            b'"' => self.push(Open::Quote),
            b'$' => return self.dollar(),
            b'`' => return self.backquote(),
            b' ' | b'\t' => {
                frame.at_command = at_command;
                self.at += 1;
            }
            b'\n' => {
                frame.at_command = true;
                self.at += 1;
                return self.line_end();
            }
            b';' | b'|' | b'&' => {
                frame.at_command = true;
                self.at += 1;
            }
            b'#' if begins_word => {
                let rest = self.source.text.get(self.at..)?;
                self.at += rest.find('\n').unwrap_or(rest.len());
            }
            b'<' | b'>' => return self.redirect(),
            b'(' => {
                frame.brackets += 1;
                frame.at_command = true;
                self.at += 1;
            }
            b')' => return self.close(),
            _ => self.word(at_command),
        }
        Some(())
    }

    fn begins_word(&self) -> bool {
        let before = self
            .at
            .checked_sub(1)
            .and_then(|at| self.source.text.as_bytes().get(at));
        before.is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'(' | b')'))
    }

    /// Plain characters; `case` and `esac` decide what a closing bracket is.
    fn word(&mut self, at_command: bool) {
        let rest = self.source.text.get(self.at..).unwrap_or_default();
        let len = rest.bytes().position(ends_word).unwrap_or(rest.len());
        let word = rest.get(..len).unwrap_or_default();
        let whole = self.begins_word();
        self.at += len.max(1);
        let Some(frame) = self.frames.last_mut() else { return };
        if !at_command || !whole {
            return;
        }
        match word {
            "case" => frame.cases += 1,
            "esac" => frame.cases = frame.cases.saturating_sub(1),
            "then" | "else" | "elif" | "do" | "if" | "while" | "until" | "{" | "!" | "time" => frame.at_command = true,
            _ => {}
        }
    }

    fn redirect(&mut self) -> Option<()> {
        let (first, second) = (self.byte(0)?, self.byte(1));
        if second == Some(b'(') {
            let (kind, mark) = match first {
                b'<' => (Kind::ProcessIn, "<("),
                _ => (Kind::ProcessOut, ">("),
            };
            return self.open_piece(kind, 2, mark);
        }
        if (first, second) != (b'<', Some(b'<')) {
            self.at += 1;
            return Some(());
        }
        if self.byte(2) == Some(b'<') {
            self.at += 3;
            return Some(());
        }
        let frame = self.frames.last_mut()?;
        if frame.brackets > usize::from(!frame.double) {
            self.at += 2; // a shift in arithmetic
            return Some(());
        }
        let (awaited, end) = heredoc::opening(&self.source.text, self.at + 2)?;
        self.at = end;
        frame.awaited.push(awaited);
        Some(())
    }

    /// The bodies that a line asked for stand behind it.
    fn line_end(&mut self) -> Option<()> {
        let frame = self.frames.last_mut()?;
        if frame.awaited.is_empty() {
            return Some(());
        }
        let awaited = std::mem::take(&mut frame.awaited);
        let text = &self.source.text;
        let mut bodies = Vec::new();
        let mut at = self.at;
        for one in awaited {
            let (end, line_end) = one.body_end(text, at);
            if one.expands {
                bodies.push((at, end));
            }
            at = (line_end + 1).min(text.len());
        }
        // The first is read first, and each leads to the next.
        let mut resume = at;
        let outer = self.frames.last()?;
        let mut opened = Vec::new();
        for (start, end) in bodies.into_iter().rev() {
            let mut body = Frame::new(Open::Body, outer.piece, Some(outer));
            body.limit = end.min(outer.limit);
            body.resume = resume;
            opened.push(body);
            resume = start;
        }
        self.frames.extend(opened);
        self.at = resume;
        Some(())
    }

    fn dollar(&mut self) -> Option<()> {
        match self.byte(1) {
            Some(b'(') => {
                let double = self.byte(2) == Some(b'(');
                self.open_piece(Kind::Command, 2, "$(")?;
                self.frames.last_mut()?.double = double;
            }
            Some(b'{') => {
                self.at += 1;
                self.push(Open::Brace);
            }
            Some(b'\'') if !self.frames.last()?.quoted => {
                self.at += 2;
                loop {
                    match self.byte(0)? {
                        b'\\' => {
                            self.outline.is_ambiguous |= self.byte(1) == Some(b'\'');
                            self.skip(2);
                        }
                        b'\'' => break,
                        _ => self.at += 1,
                    }
                }
                self.at += 1;
            }
            _ => self.at += 1,
        }
        Some(())
    }

    /// A substitution begins: `mark` stays in its place, and a `)` where it ends.
    fn open_piece(&mut self, kind: Kind, skip: usize, mark: &str) -> Option<()> {
        self.flush();
        let place = self.source.original(self.at);
        let index = self.outline.pieces.len();
        let piece = self.piece()?;
        let depth = piece.depth + 1;
        if depth > MAX_DEPTH {
            return None;
        }
        piece.cuts.push((piece.source.text.len(), index));
        piece.source.push_value(mark, place);
        self.outline.pieces.push(Piece {
            kind,
            source: Source::default(),
            cuts: Vec::new(),
            depth,
            raw: false,
        });
        let inner = Frame::new(Open::Code, index, self.frames.last());
        self.frames.push(inner);
        self.at += skip;
        self.done = self.at;
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let frames = self.frames.len();
        let frame = self.frames.last_mut()?;
        frame.at_command = true;
        if frame.brackets > 0 {
            frame.brackets -= 1;
            if frame.brackets == 0 && frame.double && frame.first_closed.is_none() {
                frame.first_closed = Some(self.at);
            }
            self.at += 1;
            return Some(());
        }
        if frame.cases > 0 || frames == 1 {
            self.at += 1; // behind a pattern, or one too many, which the parser refuses
            return Some(());
        }
        if !frame.awaited.is_empty() {
            return None;
        }
        let is_arithmetic = frame.double && frame.first_closed.is_some_and(|closed| closed + 1 == self.at);
        self.flush();
        if is_arithmetic {
            self.piece()?.kind = Kind::Arithmetic;
        }
        self.frames.pop();
        self.close_mark(self.at)
    }

    fn close_mark(&mut self, at: usize) -> Option<()> {
        let place = self.source.original(at);
        self.piece()?.source.push_value(")", place);
        self.at = at + 1;
        self.done = self.at;
        Some(())
    }

    /// Between backquotes a backslash hides `` ` ``, `$` and itself, once for each level.
    fn backquote(&mut self) -> Option<()> {
        let in_quotes = self.frames.last()?.quoted;
        let bytes = self.source.text.as_bytes();
        let mut inner = Source::default();
        let mut from = self.at + 1;
        let mut at = from;
        loop {
            match bytes.get(at)? {
                b'`' => break,
                b'\\' => {
                    let is_hidden = match bytes.get(at + 1)? {
                        b'`' | b'$' | b'\\' => true,
                        b'"' => in_quotes,
                        _ => false,
                    };
                    if is_hidden {
                        inner.push_part(self.source, from..at);
                        from = at + 1;
                    }
                    at += 2;
                }
                _ => at += 1,
            }
        }
        inner.push_part(self.source, from..at);
        self.open_piece(Kind::Command, 0, "$(")?;
        let piece = self.piece()?;
        piece.source = inner;
        piece.raw = true;
        self.frames.pop();
        self.close_mark(at)
    }
}

fn ends_word(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'<' | b'>' | b'(' | b')' | b'\'' | b'"' | b'$' | b'`' | b'\\'
    )
}
