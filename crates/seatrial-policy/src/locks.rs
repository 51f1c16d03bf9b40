//! What a base marks as locked: files after it may ask for more there, and let no more pass.
//!
//! For each key it is written here which way is weaker. Where two values cannot be compared (who the guest is, which
//! name server) any other value counts as weaker.

use std::collections::BTreeSet;

use bytesize::ByteSize;
use seatrial_core::finding::Level;

use crate::{
    Policy, Problem, Rego, RuleLevel,
    compose::{Layer, written_at},
    expressions::PREFIX,
    names::{self, Names},
    parse::{self, Complaint, Step},
    resolve::meant,
    show,
};

/// A key in which a policy lets more pass than another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Weaker {
    pub(crate) path: Vec<Step>,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Another key that is weakened by it.
    pub(crate) also: Option<&'static str>,
}

/// What the lock of one rule's level begins with; a name of the rule follows.
const LEVEL: &str = "analysis.levels.";

/// Locked keys that are none.
pub(crate) fn unknown(policy: &Policy, names: Option<&Names<'_>>) -> Vec<Complaint> {
    let keys = keys();
    let is_known = |path: &str| {
        let level = path.strip_prefix(LEVEL);
        keys.contains(path) || level.is_some_and(|rule| !meant(rule, names).is_empty())
    };
    let complain = |path: &String| {
        let similar = match (path.strip_prefix(LEVEL), names) {
            (Some(rule), Some(names)) => names.similar(rule).map(|rule| format!("{LEVEL}{rule}")),
            _ => names::similar(path, keys.iter().map(String::as_str)).map(str::to_owned),
        };
        Complaint {
            path: vec![Step::Key("locked".to_owned())],
            message: format!("there is no key {} to lock", path.escape_debug()),
            remedy: Some(match similar {
                Some(similar) => format!("did you mean {similar}?"),
                None => "write keys like \"walls\" or \"vulnerabilities.block\"; `seatrial policy show` prints all"
                    .to_owned(),
            }),
        }
    };
    policy
        .locked
        .iter()
        .filter(|path| !is_known(path))
        .map(complain)
        .collect()
}

/// Every key and every table.
fn keys() -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = ["waivers", "expressions", "analysis.levels", "egress.resolver"]
        .map(str::to_owned)
        .into();
    let mut open = vec![(String::new(), show::to_value(&Policy::default()).ok())];
    while let Some((path, value)) = open.pop() {
        if let Some(toml::Value::Table(table)) = value {
            for (key, inner) in table {
                let below = if path.is_empty() { key } else { format!("{path}.{key}") };
                keys.insert(below.clone());
                open.push((below, Some(inner)));
            }
        }
    }
    keys
}

