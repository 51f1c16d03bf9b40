//! Which words of a line begin a here-document.
//!
//! BuildKit lexes the whole line, keyword and flags included, with `\` as the escape whatever the
//! file says, and looks at every word. A line that its shell lexer cannot read (an open quote, an
//! odd `${…}`) holds no here-document; a delimiter that it cannot read is an error.

use crate::shell::{LexError, LexedWord, Lexer, NoEnv};

/// A word that begins a here-document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opening {
    pub(crate) descriptor: u64,
    pub(crate) chomp: bool,
    pub(crate) expand: bool,
    pub(crate) delimiter: String,
    /// Byte range in the joined line.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

const KEEPING: Lexer = Lexer {
    escape: '\\',
    raw_quotes: true,
    raw_escapes: true,
    skip_quotes: false,
    skip_unset: true,
    max_len: usize::MAX,
};

/// The here-documents that a joined line begins, in order.
pub(crate) fn openings(line: &str) -> Result<Vec<Opening>, LexError> {
    let words = match KEEPING.lex(line, &NoEnv) {
        Ok(lexed) => lexed.words,
        Err(_) => return Ok(Vec::new()),
    };
    let mut openings = Vec::new();
    for LexedWord { text, start, end } in words {
        if let Some(opening) = opening(&text)? {
            openings.push(Opening { start, end, ..opening });
        }
    }
    Ok(openings)
}

/// One word: `^(\d*)<<(-?)\s*([^<]*)$` with a delimiter that is one word itself.
pub(crate) fn opening(word: &str) -> Result<Option<Opening>, LexError> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let Some(rest) = word[digits..].strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let found = |delimiter: &str, expand: bool| Opening {
        descriptor: word[..digits].parse().unwrap_or(0),
        chomp,
        expand,
        delimiter: delimiter.to_owned(),
        start: 0,
        end: word.len(),
    };
    // Nearly all delimiters need no lexer, and a hostile line holds 100,000 of them.
    if rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(Some(found(rest, true)));
    }
    let taken = Lexer {
        raw_quotes: false,
        raw_escapes: false,
        ..KEEPING
    }
    .lex(rest, &NoEnv)?;
    let [delimiter] = taken.words.as_slice() else {
        return Ok(None);
    };
    let raw = Lexer {
        raw_escapes: false,
        ..KEEPING
    }
    .lex(rest, &NoEnv)?;
    let [raw] = raw.words.as_slice() else {
        return Err(LexError::BadSubstitution);
    };
    let quotes = |text: &str| text.bytes().filter(|byte| matches!(byte, b'\'' | b'"')).count();
    Ok(Some(found(
        &delimiter.text,
        quotes(&delimiter.text) == quotes(&raw.text),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        openings(line)
            .unwrap()
            .into_iter()
            .map(|opening| opening.delimiter)
            .collect()
    }

    #[test]
    fn any_word_may_begin_a_heredoc() {
        assert_eq!(
            names("RUN python3 <<EOF && cat 3<<-'X Y' >/f <<#x"),
            ["EOF", "X Y", "#x"]
        );
        assert_eq!(names("RUN cat << EOF"), ["EOF"]);
        assert_eq!(names("RUN <<$X <<E\"O\"F"), ["$X", "EOF"]);
        assert_eq!(names("RUN echo ${x:-a <<EOF}"), ["EOF}"]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for line in [
            "RUN cat <<<EOF",
            "RUN echo $((1<<2))",
            "RUN cat \"<<EOF\"",
            "RUN cat '<<EOF'",
            "RUN echo 'it <<EOF",
            "RUN echo ${x^^} <<EOF",
            "RUN a<<EOF",
            "RUN cat <<- EOF",
            "RUN cat <<",
        ] {
            assert_eq!(names(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_quote_in_the_delimiter_stops_expansion_but_an_escaped_one_does_not() {
        let expands = |word: &str| opening(word).unwrap().unwrap().expand;
        assert!(expands("<<EOF") && expands("<<eo\\'f"));
        assert!(!expands("<<'EOF'") && !expands("<<E\"O\"F") && !expands("<<'e'o\\'f"));
    }

    #[test]
    fn places_point_at_the_word() {
        let line = "RUN cat 3<<-EOF x";
        let found = openings(line).unwrap();
        assert_eq!(&line[found[0].start..found[0].end], "3<<-EOF");
        assert_eq!((found[0].descriptor, found[0].chomp), (3, true));
    }
}
