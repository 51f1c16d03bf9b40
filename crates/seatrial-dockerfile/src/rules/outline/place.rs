//! ST510 to ST513, ST518 and ST519: working directories and volumes.

use super::{Survey, variable};
use crate::rules::{
    Progress, Site,
    catalogue::{ST510, ST511, ST512, ST513, ST518, ST519},
    sink::{Sink, quoted, replace, unquoted},
};

/// The longest path that is remembered.
const MAX_PATH: usize = 4_096;

/// Folders that the kernel or the boot loader fills.
const KERNEL: [&str; 6] = ["/boot", "/dev", "/initrd", "/lost+found", "/proc", "/sys"];

/// Folders that make up a system; a volume over one of them hides it.
const SYSTEM: [&str; 19] = [
    "/",
    "/bin",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/var",
    "/var/run",
];
/// Folders in which nothing but the system lives.
const SETTINGS: [&str; 6] = [
    "/etc/cron.d",
    "/etc/pam.d",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/sudoers.d",
    "/root/.ssh",
];

/// What the lines of a stage say about its working directory.
pub(super) enum Workdir {
    /// A path that the file decides; another `--build-arg` may not.
    At { path: String, has_variable: bool },
    /// One that it does not.
    Unknown,
}

/// On Linux or on Windows.
pub(super) fn is_absolute(path: &str) -> bool {
    path.starts_with('/') || is_drive(path)
}

fn is_drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.len() > 2 && bytes[1] == b':' && matches!(bytes[2], b'\\' | b'/')
}

pub(super) fn workdir(site: Site<'_>, progress: &Progress, survey: &mut Survey<'_>, sink: &mut Sink<'_>) {
    let Some(word) = variable::text(site.instruction) else {
        return;
    };
    if site.is_trigger {
        survey.trigger_workdir = true;
    }
    let written = unquoted(&word.value);
    let expanded = progress.variables.expand_here(&word.value, site.is_trigger);
    let path = unquoted(&expanded.text);
    let before = survey.chain().find_map(|stage| stage.workdir.as_ref());
    let before = before.or(survey.before.workdir.as_ref());
    let is_first = before.is_none() && !site.is_trigger;
    let mut next = Workdir::Unknown;
    let has_variable = written.contains('$') || matches!(before, Some(Workdir::At { has_variable: true, .. }));
    if (written.starts_with('$') && !is_absolute(path)) || is_drive(path) || is_drive(written) {
        if is_first {
            sink.report(&ST512, word.span, || {
                format!(
                    "{} is {} as far as the file says, and that is no whole path",
                    quoted(written),
                    quoted(path)
                )
            });
        }
    } else if !is_absolute(written) && !is_absolute(path) {
        let whole = match before {
            Some(Workdir::At { path: folder, .. }) if expanded.sure => Some(joined(folder, path)),
            _ => None,
        };
        if is_first {
            sink.report(&ST510, word.span, || {
                format!("{} is put behind the base's working directory", quoted(path))
            });
        } else {
            sink.report_fixed(
                &ST511,
                word.span,
                || match &whole {
                    Some(whole) => format!("{} is {} here", quoted(path), quoted(whole)),
                    None => format!("{} is put behind an earlier WORKDIR", quoted(path)),
                },
                || {
                    let whole = whole.as_ref().filter(|whole| written == path && is_plain(whole))?;
                    // A trigger is put behind what stands where it runs.
                    if site.is_trigger || has_variable {
                        return None;
                    }
                    Some(replace("Write the whole path", word.span, whole.clone()))
                },
            );
        }
        next = whole.map_or(Workdir::Unknown, |path| Workdir::At { path, has_variable });
    } else if expanded.sure && path.starts_with('/') {
        next = Workdir::At {
            path: path.to_owned(),
            has_variable: written.contains('$'),
        };
    }
    if matches!(&next, Workdir::At { path, .. } if path.len() > MAX_PATH) {
        next = Workdir::Unknown;
    }
    let clean = match &next {
        Workdir::At { path, .. } => cleaned(path),
        Workdir::Unknown => cleaned(path),
    };
    let is_whole = path.starts_with('/') || matches!(next, Workdir::At { .. });
    if !site.is_trigger {
        survey.here().workdir = Some(next);
    }
    if is_whole && KERNEL.iter().any(|folder| is_in(&clean, folder)) {
        sink.report(&ST513, word.span, || format!("{} belongs to the kernel", quoted(path)));
    }
}

fn is_plain(path: &str) -> bool {
    path.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+'))
}

pub(super) fn joined(folder: &str, path: &str) -> String {
    cleaned(&format!("{}/{path}", folder.trim_end_matches('/')))
}

/// Without `.`, `..` and repeated slashes.
pub(in crate::rules) fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

pub(in crate::rules) fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn volume(site: Site<'_>, progress: &Progress, sink: &mut Sink<'_>) {
    for word in site.instruction.words() {
        let path = progress.variables.expand_here(&word.value, site.is_trigger).text;
        let clean = cleaned(unquoted(&path));
        let covers = SYSTEM.contains(&clean.as_str()) || SETTINGS.iter().any(|folder| is_in(&clean, folder));
        if covers && path.starts_with(['/', '"', '\'']) {
            sink.report(&ST519, word.span, || format!("a volume covers {}", quoted(&clean)));
        } else {
            sink.report(&ST518, word.span, || format!("{} becomes a volume", quoted(&path)));
        }
    }
}
