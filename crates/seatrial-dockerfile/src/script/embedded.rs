//! Commands that stand as literals in programs of other languages: `awk 'BEGIN { system("…") }'`.
//!
//! Such a program is not parsed. What it hands to a function that starts programs, and stands there between quotes, is
//! read as shell text; what it puts together is not seen.

use super::{
    Why,
    command::{Command, Redirection},
    given::Run,
    source::Source,
    word::ShellWord,
};

/// How many commands of one program are read.
const MAX_COMMANDS: usize = 64;
/// How many literals make one command.
const MAX_LITERALS: usize = 32;

/// Functions that start a program.
const STARTERS: [&str; 31] = [
    "system",
    "popen",
    "Popen",
    "exec",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execvp",
    "execFile",
    "execFileSync",
    "execSync",
    "spawn",
    "spawnl",
    "spawnlp",
    "spawnv",
    "spawnvp",
    "spawnSync",
    "posix_spawn",
    "shell_exec",
    "passthru",
    "proc_open",
    "getoutput",
    "getstatusoutput",
    "run",
    "call",
    "check_call",
    "check_output",
    "capture2",
    "qx",
];

/// What a program in another language runs, as far as literals say it.
pub(super) fn runs(command: &Command) -> Vec<Run> {
    let language = command
        .program()
        .trim_end_matches(|end: char| end.is_ascii_digit() || end == '.');
    let is_awk = matches!(language, "awk" | "gawk" | "mawk" | "nawk");
    let is_program = is_awk
        || matches!(
            language,
            "python" | "pypy" | "perl" | "ruby" | "php" | "node" | "nodejs" | "bun" | "deno" | "lua" | "luajit"
        );
    if !is_program {
        return Vec::new();
    }
    let here = command
        .redirects
        .iter()
        .filter(|redirect| redirect.kind == Redirection::Here);
    let texts = command.args().iter().chain(here.map(|redirect| &redirect.target));
    let mut runs = Vec::new();
    for word in texts {
        started(word, &mut runs);
        if is_awk {
            piped(word, &mut runs);
        }
        if runs.len() >= MAX_COMMANDS {
            runs.truncate(MAX_COMMANDS);
            runs.push(Run::Beyond(Why::Guesses));
            break;
        }
    }
    runs
}

fn guess(source: Source) -> Run {
    Run::Text {
        source,
        sure: false, // it may be text for something else
        args: Some(None),
    }
}

/// `system("a b")`, `run(["a", "b"])`, `exec 'a'`.
fn started(word: &ShellWord, runs: &mut Vec<Run>) {
    let source = word.source();
    let text = source.text.as_str();
    let bytes = text.as_bytes();
    let is_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let mut at = 0;
    while at < bytes.len() && runs.len() <= MAX_COMMANDS {
        let len = bytes.iter().skip(at).take_while(|byte| is_name(**byte)).count();
        if len == 0 {
            at += 1;
            continue;
        }
        let name = text.get(at..at + len).unwrap_or_default();
        at += len;
        if !STARTERS.contains(&name) {
            continue;
        }
        let mut command = Source::default();
        let mut next = at;
        for _ in 0..MAX_LITERALS {
            let Some((start, end)) = literal(text, next) else { break };
            if !command.text.is_empty() {
                command.push_value(" ", word.span.start);
            }
            command.push_part(&source, start..end);
            next = end + 1;
        }
        if !command.text.is_empty() {
            at = next;
            runs.push(guess(command));
        }
    }
}

/// The next literal behind brackets, commas and blanks.
fn literal(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let passed = bytes
        .iter()
        .skip(from)
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b',' | b'(' | b'[' | b'{'));
    let mut start = from + passed.count();
    if matches!(bytes.get(start), Some(b'r' | b'b' | b'f' | b'u')) {
        start += 1;
    }
    let quote = *bytes.get(start).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
    let mut end = start + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 1,
            byte if *byte == quote => return Some((start + 1, end)),
            _ => {}
        }
        end += 1;
    }
    None
}

/// awk's `"a b" | getline` and `print | "a b"`.
fn piped(word: &ShellWord, runs: &mut Vec<Run>) {
    let source = word.source();
    let text = source.text.as_str();
    for (at, _) in text.match_indices('|') {
        if runs.len() > MAX_COMMANDS {
            return;
        }
        let behind = text.get(at + 1..).unwrap_or_default().trim_start_matches(['&', ' ']);
        let found = if behind.starts_with("getline") {
            let before = text.get(..at).unwrap_or_default().trim_end();
            before
                .strip_suffix('"')
                .and_then(|before| Some((before.rfind('"')? + 1, before.len())))
        } else if behind.starts_with('"') {
            literal(text, text.len() - behind.len())
        } else {
            None
        };
        if let Some((start, end)) = found {
            let mut command = Source::default();
            command.push_part(&source, start..end);
            runs.push(guess(command));
        }
    }
}
