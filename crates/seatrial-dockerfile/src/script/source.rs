//! Text that was put together out of other text, and the way back to the file.

use std::ops::Range;

use seatrial_core::finding::Span;

use crate::ast::Logical;

/// Where a piece of text came from: from here on it stands at `original` in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    at: usize,
    original: usize,
    /// Byte for byte; otherwise all of it stands for the one place (the value of a variable).
    exact: bool,
}

/// Shell text on its way through quotes, continuations and variables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Source {
    pub(crate) text: String,
    pieces: Vec<Piece>,
}

impl Source {
    /// Text that stands at `original`.
    pub(crate) fn at(text: &str, original: usize) -> Self {
        let mut source = Self::default();
        source.push(text, original);
        source
    }

    /// A part of an instruction's joined text.
    pub(crate) fn of_logical(logical: &Logical, range: Range<usize>) -> Self {
        let mut source = Self::default();
        let mut at = range.start;
        while at < range.end {
            let end = logical.piece_end(at).clamp(at + 1, range.end);
            source.push(logical.text.get(at..end).unwrap_or_default(), logical.original(at));
            at = end;
        }
        source
    }

    pub(crate) fn push(&mut self, text: &str, original: usize) {
        self.mark(original, true);
        self.text.push_str(text);
    }

    /// Text that the file does not hold byte for byte: it all stands for the one place.
    pub(crate) fn push_value(&mut self, text: &str, original: usize) {
        self.mark(original, false);
        self.text.push_str(text);
    }

    /// A part of another text, with its places.
    pub(crate) fn push_part(&mut self, other: &Self, range: Range<usize>) {
        let mut at = range.start;
        let mut piece = other.pieces.partition_point(|piece| piece.at <= at);
        while at < range.end {
            let end = other.pieces.get(piece).map_or(range.end, |next| next.at.min(range.end));
            let exact = piece
                .checked_sub(1)
                .and_then(|piece| other.pieces.get(piece))
                .is_none_or(|piece| piece.exact);
            self.mark(other.original(at), exact);
            self.text.push_str(other.text.get(at..end).unwrap_or_default());
            at = end.max(at + 1);
            piece += 1;
        }
    }

    fn mark(&mut self, original: usize, exact: bool) {
        let at = self.text.len();
        if let Some(last) = self.pieces.last_mut() {
            if last.at == at {
                *last = Piece { at, original, exact };
                return;
            }
            if exact && last.exact && last.original + (at - last.at) == original {
                return;
            }
        }
        self.pieces.push(Piece { at, original, exact });
    }

    /// The place in the file of the byte at `at`.
    pub(crate) fn original(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|piece| piece.at <= at);
        match piece.checked_sub(1).and_then(|piece| self.pieces.get(piece)) {
            Some(piece) if piece.exact => piece.original + (at - piece.at),
            Some(piece) => piece.original,
            None => at,
        }
    }

    /// The place in the file of a range.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.original(range.start);
        if range.start >= range.end {
            return Span::new(start, start);
        }
        Span::new(start, (self.original(range.end - 1) + 1).max(start))
    }
}
