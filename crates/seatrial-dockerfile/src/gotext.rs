//! Go's ideas of text where they decide what a Dockerfile means and differ from Rust's or need
//! spelling out: case mapping rune by rune, `regexp`'s `\s`, CSV fields, durations.

/// The five characters that separate words: BuildKit's `[\t\v\f\r ]+`. Other Unicode blanks do not.
pub(crate) fn is_separator(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | b'\r' | b' ')
}

/// `unicode.IsSpace` of one byte taken as a rune: what Go does where it walks bytes.
pub(crate) fn is_byte_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0)
}

/// `strings.ToLower`: rune by rune, simple mappings only.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(lower_rune).collect()
}

/// Whether `lower(text)` is `word`, which is ASCII in lower case, without making the text.
pub(crate) fn is_lower(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word) || (!text.is_ascii() && lower(text) == word)
}

fn lower_rune(rune: char) -> char {
    if rune == '\u{130}' {
        return 'i'; // Rust maps it to two characters
    }
    let mut mapped = rune.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => rune,
    }
}

/// `strings.ToUpper`: rune by rune, simple mappings only.
pub(crate) fn upper(text: &str) -> String {
    text.chars()
        .map(|rune| {
            let mut mapped = rune.to_uppercase();
            match (mapped.next(), mapped.next()) {
                (Some(one), None) => one,
                _ => rune,
            }
        })
        .collect()
}

/// `strings.EqualFold(word, "as")`: U+017F folds to `s`.
pub(crate) fn is_as(word: &str) -> bool {
    let mut runes = word.chars();
    matches!(
        (runes.next(), runes.next(), runes.next()),
        (Some('a' | 'A'), Some('s' | 'S' | '\u{17f}'), None)
    )
}

/// Splits `text[from..]` at runs of separators as `regexp.Split(…, -1)`: an empty text gives
/// nothing here, the callers' rule. Yields byte ranges of `text`.
pub(crate) fn split_separators(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    if bytes.is_empty() {
        return words;
    }
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !is_separator(bytes[at]) {
            at += 1;
            continue;
        }
        words.push((start, at));
        while at < bytes.len() && is_separator(bytes[at]) {
            at += 1;
        }
        start = at;
    }
    words.push((start, bytes.len()));
    words
}

/// The range of `text` within `start..end` without Unicode blanks at both ends (`strings.TrimSpace`).
pub(crate) fn trim_range(text: &str, start: usize, end: usize) -> (usize, usize) {
    let part = &text[start..end];
    let front = part.len() - part.trim_start().len();
    let back = part.trim_end().len();
    if back <= front {
        return (end, end);
    }
    (start + front, start + back)
}

/// The fields of one CSV line as `go-csvvalue` reads them, or what is wrong.
pub(crate) fn csv_fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut rest = line
        .strip_suffix("\r\n")
        .or_else(|| line.strip_suffix('\n'))
        .unwrap_or(line);
    if rest.is_empty() {
        return Err("EOF");
    }
    let mut fields = Vec::new();
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) = match rest.split_once(',') {
                Some((field, more)) => (field, Some(more)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err("bare \" in non-quoted field");
            }
            fields.push(field.to_owned());
            match more {
                Some(more) => rest = more,
                None => return Ok(fields),
            }
            continue;
        };
        rest = quoted;
        let mut field = String::new();
        loop {
            let Some((part, more)) = rest.split_once('"') else {
                return Err("extraneous or missing \" in quoted-field");
            };
            field.push_str(part);
            match more.as_bytes().first() {
                Some(b'"') => {
                    field.push('"');
                    rest = &more[1..];
                }
                Some(b',') => {
                    rest = &more[1..];
                    fields.push(field);
                    break;
                }
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some(_) => return Err("extraneous or missing \" in quoted-field"),
            }
        }
    }
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `time.ParseDuration` in nanoseconds, `None` for what it refuses.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    const CEILING: u128 = 1 << 63;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut whole: u128 = 0;
        for digit in rest[..whole_len].bytes() {
            whole = whole * 10 + u128::from(digit - b'0');
            if whole > CEILING {
                return None;
            }
        }
        rest = &rest[whole_len..];
        let mut fraction_len = 0;
        let mut fraction = 0.0_f64;
        if let Some(after) = rest.strip_prefix('.') {
            fraction_len = after.bytes().take_while(u8::is_ascii_digit).count();
            let mut scale = 1.0_f64;
            for digit in after[..fraction_len].bytes().take(19) {
                fraction = fraction * 10.0 + f64::from(digit - b'0');
                scale *= 10.0;
            }
            fraction /= scale;
            rest = &after[fraction_len..];
        }
        if whole_len == 0 && fraction_len == 0 {
            return None;
        }
        let unit_len = rest
            .bytes()
            .take_while(|byte| *byte != b'.' && !byte.is_ascii_digit())
            .count();
        let unit: u128 = match &rest[..unit_len] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_len..];
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction below one of a unit below 2^42; Go rounds the same way"
        )]
        let part = whole * unit + (fraction * unit as f64) as u128;
        total += part;
        if part > CEILING || total > CEILING {
            return None;
        }
    }
    if negative {
        let magnitude = i128::try_from(total).ok()?;
        return i64::try_from(-magnitude).ok();
    }
    i64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_mapped_rune_by_rune_as_in_go() {
        assert_eq!(lower("WOR\u{212a}DIR"), "workdir");
        assert_eq!(lower("ONBU\u{130}LD"), "onbuild");
        assert_eq!(upper("ma\u{131}nta\u{131}ner"), "MAINTAINER");
        assert!(is_as("A\u{17f}") && is_as("as") && !is_as("ass"));
    }

    #[test]
    fn only_five_characters_separate_words() {
        assert_eq!(split_separators("a\t\u{b} b\u{a0}c"), [(0, 1), (4, 8)]);
        assert_eq!(split_separators(""), []);
        assert_eq!(split_separators(" a "), [(0, 0), (1, 2), (3, 3)]);
    }

    #[test]
    fn csv_quotes_stand_only_around_whole_fields() {
        assert_eq!(csv_fields("a,\"b,\"\"c\",").unwrap(), ["a", "b,\"c", ""]);
        assert!(csv_fields("").is_err());
        assert!(csv_fields("a\"b").is_err());
        assert!(csv_fields("\"a\"b").is_err());
        assert!(csv_fields("\"a").is_err());
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(parse_duration("1m30s"), Some(90_000_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration(".5s"), Some(500_000_000));
        assert_eq!(parse_duration("-1s"), Some(-1_000_000_000));
        assert_eq!(parse_duration("0"), Some(0));
        for refused in ["", "5", "s", ".s", "1d", "1 s", "9999999999h", "+"] {
            assert_eq!(parse_duration(refused), None, "{refused}");
        }
    }
}
