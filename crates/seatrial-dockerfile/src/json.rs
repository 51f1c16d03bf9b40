//! JSON arrays as Go's `encoding/json` judges them.
//!
//! BuildKit takes the JSON form only when the whole text is one valid array; what is not valid
//! falls back to the shell form, and a valid array that holds anything but strings is an error.
//! The three answers must be told apart exactly as Go does, also for arrays nested 10,000 deep,
//! so this is a scanner with an explicit stack and not a general JSON parser.

/// Go refuses deeper nesting as a syntax error.
const MAX_DEPTH: usize = 10_000;

/// What `[` … turned out to be.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Array {
    /// An array of strings: each decoded, with its byte range (quotes included).
    Strings(Vec<(String, usize, usize)>),
    /// A valid array with something else than strings in it.
    Mixed,
    /// Not JSON, or not an array.
    Not,
}

/// Judges `text`, which may begin with blanks (any Unicode ones: BuildKit trims them first).
pub(crate) fn array(text: &str) -> Array {
    let front = text.len() - text.trim_start().len();
    if text.as_bytes().get(front) != Some(&b'[') {
        return Array::Not;
    }
    let mut scanner = Scanner { text, at: front };
    match scanner.document() {
        Some(found) => found,
        None => Array::Not,
    }
}

/// The string member `key` of a JSON object that is the whole of `text`; the last one counts.
pub(crate) fn object_member(text: &str, key: &str) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.blanks();
    if scanner.peek() != Some(b'{') {
        return None;
    }
    scanner.members(key)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// What a container waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The whole text as one array.
    fn document(&mut self) -> Option<Array> {
        self.eat(b'[')?;
        let mut strings = Vec::new();
        let mut mixed = false;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.blanks();
                if self.peek()? == b'"' {
                    let start = self.at;
                    let value = self.string()?;
                    strings.push((value, start, self.at));
                } else {
                    mixed = true;
                    self.value(1)?;
                }
                self.blanks();
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => {
                        self.at += 1;
                        break;
                    }
                    _ => return None,
                }
            }
        }
        self.blanks();
        if self.at != self.text.len() {
            return None;
        }
        Some(if mixed { Array::Mixed } else { Array::Strings(strings) })
    }

    /// The whole text as one object; the value of `key` when that is a string.
    fn members(&mut self, key: &str) -> Option<String> {
        self.eat(b'{')?;
        let mut found = None;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.blanks();
                let name = self.string()?;
                self.blanks();
                self.eat(b':')?;
                self.blanks();
                let value = if self.peek()? == b'"' {
                    Some(self.string()?)
                } else {
                    self.value(1)?;
                    None
                };
                if name == key {
                    found = value;
                }
                self.blanks();
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => {
                        self.at += 1;
                        break;
                    }
                    _ => return None,
                }
            }
        }
        self.blanks();
        if self.at != self.text.len() {
            return None;
        }
        found
    }

    /// Any value but with the containers on a stack instead of the call stack.
    fn value(&mut self, depth: usize) -> Option<()> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                b'[' => {
                    self.at += 1;
                    open.push(Open::Array);
                    if open.len() + depth > MAX_DEPTH {
                        return None;
                    }
                    self.blanks();
                    if self.peek()? != b']' {
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
                b'{' => {
                    self.at += 1;
                    open.push(Open::Object);
                    if open.len() + depth > MAX_DEPTH {
                        return None;
                    }
                    self.blanks();
                    if self.peek()? != b'}' {
                        self.name()?;
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
                b'"' => {
                    self.string()?;
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            // A value ended: close what it completes.
            loop {
                let Some(container) = open.last().copied() else {
                    return Some(());
                };
                self.blanks();
                match (self.peek()?, container) {
                    (b',', Open::Array) => {
                        self.at += 1;
                        break;
                    }
                    (b',', Open::Object) => {
                        self.at += 1;
                        self.blanks();
                        self.name()?;
                        break;
                    }
                    (b']', Open::Array) | (b'}', Open::Object) => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.blanks();
        self.eat(b':')
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        if !self.text[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    /// A number; one too large for a float fails in Go's decoder, which BuildKit takes as "not JSON".
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return None;
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return None;
            }
            self.digits();
        }
        let value: f64 = self.text[start..self.at].parse().ok()?;
        value.is_finite().then_some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// A string, decoded; lone surrogates become U+FFFD as in Go.
    fn string(&mut self) -> Option<String> {
        self.eat(b'"')?;
        let mut value = String::new();
        loop {
            let plain = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            value.push_str(&self.text[plain..self.at]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(value);
                }
                b'\\' => {
                    self.at += 1;
                    let escaped = self.peek()?;
                    self.at += 1;
                    value.push(match escaped {
                        b'"' => '"',
                        b'\\' => '\\',
                        b'/' => '/',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return None,
                    });
                }
                _ => return None, // a control character
            }
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if let Some(character) = char::from_u32(high) {
            return Some(character);
        }
        let rest = &self.text.as_bytes()[self.at..];
        if high < 0xdc00 && rest.starts_with(b"\\u") {
            let mark = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = mark;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        let mut value = 0;
        for digit in digits {
            value = value * 16 + char::from(*digit).to_digit(16)?;
        }
        self.at += 4;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        match array(text) {
            Array::Strings(strings) => strings.into_iter().map(|(value, ..)| value).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn strings_are_decoded_as_go_decodes_them() {
        assert_eq!(strings(r#"["a","b\n\u00e9\ud83d\ude00"]"#), ["a", "b\né😀"]);
        assert_eq!(strings(r#"["\ud800","\ud800\u0041"]"#), ["\u{fffd}", "\u{fffd}A"]);
        assert_eq!(strings("\u{a0}[ ]"), [""; 0]);
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_strings() {
        for text in [
            "",
            "a",
            "['a']",
            "[\"a\"] && b",
            "[\"a\",]",
            "[1e999]",
            "[01]",
            "[\"\t\"]",
            "[\u{a0}]",
        ] {
            assert_eq!(array(text), Array::Not, "{text}");
        }
        for text in [
            "[1]",
            "[null]",
            "[\"a\", 1.5e3]",
            "[[\"a\"]]",
            "[{\"a\": [true, {}]}]",
            "[[],1]",
        ] {
            assert_eq!(array(text), Array::Mixed, "{text}");
        }
    }

    #[test]
    fn nesting_is_judged_without_recursion_up_to_gos_limit() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(array(&nested(10_000)), Array::Mixed);
        assert_eq!(array(&nested(10_001)), Array::Not);
        assert_eq!(array(&nested(500_000)), Array::Not);
    }

    #[test]
    fn an_object_member_is_found() {
        assert_eq!(
            object_member(r#"{"a":1,"syntax":"x/y"}"#, "syntax").as_deref(),
            Some("x/y")
        );
        assert_eq!(object_member(r#"{"syntax":1}"#, "syntax"), None);
        assert_eq!(object_member(r#"{"syntax":"x"} FROM y"#, "syntax"), None);
    }
}
