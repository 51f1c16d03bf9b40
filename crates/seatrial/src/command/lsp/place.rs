//! Bytes of a text as lines and columns of the protocol.

use lsp_types::{InitializeParams, Position, PositionEncodingKind, Range};
use seatrial_core::finding::Span;

/// What columns count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Bytes, where the editor can.
    Utf8,
    /// Code units of UTF-16: what the protocol began with, and every editor can.
    Utf16,
}

impl Unit {
    /// What the editor can, bytes first.
    pub(super) fn of(params: &InitializeParams) -> Self {
        let general = params.capabilities.general.as_ref();
        let known = general.and_then(|general| general.position_encodings.as_ref());
        match known {
            Some(known) if known.contains(&PositionEncodingKind::UTF8) => Self::Utf8,
            _ => Self::Utf16,
        }
    }
}

/// Where the lines of a text begin.
pub(super) struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
    unit: Unit,
}

impl<'a> Places<'a> {
    /// Of this text.
    pub(super) fn of(text: &'a str, unit: Unit) -> Self {
        let behind = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(behind).collect(),
            unit,
        }
    }

    /// A span of bytes.
    pub(super) fn range(&self, span: Span) -> Range {
        Range::new(self.position(span.start), self.position(span.end))
    }

    fn position(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.lines.partition_point(|begin| *begin <= byte).saturating_sub(1);
        let begin = self.lines.get(line).copied().unwrap_or_default();
        let before = self.text.get(begin..byte).unwrap_or_default();
        let column = match self.unit {
            Unit::Utf8 => before.len(),
            Unit::Utf16 => before.encode_utf16().count(),
        };
        // A text is far below what 32 bits count.
        Position::new(
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(column).unwrap_or(u32::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_as_the_editor_counts() {
        let text = "FROM a\nRUN echo 😀é x\n";
        let at = text.find('x').unwrap();
        let span = Span::new(at, text.len());
        let column = |unit| Places::of(text, unit).range(span);
        assert_eq!(
            column(Unit::Utf8),
            Range::new(Position::new(1, 16), Position::new(2, 0))
        );
        assert_eq!(
            column(Unit::Utf16),
            Range::new(Position::new(1, 13), Position::new(2, 0))
        );
        assert_eq!(
            Places::of(text, Unit::Utf8).range(Span::new(900, 901)).start,
            Position::new(2, 0)
        );
    }

    #[test]
    fn bytes_are_taken_where_the_editor_offers_them() {
        let asked = |encodings: serde_json::Value| {
            let params = serde_json::json!({"capabilities": {"general": {"positionEncodings": encodings}}});
            Unit::of(&serde_json::from_value(params).unwrap())
        };
        assert_eq!(asked(serde_json::json!(["utf-16", "utf-8"])), Unit::Utf8);
        assert_eq!(asked(serde_json::json!(["utf-32"])), Unit::Utf16);
        assert_eq!(asked(serde_json::Value::Null), Unit::Utf16);
    }
}
