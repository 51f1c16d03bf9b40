//! A file in its canonical form: one instruction, one line; here-documents behind it.
//!
//! Everything is written from the tree. Reading the result again gives the same tree, places
//! aside ([`same`]). Each line is read back before it is taken: a few odd lines (an open quote in
//! a flag before `<<`, a list that would become JSON) say the same only as they were written, and
//! those are kept so, joined.

use std::{fmt::Write as _, sync::Arc};

use crate::{
    ast::{Args, Dockerfile, Flag, Heredoc, Instruction, Keyword, Logical, Word},
    heredoc,
    parse::{MAX_LINE_BYTES, split},
};

/// Where a line is broken; below the limit, so that the escape and the limits of others fit.
const PIECE: usize = 60_000;

/// The canonical text of a file that parses.
#[must_use]
pub fn render(file: &Dockerfile) -> String {
    let mut out = String::new();
    if file.escape == '`' {
        out.push_str("# escape=`\n");
    }
    for instruction in &file.instructions {
        let mut text = line(instruction);
        if !reads_back(&text, instruction, file.escape) {
            text = instruction.logical.text.clone();
        }
        guard_end(&mut text, file.escape);
        broken(&mut out, &text, file.escape);
        out.push('\n');
        for heredoc in &instruction.heredocs {
            out.push_str(&heredoc.body);
            out.push_str(&heredoc.delimiter);
            out.push('\n');
        }
    }
    out
}

/// Whether two files say the same: keywords, flags, arguments, here-documents; not places.
#[must_use]
pub fn same(one: &Dockerfile, other: &Dockerfile) -> bool {
    one.instructions.len() == other.instructions.len()
        && one
            .instructions
            .iter()
            .zip(&other.instructions)
            .all(|(one, other)| same_instruction(one, other) && same_heredocs(&one.heredocs, &other.heredocs))
}

fn same_heredocs(one: &[Heredoc], other: &[Heredoc]) -> bool {
    let said = |heredoc: &Heredoc| {
        (
            heredoc.descriptor,
            heredoc.chomp,
            heredoc.expand,
            heredoc.delimiter.clone(),
        )
    };
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| said(one) == said(other) && one.body == other.body)
}

fn same_instruction(one: &Instruction, other: &Instruction) -> bool {
    let said = |flag: &Flag| (flag.name.clone(), flag.value.clone());
    one.name == other.name
        && one.flags.len() == other.flags.len()
        && one
            .flags
            .iter()
            .zip(&other.flags)
            .all(|(one, other)| said(one) == said(other))
        && same_args(&one.args, &other.args)
}

fn same_args(one: &Args, other: &Args) -> bool {
    let words = |one: &[Word], other: &[Word]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.value == other.value)
    };
    match (one, other) {
        (Args::None, Args::None) => true,
        (Args::Text(one), Args::Text(other)) => one.value == other.value,
        (Args::Json(one), Args::Json(other)) | (Args::List(one), Args::List(other)) => words(one, other),
        (Args::Pairs(one), Args::Pairs(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| {
                    let value = |word: &Option<Word>| word.as_ref().map(|word| word.value.clone());
                    one.equals == other.equals
                        && one.name.value == other.name.value
                        && value(&one.value) == value(&other.value)
                })
        }
        (Args::Health(one), Args::Health(other)) => {
            one.kind.value == other.kind.value
                && match (&*one.command, &*other.command) {
                    (Args::None, Args::None) => true,
                    (Args::Text(one), Args::Text(other)) => one.value == other.value,
                    (Args::Json(one), Args::Json(other)) => words(one, other),
                    _ => false,
                }
        }
        // Triggers hold no triggers, so this goes one deeper and no further.
        (Args::Trigger(one), Args::Trigger(other)) => same_instruction(one, other),
        _ => false,
    }
}

/// One instruction on one line, without its here-documents' bodies.
pub(crate) fn line(instruction: &Instruction) -> String {
    let mut out = match instruction.keyword {
        Keyword::Unknown => instruction.name.clone(),
        known => known.as_str().to_owned(),
    };
    for flag in &instruction.flags {
        write_flag(&mut out, flag);
    }
    let mut args = String::new();
    write_args(&mut args, &instruction.args);
    if args.starts_with("--") {
        out.push_str(" --");
    }
    if !args.is_empty() {
        out.push(' ');
        out.push_str(&args);
    }
    out
}

fn write_args(out: &mut String, args: &Args) {
    match args {
        Args::None => {}
        Args::Text(word) => out.push_str(&word.value),
        Args::Json(words) => write_json(out, words),
        Args::List(words) => join(out, words.iter().map(|word| word.value.as_str())),
        Args::Pairs(pairs) => {
            for (index, pair) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(&pair.name.value);
                if let Some(value) = &pair.value {
                    out.push(if pair.equals { '=' } else { ' ' });
                    out.push_str(&value.value);
                }
            }
        }
        Args::Health(health) => {
            out.push_str(&health.kind.value);
            let mut command = String::new();
            match &*health.command {
                Args::Text(word) => command.push_str(&word.value),
                Args::Json(words) => write_json(&mut command, words),
                _ => {}
            }
            if !command.is_empty() {
                out.push(' ');
                out.push_str(&command);
            }
        }
        Args::Trigger(trigger) => out.push_str(&line(trigger)),
    }
}

