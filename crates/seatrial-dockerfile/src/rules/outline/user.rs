//! ST201 to ST207: as whom an image runs, and what its files may do.

use seatrial_core::finding::Span;

use super::Survey;
use crate::{
    ast::{Args, Flag, Keyword},
    rules::{
        Site,
        catalogue::{ST201, ST202, ST203, ST204, ST205, ST206, ST207},
        sink::{Sink, quoted, replace, unquoted},
    },
};

/// A `USER` line.
#[derive(Clone, Copy)]
pub(super) struct User {
    span: Span,
    is_root: bool,
}

pub(super) fn judge(site: Site<'_>, survey: &mut Survey<'_>, sink: &mut Sink<'_>) {
    let Args::Text(word) = &site.instruction.args else {
        return;
    };
    if site.is_trigger {
        return;
    }
    let user = unquoted(&word.value).split(':').next().unwrap_or_default();
    survey.here().user = Some(User {
        span: word.span,
        is_root: user == "root" || user == "0",
    });
    if !user.bytes().all(|byte| byte.is_ascii_digit()) {
        sink.report(&ST205, word.span, || {
            format!("only the image knows which id {} has", quoted(user))
        });
    }
}

/// What can be said when all stages are known.
pub(super) fn finish(survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let last = survey
        .stages
        .iter()
        .enumerate()
        .rev()
        .find_map(|(index, stage)| stage.user.map(|user| (index, user)));
    for (index, stage) in survey.stages.iter().enumerate() {
        let Some(user) = stage.user.filter(|user| user.is_root) else {
            continue;
        };
        let is_last = last.is_some_and(|(last, _)| last == index);
        let rule = if is_last { &ST201 } else { &ST202 };
        sink.report(rule, user.span, || {
            let what = if is_last { "the file" } else { "this stage" };
            format!("{what} ends as root")
        });
    }
    let Some(stage) = survey.stages.last() else {
        return;
    };
    if last.is_none() {
        sink.report(&ST203, stage.base, || "no line sets a user, so it is the base's".into());
    } else if survey.chain().all(|stage| stage.user.is_none()) {
        sink.report(&ST204, stage.base, || {
            "the last stage sets no user, so it is the base's".into()
        });
    }
}

/// `--chmod` and `--chown` of `COPY` and `ADD`.
pub(super) fn owner_and_mode(site: Site<'_>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let parsed = sink.parsed();
    for flag in &instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        if flag.name == "chmod" && sets_id(value) {
            sink.report(&ST206, flag.span, || {
                format!("--chmod={} lets others run it as its owner", quoted(value))
            });
        }
        let from_context = instruction.keyword == Keyword::Copy && instruction.flag("from").is_none();
        if from_context && is_redundant_owner(flag) {
            sink.report_fixed(
                &ST207,
                flag.span,
                || format!("files of the build context belong to root without --chown={value} too"),
                || super::with_blanks(flag, parsed).map(|span| replace("Remove the flag", span, "")),
            );
        }
    }
}

/// `--chown=root` and the like.
pub(super) fn is_redundant_owner(flag: &Flag) -> bool {
    flag.name == "chown" && is_root(flag.value.as_deref().unwrap_or_default())
}

/// `root`, `0`, and both with root's group.
fn is_root(owner: &str) -> bool {
    let zero = |name: &str| name == "root" || name == "0";
    match owner.split_once(':') {
        Some((user, group)) => zero(user) && zero(group),
        None => zero(owner),
    }
}

/// A mode with the setuid or setgid bit, in digits or letters.
fn sets_id(mode: &str) -> bool {
    if !mode.is_empty() && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        let special = mode.len().checked_sub(4).map(|at| mode.as_bytes()[at] - b'0');
        return special.is_some_and(|digit| digit & 6 != 0);
    }
    mode.split(',').any(|clause| {
        clause
            .split_once(['+', '='])
            .is_some_and(|(_, permissions)| permissions.contains('s'))
    })
}
