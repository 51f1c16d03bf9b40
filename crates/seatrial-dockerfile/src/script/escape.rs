//! Escapes in the manner of C, as `$'…'`, `echo` and `printf` know them.

/// The character that stands behind a backslash, and of how many bytes; `None` where it is none of these escapes. With `zero` a
/// number may have a zero before its three digits, as `echo` takes it.
pub(crate) fn decode(rest: &str, zero: bool) -> Option<(char, usize)> {
    let number = |from: usize, most: usize, radix: u32| {
        let digits = rest.get(from..)?.bytes().take(most);
        let digits = digits.take_while(|byte| char::from(*byte).is_digit(radix)).count();
        let value = u32::from_str_radix(rest.get(from..from + digits)?, radix).ok()?;
        Some((char::from_u32(value)?, from + digits))
    };
    match rest.bytes().next()? {
        b'n' => Some(('\n', 1)),
        b't' => Some(('\t', 1)),
        b'r' => Some(('\r', 1)),
        b'e' | b'E' => Some(('\u{1b}', 1)),
        b'\\' => Some(('\\', 1)),
        b'x' => number(1, 2, 16),
        b'u' => number(1, 4, 16),
        b'U' => number(1, 8, 16),
        b'0' if zero => number(0, 4, 8),
        b'0'..=b'7' => number(0, 3, 8),
        _ => None,
    }
}
