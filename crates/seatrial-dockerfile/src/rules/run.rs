//! ST003 to ST008: the flags of `RUN`.

use std::borrow::Cow;

use seatrial_core::finding::Span;

use super::{
    Progress, Site,
    catalogue::{ST003, ST004, ST005, ST006, ST007, ST008},
    sink::{Sink, quoted},
};
use crate::{ast::Flag, gotext};

pub(super) fn judge(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for flag in &site.instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        // Another casing is an error to BuildKit; it is told for what it asks nevertheless.
        let known = ["security", "network", "device", "mount"];
        match known.into_iter().find(|name| gotext::is_lower(&flag.name, name)) {
            Some("security") if value != "sandbox" => {
                sink.report(&ST003, flag.span, || {
                    format!("RUN asks for --security={}", quoted(value))
                });
            }
            Some("network") if !matches!(value, "none" | "default") => {
                sink.report(&ST004, flag.span, || {
                    format!("RUN asks for --network={}", quoted(value))
                });
            }
            Some("device") => sink.report(&ST005, flag.span, || {
                format!("RUN asks for the device {}", quoted(value))
            }),
            Some("mount") => mount(site, flag, value, progress, sink),
            _ => {}
        }
    }
}

/// A mount as far as it matters here. Later keys win, as in BuildKit.
#[derive(Default)]
struct Mount<'a> {
    kind: Option<String>,
    from: Option<&'a str>,
    target: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    writable: bool,
    /// The type is decided by the file.
    sure: bool,
}

fn mount(site: Site<'_>, flag: &Flag, value: &str, progress: &Progress, sink: &mut Sink<'_>) {
    let quoted_fields = quoted_fields(value);
    let mount = match &quoted_fields {
        Some(fields) => read(fields.iter().map(String::as_str), site, progress),
        None => read(value.split(','), site, progress),
    };
    let kind = mount.kind.as_deref().unwrap_or("bind");
    let written = sink.parsed().slice(flag.span);
    let place = |key: &str| locate(written, key, flag.span);
    match kind {
        _ if !mount.sure => {
            let span = place("type");
            sink.report(&ST007, span, || {
                format!("the type of the mount {} is not decided by the file", quoted(value))
            });
        }
        "cache" => {
            let key = mount.id.as_deref().or(mount.target.as_deref()).unwrap_or_default();
            sink.report(&ST006, flag.span, || format!("RUN mounts the cache {}", quoted(key)));
        }
        "secret" | "ssh" => {
            sink.report(&ST007, flag.span, || {
                format!(
                    "RUN mounts {} of whoever builds",
                    if kind == "ssh" { "the SSH agent" } else { "a secret" }
                )
            });
        }
        "bind" if mount.writable => {
            let span = place("rw");
            sink.report(&ST008, span, || "RUN mounts a bind that it may write to".into());
        }
        "bind" | "tmpfs" => {}
        other => {
            let span = place("type");
            sink.report(&ST007, span, || format!("no mount has the type {}", quoted(other)));
        }
    }
    let Some(from) = mount.from else { return };
    // BuildKit has no positions here, buildah has: only a name means the same to both.
    if from == "scratch" || kind == "tmpfs" || progress.earlier_stage(&gotext::lower(from)).is_some() {
        return;
    }
    let span = place("from");
    sink.report(&ST008, span, || {
        format!("RUN mounts from {}, which is no earlier stage", quoted(from))
    });
}

/// Most mounts hold no quotes, and a hostile one holds 500,000 fields. What is not CSV is refused as
/// unparsable; it is looked at in a simpler way all the same.
fn quoted_fields(value: &str) -> Option<Vec<String>> {
    if value.contains('"') {
        gotext::csv_fields(value).ok()
    } else {
        None
    }
}

/// Where a step may write without a trace in its layer: the targets of caches and of memory.
pub(super) fn passing(site: Site<'_>, progress: &Progress) -> Vec<String> {
    let flags = site.instruction.flags.iter();
    flags
        .filter(|flag| gotext::is_lower(&flag.name, "mount"))
        .filter_map(|flag| {
            let value = flag.value.as_deref().unwrap_or_default();
            let quoted_fields = quoted_fields(value);
            let mount = match &quoted_fields {
                Some(fields) => read(fields.iter().map(String::as_str), site, progress),
                None => read(value.split(','), site, progress),
            };
            let passes = matches!(mount.kind.as_deref(), Some("cache" | "tmpfs"));
            mount.target.filter(|_| passes).map(Cow::into_owned)
        })
        .collect()
}

/// The keys of a mount that matter here.
const KEYS: [&str; 10] = [
    "type",
    "from",
    "target",
    "dst",
    "destination",
    "id",
    "rw",
    "readwrite",
    "ro",
    "readonly",
];

fn read<'a>(fields: impl Iterator<Item = &'a str>, site: Site<'_>, progress: &Progress) -> Mount<'a> {
    let mut mount = Mount {
        sure: true,
        ..Mount::default()
    };
    for field in fields.filter(|field| field.len() > 1) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let expand = || {
            progress
                .variables
                .expand_here(value.unwrap_or_default().trim_matches('"'), site.is_trigger)
        };
        let switch = || value.is_none_or(|_| gotext::parse_bool(&expand().text).unwrap_or(true));
        let key = key.trim().trim_matches('"');
        match KEYS
            .into_iter()
            .find(|known| gotext::is_lower(key, known))
            .unwrap_or_default()
        {
            "type" => {
                let expanded = expand();
                mount.kind = Some(gotext::lower(expanded.text.trim()));
                mount.sure = expanded.sure;
            }
            "from" => mount.from = value,
            "target" | "dst" | "destination" => mount.target = Some(expand().text),
            "id" => mount.id = Some(expand().text),
            "rw" | "readwrite" => mount.writable = switch(),
            "ro" | "readonly" => {
                mount.writable = value.is_some_and(|_| gotext::parse_bool(&expand().text) != Some(true));
            }
            _ => {}
        }
    }
    mount
}

/// The first place of a key in the flag, or the whole flag where quotes or escapes hide it.
fn locate(written: &str, key: &str, whole: Span) -> Span {
    let lower = written.to_ascii_lowercase();
    let Some(at) = [",", "="]
        .iter()
        .filter_map(|before| lower.find(&format!("{before}{key}")).map(|at| at + before.len()))
        .min()
    else {
        return whole;
    };
    let len = written[at..].find([',', '"', '\'']).unwrap_or(written.len() - at);
    Span::new(whole.start + at, whole.start + at + len)
}
