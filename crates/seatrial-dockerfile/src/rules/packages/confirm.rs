//! ST331 to ST336 and ST361: options that a call in a build needs, and `apt`, which is for people.

use super::{
    add_behind,
    call::{Call, Manager, ZYPPER_CHANGES},
    is_verbatim, pin,
};
use crate::{
    rules::{
        Site,
        catalogue::{ST331, ST332, ST333, ST334, ST335, ST336, ST361},
        sink::{Sink, quoted, replace},
    },
    script::Script,
};

pub(super) fn judge(site: Site<'_>, script: &Script, call: &Call<'_>, sink: &mut Sink<'_>) {
    let rule = match call.manager {
        Manager::AptGet if apt_asks(call) => &ST332,
        Manager::Yum if rpm_asks(call) => &ST333,
        Manager::Zypper if zypper_asks(call) => &ST334,
        Manager::Dnf | Manager::Microdnf if rpm_asks(call) => &ST335,
        _ => return,
    };
    if is_answered(script, call.index) {
        return;
    }
    let parsed = sink.parsed();
    sink.report_fixed(
        rule,
        call.verb.span,
        || format!("{} {} waits for an answer", call.program(), call.verb.text),
        || add_behind(site, parsed, call.verb, "-y"),
    );
}

/// `yes | apt-get …`
fn is_answered(script: &Script, index: usize) -> bool {
    let feeders = script.feeders(index);
    feeders.iter().any(|feeder| {
        let program = script.commands.get(*feeder).map(|command| command.program());
        matches!(program, Some("yes" | "echo" | "printf"))
    })
}

fn apt_asks(call: &Call<'_>) -> bool {
    call.does(&[
        "install",
        "build-dep",
        "upgrade",
        "dist-upgrade",
        "remove",
        "purge",
        "autoremove",
    ]) && !apt_agrees(call)
}

/// `-y`, or twice quiet, which implies it.
fn apt_agrees(call: &Call<'_>) -> bool {
    let words = || call.command.args().iter().map(|word| word.text.as_str());
    let quiet = words()
        .map(|word| match word {
            "--quiet" => 1,
            "-q=2" | "--quiet=2" => 2,
            _ if word.starts_with('-') && !word.starts_with("--") => word.matches('q').count(),
            _ => 0,
        })
        .sum::<usize>();
    let simulated = call.letter('s') || call.option(&["--simulate", "--dry-run", "--download-only", "--print-uris"]);
    call.letter('y')
        || call.option(&["--yes", "--assume-yes", "--assume-no", "--force-yes"])
        || quiet >= 2
        || simulated
        || sets(call, "assume-yes", true)
}

/// `-o APT::Get::Assume-Yes=true`, in any case.
fn sets(call: &Call<'_>, name: &str, wanted: bool) -> bool {
    call.command.args().iter().any(|word| {
        let lower = word.text.to_ascii_lowercase();
        let Some((option, value)) = lower.split_once('=') else {
            return false;
        };
        let is_on = matches!(value.trim_matches('"'), "true" | "1" | "yes" | "on" | "enable" | "with");
        option.ends_with(name) && option.contains("::") && is_on == wanted
    })
}

fn rpm_asks(call: &Call<'_>) -> bool {
    let asks = [
        "install",
        "in",
        "groupinstall",
        "localinstall",
        "reinstall",
        "update",
        "upgrade",
        "remove",
        "erase",
        "autoremove",
    ];
    call.does(&asks)
        && !call.letter('y')
        && !call.option(&["--assumeyes", "--assumeno", "--downloadonly"])
        && !call.command.args().iter().any(|word| word.text.contains("assumeyes="))
}

fn zypper_asks(call: &Call<'_>) -> bool {
    call.does(&ZYPPER_CHANGES)
        && !call.letter('y')
        && !call.letter('n')
        && !call.option(&["--non-interactive", "--no-confirm", "--dry-run"])
}

/// Calls that install what is only recommended; where others of the step do not, one was forgotten.
pub(super) fn recommended(site: Site<'_>, calls: &[Call<'_>], sink: &mut Sink<'_>) {
    let installs = |call: &&Call<'_>| call.manager == Manager::AptGet && call.does(&["install"]);
    let rule = if calls.iter().filter(installs).all(takes_recommended) {
        &ST331
    } else {
        &ST336
    };
    let parsed = sink.parsed();
    let takes = || calls.iter().filter(installs).filter(|call| takes_recommended(call));
    // Corrected all together: one that is left behind would look forgotten.
    let is_safe = !takes().any(wants_certificates);
    for call in takes() {
        sink.report_fixed(
            rule,
            call.verb.span,
            || "apt-get install without --no-install-recommends".into(),
            || add_behind(site, parsed, call.verb, "--no-install-recommends").filter(|_| is_safe),
        );
    }
}

/// Whether what is installed downloads over TLS and only recommends the certificates for it.
fn wants_certificates(call: &Call<'_>) -> bool {
    let names = |wanted: &[&str]| {
        let mut words = call.command.args().iter();
        words.any(|word| wanted.contains(&word.text.split('=').next().unwrap_or_default()))
    };
    names(&["curl", "wget", "git", "libcurl4", "aria2", "lftp"]) && !names(&["ca-certificates"])
}

fn takes_recommended(call: &Call<'_>) -> bool {
    !call.option(&["--no-install-recommends"]) && !sets(call, "install-recommends", false)
}

/// What apt and apt-get understand alike.
const SHARED: [&str; 14] = [
    "install",
    "update",
    "upgrade",
    "full-upgrade",
    "remove",
    "purge",
    "autoremove",
    "autopurge",
    "clean",
    "autoclean",
    "download",
    "source",
    "build-dep",
    "reinstall",
];

/// Calls of `apt`. They are corrected only all together, and where apt-get has nothing to be told about.
pub(super) fn apt(site: Site<'_>, calls: &[Call<'_>], sink: &mut Sink<'_>) {
    let parsed = sink.parsed();
    let is_apt = |call: &&Call<'_>| call.manager == Manager::Apt;
    let is_simple = calls.iter().filter(is_apt).all(|call| {
        let program = call.command.words.first();
        let is_here = program.is_some_and(|word| word.text == "apt" && is_verbatim(site, parsed, word));
        let is_complete = !call.does(&["install"]) || !takes_recommended(call);
        is_here && is_complete && call.does(&SHARED) && !apt_asks(call) && pin::loose(call).is_empty()
    });
    for call in calls.iter().filter(is_apt) {
        let Some(program) = call.command.words.first() else {
            continue;
        };
        sink.report_fixed(
            &ST361,
            program.span,
            || format!("apt is called to {}", quoted(&call.verb.text)),
            || is_simple.then(|| replace("Use apt-get", program.span, "apt-get")),
        );
    }
}
