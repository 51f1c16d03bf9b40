//! Text as `echo` and `printf` write it.

use super::{source::Source, word::ShellWord};

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
        let (value, len) = escape(rest);
        match value {
            Some(value) => out.push_value(value.encode_utf8(&mut [0; 4]), source.original(start)),
            None => out.push_part(source, start..(start + 1).min(source.text.len())),
        }
        at = start + 1 + if value.is_some() { len } else { 0 };
    }
    out.push_part(source, at.min(source.text.len())..source.text.len());
    out
}

/// What stands behind a backslash, and how many bytes of it.
fn escape(rest: &str) -> (Option<char>, usize) {
    let number = |digits: &str, radix: u32| {
        u8::from_str_radix(digits, radix)
            .ok()
            .filter(u8::is_ascii)
            .map(char::from)
    };
    let octal = |text: &str| text.bytes().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    match rest.bytes().next() {
        Some(b'n') => (Some('\n'), 1),
        Some(b't') => (Some('\t'), 1),
        Some(b'\\') => (Some('\\'), 1),
        Some(b'x') => {
            let digits = rest.bytes().skip(1).take(2).take_while(u8::is_ascii_hexdigit).count();
            (number(rest.get(1..1 + digits).unwrap_or_default(), 16), 1 + digits)
        }
        Some(b'0'..=b'7') => {
            // echo may have a zero before three digits.
            let most = if rest.starts_with('0') { 4 } else { 3 };
            let digits = octal(rest).min(most);
            (number(rest.get(..digits).unwrap_or_default(), 8), digits)
        }
        _ => (None, 0),
    }
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
