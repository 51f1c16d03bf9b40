//! ST501 to ST508: what `COPY` and `ADD` take, and where they put it.

use seatrial_core::finding::{Edit, Fix, Span};

use super::{
    Survey, base,
    place::{self, Workdir},
};
use crate::{
    ast::{Instruction, Keyword, Word},
    gotext, heredoc,
    rules::{
        Progress, Site,
        catalogue::{ST501, ST502, ST503, ST504, ST505, ST506, ST507, ST508},
        remote::is_remote,
        sink::{Sink, quoted, replace, unquoted},
    },
};

/// Endings of archives, and of compressed files, which may be archives: those by which GNU tar knows them (its manual,
/// "Creating and Reading Compressed Archives").
const PACKED: [&str; 18] = [
    ".Z", ".bz2", ".gz", ".lz", ".lzma", ".lzo", ".taZ", ".tar", ".taz", ".tbz", ".tbz2", ".tgz", ".tlz", ".txz",
    ".tz2", ".tzst", ".xz", ".zst",
];

/// The most archives of a stage that are remembered.
const MAX_ARCHIVES: usize = 64;

/// The most destinations of a stage that are remembered, and their length.
const MAX_DESTINATIONS: usize = 64;
const MAX_DESTINATION: usize = 1_024;

pub(super) fn judge<'a>(site: Site<'a>, progress: &Progress, survey: &mut Survey<'a>, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let Some((destination, sources)) = instruction.words().split_last() else {
        return;
    };
    let target = progress.variables.expand_here(&destination.value, site.is_trigger);
    let is_copy = instruction.keyword == Keyword::Copy;
    if !is_copy {
        added(site, sources, progress, sink);
    }
    let target = unquoted(&target.text);
    if !site.is_trigger && !survey.stages.is_empty() {
        let copied = &mut survey.here().copied;
        if copied.len() < MAX_DESTINATIONS && target.len() < MAX_DESTINATION {
            copied.push(place::joined("/", target));
        }
    }
    if sources.len() > 1 && !target.ends_with('/') && !is_folder(target) {
        missing_slash(instruction, destination, sink);
    }
    let folder = survey.chain().find_map(|stage| stage.workdir.as_ref());
    let is_root = match folder {
        _ if target.starts_with('/') => place::cleaned(target) == "/",
        Some(Workdir::At { path, .. }) => place::joined(path, target) == "/",
        Some(Workdir::Unknown) | None => false,
    };
    let from = instruction
        .flags
        .iter()
        .find(|flag| gotext::is_lower(&flag.name, "from"));
    match from.map(|flag| (flag, flag.value.as_deref().unwrap_or_default())) {
        Some((flag, value)) => {
            if !site.is_trigger && is_own(value, survey) {
                sink.report(&ST505, flag.span, || format!("this stage is {} itself", quoted(value)));
            }
            let span = if flag.value.is_some() {
                flag.value_span
            } else {
                flag.span
            };
            image(value, span, progress, sink);
            let everything = |source: &Word| matches!(unquoted(&source.value), "/" | "//" | "/." | "/./" | "/*");
            if is_root && sources.iter().any(everything) {
                sink.report(&ST507, instruction.rest.span, || {
                    format!("the whole file system of {} comes along", quoted(value))
                });
            }
        }
        None => {
            let context = |source: &&Word| matches!(unquoted(&source.value), "." | "./" | "*" | "./*" | "/");
            if is_root && let Some(source) = sources.iter().find(context) {
                sink.report(&ST508, source.span, || {
                    format!(
                        "{} puts all of the build context over the root",
                        instruction.keyword.as_str()
                    )
                });
            }
            if is_copy && !site.is_trigger {
                remember(sources, destination, survey);
            }
        }
    }
    relative(site, destination, progress, survey, sink);
}

/// An image that is copied or mounted from.
fn image(name: &str, span: Span, progress: &Progress, sink: &mut Sink<'_>) {
    if !progress.stages.contains_key(&gotext::lower(name)) {
        base::local(name, span, sink);
    }
}

/// The images of `RUN --mount=from=…`.
pub(super) fn mounts(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for flag in site.instruction.flags.iter().filter(|flag| flag.name == "mount") {
        let fields = flag.value.as_deref().unwrap_or_default().split(',');
        if let Some(name) = fields
            .filter_map(|field| field.trim_matches('"').strip_prefix("from="))
            .next_back()
        {
            image(name, flag.span, progress, sink);
        }
    }
}

/// `.` and `..` need no slash to be folders.
fn is_folder(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("." | ".."))
}

fn is_packed(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    PACKED.iter().any(|ending| path.ends_with(ending))
}

