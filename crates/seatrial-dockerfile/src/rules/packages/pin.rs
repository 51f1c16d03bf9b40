//! ST301 to ST306: packages of the distribution without a version.

use super::{
    call::{Call, Manager},
    listed,
};
use crate::{
    rules::{
        catalogue::{ST301, ST302, ST303, ST304, ST305, ST306},
        sink::Sink,
    },
    script::ShellWord,
};

pub(super) fn judge(call: &Call<'_>, sink: &mut Sink<'_>) {
    let loose = loose(call);
    let Some(first) = loose.first() else { return };
    let rule = match call.manager {
        Manager::AptGet => &ST301,
        Manager::Apk => &ST302,
        Manager::Yum => &ST303,
        Manager::Zypper => &ST304,
        Manager::Dnf | Manager::Microdnf => &ST305,
        _ => &ST306,
    };
    sink.report(rule, first.span, || {
        format!("{} installs {} in any version", call.program(), listed(&loose))
    });
}

/// The names that a call of a manager of the distribution installs in whatever version there is.
pub(super) fn loose<'s>(call: &Call<'s>) -> Vec<&'s ShellWord> {
    let is_fixed: fn(&str) -> bool = match call.manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude if call.does(&["install"]) => apt,
        Manager::Apk if call.does(&["add"]) => apk,
        Manager::Yum | Manager::Dnf | Manager::Microdnf if call.does(&["install", "in"]) => rpm,
        Manager::Yum | Manager::Dnf | Manager::Microdnf if call.does(&["module"]) => return loose_modules(call),
        Manager::Zypper if call.does(&["install", "in"]) && !installs_patterns(call) => zypper,
        _ => return Vec::new(),
    };
    call.names
        .iter()
        .copied()
        .filter(|word| !is_fixed(&word.text))
        .collect()
}

/// `name=1.2`, `name/release`, a file, and `name-`, which removes.
fn apt(name: &str) -> bool {
    name.contains(['=', '/']) || name.ends_with(".deb") || name.ends_with('-')
}

/// `name=1.2`, `name~1.2`, `name<2`, a file, and `!name`, which keeps it out.
fn apk(name: &str) -> bool {
    name.contains(['=', '~', '<', '>']) || name.ends_with(".apk") || name.starts_with('!')
}

/// `name-1.2`, `name-1:1.2`, a file or an address, and `@group`, which has no version.
fn rpm(name: &str) -> bool {
    let mut parts = name.split('-').skip(1);
    parts.any(|part| part.starts_with(|first: char| first.is_ascii_digit() || first == '$'))
        || name.contains(['/', '=', '<', '>'])
        || name.ends_with(".rpm")
        || name.starts_with('@')
}

/// `name=1.2`, `name>=1.2`, a file or an address.
fn zypper(name: &str) -> bool {
    name.contains(['=', '<', '>', '/']) || name.ends_with(".rpm") || name.starts_with(['-', '!'])
}

/// `-t pattern`: patterns have no versions that anybody names.
fn installs_patterns(call: &Call<'_>) -> bool {
    let kind = call.command.value('t', "type");
    kind.is_some_and(|kind| kind != "package" && kind != "srcpackage")
}

/// `module install name:stream`.
fn loose_modules<'s>(call: &Call<'s>) -> Vec<&'s ShellWord> {
    match call.names.split_first() {
        Some((verb, names)) if verb.text == "install" => {
            names.iter().copied().filter(|word| !word.text.contains(':')).collect()
        }
        _ => Vec::new(),
    }
}
