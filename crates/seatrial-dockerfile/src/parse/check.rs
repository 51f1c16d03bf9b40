//! What BuildKit's `instructions` package refuses once the lines are read: arguments, flags, names.
//!
//! At most one error per instruction, the one BuildKit would name. Triggers of `ONBUILD` are not
//! judged, because BuildKit judges them only when they fire. `ARG` and `STOPSIGNAL` ignore any
//! flags, as BuildKit does.

use seatrial_core::finding::Span;

use super::Reader;
use crate::{
    ast::{Args, Flag, Instruction, Keyword},
    error::{ErrorKind, ErrorLevel},
    gotext, heredoc,
};

type Verdict = Result<(), (ErrorKind, Span, String)>;

/// Judges every instruction that the line parser had no complaint about.
pub(crate) fn file(reader: &mut Reader) {
    let refused: Vec<Span> = reader
        .errors
        .iter()
        .filter(|error| error.kind.level() == ErrorLevel::Line)
        .map(|error| error.span)
        .collect();
    let mut found = Vec::new();
    let mut has_stage = false;
    let mut missed_stage = false;
    for instruction in &reader.file.instructions {
        let at = refused.partition_point(|span| span.start < instruction.span.start);
        if refused.get(at).is_some_and(|span| span.start < instruction.span.end) {
            has_stage |= instruction.keyword == Keyword::From;
            continue;
        }
        let verdict = judge(instruction);
        let sound = verdict.is_ok();
        found.extend(verdict.err());
        match instruction.keyword {
            Keyword::From => has_stage = true,
            Keyword::Arg => {}
            _ if !has_stage && !missed_stage && sound => {
                missed_stage = true;
                found.push((
                    ErrorKind::NoStage,
                    instruction.span,
                    "no build stage in current context".into(),
                ));
            }
            _ => {}
        }
    }
    for (kind, span, message) in found {
        reader.error(kind, span, message);
    }
}

fn judge(instruction: &Instruction) -> Verdict {
    let name = instruction.keyword.as_str();
    match instruction.keyword {
        Keyword::Env | Keyword::Label => {
            flags(instruction, &[])?;
            if instruction.pairs().is_empty() {
                return Err(at_least_one(instruction, name));
            }
            blank_names(instruction, name)
        }
        Keyword::Maintainer | Keyword::User | Keyword::Workdir => {
            exactly_one(instruction, name)?;
            flags(instruction, &[])
        }
        Keyword::Stopsignal => exactly_one(instruction, name),
        Keyword::Add => sources(
            instruction,
            name,
            &[
                ("exclude", Kind::Many),
                ("chown", Kind::Text),
                ("chmod", Kind::Text),
                ("link", Kind::Switch),
                ("keep-git-dir", Kind::Switch),
                ("checksum", Kind::Text),
                ("unpack", Kind::Switch),
            ],
        ),
        Keyword::Copy => sources(
            instruction,
            name,
            &[
                ("exclude", Kind::Many),
                ("parents", Kind::Switch),
                ("chown", Kind::Text),
                ("from", Kind::Text),
                ("chmod", Kind::Text),
                ("link", Kind::Switch),
            ],
        ),
        Keyword::From => from(instruction),
        Keyword::Onbuild => onbuild(instruction),
        Keyword::Run => run(instruction),
        Keyword::Cmd | Keyword::Entrypoint => flags(instruction, &[]),
        Keyword::Healthcheck => healthcheck(instruction),
        Keyword::Expose => {
            if instruction.words().is_empty() {
                return Err(at_least_one(instruction, name));
            }
            flags(instruction, &[])
        }
        Keyword::Volume => {
            if instruction.words().is_empty() {
                return Err(at_least_one(instruction, name));
            }
            flags(instruction, &[])?;
            match instruction.words().iter().find(|word| word.value.trim().is_empty()) {
                Some(word) => Err((
                    ErrorKind::EmptyVolume,
                    word.span,
                    "VOLUME specified can not be an empty string".into(),
                )),
                None => Ok(()),
            }
        }
        Keyword::Arg => {
            if instruction.pairs().is_empty() {
                return Err(at_least_one(instruction, name));
            }
            blank_names(instruction, name)
        }
        Keyword::Shell => {
            flags(instruction, &[])?;
            match &instruction.args {
                Args::Json(words) if !words.is_empty() => Ok(()),
                Args::Text(_) => Err((
                    ErrorKind::ShellNotJson,
                    instruction.rest.span,
                    "SHELL requires the arguments to be in JSON form".into(),
                )),
                _ => Err(at_least_one(instruction, name)),
            }
        }
        Keyword::Unknown => {
            let written: String = instruction.name.chars().take(60).collect();
            Err((
                ErrorKind::UnknownInstruction,
                instruction.keyword_span,
                format!("unknown instruction: {written}"),
            ))
        }
    }
}

