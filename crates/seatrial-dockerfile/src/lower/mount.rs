//! The flags of `RUN`.

use super::{
    emit, path,
    rules::{FLAG, INVALID, NOT_BUILT},
    step::{Refusal, Walk, refuse},
};
use crate::{
    ast::{Flag, Instruction, Keyword},
    gotext,
};

/// The flags that do the same in the builder.
pub(super) fn lower(walk: &mut Walk<'_>, instruction: &Instruction) -> Result<Vec<Flag>, Refusal> {
    let mut flags = Vec::new();
    for flag in &instruction.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        let lowered = match (flag.name.as_str(), value) {
            ("mount", _) => mount(walk, instruction, flag, value).map(Some),
            // No command of a build has a network, so both are what it has anyway.
            ("network", "default" | "none") | ("security", "sandbox") => Ok(None),
            (name, value) => Err(refuse(&NOT_BUILT, format!("--{name}={value} is not built here"))),
        };
        let at_flag = |refusal: Refusal| Refusal {
            span: refusal.span.or(Some(flag.span)),
            ..refusal
        };
        flags.extend(lowered.map_err(at_flag)?);
    }
    Ok(flags)
}

#[derive(Default)]
struct Mount {
    kind: String,
    from: String,
    source: String,
    target: String,
    id: String,
    read_only: Option<bool>,
    /// `uid`, `gid`, `mode`: for caches.
    owner: Vec<(&'static str, u32)>,
    size: Option<u64>,
}

fn mount(walk: &mut Walk<'_>, instruction: &Instruction, flag: &Flag, value: &str) -> Result<Flag, Refusal> {
    let mount = read(walk, value)?;
    if !matches!(mount.kind.as_str(), "bind" | "cache" | "tmpfs") {
        return Err(refuse(
            &NOT_BUILT,
            format!("--mount=type={} is not built here", mount.kind),
        ));
    }
    let target = match mount.target.as_str() {
        "" => return Err(refuse(&INVALID, "the mount has no target")),
        target => walk.at_workdir(target, path::absolute)?,
    };
    let hidden = ["/dev", "/proc", "/sys"];
    if target == "/"
        || hidden
            .iter()
            .any(|folder| target == *folder || target.starts_with(&format!("{folder}/")))
    {
        return Err(refuse(&FLAG, format!("a mount at {target} is not supported")));
    }
    let source = path::absolute("/", &mount.source);
    for path in [&target, &source] {
        if !path
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || "_./-+@~".contains(one))
        {
            return Err(refuse(&FLAG, format!("a mount of {path:?} is not supported")));
        }
    }
    let mut written = format!("type={},target={target}", mount.kind);
    match mount.kind.as_str() {
        "cache" => {
            if !mount.from.is_empty() || source != "/" {
                return Err(refuse(&FLAG, "a cache with from or source is not supported"));
            }
            let id = if mount.id.is_empty() { mount.target } else { mount.id };
            let next = walk.caches.len();
            let number = *walk.caches.entry(path::absolute("/", &id)).or_insert(next);
            written.push_str(&format!(",id=c{number}"));
            for (key, value) in mount.owner {
                written.push_str(&match key {
                    "mode" => format!(",mode={value:04o}"),
                    key => format!(",{key}={value}"),
                });
            }
            if mount.read_only == Some(true) {
                written.push_str(",ro");
            }
        }
        "tmpfs" => {
            if let Some(size) = mount.size {
                written.push_str(&format!(",tmpfs-size={size}"));
            }
            if mount.read_only == Some(true) {
                return Err(refuse(&FLAG, "a tmpfs that is read-only is not supported"));
            }
        }
        "bind" => {
            if !mount.from.is_empty() {
                let found = walk
                    .graph
                    .source(walk.parsed, walk.index, Keyword::Run, &mount.from, flag);
                let source = found.map_err(|finding| refuse(&FLAG, finding.message))?;
                written.push_str(&format!(",from={}", walk.source_name(instruction, source)?));
            }
            written.push_str(&format!(",source={source}"));
            if mount.read_only == Some(false) {
                written.push_str(",rw");
            }
        }
        _ => {}
    }
    Ok(emit::flag("mount", written))
}

fn read(walk: &mut Walk<'_>, value: &str) -> Result<Mount, Refusal> {
    let fields = gotext::csv_fields(value).map_err(|error| refuse(&INVALID, error))?;
    let mut mount = Mount {
        kind: "bind".to_owned(),
        ..Mount::default()
    };
    for field in fields {
        walk.expander.spend_entry()?;
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (gotext::lower(key), Some(walk.expand(value)?)),
            None => (gotext::lower(&field), None),
        };
        let wrong = || refuse(&FLAG, format!("the mount option {field:?} is not supported"));
        let switch = |value: &Option<String>| match value {
            None => Some(true),
            Some(value) => gotext::parse_bool(value),
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => mount.read_only = Some(switch(&value).ok_or_else(wrong)?),
            ("readwrite" | "rw", value) => mount.read_only = Some(!switch(&value).ok_or_else(wrong)?),
            ("type", Some(kind)) => mount.kind = gotext::lower(&kind),
            ("from", Some(from)) => mount.from = from,
            ("source" | "src", Some(source)) => mount.source = source,
            ("target" | "dst" | "destination", Some(target)) => mount.target = target,
            ("id", Some(id)) => mount.id = id,
            // One build at a time uses a cache, and nothing of it is kept.
            ("sharing", Some(sharing)) if matches!(sharing.as_str(), "shared" | "private" | "locked") => {}
            ("uid", Some(id)) => mount.owner.push(("uid", id.parse().map_err(|_| wrong())?)),
            ("gid", Some(id)) => mount.owner.push(("gid", id.parse().map_err(|_| wrong())?)),
            ("mode", Some(mode)) => {
                // The builder makes the folder under its own umask, so it cannot give more.
                let mode = u32::from_str_radix(&mode, 8).ok().filter(|mode| *mode & !0o755 == 0);
                mount.owner.push(("mode", mode.ok_or_else(wrong)?));
            }
            ("size", Some(size)) => mount.size = Some(bytes(&size).ok_or_else(wrong)?),
            ("required", _) => {}
            _ => return Err(wrong()),
        }
    }
    if mount.kind != "cache" && !mount.owner.is_empty() && matches!(mount.kind.as_str(), "bind" | "tmpfs") {
        return Err(refuse(&INVALID, "uid, gid and mode belong to caches"));
    }
    Ok(mount)
}

/// `64m` and the like, in powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (number, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
