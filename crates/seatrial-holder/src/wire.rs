//! The bytes of the protocol: bounded lines, strict numbers, bodies of a told length, names.

use std::{
    fmt,
    io::{self, BufRead, Read, Write},
};

/// A line is at most this long, its `\n` counted.
const MAX_LINE: u64 = 4096;
/// A name has at most this many bytes: it must fit in a line.
const MAX_NAME: usize = 3800;
/// A name has at most this many components.
const MAX_DEPTH: usize = 16;
/// A component is at most this long.
const MAX_COMPONENT: usize = 255;

/// Why a role could not do its work. Never a guest's fault.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Our arguments are wrong.
    Usage(String),
    /// The input broke the protocol.
    Protocol(String),
    /// What should surround us is not there, or refuses.
    Surroundings(String),
    /// The deadline came first.
    Deadline,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Protocol(text) | Self::Surroundings(text) => f.write_str(text),
            Self::Deadline => f.write_str("the deadline came first"),
        }
    }
}

/// `what` (a verb phrase) failed by the system's doing.
pub(crate) fn surroundings(what: &str) -> impl FnOnce(io::Error) -> Broken {
    move |error| Broken::Surroundings(format!("cannot {what}: {error}"))
}

/// The input is not what `PROTOCOL.md` says.
pub(crate) fn protocol(problem: &str) -> Broken {
    Broken::Protocol(problem.to_owned())
}

/// The next line without its `\n`; `None` at the end of the input.
pub(crate) fn line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, Broken> {
    let mut line = Vec::new();
    input
        .by_ref()
        .take(MAX_LINE)
        .read_until(b'\n', &mut line)
        .map_err(surroundings("read standard input"))?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(protocol("a line is too long or cut off")),
    }
}

/// The next line, which must be there.
pub(crate) fn header(input: &mut impl BufRead) -> Result<Vec<u8>, Broken> {
    line(input)?.ok_or_else(|| protocol("the input ended too early"))
}

/// The first line of a role that reports.
pub(crate) fn nonce(input: &mut impl BufRead) -> Result<String, Broken> {
    let line = header(input)?;
    let is_hex = line.len() == 32 && line.iter().all(|byte| is_lower_hex(*byte));
    match String::from_utf8(line) {
        Ok(nonce) if is_hex => Ok(nonce),
        _ => Err(protocol("the nonce is not 32 lower-case hex digits")),
    }
}

/// A decimal number as we write them: no sign, no leading zero.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let canonical = match digits {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty(),
        all => all.iter().all(u8::is_ascii_digit),
    };
    let text = std::str::from_utf8(digits).ok().filter(|_| canonical)?;
    text.parse().ok()
}

/// A decimal number in a header.
pub(crate) fn length(digits: &[u8], max: u64) -> Result<u64, Broken> {
    match decimal(digits) {
        Some(length) if length <= max => Ok(length),
        Some(_) => Err(protocol("a length is too large")),
        None => Err(protocol("a length is not a number")),
    }
}

/// The part before the first space, and the rest.
pub(crate) fn word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

/// Copies a body of exactly `length` bytes.
pub(crate) fn body(input: &mut impl BufRead, output: &mut impl Write, length: u64) -> Result<(), Broken> {
    let mut left = length;
    while left > 0 {
        let chunk = input.fill_buf().map_err(surroundings("read standard input"))?;
        if chunk.is_empty() {
            return Err(protocol("a body ended too early"));
        }
        let take = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        output
            .write_all(&chunk[..take])
            .map_err(surroundings("write what was sent"))?;
        input.consume(take);
        left -= take as u64;
    }
    Ok(())
}

/// A relative path that cannot climb. Whether a component is a link is for the kernel to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Broken> {
        let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').collect();
        let good = bytes.len() <= MAX_NAME && parts.len() <= MAX_DEPTH && parts.into_iter().all(is_component);
        if good {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(protocol("a name is not a plain relative path"))
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directories above it, outermost first: `a`, `a/b` of `a/b/c`.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &self.0[..at])
    }
}

fn is_component(part: &[u8]) -> bool {
    let plain = !part.contains(&0) && !part.contains(&b'\n');
    plain && !matches!(part, b"" | b"." | b"..") && part.len() <= MAX_COMPONENT
}

pub(crate) fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// 64 lower-case hex digits.
pub(crate) fn is_sha256(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(|byte| is_lower_hex(*byte))
}

/// Writes one answer: `ST1 <tag> <len>\n` and the bytes.
pub(crate) fn answer(output: &mut impl Write, tag: char, bytes: &[u8]) -> Result<(), Broken> {
    writeln!(output, "ST1 {tag} {}", bytes.len())
        .and_then(|()| output.write_all(bytes))
        .and_then(|()| output.flush())
        .map_err(surroundings("answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_climb() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\nb", "a\0b"] {
            assert!(Name::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = "x".repeat(256);
        assert!(Name::parse(long.as_bytes()).is_err());
        assert!(Name::parse("a/".repeat(16).as_bytes()).is_err());
        let name = Name::parse(b"a/\x1b[31m/..c").unwrap();
        let parents: Vec<&[u8]> = name.parents().collect();
        assert_eq!(parents, [&b"a"[..], &b"a/\x1b[31m"[..]]);
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "00", "01", "+1", "-1", " 1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_line_is_bounded() {
        let mut good: &[u8] = b"a b\nrest";
        assert_eq!(line(&mut good).unwrap().unwrap(), b"a b");
        assert!(line(&mut good).is_err(), "cut off");
        let long = [b'x'; 5000];
        assert!(line(&mut &long[..]).is_err());
        assert!(line(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn a_nonce_has_32_lower_case_hex_digits() {
        let good = b"0123456789abcdef0123456789abcdef\n";
        assert!(nonce(&mut &good[..]).is_ok());
        assert!(nonce(&mut &good.to_ascii_uppercase()[..]).is_err());
        assert!(nonce(&mut &good[1..]).is_err());
    }
}