fn at_least_one(instruction: &Instruction, name: &str) -> (ErrorKind, Span, String) {
    (
        ErrorKind::ArgumentCount,
        instruction.span,
        format!("{name} requires at least one argument"),
    )
}

fn exactly_one(instruction: &Instruction, name: &str) -> Verdict {
    if instruction.words().len() == 1 {
        return Ok(());
    }
    Err((
        ErrorKind::ArgumentCount,
        instruction.span,
        format!("{name} requires exactly one argument"),
    ))
}

fn blank_names(instruction: &Instruction, name: &str) -> Verdict {
    // `ARG` without `=` is never blank; the old form of `ENV` has a name by construction.
    match instruction.pairs().iter().find(|pair| pair.name.value.is_empty()) {
        Some(pair) => Err((
            ErrorKind::BlankName,
            pair.name.span,
            format!("{name} names can not be blank"),
        )),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Text,
    Many,
}

fn flags(instruction: &Instruction, known: &[(&str, Kind)]) -> Verdict {
    let mut seen: Vec<&str> = Vec::new();
    for flag in &instruction.flags {
        let Some((name, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
            let written: String = flag.name.chars().take(60).collect();
            return Err((ErrorKind::UnknownFlag, flag.span, format!("unknown flag: --{written}")));
        };
        if *kind != Kind::Many && seen.contains(name) {
            return Err((
                ErrorKind::DuplicateFlag,
                flag.span,
                format!("duplicate flag specified: --{name}"),
            ));
        }
        if !seen.contains(name) {
            seen.push(name);
        }
        let problem = match (kind, flag.value.as_deref()) {
            (Kind::Switch, None) => continue,
            (Kind::Switch, Some("")) | (Kind::Text | Kind::Many, None) => {
                format!("missing a value on flag: --{name}")
            }
            (Kind::Switch, Some(value)) => match gotext::lower(value).as_str() {
                "true" | "false" => continue,
                _ => format!("expecting boolean value for flag --{name}, not: {value}"),
            },
            (Kind::Text | Kind::Many, Some(_)) => continue,
        };
        return Err((ErrorKind::FlagValue, flag.span, problem));
    }
    Ok(())
}

fn sources(instruction: &Instruction, name: &str, known: &[(&str, Kind)]) -> Verdict {
    let [_, .., destination] = instruction.words() else {
        let message = format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        );
        return Err((ErrorKind::ArgumentCount, instruction.span, message));
    };
    flags(instruction, known)?;
    if matches!(heredoc::opening(&destination.value), Ok(Some(_))) {
        let message = format!("{name} cannot accept a heredoc as a destination");
        return Err((ErrorKind::HeredocDestination, destination.span, message));
    }
    Ok(())
}

fn from(instruction: &Instruction) -> Verdict {
    match instruction.words() {
        [_] => {}
        [_, word, name] if gotext::is_as(&word.value) => {
            let lower = gotext::lower(&name.value);
            let valid = lower.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
                && lower.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
                });
            if !valid {
                let message = format!(
                    "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
                    name.value
                );
                return Err((ErrorKind::StageName, name.span, message));
            }
        }
        _ => {
            let message = "FROM requires either one or three arguments".into();
            return Err((ErrorKind::FromArguments, instruction.span, message));
        }
    }
    flags(instruction, &[("platform", Kind::Text)])
}

fn onbuild(instruction: &Instruction) -> Verdict {
    let Some(trigger) = instruction.trigger() else {
        return Err(at_least_one(instruction, "ONBUILD"));
    };
    flags(instruction, &[])?;
    let name = gotext::upper(trigger.name.trim());
    let message = match name.as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        "MAINTAINER" | "FROM" => format!("{name} isn't allowed as an ONBUILD trigger"),
        _ => return Ok(()),
    };
    Err((ErrorKind::Onbuild, trigger.keyword_span, message))
}

