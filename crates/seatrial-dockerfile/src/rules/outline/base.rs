//! ST101 to ST109, ST120 and ST121: the image that a stage stands on.

use std::{borrow::Cow, collections::HashSet};

use seatrial_core::finding::Span;

use super::{Facts, Survey, variable};
use crate::{
    ast::{Flag, Instruction, Word},
    gotext, reference,
    rules::{
        Progress,
        catalogue::{ST101, ST102, ST103, ST104, ST105, ST106, ST107, ST108, ST109, ST120, ST121},
        scope::PLATFORM,
        sink::{Sink, quoted, replace},
    },
};

/// Names of stores, which builders take in the place of a registry's name.
const STORES: [&str; 9] = [
    "containers-storage:",
    "dir:",
    "docker-archive:",
    "docker-daemon:",
    "docker-image://",
    "oci-archive:",
    "oci-layout://",
    "oci:/",
    "sif:",
];

/// Looks at a `FROM`, which begins the stage that is returned.
pub(super) fn judge<'a>(
    instruction: &Instruction,
    progress: &Progress,
    survey: &Survey<'a>,
    sink: &mut Sink<'_>,
) -> Facts<'a> {
    let Some(word) = instruction.words().first() else {
        return Facts::default();
    };
    let expanded = progress.variables.expand_global(&word.value);
    let parent = progress
        .stages
        .get(expanded.text.as_ref())
        .copied()
        .filter(|_| expanded.sure);
    if let Some(flag) = instruction.flag("platform") {
        platform(flag, instruction, sink);
        undeclared(flag.value.as_deref().unwrap_or_default(), flag.span, survey, sink);
    }
    undeclared(&word.value, word.span, survey, sink);
    let names_stage = parent.is_some() || progress.stages.contains_key(&gotext::lower(&expanded.text));
    if expanded.text != "scratch" && !names_stage {
        version(word, &expanded.text, expanded.sure, sink);
        local(&expanded.text, word.span, sink);
        windows(&expanded.text, word.span, sink);
    }
    if expanded.sure && !names_valid_image(&expanded.text) {
        sink.report(&ST106, word.span, || {
            let with = if word.value == expanded.text {
                String::new()
            } else {
                format!(" with the defaults of its variables ({})", quoted(&expanded.text))
            };
            format!("the base {} is no valid name of an image{with}", quoted(&word.value))
        });
    }
    let declared = match parent.and_then(|parent| survey.stages.get(parent)) {
        Some(parent) => parent.declared.clone(),
        None => HashSet::from([Cow::Borrowed("PATH")]),
    };
    Facts {
        base: word.span,
        parent,
        declared,
        name: instruction.stage_name(),
        ..Facts::default()
    }
}

/// A stage's name is one that an image could have, if it has no capitals.
fn names_valid_image(text: &str) -> bool {
    reference::complete(text).is_some()
}

/// Tag and digest of a name, as far as they are written.
struct Version<'t> {
    tag: Option<&'t str>,
    has_digest: bool,
}

fn version_of(text: &str) -> Version<'_> {
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    Version {
        tag: last.split_once(':').map(|(_, tag)| tag),
        has_digest: digest.is_some(),
    }
}

fn version(word: &Word, expanded: &str, sure: bool, sink: &mut Sink<'_>) {
    let written = word.value.as_str();
    let plain = !written.contains('$');
    let as_written = version_of(written);
    let version = version_of(expanded);
    if as_written.has_digest || version.has_digest {
        return;
    }
    match (as_written.tag, version.tag) {
        (Some("latest"), _) => sink.report(&ST102, word.span, || {
            format!("the base {} is whatever was released last", quoted(written))
        }),
        (None, None) if plain || !written.starts_with('$') => sink.report(&ST101, word.span, || {
            format!("the base {} has no tag: the builder takes `latest`", quoted(written))
        }),
        (_, None | Some("latest")) if sure && !expanded.is_empty() => sink.report(&ST103, word.span, || {
            format!(
                "the base {} becomes {}, which names no version",
                quoted(written),
                quoted(expanded)
            )
        }),
        _ => {}
    }
    if plain || sure {
        sink.report(&ST104, word.span, || {
            format!("the base {} can be moved to another image", quoted(written))
        });
    }
}

fn undeclared(text: &str, span: Span, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    for name in variable::uses(text, &survey.before.declared, sink.parsed().dockerfile.escape) {
        if !PLATFORM.contains(&name.as_str()) {
            sink.report(&ST105, span, || {
                let meant = variable::meant(&name, &survey.before.declared);
                format!("no ARG before the first FROM declares {}{meant}", quoted(&name))
            });
        }
    }
}

