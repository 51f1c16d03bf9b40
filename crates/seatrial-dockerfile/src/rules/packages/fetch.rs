//! ST311 to ST315: packages of a language without a version.

use super::{
    call::{Call, Manager},
    listed,
};
use crate::{
    rules::{
        catalogue::{ST311, ST312, ST313, ST314, ST315},
        sink::{Sink, quoted},
    },
    script::ShellWord,
};

pub(super) fn judge(call: &Call<'_>, sink: &mut Sink<'_>) {
    let (rule, is_fixed): (_, fn(&str) -> bool) = match call.manager {
        Manager::Pip if call.does(&["install"]) && !has_constraints(call) => (&ST311, pip),
        Manager::Npm if call.does(&["install", "i", "in", "ins", "inst", "add", "isntall"]) => {
            moving_tags(call, sink);
            (&ST312, npm)
        }
        Manager::Gem if call.does(&["install", "i"]) && !has_version(call) => (&ST313, gem),
        Manager::Go if call.does(&["install", "get", "run"]) => (&ST314, go),
        _ => return,
    };
    let names = match call.verb.text.as_str() {
        // The rest is for the program.
        "run" => call.names.get(..1).unwrap_or_default(),
        _ => &call.names,
    };
    let loose: Vec<&ShellWord> = names.iter().copied().filter(|word| !is_fixed(&word.text)).collect();
    let Some(first) = loose.first() else { return };
    sink.report(rule, first.span, || {
        format!("{} installs {} in any version", call.program(), listed(&loose))
    });
}

/// `-v 1.2`, `-v1.2`, `--version=1.2`.
fn has_version(call: &Call<'_>) -> bool {
    let mut args = call.command.args().iter();
    call.option(&["--version"]) || args.any(|word| word.text.starts_with("-v"))
}

/// A file says which versions are meant.
fn has_constraints(call: &Call<'_>) -> bool {
    call.option(&["-c", "--constraint"])
}

/// `name==1.2`, a range, a file or folder, an address; of a repository only with a revision.
fn pip(name: &str) -> bool {
    let vcs = ["git+", "hg+", "svn+", "bzr+"];
    if let Some(address) = vcs.iter().find_map(|kind| name.strip_prefix(kind)) {
        return has_revision(address);
    }
    let files = [".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2"];
    let is_file = files.iter().any(|end| name.ends_with(end));
    // `name @ git+https://…`
    if let Some((_, address)) = name.split_once("git+") {
        return has_revision(address);
    }
    name.starts_with('.') || name.contains(['=', '<', '>', '~', '!', '/', '@']) || is_file
}

/// An `@` behind the host.
fn has_revision(address: &str) -> bool {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(_, path)| path),
        None => address.split_once(':').map(|(_, path)| path),
    };
    path.is_some_and(|path| path.split('#').next().is_some_and(|path| path.contains('@')))
}

/// `name@1.2`, `@scope/name@1.2`, a file or folder, an address; of a repository only with a revision.
fn npm(name: &str) -> bool {
    let is_repository = name.starts_with("git") && name.contains(':') || name.ends_with(".git");
    if is_repository {
        return name.contains('#');
    }
    let is_file = [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
    let starts = ["/", "./", "../", "~/", "file:", "http:", "https:"];
    let is_place = matches!(name, "." | "..") || starts.iter().any(|start| name.starts_with(start));
    is_file || is_place || name.get(1..).is_some_and(|rest| rest.contains(['@', '#']))
}

/// `name@latest` says as little as `name`.
fn moving_tags(call: &Call<'_>, sink: &mut Sink<'_>) {
    for word in &call.names {
        let tag = word.text.rsplit_once('@').map(|(_, tag)| tag).unwrap_or_default();
        if matches!(tag, "latest" | "next" | "canary" | "beta" | "nightly" | "lts" | "*") {
            sink.report(&ST315, word.span, || {
                format!("{} is whatever its author calls so", quoted(&word.text))
            });
        }
    }
}

/// `name:1.2`, or a file.
fn gem(name: &str) -> bool {
    name.contains(':') || name.ends_with(".gem")
}

/// `name@v1.2`, or what is there already: a folder, a file, the standard library.
fn go(name: &str) -> bool {
    let is_here = name.starts_with(['.', '/', '~']) || name.ends_with(".go");
    let is_standard = matches!(name, "std" | "cmd" | "all" | "tool") || name.starts_with("cmd/");
    match name.split_once('@') {
        Some((_, version)) => !matches!(
            version,
            "" | "latest" | "upgrade" | "patch" | "master" | "main" | "HEAD"
        ),
        None => is_here || is_standard,
    }
}