fn run(instruction: &Instruction) -> Verdict {
    flags(
        instruction,
        &[
            ("mount", Kind::Many),
            ("network", Kind::Text),
            ("security", Kind::Text),
            ("device", Kind::Many),
        ],
    )?;
    for flag in &instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        match flag.name.as_str() {
            "mount" => mount(flag, value)?,
            "device" => device(flag, value)?,
            "network" if !matches!(value, "default" | "none" | "host") => {
                return Err((
                    ErrorKind::FlagValue,
                    flag.value_span,
                    format!("invalid network mode {value:?}"),
                ));
            }
            "security" if !matches!(value, "sandbox" | "insecure") => {
                return Err((
                    ErrorKind::FlagValue,
                    flag.value_span,
                    format!("security {value:?} is not valid"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// While parsing, BuildKit looks at the CSV form and at `from` only; the rest waits for variables.
fn mount(flag: &Flag, value: &str) -> Verdict {
    let wrong = |message: String| Err((ErrorKind::Mount, flag.value_span, message));
    let fields = match gotext::csv_fields(value) {
        Ok(fields) => fields,
        Err(error) => return wrong(format!("failed to parse csv mounts: {error}")),
    };
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        if gotext::lower(key) == "from" && value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return wrong("'from' doesn't support variable expansion, define alias stage instead".into());
        }
    }
    Ok(())
}

fn device(flag: &Flag, value: &str) -> Verdict {
    let wrong = |message: String| Err((ErrorKind::Mount, flag.value_span, message));
    let fields = match gotext::csv_fields(value) {
        Ok(fields) => fields,
        Err(error) => return wrong(format!("failed to parse csv devices: {error}")),
    };
    let mut name = String::new();
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (gotext::lower(key), Some(value)),
            None => (gotext::lower(&field), None),
        };
        match (key.as_str(), value) {
            ("required", None) => {}
            ("required", Some(value)) if gotext::parse_bool(value).is_some() => {}
            ("required", Some(value)) => {
                return wrong(format!("invalid value for required: {value}"));
            }
            ("name", Some(_)) if !name.is_empty() => {
                return wrong(format!("device name already set to {name}"));
            }
            ("name", Some(value)) => value.clone_into(&mut name),
            _ if name.is_empty() => name = field,
            (_, None) => return wrong(format!("invalid field '{field}' must be a key=value pair")),
            (key, Some(_)) => return wrong(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    Ok(())
}

fn healthcheck(instruction: &Instruction) -> Verdict {
    let Args::Health(health) = &instruction.args else {
        return Err(at_least_one(instruction, "HEALTHCHECK"));
    };
    let has_command = match &*health.command {
        Args::Text(_) => true,
        Args::Json(words) => !words.is_empty(),
        _ => false,
    };
    let wrong = |span: Span, message: String| Err((ErrorKind::Healthcheck, span, message));
    let kind = gotext::upper(&health.kind.value);
    if kind == "NONE" {
        if has_command {
            return wrong(instruction.span, "HEALTHCHECK NONE takes no arguments".into());
        }
        return Ok(());
    }
    flags(
        instruction,
        &[
            ("interval", Kind::Text),
            ("timeout", Kind::Text),
            ("start-period", Kind::Text),
            ("start-interval", Kind::Text),
            ("retries", Kind::Text),
        ],
    )?;
    if kind != "CMD" {
        return wrong(
            health.kind.span,
            format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"),
        );
    }
    if !has_command {
        return wrong(instruction.span, "Missing command after HEALTHCHECK CMD".into());
    }
    for flag in &instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        let problem = match (flag.name.as_str(), value) {
            (_, "") => continue,
            ("retries", value) => match value.parse::<i32>() {
                Ok(0..) => continue,
                Ok(_) => format!("--retries cannot be negative ({value})"),
                Err(_) => format!("--retries is not a number: {value}"),
            },
            (name, value) => match gotext::parse_duration(value) {
                None => format!("--{name} is not a duration: {value}"),
                Some(0 | 1_000_000..) => continue,
                Some(_) => format!("Interval \"{name}\" cannot be less than 1ms"),
            },
        };
        return Err((ErrorKind::FlagValue, flag.value_span, problem));
    }
    Ok(())
}