fn platform(flag: &Flag, instruction: &Instruction, sink: &mut Sink<'_>) {
    let parsed = sink.parsed();
    let value = flag.value.as_deref().unwrap_or_default();
    if value == "$TARGETPLATFORM" || value == "${TARGETPLATFORM}" {
        sink.report_fixed(
            &ST109,
            flag.span,
            || "the base is taken for the target's platform anyway".into(),
            || super::with_blanks(flag, parsed).map(|span| replace("Remove the flag", span, "")),
        );
        return;
    }
    if value.is_empty() || value.contains("BUILDPLATFORM") || value.contains("TARGETPLATFORM") {
        return;
    }
    let foreign = || {
        if is_like_here(value) {
            format!("the platform is fixed to {}", quoted(value))
        } else {
            format!(
                "the platform is fixed to {}, which needs another host or an emulator",
                quoted(value)
            )
        }
    };
    match Platform::read(value) {
        Some(platform) if !value.contains('$') => {
            let name = instruction.stage_name().unwrap_or_default();
            let told = name.contains(platform.system) || name.contains(platform.machine);
            let rule = if told { &ST108 } else { &ST107 };
            sink.report(rule, flag.span, foreign);
        }
        _ => sink.report(&ST108, flag.span, || {
            format!("the platform {} is chosen by the file", quoted(value))
        }),
    }
    if gotext::lower(value).starts_with("windows") {
        sink.report(&ST121, flag.span, || {
            format!("the platform {} is Windows", quoted(value))
        });
    }
}

fn is_like_here(value: &str) -> bool {
    matches!(value, "linux" | "linux/amd64" | "amd64" | "linux/x86_64")
}

/// System and machine of a platform, in the names that builders use.
struct Platform<'t> {
    system: &'t str,
    machine: &'t str,
}

impl<'t> Platform<'t> {
    /// `linux/arm64/v8`, `linux`, `arm64`; nothing for what no builder takes.
    fn read(text: &'t str) -> Option<Self> {
        const SYSTEMS: [&str; 8] = [
            "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasip1",
        ];
        const MACHINES: [&str; 14] = [
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
            "riscv64", "s390x", "wasm",
        ];
        let known = |machine: &'t str| match machine {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "armhf" | "armel" => "arm",
            "i386" => "386",
            other => other,
        };
        let mut parts = text.split('/');
        let (first, second, third, more) = (parts.next()?, parts.next(), parts.next(), parts.next());
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        };
        if more.is_some()
            || [Some(first), second, third]
                .into_iter()
                .flatten()
                .any(|part| !plain(part))
        {
            return None;
        }
        match second {
            Some(machine) => Some(Self {
                system: first,
                machine: known(machine),
            }),
            None if SYSTEMS.contains(&first) => Some(Self {
                system: first,
                machine: "amd64",
            }),
            None if MACHINES.contains(&known(first)) => Some(Self {
                system: "linux",
                machine: known(first),
            }),
            None => None,
        }
    }
}

/// An image that no registry has: an id, a store's name, our own namespace.
pub(super) fn local(name: &str, span: Span, sink: &mut Sink<'_>) {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    let repository = name.split(['@', ':']).next().unwrap_or_default();
    let what = if name.starts_with("sha256:") || (id.len() == 64 && hex(id)) {
        "is the id of an image"
    } else if STORES.iter().any(|store| name.starts_with(store)) {
        "names a store of images"
    } else if repository == "localhost" || repository.starts_with("localhost/") || name.starts_with("localhost:") {
        "is looked for on this host only"
    } else if is_ours(repository) {
        "lies in the namespace of this service"
    } else {
        return;
    };
    sink.report(&ST120, span, || format!("{} {what}", quoted(name)));
}

/// `seatrial/…`, where the images of jobs are.
fn is_ours(repository: &str) -> bool {
    let path = ["docker.io/", "index.docker.io/", "localhost/"]
        .into_iter()
        .find_map(|registry| repository.strip_prefix(registry))
        .unwrap_or(repository);
    path.strip_prefix("library/").unwrap_or(path).starts_with("seatrial/")
}

/// The escape that files for Windows choose, because their paths are full of the usual one.
pub(super) fn directive(sink: &mut Sink<'_>) {
    let directives = &sink.parsed().dockerfile.directives;
    if let Some(found) = directives
        .iter()
        .find(|directive| directive.name == "escape" && directive.value == "`")
    {
        sink.report(&ST121, found.span, || "the escape is ` as in files for Windows".into());
    }
}

fn windows(name: &str, span: Span, sink: &mut Sink<'_>) {
    let lower = gotext::lower(name);
    let named = [
        "nanoserver",
        "servercore",
        "/windows/",
        "windowsservercore",
        "/windows:",
    ];
    if lower.starts_with("microsoft/windows") || named.iter().any(|part| lower.contains(part)) {
        sink.report(&ST121, span, || format!("the base {} is Windows", quoted(name)));
    }
}
