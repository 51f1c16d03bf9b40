//! ST341 to ST346, ST351 and ST352: what stays behind in a layer.

use std::{borrow::Cow, collections::HashMap};

use seatrial_core::finding::{Rule, Span};

use super::{
    add_behind,
    call::{Call, Manager, ZYPPER_CHANGES},
};
use crate::{
    ast::Keyword,
    gotext,
    rules::{
        Progress, Site,
        catalogue::{ST341, ST342, ST343, ST344, ST345, ST346, ST351, ST352},
        run,
        sink::Sink,
    },
    script::{Command, Script},
};

/// The lists that `apt-get update` fetches.
const APT_LISTS: &str = "/var/lib/apt/lists";
/// The packages that apt has downloaded.
const APT_ARCHIVES: &str = "/var/cache/apt";
/// What makes the images of Debian and Ubuntu delete [`APT_ARCHIVES`] by themselves.
const APT_CLEANER: &str = "/etc/apt/apt.conf.d/docker-clean";

/// How many words of `{a,b}` are looked at.
const MAX_BRACES: usize = 16;
/// How many lines of a fragment without a `FROM` are searched for a variable.
const MAX_FRAGMENT: usize = 64;

/// What a step leaves behind in a stage, told when it is known whether the stage is part of the image.
pub(in crate::rules) struct Leftover {
    /// 1 for the first stage.
    stage: usize,
    rule: &'static Rule,
    span: Span,
    message: &'static str,
}

/// What a step can leave nothing in, and what its script takes away.
struct Step<'s> {
    script: &'s Script,
    /// Folders that are no part of the layer.
    mounted: Vec<String>,
}

impl Step<'_> {
    /// A folder is mounted from elsewhere, or one above it.
    fn mounts(&self, folder: &str) -> bool {
        self.mounted.iter().any(|mounted| is_within(folder, mounted))
    }

    /// `rm -r` of the folder or all in it, behind a command.
    fn removes(&self, folder: &str, behind: usize) -> bool {
        self.last_removal(folder).is_some_and(|last| last > behind)
    }

    /// The last command that takes away the folder or all in it.
    fn last_removal(&self, folder: &str) -> Option<usize> {
        self.script
            .commands
            .iter()
            .rposition(|command| empties(command, folder))
    }
}

/// A path is the folder or in it.
fn is_within(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `rm -rf folder`, `folder/*`, or the same of a folder above it; `find folder -delete`.
fn empties(command: &Command, folder: &str) -> bool {
    let is_removal = match command.program() {
        "rm" => command.flag('r', "recursive").is_some() || command.flag('R', "").is_some(),
        "find" => command.arg("-delete").is_some() || command.arg("-exec").is_some(),
        _ => false,
    };
    is_removal
        && command.operands().any(|word| {
            braces(&word.text).any(|path| {
                let path = path.trim_end_matches('*').trim_end_matches('/');
                !path.is_empty() && is_within(folder, path)
            })
        })
}

/// `/var/{lib,cache}/apt` as what it stands for.
fn braces(word: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let parts = word.split_once('{').and_then(|(before, rest)| {
        let (list, behind) = rest.split_once('}')?;
        Some((before, list, behind))
    });
    let plain = parts.is_none().then_some(Cow::Borrowed(word));
    let made = parts.into_iter().flat_map(|(before, list, behind)| {
        let items = list.split(',').take(MAX_BRACES);
        items.map(move |item| Cow::Owned(format!("{before}{item}{behind}")))
    });
    plain.into_iter().chain(made)
}

/// Takes note of a step after which apt keeps what it downloads.
pub(super) fn note(script: &Script, progress: &mut Progress) {
    let keeps = |command: &Command| {
        matches!(command.program(), "rm" | "mv") && command.operands().any(|word| word.text == APT_CLEANER)
    };
    if script.commands.iter().any(keeps) {
        progress.habits.keeps_archives = Some(progress.stage_count);
    }
}

pub(super) fn judge(site: Site<'_>, script: &Script, calls: &[Call<'_>], progress: &mut Progress, sink: &mut Sink<'_>) {
    let step = Step {
        script,
        mounted: run::passing(site, progress),
    };
    lists(site, &step, calls, progress, sink);
    apk(site, &step, calls, sink);
    rpm(&step, calls, sink);
    pip(site, &step, calls, progress, sink);
    yarn(site, &step, calls, progress, sink);
}