/// Locks that the last file breaks: `before` is the policy of the others, `after` of all.
pub(crate) fn broken(layers: &[Layer<'_>], before: &Policy, after: &Policy, names: Option<&Names<'_>>) -> Vec<Problem> {
    let Some((last, others)) = layers.split_last() else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for weaker in weakened(before, after, &|rule| names.and_then(|names| names.level(rule))) {
        let path = parse::words(&weaker.path);
        let covers = |lock: &&String| {
            let level = lock.strip_prefix(LEVEL).zip(path.strip_prefix(LEVEL));
            covers(lock, &path)
                // A rule's level may be locked by another tool's name for it.
                || level.is_some_and(|(lock, rule)| meant(lock, names).iter().any(|meant| meant == rule))
                || weaker.also.is_some_and(|also| *lock == also)
        };
        let Some(lock) = before.locked.iter().find(covers) else {
            continue;
        };
        let locked_at = others
            .iter()
            .find_map(|layer| Some((layer, layer.lock(lock)?)))
            .map_or_else(String::new, |(layer, line)| {
                format!("{}, line {line}", layer.source.name)
            });
        let set_at = others.iter().rev().find_map(|layer| {
            let span = written_at(layer, &weaker.path)?;
            Some(format!("{}, line {}", layer.source.name, layer.line(span)))
        });
        let Weaker { from, to, .. } = &weaker;
        let set_at = set_at.unwrap_or_else(|| "the default".to_owned());
        let span = last.first_place(before, &weaker.path);
        problems.push(parse::problem(
            last.source,
            span,
            format!("{path} is locked and may only become stricter: {from} ({set_at}) would become {to}"),
            Some(format!(
                "remove it, make it stricter (a list: without a new entry), or have {lock} taken out of `locked` ({locked_at})"
            )),
        ));
    }
    problems
}

fn covers(lock: &str, path: &str) -> bool {
    path == lock || path.strip_prefix(lock).is_some_and(|rest| rest.starts_with('.'))
}

struct Comparison(Vec<Weaker>);

impl Comparison {
    fn add(&mut self, path: &str, weaker: bool, from: impl ToString, to: impl ToString) {
        if weaker {
            self.0.push(Weaker {
                path: parse::steps(path),
                from: from.to_string(),
                to: to.to_string(),
                also: None,
            });
        }
    }

    /// More is weaker.
    fn more<T: PartialOrd + std::fmt::Debug>(&mut self, path: &str, old: T, new: T) {
        self.add(path, new > old, format!("{old:?}"), format!("{new:?}"));
    }

    fn size(&mut self, path: &str, old: ByteSize, new: ByteSize) {
        self.add(path, new > old, show::exact(old), show::exact(new));
    }

    fn more_of(&mut self, path: &str, old: &[String], new: &[String]) {
        let weaker = new.iter().any(|entry| !old.contains(entry));
        self.add(path, weaker, format!("{old:?}"), format!("{new:?}"));
    }
}

/// Each key in which `new` lets more pass. A key that is added to a policy does not compile until it is here.
fn weakened(old: &Policy, new: &Policy, default: &dyn Fn(&str) -> Option<Level>) -> Vec<Weaker> {
    let Policy {
        version: _,
        locked: _,
        analysis,
        waivers,
        // They append, and each can only deny; waivers may be of one.
        expressions: _,
        rego,
        bases,
        vulnerabilities,
        network,
        egress,
        run,
        walls,
        limits,
    } = new;
    let mut found = Comparison(Vec::new());
    found.add(
        "analysis.block",
        analysis.block > old.analysis.block,
        old.analysis.block,
        analysis.block,
    );
    levels(old, new, default, &mut found);
    for (index, waiver) in waivers.iter().enumerate().skip(old.waivers.len()) {
        found.0.push(Weaker {
            path: vec![Step::Key("waivers".to_owned()), Step::Index(index)],
            from: "no waiver".to_owned(),
            to: format!("a waiver of {}", waiver.rule),
            // Conditions are only appended; what takes one away is a waiver of it.
            also: waiver.rule.starts_with(PREFIX).then_some("expressions"),
        });
    }
    checks(&old.rego, rego, &mut found);
    found.more_of("bases.allow", &old.bases.allow, &bases.allow);
    found.add(
        "bases.require_digest",
        old.bases.require_digest && !bases.require_digest,
        old.bases.require_digest,
        bases.require_digest,
    );
    found.more("bases.allow_onbuild", old.bases.allow_onbuild, bases.allow_onbuild);
    let (was, is) = (&old.vulnerabilities, vulnerabilities);
    found.add(
        "vulnerabilities.block",
        is.block.rank() > was.block.rank(),
        word(&was.block),
        word(&is.block),
    );
    found.more("vulnerabilities.ignore_unfixed", was.ignore_unfixed, is.ignore_unfixed);
    found.add(
        "vulnerabilities.secrets",
        was.secrets != is.secrets && is.secrets == crate::SecretAction::Warn,
        word(&was.secrets),
        word(&is.secrets),
    );
    found.more(
        "vulnerabilities.max_database_age",
        was.max_database_age,
        is.max_database_age,
    );
    for (path, was, is) in [
        ("network.build", old.network.build, network.build),
        ("network.run", old.network.run, network.run),
    ] {
        found.add(path, was != is && is == crate::Network::Egress, word(&was), word(&is));
    }
    found.more_of("egress.allow", &old.egress.allow, &egress.allow);
    found.more_of("egress.also", &old.egress.also, &egress.also);
    found.add(
        "egress.resolver",
        old.egress.resolver != egress.resolver,
        format!("{:?}", old.egress.resolver),
        format!("{:?}", egress.resolver),
    );
    found.size("egress.bytes", old.egress.bytes, egress.bytes);
    found.more("egress.requests", old.egress.requests, egress.requests);
    found.add("run.user", old.run.user != run.user, &old.run.user, &run.user);
    found.add(
        "walls.user_namespace",
        old.walls.user_namespace && !walls.user_namespace,
        old.walls.user_namespace,
        walls.user_namespace,
    );
    for (path, was, is) in [
        ("walls.build", &old.walls.build, &walls.build),
        ("walls.run", &old.walls.run, &walls.run),
    ] {
        found.add(path, !was.is_subset(is), format!("{was:?}"), format!("{is:?}"));
    }
    bounds(&old.limits, limits, &mut found);
    found.0
}

/// A file more can answer what the checks of others ask for, so it counts as weaker where checks are locked.
fn checks(old: &Rego, new: &Rego, found: &mut Comparison) {
    let Rego {
        files,
        form,
        namespaces,
        deadline,
        memory,
        texts,
    } = new;
    // The same name may mean a file in another folder.
    let more = files.iter().any(|file| !old.files.contains(file)) || texts.iter().any(|text| !old.texts.contains(text));
    found.add("rego.files", more, format!("{:?}", old.files), format!("{files:?}"));
    found.add("rego.form", old.form != *form, word(&old.form), word(form));
    let asks_more = !old.namespaces.is_empty() && old.namespaces.iter().all(|name| namespaces.contains(name));
    found.add(
        "rego.namespaces",
        old.namespaces != *namespaces && !asks_more,
        format!("{:?}", old.namespaces),
        format!("{namespaces:?}"),
    );
    found.more("rego.deadline", old.deadline, *deadline);
    found.size("rego.memory", old.memory, *memory);
}

fn levels(old: &Policy, new: &Policy, default: &dyn Fn(&str) -> Option<Level>, found: &mut Comparison) {
    for (rule, is) in &new.analysis.levels {
        // A rule whose level nobody knows counts as the strictest.
        let was = old.analysis.levels.get(rule).copied();
        let was = was
            .or_else(|| default(rule).map(RuleLevel::from))
            .unwrap_or(RuleLevel::Error);
        if *is < was {
            found.0.push(Weaker {
                path: vec![
                    Step::Key("analysis".to_owned()),
                    Step::Key("levels".to_owned()),
                    Step::Key(rule.clone()),
                ],
                from: word(&was),
                to: word(is),
                also: None,
            });
        }
    }
}

fn bounds(old: &seatrial_core::limits::Limits, new: &seatrial_core::limits::Limits, found: &mut Comparison) {
    use seatrial_core::limits::{BuildLimits, Limits, RunLimits, ScanLimits};
    let Limits {
        dockerfile,
        context,
        inputs,
        build,
        scan,
        run,
        log,
        result,
    } = new;
    for (key, was, is) in [
        ("dockerfile", old.dockerfile, dockerfile),
        ("context", old.context, context),
        ("inputs", old.inputs, inputs),
        ("log", old.log, log),
        ("result", old.result, result),
    ] {
        found.size(&format!("limits.{key}"), was, *is);
    }
    let BuildLimits {
        time,
        cpus,
        memory,
        pids,
        store,
        layers,
    } = build;
    found.more("limits.build.time", old.build.time, *time);
    found.more("limits.build.cpus", old.build.cpus, *cpus);
    found.size("limits.build.memory", old.build.memory, *memory);
    found.more("limits.build.pids", old.build.pids, *pids);
    found.size("limits.build.store", old.build.store, *store);
    found.size("limits.build.layers", old.build.layers, *layers);
    let ScanLimits {
        time,
        cpus,
        memory,
        pids,
    } = scan;
    found.more("limits.scan.time", old.scan.time, *time);
    found.more("limits.scan.cpus", old.scan.cpus, *cpus);
    found.size("limits.scan.memory", old.scan.memory, *memory);
    found.more("limits.scan.pids", old.scan.pids, *pids);
    let RunLimits {
        time,
        cpus,
        memory,
        pids,
        tmp,
        data,
        data_files,
    } = run;
    found.more("limits.run.time", old.run.time, *time);
    found.more("limits.run.cpus", old.run.cpus, *cpus);
    found.size("limits.run.memory", old.run.memory, *memory);
    found.more("limits.run.pids", old.run.pids, *pids);
    found.size("limits.run.tmp", old.run.tmp, *tmp);
    found.size("limits.run.data", old.run.data, *data);
    found.more("limits.run.data_files", old.run.data_files, *data_files);
}

/// A value as the file writes it.
fn word(value: &impl serde::Serialize) -> String {
    toml::Value::try_from(value).map_or_else(|_| String::new(), |value| value.to_string())
}
