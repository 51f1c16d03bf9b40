//! ST400 and ST402 in programs of other languages that stand in a command: what they download or decode, and run.

use seatrial_core::finding::Rule;

use super::{Sink, is_one_of, quoted, texts};
use crate::{
    rules::catalogue::{ST400, ST402},
    script::Command,
};

/// What a language gets a text by, and what it runs one by.
struct Language {
    rule: &'static Rule,
    /// In words.
    does: &'static str,
    names: &'static [&'static str],
    gets: &'static [&'static str],
    runs: &'static [&'static str],
}

const fn fetches(
    names: &'static [&'static str],
    gets: &'static [&'static str],
    runs: &'static [&'static str],
) -> Language {
    Language {
        rule: &ST400,
        does: "runs what it downloads",
        names,
        gets,
        runs,
    }
}

const fn decodes(
    names: &'static [&'static str],
    gets: &'static [&'static str],
    runs: &'static [&'static str],
) -> Language {
    Language {
        rule: &ST402,
        does: "decodes a text and runs it",
        names,
        gets,
        runs,
    }
}

static LANGUAGES: [Language; 8] = [
    fetches(
        &["python"],
        &["urlopen(", "requests.get(", "urllib2"],
        &["exec(", "eval(", "os.system(", "os.popen("],
    ),
    fetches(&["ruby"], &["open-uri", "Net::HTTP", "URI.open"], &["eval(", "eval "]),
    fetches(
        &["php"],
        &["file_get_contents('http", "file_get_contents(\"http"],
        &["eval("],
    ),
    decodes(
        &["python"],
        &[
            "b64decode",
            "b32decode",
            "fromhex",
            "unhexlify",
            "zlib.decompress",
            "codecs.decode",
        ],
        &["exec(", "eval(", "os.system(", "os.popen("],
    ),
    decodes(
        &["perl"],
        &["decode_base64", "pack(\"H", "pack('H", "pack(q"],
        &["eval(", "eval ", "system(", "exec("],
    ),
    decodes(
        &["php"],
        &["base64_decode", "hex2bin", "gzinflate", "str_rot13"],
        &["eval(", "system(", "shell_exec("],
    ),
    decodes(&["node", "nodejs"], &["Buffer.from", "atob("], &["eval(", "Function("]),
    decodes(
        &["ruby"],
        &["unpack(\"m", "unpack('m", "unpack1(", "Base64.decode"],
        &["eval(", "eval ", "system("],
    ),
];

/// `python -c "exec(urlopen(…).read())"`, `python -c "exec(base64.b64decode(…))"` and the like.
pub(super) fn judge(command: &Command, sink: &mut Sink<'_>) {
    let program = command.program();
    for language in LANGUAGES.iter().filter(|language| is_one_of(program, language.names)) {
        let found = texts(command).find(|word| {
            language.gets.iter().any(|one| word.text.contains(one))
                && language.runs.iter().any(|name| calls(&word.text, name))
        });
        if let Some(word) = found {
            sink.report(language.rule, word.span, || {
                format!("{program} {}: {}", language.does, quoted(word.text.trim()))
            });
        }
    }
}

/// A function of this name is called, and not one that only ends so (`literal_eval(`, `re.exec(`, `$pdo->exec(`), with something
/// that is no literal by itself.
pub(super) fn calls(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let is_own = before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '_' | '.' | '>' | ':'));
        let argument = text
            .get(at + name.len()..)
            .unwrap_or_default()
            .trim_start_matches([' ', '(']);
        is_own && !is_literal(argument)
    })
}

/// A text between quotes with nothing done to it, or a list.
fn is_literal(argument: &str) -> bool {
    // What the caller of the program gave it.
    if ["sys.argv", "process.argv", "@ARGV", "ARGV", "$argv"]
        .iter()
        .any(|own| argument.starts_with(own))
    {
        return true;
    }
    let Some(quote) = argument
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\'' | '['))
    else {
        return argument.is_empty() || argument.starts_with(')');
    };
    let inner = argument.get(1..).unwrap_or_default();
    if quote == '[' {
        return true;
    }
    // What is put into a text in quotes is no literal.
    let Some((inside, behind)) = inner.split_once(quote) else {
        return false;
    };
    let is_filled = quote == '"' && (inside.contains("#{") || inside.contains('$'));
    let behind = behind.trim_start();
    !is_filled && (behind.is_empty() || behind.starts_with([')', ',', ';', '}']))
}
