//! Text as `echo` and `printf` write it.

use super::{escape, source::Source, word::ShellWord};

/// With the escapes that they know: line ends, tabs, and characters by their numbers.
pub(super) fn unescaped(source: &Source) -> Source {
    if !source.text.contains('\\') {
        return source.clone();
    }
    let mut out = Source::default();
    let mut at = 0;
    while let Some(found) = source.text.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + found;
        out.push_part(source, at..start);
        let rest = source.text.get(start + 1..).unwrap_or_default();
        at = start + 1;
        match escape::decode(rest, true) {
            Some((decoded, len)) => {
                out.push_value(decoded.encode_utf8(&mut [0; 4]), source.original(start));
                at += len;
            }
            None => out.push_part(source, start..at),
        }
    }
    out.push_part(source, at..source.text.len());
    out
}

/// `printf`: the format with its values, what is left of them behind it.
pub(super) fn formatted(format: &ShellWord, values: &[ShellWord]) -> Source {
    let format = unescaped(&format.source());
    let mut values = values.iter();
    let mut out = Source::default();
    let mut at = 0;
    for (found, _) in format.text.match_indices('%') {
        if found < at {
            continue;
        }
        out.push_part(&format, at..found);
        let rest = format.text.get(found + 1..).unwrap_or_default();
        let flags = rest.len()
            - rest
                .trim_start_matches(['-', '0', '.', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                .len();
        at = found + 1 + flags;
        match rest.as_bytes().get(flags) {
            Some(b's' | b'b' | b'q' | b'd') => {
                at += 1;
                if let Some(value) = values.next() {
                    let value = value.source();
                    out.push_part(&value, 0..value.text.len());
                }
            }
            Some(b'%') => {
                at += 1;
                out.push_value("%", format.original(found));
            }
            _ => {}
        }
    }
    out.push_part(&format, at.min(format.text.len())..format.text.len());
    // The format is used again for them.
    for value in values {
        let value = value.source();
        out.push_value("\n", value.original(0));
        out.push_part(&value, 0..value.text.len());
    }
    out
}
