//! ST321 to ST324: upgrades of everything, and indexes fetched for nothing.

use super::call::{Call, Manager};
use crate::rules::{
    catalogue::{ST321, ST322, ST323, ST324},
    sink::Sink,
};

pub(super) fn judge(call: &Call<'_>, sink: &mut Sink<'_>) {
    let everything = call.names.is_empty();
    let rule = match call.manager {
        Manager::Zypper if call.does(&["dist-upgrade", "dup"]) => &ST321,
        Manager::AptGet | Manager::Apt | Manager::Aptitude if call.does(&["dist-upgrade", "full-upgrade"]) => &ST322,
        Manager::AptGet | Manager::Apt | Manager::Aptitude if call.does(&["upgrade", "safe-upgrade"]) && everything => {
            &ST323
        }
        Manager::Apk if call.does(&["upgrade"]) && everything => &ST323,
        Manager::Zypper if call.does(&["update", "up", "patch"]) && everything => &ST323,
        Manager::Yum | Manager::Dnf | Manager::Microdnf
            if call.does(&["update", "upgrade", "up", "distro-sync", "dsync"]) && everything =>
        {
            &ST323
        }
        _ => return,
    };
    sink.report(rule, call.verb.span, || {
        format!("{} {} changes what the base brought", call.program(), call.verb.text)
    });
}

/// An index that nothing in the same step uses. One fetched again at the end of a step that did use it is only
/// waste.
pub(super) fn alone(calls: &[Call<'_>], sink: &mut Sink<'_>) {
    let mut fetched: Vec<(Manager, Option<&Call<'_>>)> = Vec::new();
    for call in calls {
        let family = family(call);
        let known = fetched.iter_mut().find(|(known, _)| *known == family);
        match known {
            Some((_, waiting)) if waiting.is_some() && uses_index(call) => *waiting = None,
            None if fetches_index(call) => fetched.push((family, Some(call))),
            _ => {}
        }
    }
    for call in fetched.into_iter().filter_map(|(_, waiting)| waiting) {
        sink.report(&ST324, call.command.span, || {
            format!("{} {} is not followed by what uses it", call.program(), call.verb.text)
        });
    }
}

fn fetches_index(call: &Call<'_>) -> bool {
    match call.manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude | Manager::Apk => call.does(&["update"]),
        Manager::Yum | Manager::Dnf => call.does(&["makecache", "update", "up"]) && call.names.is_empty(),
        Manager::Zypper => call.does(&["refresh", "ref", "update", "up"]) && call.names.is_empty(),
        _ => false,
    }
}

/// Managers that share an index.
fn family(call: &Call<'_>) -> Manager {
    if call.is_apt() { Manager::AptGet } else { call.manager }
}

fn uses_index(call: &Call<'_>) -> bool {
    call.does(&[
        "install",
        "in",
        "reinstall",
        "upgrade",
        "dist-upgrade",
        "full-upgrade",
        "safe-upgrade",
        "build-dep",
        "builddep",
        "source",
        "satisfy",
        "download",
        "add",
        "fetch",
        "source-install",
        "si",
        "dup",
        "patch",
        "groupinstall",
        "localinstall",
        "group",
        "module",
    ])
}
