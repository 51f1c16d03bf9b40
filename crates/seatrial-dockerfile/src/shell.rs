//! BuildKit's shell lexer: quotes, escapes, `$x` and `${x…}`, and the splitting into words that
//! follows them.
//!
//! One engine serves three uses that must not differ: finding here-documents in a line, reading
//! their delimiters, and expanding variables when a file is lowered. BuildKit's own lexer
//! recurses and copies the result of each nested `${a:-…}` upwards; here the nesting lives on a
//! stack of frames and everything is written once into one buffer, so that 200,000 nested
//! expansions cost what 200,000 characters cost.
//!
//! Difference: letters outside ASCII in variable names follow Rust's `char::is_alphabetic`, which
//! also takes combining marks; Go's `unicode.IsLetter` does not.

mod run;

use std::{error::Error, fmt};

use run::Run;

/// Where variables come from.
pub(crate) trait Env {
    /// The value, `None` when unset.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub(crate) struct NoEnv;

impl Env for NoEnv {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// The switches of BuildKit's lexer under their names there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer {
    /// `\` or `` ` ``.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Escapes stay in the result.
    pub(crate) raw_escapes: bool,
    /// Quotes mean nothing.
    pub(crate) skip_quotes: bool,
    /// Unset variables stay as they are written.
    pub(crate) skip_unset: bool,
    /// The result may not grow beyond this many bytes.
    pub(crate) max_len: usize,
}

/// What a text became.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    /// The whole text.
    pub(crate) text: String,
    /// The text split at blanks that were not quoted.
    pub(crate) words: Vec<LexedWord>,
    /// Bytes of values that were written, those thrown away again included.
    pub(crate) work: usize,
}

/// A word and the bytes of the source that it came from.
#[derive(Debug)]
pub(crate) struct LexedWord {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Why a text cannot be lexed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LexError {
    /// A quote is not closed.
    Quote(char),
    /// `${` is not closed.
    Brace,
    /// `${}`, `${{`, `${:`.
    BadSubstitution,
    /// Something else than `: + - ? # % /` after a name.
    Modifier,
    /// `${x?message}` and `x` is not set.
    Required { name: String, message: String },
    /// `${x#…}`, `${x%…}`, `${x/…}` of a variable that is set: valid in BuildKit, refused by us.
    Pattern { name: String },
    /// The result is too large.
    TooLarge,
}

impl fmt::Display for LexError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quote(quote) => write!(out, "a {quote} is not closed"),
            Self::Brace => out.write_str("a ${ is not closed"),
            Self::BadSubstitution => out.write_str("bad substitution"),
            Self::Modifier => out.write_str("unsupported modifier in a substitution"),
            Self::Required { name, message } => write!(out, "{name}: {message}"),
            Self::Pattern { name } => write!(out, "the value of {name} is cut by a pattern"),
            Self::TooLarge => out.write_str("the expanded text is too large"),
        }
    }
}

impl Error for LexError {}

impl Lexer {
    /// The lexer as BuildKit sets it up for expanding arguments.
    pub(crate) fn expanding(escape: char, max_len: usize) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            skip_unset: false,
            max_len,
        }
    }

    /// Lexes a whole text.
    pub(crate) fn lex(self, source: &str, env: &dyn Env) -> Result<Lexed, LexError> {
        let mut run = Run::new(self, source, env);
        run.all()?;
        Ok(run.lexed())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Env for BTreeMap<&str, &str> {
        fn get(&self, name: &str) -> Option<&str> {
            BTreeMap::get(self, name).copied()
        }
    }

    fn expand(text: &str) -> Result<String, LexError> {
        let env = BTreeMap::from([("a", "1"), ("empty", ""), ("two", "x y")]);
        Lexer::expanding('\\', 10_000).lex(text, &env).map(|lexed| lexed.text)
    }

    fn words(text: &str) -> Vec<String> {
        let env = BTreeMap::from([("two", "x y")]);
        let lexed = Lexer::expanding('\\', 10_000).lex(text, &env).unwrap();
        lexed.words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn variables_expand_as_in_buildkit() {
        for (text, expected) in [
            ("$a", "1"),
            ("${a}b", "1b"),
            ("$no-", "-"),
            ("${no:-x$a}", "x1"),
            ("${no-x}${empty-x}", "x"),
            ("${empty:-x}", "x"),
            ("${a:+set}${no:+set}${empty:+set}${empty+set}", "setset"),
            ("${a:?no}", "1"),
            ("'$a'", "$a"),
            ("\"$a\"", "1"),
            ("\\$a", "$a"),
            ("\"\\$a\\n\"", "$a\\n"),
            ("\\\\", "\\"),
            ("a\\", "a"),
            ("$", "$"),
            ("$1x", "x"),
            ("${no:-${no:-${no:-d}e}f}", "def"),
            ("${no:-\"}\"}", "}"),
            ("\u{feff}x", "x"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_buildkit_refuses_is_refused() {
        for text in [
            "${", "${}", "${{a}}", "${:a}", "${a", "${a^}", "'", "\"", "${no:-", "${a:x}", "${no?}", "${a#x}",
            "${a/x/y}",
        ] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_split_after_expansion_unless_quoted() {
        assert_eq!(words("a $two \"$two\" b\\ c ''"), ["a", "x", "y", "x y", "b c"]);
        assert_eq!(words("a<<b << c"), ["a<<b", "<< c"]);
    }

    #[test]
    fn deep_nesting_is_linear_and_does_not_recurse() {
        let depth = 100_000;
        let text = format!("{}x{}", "${no:-".repeat(depth), "}".repeat(depth));
        let lexer = Lexer::expanding('\\', usize::MAX);
        assert_eq!(lexer.lex(&text, &NoEnv).unwrap().text, "x");
        let kept = Lexer {
            skip_unset: true,
            ..lexer
        };
        assert_eq!(kept.lex(&text, &NoEnv).unwrap().text, text);
        assert_eq!(lexer.lex(&text[..text.len() - 1], &NoEnv).unwrap_err(), LexError::Brace);
    }

    #[test]
    fn a_result_that_explodes_is_cut_off() {
        let big = "x".repeat(1_000);
        let env = BTreeMap::from([("big", big.as_str())]);
        let text = "$big".repeat(100);
        assert_eq!(
            Lexer::expanding('\\', 10_000).lex(&text, &env).unwrap_err(),
            LexError::TooLarge
        );
        let thrown_away = format!("${{big:+{text}}}").replace(":+", ":-");
        assert_eq!(
            Lexer::expanding('\\', 10_000).lex(&thrown_away, &env).unwrap_err(),
            LexError::TooLarge
        );
    }
}
