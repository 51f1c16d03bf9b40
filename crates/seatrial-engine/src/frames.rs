//! Frames on a container's standard output: a header line, then as many bytes as it says.
//!
//! The stream is hostile where a guest could have taken over the builder: headers are bounded, and
//! bodies are handed on piece by piece, never collected here.

use seatrial_core::engine::EngineError;

/// Longest header line, with its end.
const MAX_HEADER: usize = 4096;

/// What the reader of frames is told.
pub(crate) trait Take {
    /// A header without its line end; the length of the body that follows it.
    fn header(&mut self, line: &[u8]) -> Result<u64, EngineError>;
    /// A piece of the body.
    fn body(&mut self, bytes: &[u8]) -> Result<(), EngineError>;
    /// The body is complete. Called for empty bodies too.
    fn body_ends(&mut self) -> Result<(), EngineError>;
}

/// Cuts a stream into headers and bodies.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: Vec<u8>,
    /// What is missing of the current body.
    left: Option<u64>,
}

impl Frames {
    /// Takes a piece of the stream.
    pub(crate) fn take(&mut self, mut bytes: &[u8], to: &mut impl Take) -> Result<(), EngineError> {
        loop {
            if let Some(left) = self.left {
                let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (body, rest) = bytes.split_at(now);
                if !body.is_empty() {
                    to.body(body)?;
                }
                bytes = rest;
                let left = left - now as u64;
                self.left = (left > 0).then_some(left);
                if left > 0 {
                    return Ok(());
                }
                to.body_ends()?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.header.len() + part.len() >= MAX_HEADER {
                return Err(EngineError::Broken(
                    "a container of ours sent a header that is too long".to_owned(),
                ));
            }
            self.header.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            bytes = &bytes[end + 1..];
            self.left = Some(to.header(&self.header)?);
            self.header.clear();
        }
    }

    /// The stream may end here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left.is_none() && self.header.is_empty()
    }
}

/// Reads a decimal number without sign or leading zero.
pub(crate) fn number(text: &str) -> Option<u64> {
    let plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Seen(Vec<(Vec<u8>, Vec<u8>)>, usize);

    impl Take for Seen {
        fn header(&mut self, line: &[u8]) -> Result<u64, EngineError> {
            self.0.push((line.to_vec(), Vec::new()));
            let text = std::str::from_utf8(line).unwrap();
            number(text).ok_or_else(|| EngineError::Broken("not a number".to_owned()))
        }
        fn body(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
            self.0.last_mut().unwrap().1.extend_from_slice(bytes);
            Ok(())
        }
        fn body_ends(&mut self) -> Result<(), EngineError> {
            self.1 += 1;
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(cuts in prop::collection::vec(1_usize..9, 0..40)) {
            let all = b"5\nhello0\n3\n\n\n\n2\n4\n";
            let mut frames = Frames::default();
            let mut seen = Seen::default();
            let mut rest = &all[..];
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                frames.take(piece, &mut seen).unwrap();
                rest = left;
            }
            frames.take(rest, &mut seen).unwrap();
            prop_assert!(frames.is_between_frames());
            prop_assert_eq!(seen.1, 4);
            let bodies: Vec<&[u8]> = seen.0.iter().map(|(_, body)| &body[..]).collect();
            prop_assert_eq!(bodies, vec![&b"hello"[..], b"", b"\n\n\n", b"4\n"]);
        }
    }

    #[test]
    fn an_endless_header_is_refused() {
        let mut frames = Frames::default();
        let refused = (0..5000).any(|_| frames.take(b"x", &mut Seen::default()).is_err());
        assert!(refused);
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("12"), Some(12));
        for bad in ["", "01", "+1", "-1", "1 ", "99999999999999999999999"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
