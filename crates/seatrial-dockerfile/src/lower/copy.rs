//! `COPY` and `ADD`.

use super::{
    emit, path,
    rules::{FLAG, INVALID, NOT_BUILT, UNWRITABLE},
    step::{Refusal, Walk, refuse},
};
use crate::{
    ast::{Flag, Instruction, Keyword},
    heredoc,
};

/// The instructions that do what this one does: files first, then here-documents.
pub(super) fn lower(walk: &mut Walk<'_>, instruction: &Instruction) -> Result<Vec<Instruction>, Refusal> {
    let Some((destination, sources)) = instruction.words().split_last() else {
        return Err(refuse(&INVALID, "there is no destination"));
    };
    let mut from = None;
    let mut flags = Vec::new();
    for flag in &instruction.flags {
        match lower_flag(walk, instruction, flag)? {
            Lowered::Nothing => {}
            Lowered::From(name) => from = Some(emit::flag("from", name)),
            Lowered::Flag(lowered) => flags.push(lowered),
        }
    }
    let written_destination = walk.expand(&destination.value)?;
    let destination = walk.at_workdir(&written_destination, path::destination)?;
    let mut files = Vec::new();
    for source in sources {
        if !instruction.json_form() && matches!(heredoc::opening(&source.value), Ok(Some(_))) {
            continue;
        }
        walk.expander.spend_entry()?;
        let source = walk.expand(&source.value)?;
        if instruction.keyword == Keyword::Add && is_remote(&source) {
            return Err(refuse(
                &NOT_BUILT,
                format!("ADD {source:?} would be fetched, and there is no network"),
            ));
        }
        if source.contains("**") || source.contains('\\') {
            return Err(refuse(&FLAG, format!("the pattern {source:?} is not supported")));
        }
        files.push(path::absolute("/", &source));
    }
    if files.len() + instruction.heredocs.len() > 1 && !destination.ends_with('/') {
        return Err(refuse(
            &INVALID,
            "more than one source needs a destination that ends in /",
        ));
    }
    let mut written = Vec::new();
    if !files.is_empty() {
        files.push(destination.clone());
        let words: Option<Vec<String>> = files.iter().map(|file| emit::quoted(file)).collect();
        let words = words.ok_or_else(|| refuse(&UNWRITABLE, "a path has a line end in it"))?;
        let mut copied = emit::json(instruction.keyword, words);
        copied.flags.extend(from);
        copied.flags.extend(flags.iter().cloned());
        written.push(copied);
    }
    if !instruction.heredocs.is_empty() {
        let mut words = Vec::new();
        let mut heredocs = Vec::new();
        for one in &instruction.heredocs {
            let mut body = one.content();
            if one.expand {
                body = walk.expander.body(&body, &walk.state.env)?;
            }
            let Some((opening, heredoc)) = emit::heredoc(&one.delimiter, &body) else {
                let message = format!("the here-document {:?} cannot be written", one.delimiter);
                return Err(refuse(&UNWRITABLE, message));
            };
            words.push(opening);
            heredocs.push(heredoc);
        }
        let plain = |character: char| character.is_ascii_alphanumeric() || "_./-+@".contains(character);
        if !destination.chars().all(plain) {
            let message = format!("here-documents cannot be written to {destination:?}");
            return Err(refuse(&UNWRITABLE, message));
        }
        words.push(destination);
        // The builder's ADD knows no here-documents; of text the two do the same.
        let mut copied = emit::list(Keyword::Copy, words);
        copied.flags = flags;
        copied.heredocs = heredocs;
        written.push(copied);
    }
    Ok(written)
}

enum Lowered {
    Nothing,
    From(String),
    Flag(Flag),
}

fn lower_flag(walk: &mut Walk<'_>, instruction: &Instruction, flag: &Flag) -> Result<Lowered, Refusal> {
    let unsupported = |why: &str| Refusal {
        rule: &FLAG,
        span: Some(flag.span),
        message: format!("--{} {why}", flag.name),
    };
    let value = flag.value.as_deref().unwrap_or_default();
    match flag.name.as_str() {
        "from" if value.is_empty() => Ok(Lowered::Nothing),
        "from" => {
            let found = walk.graph.source(walk.parsed, walk.index, Keyword::Copy, value, flag);
            // The graph has reported what is not there.
            let source = found.map_err(|finding| refuse(&FLAG, finding.message))?;
            Ok(Lowered::From(walk.source_name(instruction, source)?))
        }
        // It changes how layers are kept, and files only where the destination leads through a link.
        "link" => Ok(Lowered::Nothing),
        "chown" => match walk.expand(value)? {
            owner if owner.is_empty() => Ok(Lowered::Nothing),
            owner => owner_of(&owner)
                .map(|owner| Lowered::Flag(emit::flag("chown", owner)))
                .ok_or_else(|| unsupported("takes user or user:group here")),
        },
        "chmod" => match walk.expand(value)? {
            mode if mode.is_empty() => Ok(Lowered::Nothing),
            mode if matches!(mode.len(), 3..=4) && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7')) => {
                Ok(Lowered::Flag(emit::flag("chmod", mode)))
            }
            _ => Err(unsupported("takes an octal mode here")),
        },
        _ if value.eq_ignore_ascii_case("false") => Ok(Lowered::Nothing),
        _ => Err(unsupported("is not supported")),
    }
}

/// A number alone is a group as well: without a group the builder would look for the user's own.
fn owner_of(written: &str) -> Option<String> {
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-'))
    };
    match written.split_once(':') {
        Some((user, group)) => (plain(user) && plain(group)).then(|| written.to_owned()),
        None if !plain(written) => None,
        None if written.bytes().all(|byte| byte.is_ascii_digit()) => Some(format!("{written}:{written}")),
        None => Some(written.to_owned()),
    }
}

fn is_remote(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@") || source.starts_with("github.com/")
}
