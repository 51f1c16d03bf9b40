//! ST400 and ST402 in programs of other languages that stand in a command: what they download or decode, and run.

use super::{Sink, is_versioned, quoted};
use crate::{
    rules::catalogue::{ST400, ST402},
    script::Command,
};

pub(super) fn judge(command: &Command, sink: &mut Sink<'_>) {
    encoded_program(command, sink);
    fetching_program(command, sink);
}

/// `python -c "exec(urlopen(…).read())"`.
fn fetching_program(command: &Command, sink: &mut Sink<'_>) {
    let program = command.program();
    let (fetches, runs): (&[&str], &[&str]) = if is_versioned(program, "python") {
        (&["urlopen(", "requests.get(", "urllib2"], &["exec(", "eval("])
    } else if is_versioned(program, "ruby") {
        (&["open-uri", "Net::HTTP", "URI.open"], &["eval(", "eval "])
    } else if is_versioned(program, "php") {
        (&["file_get_contents('http", "file_get_contents(\"http"], &["eval("])
    } else {
        return;
    };
    let fetches = |text: &str| fetches.iter().any(|one| text.contains(one));
    let runs = |text: &str| runs.iter().any(|name| calls(text, name));
    if let Some(word) = super::texts(command).find(|word| fetches(&word.text) && runs(&word.text)) {
        sink.report(&ST400, word.span, || {
            format!("{program} runs what it downloads: {}", quoted(word.text.trim()))
        });
    }
}

/// `python -c "exec(base64.b64decode(…))"` and the like.
fn encoded_program(command: &Command, sink: &mut Sink<'_>) {
    let program = command.program();
    let (decoders, runs): (&[&str], &[&str]) = if is_versioned(program, "python") {
        (
            &[
                "b64decode",
                "b32decode",
                "fromhex",
                "unhexlify",
                "zlib.decompress",
                "codecs.decode",
            ],
            &["exec(", "eval(", "os.system(", "os.popen("],
        )
    } else if is_versioned(program, "perl") {
        (
            &["decode_base64", "pack(\"H", "pack('H", "pack(q"],
            &["eval(", "eval ", "system(", "exec("],
        )
    } else if is_versioned(program, "php") {
        (
            &["base64_decode", "hex2bin", "gzinflate", "str_rot13"],
            &["eval(", "system(", "shell_exec("],
        )
    } else if matches!(program, "node" | "nodejs") {
        (&["Buffer.from", "atob("], &["eval(", "Function("])
    } else if is_versioned(program, "ruby") {
        (
            &["unpack(\"m", "unpack('m", "unpack1(", "Base64.decode"],
            &["eval(", "eval ", "system("],
        )
    } else {
        return;
    };
    let decodes = |text: &str| decoders.iter().any(|one| text.contains(one));
    let runs = |text: &str| runs.iter().any(|name| calls(text, name));
    if let Some(word) = super::texts(command).find(|word| decodes(&word.text) && runs(&word.text)) {
        sink.report(&ST402, word.span, || {
            format!("{program} decodes a text and runs it: {}", quoted(word.text.trim()))
        });
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
    !is_filled && behind.trim_start().starts_with([')', ',', ';', '}', '\n']) | behind.trim_start().is_empty()
}
