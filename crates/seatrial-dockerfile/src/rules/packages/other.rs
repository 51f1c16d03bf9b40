//! ST316: package managers that no other tool asks for versions.

use super::listed;
use crate::{
    rules::{catalogue::ST316, sink::Sink},
    script::{Command, Script, ShellWord},
};

/// How one program installs.
struct Shape {
    programs: &'static [&'static str],
    /// The words in front of the names; any of them.
    verbs: &'static [&'static [&'static str]],
    /// Options that have their value in the next word.
    valued: &'static [&'static str],
    /// Options that say where the version is to be found.
    fixing: &'static [&'static str],
    /// What stands between a name and a version.
    version: &'static [&'static str],
}

static SHAPES: &[Shape] = &[
    Shape {
        programs: &["pipx"],
        verbs: &[&["install"], &["run"]],
        valued: &["--python", "--pip-args", "--index-url", "-i", "--suffix", "--spec"],
        fixing: &["--spec"],
        version: &["==", "===", "~=", "@"],
    },
    Shape {
        programs: &["uv"],
        verbs: &[&["pip", "install"], &["tool", "install"]],
        valued: &[
            "-r",
            "--requirement",
            "--requirements",
            "-c",
            "--constraint",
            "--constraints",
            "-e",
            "--editable",
            "-p",
            "--python",
            "-i",
            "--index-url",
            "--default-index",
            "--index",
            "--extra-index-url",
            "-f",
            "--find-links",
            "--target",
            "--prefix",
            "--cache-dir",
            "--extra",
            "--group",
            "--with",
            "--link-mode",
            "--index-strategy",
            "--resolution",
            "--prerelease",
            "--exclude-newer",
            "--torch-backend",
            "--project",
            "--directory",
        ],
        fixing: &["-c", "--constraint", "--constraints", "--exclude-newer"],
        version: &["==", "===", "~=", "@", "<", ">", "!="],
    },
    Shape {
        programs: &["yarn", "yarnpkg", "pnpm", "bun"],
        verbs: &[&["add"], &["global", "add"]],
        valued: &[
            "--cwd",
            "--registry",
            "-C",
            "--dir",
            "--filter",
            "-F",
            "--cache-folder",
            "--modules-folder",
        ],
        fixing: &[],
        version: &["@", "#"],
    },
    Shape {
        programs: &["cargo"],
        verbs: &[&["install"], &["binstall"]],
        valued: &[
            "--version",
            "--vers",
            "--git",
            "--branch",
            "--tag",
            "--rev",
            "--path",
            "--root",
            "--registry",
            "--index",
            "--profile",
            "--target",
            "--target-dir",
            "--bin",
            "--example",
            "-F",
            "--features",
            "-j",
            "--jobs",
            "--config",
            "-Z",
            "--color",
            "--message-format",
        ],
        fixing: &["--version", "--vers", "--tag", "--rev", "--path", "--list"],
        version: &["@"],
    },
    Shape {
        programs: &["composer"],
        verbs: &[&["require"], &["global", "require"]],
        valued: &["-d", "--working-dir", "--apcu-autoloader-prefix"],
        fixing: &[],
        version: &[":", "=", "@"],
    },
    Shape {
        programs: &["conda", "mamba", "micromamba"],
        verbs: &[&["install"]],
        valued: &[
            "-n",
            "--name",
            "-p",
            "--prefix",
            "-c",
            "--channel",
            "-f",
            "--file",
            "--solver",
        ],
        fixing: &[],
        version: &["=", "<", ">", "::"],
    },
];

pub(super) fn judge(script: &Script, sink: &mut Sink<'_>) {
    for command in &script.commands {
        let program = command.program();
        let Some(shape) = SHAPES.iter().find(|shape| shape.programs.contains(&program)) else {
            continue;
        };
        let loose = loose(shape, command);
        if let Some(first) = loose.first() {
            sink.report(&ST316, first.span, || {
                format!("{program} installs {} in any version", listed(&loose))
            });
        }
    }
}

fn loose<'c>(shape: &Shape, command: &'c Command) -> Vec<&'c ShellWord> {
    let operands: Vec<&ShellWord> = command
        .operands_without(shape.valued)
        .filter(|word| !word.text.starts_with('+'))
        .collect();
    let starts = |verb: &&&[&str]| {
        let mut words = operands.iter().map(|word| word.text.as_str());
        verb.iter().all(|part| words.next() == Some(part))
    };
    let Some(verb) = shape.verbs.iter().find(starts) else {
        return Vec::new();
    };
    let is_fixing = |word: &ShellWord| {
        let option = word.text.split('=').next().unwrap_or_default();
        shape.fixing.contains(&option)
    };
    if command.args().iter().any(is_fixing) {
        return Vec::new();
    }
    let names = operands.get(verb.len()..).unwrap_or_default();
    // What follows is for the program that is run.
    let end = if verb == &["run"] { 1 } else { names.len() };
    let names = names.get(..end.min(names.len())).unwrap_or_default();
    let mut loose = Vec::new();
    for (at, word) in names.iter().enumerate() {
        // composer takes the version as a word of its own.
        let next = names.get(at + 1).is_some_and(|next| is_bare_version(&next.text));
        let is_fixed = next || is_bare_version(&word.text) || is_place(&word.text) || has_version(shape, &word.text);
        if word.sure && !is_fixed {
            loose.push(*word);
        }
    }
    loose
}

/// `1.2`, `^1.2`, `~1.2`
fn is_bare_version(word: &str) -> bool {
    word.trim_start_matches(['^', '~', 'v'])
        .starts_with(|first: char| first.is_ascii_digit())
}

/// A file, a folder or an address.
fn is_place(name: &str) -> bool {
    name.starts_with(['.', '/', '~', '-'])
        || name.contains("://")
        || [".whl", ".tgz", ".tar.gz", ".zip"]
            .iter()
            .any(|end| name.ends_with(end))
}

fn has_version(shape: &Shape, name: &str) -> bool {
    // `@scope/name`
    let rest = name.get(1..).unwrap_or_default();
    shape.version.iter().any(|mark| {
        let version = rest.split_once(mark).map(|(_, version)| version);
        version.is_some_and(|version| !matches!(version, "" | "latest" | "next" | "*"))
    })
}
