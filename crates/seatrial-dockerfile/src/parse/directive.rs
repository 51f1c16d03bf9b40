//! Parser directives: `# escape=`, `# syntax=`, `# check=` at the head of the file, and the other
//! ways in which a file can ask for a frontend of its own.

use std::collections::BTreeSet;

use seatrial_core::finding::Span;

use crate::{
    ast::{SyntaxDirective, SyntaxForm},
    json,
};

/// The state while lines go by: directives stand before everything else, blank lines included.
#[derive(Default)]
pub(crate) struct Directives {
    done: bool,
    seen: BTreeSet<String>,
}

/// What a line holds.
pub(crate) enum Found {
    Nothing,
    Directive { name: String, value: String },
    Duplicate { name: String },
}

impl Directives {
    /// Looks at a line without its end; the parser also trims its front, the syntax detector does not.
    pub(crate) fn line(&mut self, line: &str) -> Found {
        self.line_after(line, "#")
    }

    fn line_after(&mut self, line: &str, comment: &str) -> Found {
        if self.done {
            return Found::Nothing;
        }
        let Some((name, value)) = line
            .strip_prefix(comment)
            .and_then(|rest| name_value(rest.trim_start()))
        else {
            self.done = true;
            return Found::Nothing;
        };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            self.done = true;
            return Found::Nothing;
        }
        if !self.seen.insert(name.clone()) {
            return Found::Duplicate { name };
        }
        Found::Directive {
            name,
            value: value.to_owned(),
        }
    }
}

/// `^([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$` with Go's ASCII `\s`. A value of blanks only is one
/// blank: the pattern must match something.
fn name_value(text: &str) -> Option<(&str, &str)> {
    const BLANKS: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];
    let len = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if len == 0 || text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let after = text[len..].trim_start_matches(BLANKS).strip_prefix('=')?;
    let value = after.trim_matches(BLANKS);
    if !value.is_empty() {
        return (!value.contains('\n')).then_some((&text[..len], value));
    }
    let last = after.chars().next_back()?;
    (last != '\n').then(|| (&text[..len], &after[after.len() - last.len_utf8()..]))
}

/// What BuildKit's `DetectSyntax` finds: the `#` form, the `//` form, a JSON object; a byte order
/// mark and a `#!` line before them are skipped.
pub(crate) fn detect_syntax(text: &str) -> Option<SyntaxDirective> {
    let mut start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut first_line = 1;
    if text[start..].starts_with("#!") {
        start = text[start..].find('\n').map_or(text.len(), |at| start + at + 1);
        first_line = 2;
    }
    for (comment, form) in [("#", SyntaxForm::Hash), ("//", SyntaxForm::Slashes)] {
        let mut directives = Directives::default();
        let mut at = start;
        for (index, whole) in text[start..].split_inclusive('\n').enumerate() {
            let line = whole.strip_suffix('\n').unwrap_or(whole);
            let line = line.strip_suffix('\r').unwrap_or(line);
            match directives.line_after(line, comment) {
                Found::Directive { name, value } if name == "syntax" => {
                    return Some(SyntaxDirective {
                        form,
                        reference: value.split(' ').next().unwrap_or_default().to_owned(),
                        line: first_line + index,
                        span: Span::new(at, at + line.len()),
                    });
                }
                Found::Directive { .. } => {}
                Found::Nothing | Found::Duplicate { .. } => break,
            }
            at += whole.len();
        }
    }
    let reference = json::object_member(&text[start..], "syntax")?;
    Some(SyntaxDirective {
        form: SyntaxForm::Json,
        reference,
        line: first_line,
        span: Span::new(start, text.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax(text: &str) -> Option<(SyntaxForm, String, usize)> {
        detect_syntax(text).map(|found| (found.form, found.reference, found.line))
    }

    #[test]
    fn every_disguise_of_a_syntax_directive_is_seen() {
        assert_eq!(
            syntax("# syntax=a/b:1 x\n"),
            Some((SyntaxForm::Hash, "a/b:1".into(), 1))
        );
        assert_eq!(
            syntax("#!/bin/x\n#SYNTAX = a\r\n"),
            Some((SyntaxForm::Hash, "a".into(), 2))
        );
        assert_eq!(
            syntax("\u{feff}# escape=`\n# syntax=a"),
            Some((SyntaxForm::Hash, "a".into(), 2))
        );
        assert_eq!(syntax("// syntax=a\n{}"), Some((SyntaxForm::Slashes, "a".into(), 1)));
        assert_eq!(syntax("{\"syntax\":\"a\"}"), Some((SyntaxForm::Json, "a".into(), 1)));
    }

    #[test]
    fn a_comment_or_blank_line_ends_the_directives() {
        for text in [
            "# hi\n# syntax=a\n",
            "\n# syntax=a\n",
            " # syntax=a\n",
            "# foo=1\n# syntax=a\n",
            "# syntax=\n",
        ] {
            assert_eq!(syntax(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_value_of_blanks_is_one_blank() {
        assert_eq!(name_value("escape=  "), Some(("escape", " ")));
        assert_eq!(name_value("escape="), None);
        assert_eq!(name_value("1a=b"), None);
        assert_eq!(name_value("a = b c "), Some(("a", "b c")));
    }
}
