//! ST257 to ST259: foreign indexes, keys for everything, and code from a moving place.

use super::{At, Sink, Variable, host, is_versioned, pip_args, quoted};
use crate::{
    rules::catalogue::{ST257, ST258, ST259},
    script::ShellWord,
};

/// Hosts of the public indexes themselves.
const PUBLIC: [&str; 9] = [
    "pypi.org",
    "pypi.python.org",
    "files.pythonhosted.org",
    "test.pypi.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "rubygems.org",
    "proxy.golang.org",
    "index.crates.io",
];

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let args = command.args();
    match command.program() {
        "apt-key"
            if args
                .iter()
                .any(|word| matches!(word.text.as_str(), "add" | "adv" | "fetch-keys" | "update")) =>
        {
            if let Some(word) = command.words.first() {
                sink.report(&ST258, word.span, || "apt-key adds a key for all repositories".into());
            }
        }
        "add-apt-repository" => {
            if let Some(word) = args.iter().find(|word| word.text.starts_with("ppa:")) {
                sink.report(&ST257, word.span, || {
                    format!("{} is somebody's own repository", quoted(&word.text))
                });
            }
        }
        "npm" | "yarn" | "pnpm" | "npx" | "bun" => {
            let configured = match args {
                [first, second, third, fourth, ..]
                    if first.text == "config" && second.text == "set" && third.text == "registry" =>
                {
                    Some(fourth)
                }
                _ => None,
            };
            if let Some((word, url)) =
                option(args, &["--registry", "registry"]).or(configured.map(|word| (word, word.text.as_str())))
            {
                index(word, url, sink);
            }
            if args
                .iter()
                .any(|word| matches!(word.text.as_str(), "install" | "i" | "add" | "ci" | "exec" | "dlx"))
            {
                for word in args.iter().filter(|word| word.sure) {
                    moving_package(word, sink);
                }
            }
        }
        "go" => {
            for word in args.iter().skip(1).filter(|word| !word.text.starts_with('-')) {
                if let Some((_, "master" | "main" | "HEAD" | "develop")) = word.text.rsplit_once('@') {
                    moving(word, sink);
                }
            }
        }
        "cargo" => {
            let pinned = ["--rev", "--tag"]
                .iter()
                .any(|name| args.iter().any(|word| word.text.starts_with(name)));
            let git = args
                .iter()
                .find(|word| word.text == "--git" || word.text.starts_with("--git="));
            if let (Some(word), false, true) = (git, pinned, args.first().is_some_and(|word| word.text == "install")) {
                moving(word, sink);
            }
        }
        program if is_versioned(program, "gem") => {
            if let Some((word, url)) = option(args, &["--source", "-s"]) {
                index(word, url, sink);
            }
        }
        _ => {}
    }
    let Some(args) = pip_args(command) else { return };
    if let Some((word, url)) = option(args, &["--extra-index-url"]) {
        sink.report(&ST257, word.span, || {
            format!("pip looks for packages at {} as well", quoted(url))
        });
    }
    if let Some((word, url)) = option(args, &["--index-url", "-i", "--find-links", "-f"]) {
        index(word, url, sink);
    }
    if args
        .iter()
        .any(|word| matches!(word.text.as_str(), "install" | "wheel" | "download"))
    {
        for word in args.iter().filter(|word| word.sure) {
            moving_package(word, sink);
        }
    }
}

/// The value of one of these options and the word to point at.
fn option<'w>(args: &'w [ShellWord], names: &[&str]) -> Option<(&'w ShellWord, &'w str)> {
    args.iter().enumerate().find_map(|(at, word)| {
        for name in names {
            if word.text == *name {
                let next = args.get(at + 1)?;
                return Some((next, next.text.as_str()));
            }
            if let Some(value) = word.text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                return Some((word, value));
            }
        }
        None
    })
}

/// An index that is used in the place of the public one.
fn index(word: &ShellWord, url: &str, sink: &mut Sink<'_>) {
    let Some(host) = host(url) else { return };
    if url.starts_with("http://") {
        sink.report(&ST257, word.span, || {
            format!("packages come from {} without TLS", quoted(url))
        });
    } else if !PUBLIC.contains(&host) {
        sink.report(&ST257, word.span, || format!("packages come from {}", quoted(url)));
    }
}

fn moving(word: &ShellWord, sink: &mut Sink<'_>) {
    sink.report(&ST259, word.span, || {
        format!("{} names no fixed commit", quoted(&word.text))
    });
}

/// `git+https://…` without a commit, an archive of a branch, `user/repository`.
fn moving_package(word: &ShellWord, sink: &mut Sink<'_>) {
    let text = word.text.rsplit(" @ ").next().unwrap_or(&word.text);
    let is_git = text.starts_with("git+") || text.starts_with("git://") || text.starts_with("github:");
    if is_git {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let path = address.split_once("://").map_or(address, |(_, rest)| rest);
        let path = path.split_once('/').map_or(path, |(_, path)| path);
        let reference = match path.rsplit_once('@') {
            Some((_, reference)) => reference,
            None if !fragment.contains('=') => fragment,
            None => "",
        };
        if matches!(reference, "" | "main" | "master" | "HEAD" | "develop" | "dev" | "trunk") {
            moving(word, sink);
        }
        return;
    }
    if text.contains("://") {
        let branch = [
            "/archive/refs/heads/",
            "/archive/main.",
            "/archive/master.",
            "/tarball/main",
            "/tarball/master",
            "/zipball/master",
        ];
        if branch.iter().any(|branch| text.contains(branch)) {
            moving(word, sink);
        }
    }
}

pub(super) fn variable(variable: &Variable<'_>, sink: &mut Sink<'_>) {
    let value = variable.value;
    match variable.name {
        "PIP_EXTRA_INDEX_URL" | "UV_EXTRA_INDEX_URL" if !value.is_empty() => {
            sink.report(&ST257, variable.span, || {
                format!("packages are looked for at {} as well", quoted(value))
            });
        }
        "PIP_INDEX_URL"
        | "UV_INDEX_URL"
        | "UV_DEFAULT_INDEX"
        | "NPM_CONFIG_REGISTRY"
        | "npm_config_registry"
        | "YARN_REGISTRY"
        | "GOPROXY" => {
            let first = value.split([',', '|', ' ']).next().unwrap_or_default();
            let Some(host) = host(first) else { return };
            if !PUBLIC.contains(&host) || value.starts_with("http://") {
                sink.report(&ST257, variable.span, || {
                    format!("packages come from {}", quoted(value))
                });
            }
        }
        _ => {}
    }
}