fn added(site: Site<'_>, sources: &[Word], progress: &Progress, sink: &mut Sink<'_>) {
    let instruction = site.instruction;
    let mut plain = None;
    let mut packed = None;
    let mut is_archive = false;
    for source in sources {
        if !site.heredocs.is_empty() && matches!(heredoc::opening(&source.value), Ok(Some(_))) {
            continue;
        }
        let path = progress.variables.expand_here(&source.value, site.is_trigger).text;
        let path = unquoted(&path);
        is_archive |= path.to_ascii_lowercase().contains(".tar");
        if is_remote(path) {
            is_archive = true; // not one, but ADD is needed
        } else if is_packed(path) {
            packed = packed.or(Some(source));
        } else {
            plain = plain.or(Some(source));
        }
    }
    let fixable = !is_archive
        && packed.is_none()
        // What a pattern meets may be an archive, which ADD unpacks.
        && sources.iter().all(|source| !source.value.contains(['$', '*', '?', '[']))
        && !instruction.flags.iter().any(super::user::is_redundant_owner)
        && instruction
            .flags
            .iter()
            .all(|flag| matches!(flag.name.as_str(), "chown" | "chmod" | "link" | "exclude"));
    match (plain, packed) {
        (Some(source), _) => sink.report_fixed(
            &ST501,
            instruction.keyword_span,
            || format!("ADD takes {}, which COPY would take as it is", quoted(&source.value)),
            || {
                let written = instruction.keyword_span;
                let is_lower = instruction.logical.text.trim_start().starts_with("add");
                fixable.then(|| replace("Use COPY", written, if is_lower { "copy" } else { "COPY" }))
            },
        ),
        (None, Some(source)) if !is_archive => {
            let path = unquoted(&source.value);
            let certain = [".tgz", ".tbz", ".tbz2", ".tb2", ".txz", ".tlz", ".tZ", ".tpz"];
            if !certain.iter().any(|ending| path.ends_with(ending)) || !path.contains(".tar") {
                sink.report(&ST502, source.span, || {
                    format!("whether {} is unpacked depends on what is in it", quoted(path))
                });
            }
        }
        _ => {}
    }
}

fn missing_slash(instruction: &Instruction, destination: &Word, sink: &mut Sink<'_>) {
    let parsed = sink.parsed();
    sink.report_fixed(
        &ST504,
        destination.span,
        || {
            let count = instruction.words().len() - 1;
            format!(
                "{count} sources go to {}, which has no final slash",
                quoted(&destination.value)
            )
        },
        || {
            let written = parsed.slice(destination.span);
            let at = if written.ends_with(['"', '\'']) {
                destination.span.end - 1
            } else {
                destination.span.end
            };
            let plain = !written.contains(['$', '\\', '`', '\n', '<']);
            plain.then(|| Fix {
                title: "Add the slash".to_owned(),
                edits: vec![Edit {
                    span: Span::new(at, at),
                    text: "/".to_owned(),
                }],
            })
        },
    );
}

/// The name or position of the stage that is being written.
fn is_own(value: &str, survey: &Survey<'_>) -> bool {
    let Some(stage) = survey.stages.last() else {
        return false;
    };
    let index = survey.stages.len() - 1;
    stage.name.as_ref() == Some(&gotext::lower(value)) || value == index.to_string()
}

/// Relative, and no line before says to what.
fn relative(site: Site<'_>, destination: &Word, progress: &Progress, survey: &mut Survey<'_>, sink: &mut Sink<'_>) {
    let is_set = survey.chain().any(|stage| stage.workdir.is_some()) || survey.here().workdir.is_some();
    if is_set || (site.is_trigger && survey.trigger_workdir) {
        return;
    }
    let written = unquoted(&destination.value);
    let expanded = progress.variables.expand_here(&destination.value, site.is_trigger);
    let path = unquoted(&expanded.text);
    let is_variable = written.starts_with('$') && (!expanded.sure || path.is_empty());
    if !is_variable && !place::is_absolute(path) && !place::is_absolute(written) {
        sink.report(&ST506, destination.span, || {
            format!("{} lies wherever the base's working directory is", quoted(path))
        });
    }
}

/// The last part of a path that may be one of Windows.
fn file_name(word: &str) -> &str {
    unquoted(word).rsplit(['/', '\\']).next().unwrap_or_default()
}

fn remember<'a>(sources: &'a [Word], destination: &'a Word, survey: &mut Survey<'a>) {
    let archives = &mut survey.here().archives;
    let mut keep = |word: &'a Word| {
        let name = file_name(&word.value);
        if is_packed(name) && archives.len() < MAX_ARCHIVES {
            archives.insert(name, word.span);
        }
    };
    if is_packed(file_name(&destination.value)) {
        keep(destination);
    } else {
        sources.iter().for_each(keep);
    }
}

/// A `RUN` that unpacks what was copied. Words are enough here: nobody hides it.
pub(super) fn unpacked(site: Site<'_>, survey: &mut Survey<'_>, sink: &mut Sink<'_>) {
    let archives = &mut survey.here().archives;
    if archives.is_empty() || site.is_trigger {
        return;
    }
    let words: Vec<&str> = site
        .instruction
        .words()
        .iter()
        .map(|word| word.value.as_str())
        .collect();
    let bodies = site.heredocs.iter().map(|heredoc| heredoc.body.as_str());
    for text in [words.join(" ").as_str()].into_iter().chain(bodies) {
        for command in text.split([';', '&', '|', '\n', '(', ')']) {
            let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
            let program = file_name(words.next().unwrap_or_default());
            if !unpacks(program, words.clone()) {
                continue;
            }
            for word in words {
                if let Some(archive) = archives.remove(file_name(word)) {
                    sink.report(&ST503, archive, || {
                        format!("{} is copied here and unpacked by a later RUN", quoted(file_name(word)))
                    });
                }
            }
        }
    }
}

fn unpacks<'w>(program: &str, mut arguments: impl Iterator<Item = &'w str>) -> bool {
    let flag = |word: &str| {
        let short = word.starts_with('-') && !word.starts_with("--") && word.contains('x');
        short || matches!(word, "--extract" | "--get")
    };
    match program {
        "tar" | "bsdtar" => arguments.next().is_some_and(|first| {
            // `tar xzf`: the first word may do without its hyphen.
            let old = !first.starts_with('-') && first.contains('x') && first.len() < 8 && !first.contains('.');
            old || flag(first) || arguments.any(flag)
        }),
        "unzip" | "gunzip" | "bunzip2" | "unlzma" | "unxz" | "zgz" | "uncompress" | "zcat" | "gzcat" => true,
        _ => false,
    }
}