fn join<'a>(out: &mut String, words: impl Iterator<Item = &'a str>) {
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// `["a","b"]`. `<` is written as an escape, so that no reader finds a here-document in it.
fn write_json(out: &mut String, words: &[Word]) {
    out.push('[');
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push('"');
        for character in word.value.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '<' | '\u{0}'..='\u{1f}' | '\u{7f}' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                _ => out.push(character),
            }
        }
        out.push('"');
    }
    out.push(']');
}

/// Flags are read byte by byte, each byte a character, and `\` escapes in them whatever the file
/// says: the value goes back to bytes. One that ends within a character was cut by a byte that
/// counts as a blank; the character is completed so that the same byte cuts it again.
fn write_flag(out: &mut String, flag: &Flag) {
    out.push_str(" --");
    out.push_str(&flag.name);
    let Some(value) = &flag.value else { return };
    out.push('=');
    let bytes: Vec<u8> = value
        .chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?'))
        .collect();
    let (whole, cut) = match std::str::from_utf8(&bytes) {
        Ok(text) => (text, &[][..]),
        Err(error) => {
            let (whole, cut) = bytes.split_at(error.valid_up_to());
            (std::str::from_utf8(whole).unwrap_or_default(), cut)
        }
    };
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:,=@%+~^*?{}$".contains(character);
    if whole.chars().all(plain) {
        out.push_str(whole);
    } else {
        out.push('"');
        for character in whole.chars() {
            if matches!(character, '"' | '\\') {
                out.push('\\');
            }
            out.push(character);
        }
        out.push('"');
    }
    if !cut.is_empty() {
        let completed = [0xa0_u8, 0x85].into_iter().find_map(|blank| {
            let mut bytes = cut.to_vec();
            bytes.push(blank);
            while bytes.len() < 5 {
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    return Some(text.to_owned());
                }
                bytes.push(0x80);
            }
            None
        });
        out.push_str(&completed.unwrap_or_default());
    }
}

/// Whether the line, read again, is this instruction.
fn reads_back(text: &str, instruction: &Instruction, escape: char) -> bool {
    let mut logical = Logical::default();
    logical.push(text, 0);
    let (read, errors) = split::instruction(Arc::new(logical), escape);
    if !errors.is_empty() || !same_instruction(&read, instruction) {
        return false;
    }
    let bearer = read.trigger().unwrap_or(&read);
    let takes = matches!(bearer.keyword, Keyword::Add | Keyword::Copy | Keyword::Run) && !bearer.json_form();
    let openings = match heredoc::openings(text) {
        Ok(openings) if takes && text.contains("<<") => openings,
        Ok(_) => Vec::new(),
        Err(_) => return !takes,
    };
    openings.len() == instruction.heredocs.len()
        && openings.iter().zip(&instruction.heredocs).all(|(opening, heredoc)| {
            (opening.descriptor, opening.chomp, opening.expand) == (heredoc.descriptor, heredoc.chomp, heredoc.expand)
                && opening.delimiter == heredoc.delimiter
        })
}

/// A line that ends in the escape would go on in the next one: a blank that no reader of line ends
/// knows, and that every reader of arguments drops, stands behind it.
fn guard_end(text: &mut String, escape: char) {
    let end = text.trim_end_matches([' ', '\t']);
    if let Some(before) = end.strip_suffix(escape)
        && !before.ends_with(escape)
    {
        text.push('\u{a0}');
    }
}

/// Writes a line, continued where it is longer than a reader takes.
fn broken(out: &mut String, text: &str, escape: char) {
    let mut rest = text;
    while rest.len() > MAX_LINE_BYTES - 1 {
        let Some(at) = cut(rest, escape) else { break };
        out.push_str(&rest[..at]);
        out.push(escape);
        out.push('\n');
        rest = &rest[at..];
    }
    out.push_str(rest);
}

/// The last place within the first [`PIECE`] bytes where a line may be broken: not behind an
/// escape (it would be two), and the next line may neither be blank nor look like a comment.
fn cut(text: &str, escape: char) -> Option<usize> {
    let mut limit = PIECE;
    while !text.is_char_boundary(limit) {
        limit -= 1;
    }
    let bytes = text.as_bytes();
    let behind_escape = |at: usize| text[..at].ends_with(escape);
    let last = |begins: fn(char) -> bool| {
        (1..=limit)
            .rev()
            .filter(|at| text.is_char_boundary(*at) && !behind_escape(*at))
            .find(|at| text[*at..].chars().next().is_some_and(begins))
    };
    if bytes.get(limit)?.is_ascii_alphanumeric() && !behind_escape(limit) {
        return Some(limit);
    }
    last(|character| character.is_ascii_alphanumeric())
        .or_else(|| last(|character| !character.is_whitespace() && character != '#'))
        .or_else(|| {
            let next = text[limit..].trim_start();
            let stays = text.len() - next.len() - limit < PIECE && !next.is_empty() && !next.starts_with('#');
            (stays && !behind_escape(limit) && !text[..limit].trim().is_empty()).then_some(limit)
        })
}
