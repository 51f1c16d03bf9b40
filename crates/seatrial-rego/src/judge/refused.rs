//! Functions that a check cannot have: they reach outside, or say something else tomorrow.
//!
//! None of them is in the interpreter as we build it, except for chance. It would notice that only when a file leads
//! it there; here it is told when the file is read.

use crate::wire::Failure;

const REFUSED: &[(&str, &str)] = &[
    ("http.send", "it reaches the network"),
    ("net.lookup_ip_addr", "it reaches the network"),
    ("opa.runtime", "it shows the environment"),
    ("time.now_ns", "there is no clock"),
    ("rand.intn", "it says something else each time"),
    ("uuid.rfc4122", "it says something else each time"),
];

/// Looks for calls, outside of comments and texts.
pub(super) fn check(name: &str, text: &str) -> Result<(), Failure> {
    let code = code(text);
    let refused = REFUSED.iter().find_map(|(function, why)| {
        let calls = code.match_indices(function).map(|(at, _)| at);
        let mut calls = calls.filter(|at| is_call(&code, *at, function));
        calls.next().map(|at| (at, function, why))
    });
    let Some((at, function, why)) = refused else {
        return Ok(());
    };
    let before = code.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Err(Failure {
        file: Some(name.to_owned()),
        place: Some((
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )),
        why: format!("{function} is refused: {why}"),
    })
}

fn is_call(code: &str, at: usize, function: &str) -> bool {
    let before = code.get(..at).and_then(|before| before.chars().next_back());
    let after = code.get(at + function.len()..).unwrap_or_default().trim_start();
    after.starts_with('(') && before.is_none_or(|before| !before.is_alphanumeric() && !"_.".contains(before))
}

/// The text with blanks in the place of comments and texts, so that places stay true.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let end = match letter {
            '#' => '\n',
            '"' | '`' => letter,
            _ => {
                out.push(letter);
                continue;
            }
        };
        out.push(' ');
        while let Some(inner) = letters.next() {
            out.push(if inner == '\n' { '\n' } else { ' ' });
            if inner == '\\' && letter == '"' {
                if letters.next() == Some('\n') {
                    out.push('\n');
                } else {
                    out.push(' ');
                }
            } else if inner == end {
                break;
            }
        }
    }
    out
}
