//! ST409 and ST410: health checks that call out, container engines.

use super::{At, Sink, host, is_loopback, quoted};
use crate::{
    ast::Keyword,
    rules::catalogue::{ST409, ST410},
    script::ShellWord,
};

/// Packages that bring a container engine.
const ENGINES: [&str; 14] = [
    "docker",
    "docker.io",
    "docker-ce",
    "docker-engine",
    "docker-ce-cli",
    "docker-cli",
    "podman",
    "containerd",
    "containerd.io",
    "buildah",
    "moby-engine",
    "nerdctl",
    "cri-o",
    "lxc",
];

pub(super) fn judge(at: At<'_>, sink: &mut Sink<'_>) {
    let command = at.command;
    let program = command.program();
    let Some(first) = command.words.first() else { return };
    if at.site.instruction.keyword == Keyword::Healthcheck {
        let url = command.args().iter().find_map(|word| Some((word, outside(word)?)));
        if let Some((word, host)) = url {
            sink.report(&ST409, word.span, || format!("the health check asks {}", quoted(host)));
        }
        return;
    }
    match program {
        "dockerd" | "containerd" | "dockerd-entrypoint.sh" | "podman" | "buildah" => {
            sink.report(&ST410, first.span, || format!("{program} is run in the image"));
        }
        "docker" => {
            let is_run = command.args().iter().any(|word| {
                matches!(
                    word.text.as_str(),
                    "run" | "build" | "pull" | "push" | "exec" | "compose" | "buildx" | "load"
                )
            });
            if is_run {
                sink.report(&ST410, first.span, || "docker is run in the image".into());
            }
        }
        "apt-get" | "apt" | "apk" | "yum" | "dnf" | "microdnf" | "zypper" | "pacman" => {
            let installs = command
                .args()
                .iter()
                .any(|word| matches!(word.text.as_str(), "install" | "add" | "in" | "-S" | "-Sy" | "-Syu"));
            let engine = command
                .operands()
                .find(|word| ENGINES.contains(&word.text.split(['=', '~', '<', '>']).next().unwrap_or_default()));
            if let (true, Some(word)) = (installs, engine) {
                sink.report(&ST410, word.span, || format!("{} is installed", quoted(&word.text)));
            }
        }
        _ => {}
    }
}

/// The host that a word names, when it is not this machine.
fn outside(word: &ShellWord) -> Option<&str> {
    let host = host(&word.text)?;
    (!is_loopback(host) && !host.contains('$') && host.contains('.')).then_some(host)
}