fn lists(site: Site<'_>, step: &Step<'_>, calls: &[Call<'_>], progress: &mut Progress, sink: &mut Sink<'_>) {
    let stage = progress.stage_count;
    let keeps_archives = progress.habits.keeps_archives == Some(stage);
    if step.mounts(APT_LISTS) && (!keeps_archives || step.mounts(APT_ARCHIVES)) {
        return;
    }
    let Some(update) = calls.iter().rev().find(|call| call.is_apt() && call.does(&["update"])) else {
        return;
    };
    if step.removes(APT_LISTS, update.index) {
        return;
    }
    let leftover = Leftover {
        stage,
        rule: &ST341,
        span: update.command.span,
        message: "the lists in /var/lib/apt/lists are not taken away in this step",
    };
    leave(site, leftover, progress, sink);
}

/// A trigger runs in an image that is not known yet.
fn leave(site: Site<'_>, leftover: Leftover, progress: &mut Progress, sink: &mut Sink<'_>) {
    if site.is_trigger {
        sink.report(leftover.rule, leftover.span, || leftover.message.into());
    } else {
        progress.habits.leftovers.push(leftover);
    }
}

fn apk(site: Site<'_>, step: &Step<'_>, calls: &[Call<'_>], sink: &mut Sink<'_>) {
    let folder = "/var/cache/apk";
    if step.mounts(folder) {
        return;
    }
    let parsed = sink.parsed();
    for call in calls {
        if call.manager != Manager::Apk || !call.does(&["add"]) || call.option(&["--no-cache", "--no-network"]) {
            continue;
        }
        sink.report_fixed(
            &ST342,
            call.verb.span,
            || "apk add without --no-cache".into(),
            || add_behind(site, parsed, call.verb, "--no-cache"),
        );
    }
}

/// yum, dnf, microdnf and zypper: a step that installs ends with cleaning.
fn rpm(step: &Step<'_>, calls: &[Call<'_>], sink: &mut Sink<'_>) {
    for (manager, rule, folders) in [
        (Manager::Yum, &ST343, &["/var/cache/yum", "/var/cache/dnf"][..]),
        (Manager::Zypper, &ST344, &["/var/cache/zypp"]),
        (
            Manager::Dnf,
            &ST345,
            &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"],
        ),
        (
            Manager::Microdnf,
            &ST346,
            &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5"],
        ),
    ] {
        let mut own = calls.iter().rev().filter(|call| call.manager == manager);
        let Some(last) = own.find(|call| fills_cache(call) || cleans(call)) else {
            continue;
        };
        let is_clean = cleans(last)
            || folders
                .iter()
                .any(|folder| step.mounts(folder) || step.removes(folder, last.index));
        if !is_clean {
            sink.report(rule, last.command.span, || {
                format!("{} {} leaves its cache behind", last.program(), last.verb.text)
            });
        }
    }
}

fn fills_cache(call: &Call<'_>) -> bool {
    match call.manager {
        Manager::Zypper => call.does(&ZYPPER_CHANGES) || call.does(&["refresh", "ref"]),
        _ => call.does(&[
            "install",
            "in",
            "localinstall",
            "groupinstall",
            "reinstall",
            "rei",
            "update",
            "upgrade",
            "up",
            "upgrade-minimal",
            "up-min",
            "update-minimal",
            "makecache",
            "distro-sync",
            "swap",
            "builddep",
        ]),
    }
}

fn cleans(call: &Call<'_>) -> bool {
    match call.manager {
        Manager::Zypper => call.does(&["clean", "cc"]),
        _ => call.does(&["clean"]) && call.names.iter().any(|word| word.text == "all"),
    }
}

fn pip(site: Site<'_>, step: &Step<'_>, calls: &[Call<'_>], progress: &Progress, sink: &mut Sink<'_>) {
    let switch = "PIP_NO_CACHE_DIR";
    let is_mounted = step
        .mounted
        .iter()
        .any(|folder| folder.contains(".cache/pip") || folder.trim_end_matches('/').ends_with("/.cache"));
    let by_env = match progress.stage_count {
        0 => is_on_in_fragment(switch, sink),
        _ => !site.is_trigger && progress.variables.value(switch).is_some_and(is_on),
    };
    if is_mounted || by_env {
        return;
    }
    let parsed = sink.parsed();
    let gone = ["/root/.cache/pip", "~/.cache/pip", "$HOME/.cache/pip"];
    let removal = gone.iter().filter_map(|folder| step.last_removal(folder)).max();
    let mut calls = calls
        .iter()
        .filter(|call| call.manager == Manager::Pip && call.does(&["install"]))
        .peekable();
    let mut is_off = false;
    for (index, command) in step.script.commands.iter().enumerate() {
        let own = command.assignments.iter().rfind(|(name, _)| name == switch);
        let own = own.map(|(_, value)| is_on(&value.text));
        // `A=b command` is for that command alone.
        if command.words.is_empty() || matches!(command.program(), "export" | "declare") {
            is_off = own.unwrap_or(is_off);
        }
        let Some(call) = calls.next_if(|call| call.index == index) else {
            continue;
        };
        let is_cleaned = removal.is_some_and(|removal| removal > index);
        if call.option(&["--no-cache-dir"]) || own.unwrap_or(is_off) || is_cleaned {
            continue;
        }
        sink.report_fixed(
            &ST351,
            call.verb.span,
            || "pip install without --no-cache-dir".into(),
            || add_behind(site, parsed, call.verb, "--no-cache-dir"),
        );
    }
}

/// An `ENV` before any `FROM`, which is in no stage.
fn is_on_in_fragment(name: &str, sink: &Sink<'_>) -> bool {
    let lines = sink.parsed().dockerfile.instructions.iter().take(MAX_FRAGMENT);
    lines
        .filter(|line| line.keyword == Keyword::Env)
        .flat_map(|line| line.pairs())
        .any(|pair| pair.name.value == name && pair.value.as_ref().is_some_and(|value| is_on(&value.value)))
}

/// What pip takes for yes.
fn is_on(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "1" | "true" | "yes" | "on" | "y" | "t"
    )
}

fn yarn(site: Site<'_>, step: &Step<'_>, calls: &[Call<'_>], progress: &mut Progress, sink: &mut Sink<'_>) {
    if step
        .mounted
        .iter()
        .any(|folder| folder.contains(".cache/yarn") || folder.ends_with("/.yarn"))
    {
        return;
    }
    let installs = |call: &Call<'_>| {
        // yarn alone installs.
        let is_alone = call.command.args().is_empty();
        call.does(&["install", "add", "global"]) || is_alone
    };
    let is_cleaning = |call: &Call<'_>| call.does(&["cache"]) && call.names.iter().any(|word| word.text == "clean");
    let mut own = calls.iter().rev().filter(|call| call.manager == Manager::Yarn);
    let Some(last) = own.find(|call| installs(call) || is_cleaning(call)) else {
        return;
    };
    let behind = step.script.commands.get(last.index + 1..).unwrap_or_default();
    let is_removed = behind
        .iter()
        .any(|command| command.program() == "rm" && command.operands().any(|word| word.text.contains("cache/yarn")));
    if is_cleaning(last) || is_removed {
        return;
    }
    let leftover = Leftover {
        stage: progress.stage_count,
        rule: &ST352,
        span: last.command.span,
        message: "the cache of yarn is not cleaned in this step",
    };
    leave(site, leftover, progress, sink);
}

/// Tells what is left behind in the stages that the image is made of.
pub(super) fn finish(progress: &Progress, sink: &mut Sink<'_>) {
    if progress.habits.leftovers.is_empty() {
        return;
    }
    let parts = parts(progress, sink);
    for leftover in &progress.habits.leftovers {
        if parts.contains(&leftover.stage) {
            sink.report(leftover.rule, leftover.span, || leftover.message.into());
        }
    }
}

/// The last stage and those that it is built on, from 1; what stands before the first `FROM` is 0.
fn parts(progress: &Progress, sink: &Sink<'_>) -> Vec<usize> {
    let mut parents: Vec<Option<usize>> = vec![None];
    let mut names: HashMap<String, usize> = HashMap::new();
    let froms = sink.parsed().dockerfile.instructions.iter();
    for instruction in froms.filter(|instruction| instruction.keyword == Keyword::From) {
        let base = instruction
            .words()
            .first()
            .map(|word| progress.variables.expand_global(&word.value));
        let parent = base.and_then(|base| names.get(&gotext::lower(&base.text)).copied());
        if let Some(name) = instruction.stage_name() {
            names.insert(name, parents.len());
        }
        parents.push(parent);
    }
    let last = parents.len() - 1;
    std::iter::successors(Some(last), |stage| parents.get(*stage).copied().flatten()).collect()
}
