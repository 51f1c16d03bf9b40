//! Cuts shell text apart at its substitutions, in one pass and without recursion.
//!
//! The parser of the shell's grammar recurses on substitutions, and reads each of them several times. So it
//! never sees one within another: `$(…)`, `` `…` ``, `<(…)` and `>(…)` are taken out and leave `$()`, `<()`,
//! `>()` behind; what was inside is a piece of its own. A cut in the wrong place leaves a piece that does not
//! parse, and a text with such a piece counts as not understood.

mod heredoc;
mod scan;

use super::source::Source;

/// How deep substitutions may stand in each other.
pub(super) const MAX_DEPTH: usize = 12;

/// What a piece is to the one that it was taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The text itself.
    Whole,
    /// `$(…)` or `` `…` ``.
    Command,
    /// `<(…)`.
    ProcessIn,
    /// `>(…)`.
    ProcessOut,
    /// `$((…))`: no commands but those in its own substitutions.
    Arithmetic,
}

/// A piece of shell text without the substitutions in it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) source: Source,
    /// Where in `source.text` each substitution stood, ascending, and which piece it became.
    pub(super) cuts: Vec<(usize, usize)>,
    depth: usize,
    /// Text between backquotes, not yet looked at.
    raw: bool,
}

/// A text in pieces; the first is the text itself.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) pieces: Vec<Piece>,
    /// Holds a `$'…\'…'`, which ends at another place in shells that do not know `$'…'`.
    pub(super) is_ambiguous: bool,
}

impl Outline {
    /// The pieces that were cut out of a range of a piece.
    pub(super) fn cuts(&self, piece: usize, range: &std::ops::Range<usize>) -> &[(usize, usize)] {
        let Some(piece) = self.pieces.get(piece) else {
            return &[];
        };
        let start = piece.cuts.partition_point(|(at, _)| *at < range.start);
        let end = piece.cuts.partition_point(|(at, _)| *at < range.end);
        piece.cuts.get(start..end).unwrap_or_default()
    }
}

/// `None`: quotes or brackets are not closed, or nested too deeply.
pub(super) fn outline(source: Source) -> Option<Outline> {
    let mut outline = Outline {
        pieces: Vec::new(),
        is_ambiguous: false,
    };
    outline.pieces.push(Piece {
        kind: Kind::Whole,
        source,
        cuts: Vec::new(),
        depth: 0,
        raw: true,
    });
    let mut next = 0;
    while let Some(piece) = outline.pieces.get_mut(next) {
        if piece.raw {
            piece.raw = false;
            let source = std::mem::take(&mut piece.source);
            scan::scan(&source, next, &mut outline)?;
        }
        next += 1;
    }
    Some(outline)
}
