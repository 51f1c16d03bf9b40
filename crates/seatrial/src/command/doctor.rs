//! `seatrial doctor`: what this machine has, what is weak, what is missing, what to do.

mod advisories;
mod versions;
mod walls;

use std::{borrow::Cow, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::{
    engine::{Engine as _, EngineFacts, ToolImage},
    job::Ending,
    scanner::{DatabaseKind, ScanError},
};
use seatrial_engine::{DockerEngine, Reach};
use seatrial_policy::Policy;
use seatrial_scan::database;
use serde::Serialize;

use crate::{
    cli::{FormatArgs, OutputFormat},
    config::Config,
};

/// Longest wait for the removal of what was started.
const TIDY: Duration = Duration::from_secs(20);

/// How good a thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Weak,
    Missing,
}

/// One line of the doctor's.
#[derive(Debug, Serialize)]
struct Check {
    name: Cow<'static, str>,
    health: Health,
    detail: String,
    remedy: Option<String>,
}

fn ok(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        health: Health::Ok,
        detail: detail.into(),
        remedy: None,
    }
}

fn weak(name: impl Into<Cow<'static, str>>, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        health: Health::Weak,
        detail: detail.into(),
        remedy: Some(remedy.into()),
    }
}

fn missing(name: impl Into<Cow<'static, str>>, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        health: Health::Missing,
        detail: detail.into(),
        remedy: Some(remedy.into()),
    }
}

/// Checks all; 6 when something that every job needs is missing.
pub(crate) async fn run(config: &Config, args: &FormatArgs) -> Result<u8> {
    let policy = super::policy(config, &[])?;
    let checks = examine(config, &policy).await;
    match args.format {
        OutputFormat::Json => super::print_json(&serde_json::json!({"version": 1, "checks": checks}))?,
        OutputFormat::Text => checks.iter().for_each(|check| super::print(&line(check))),
    }
    let fit = checks.iter().all(|check| check.health != Health::Missing);
    Ok(if fit { 0 } else { Ending::Errored.exit_code() })
}

fn line(check: &Check) -> String {
    let (word, colour) = match check.health {
        Health::Ok => ("ok", "32"),
        Health::Weak => ("weak", "33"),
        Health::Missing => ("missing", "31"),
    };
    let remedy = check
        .remedy
        .as_deref()
        .map(|remedy| format!("\n                             help: {remedy}"))
        .unwrap_or_default();
    format!(
        "\x1b[{colour}m{word:<8}\x1b[0m {:<19} {}{remedy}",
        check.name, check.detail
    )
}

async fn examine(config: &Config, policy: &Policy) -> Vec<Check> {
    let mut checks = Vec::new();
    let engine = match super::engine(config).await {
        Ok(engine) => engine,
        Err(error) => {
            checks.push(missing(
                "engine",
                super::reasons(&error),
                "Start a Docker Engine, or set docker.host (SEATRIAL__DOCKER__HOST) to its socket or address.",
            ));
            checks.push(disk(config, true));
            return checks;
        }
    };
    let reach = engine.reach();
    checks.push(connection(reach));
    match engine.probe().await {
        Ok(facts) => {
            engine_facts(&mut checks, &facts, policy);
            let runtime = config.run.runtime.as_deref();
            checks.extend(walls::proven(&engine, &facts, runtime, policy).await);
            checks.extend(advisories::checks(&engine, &facts, reach.is_local()).await);
            // Tools were asked; nothing of that stays.
            engine.tidy(TIDY).await;
        }
        Err(error) => checks.push(missing("engine", format!("{error}"), "Look at the Engine's log.")),
    }
    for (name, image, key, pin) in [
        (
            "image: builder",
            ToolImage::Builder,
            "images.builder",
            &config.images.builder,
        ),
        (
            "image: scanner",
            ToolImage::Scanner,
            "images.scanner",
            &config.images.scanner,
        ),
    ] {
        checks.push(match engine.tool_image(image).await {
            Ok(id) => pinned(name, key, pin.as_deref().unwrap_or_default(), &id.to_string()),
            Err(error) => missing(
                name,
                error.to_string(),
                format!("Set {key} to `name@sha256:...` or to the id of an image that the Engine holds."),
            ),
        });
    }
    checks.push(database_age(config, policy, &engine).await);
    checks.push(disk(config, reach.is_local()));
    checks
}

/// Who stands between us and the Engine.
fn connection(reach: Reach) -> Check {
    let name = "connection";
    match reach {
        Reach::Socket => ok(name, "a socket of this host"),
        Reach::Tls => ok(name, "TLS; the Engine proved who it is"),
        Reach::Ssh => ok(name, "ssh"),
        Reach::Plain => missing(
            name,
            "TCP without TLS: whoever may open a port on this host is root on the Engine's",
            "Give the Engine a certificate (--tlsverify) and set docker.cert_path, or use its socket.",
        ),
    }
}

/// An image that is there: whether it is still the same one tomorrow depends on the pin.
fn pinned(name: &'static str, key: &str, pin: &str, id: &str) -> Check {
    if pin.contains("sha256:") {
        return ok(name, id);
    }
    weak(
        name,
        format!("{id}, by the tag {pin} alone"),
        format!("A tag can move. Set {key} to \"{id}\", or to `name@sha256:...` of its registry."),
    )
}

fn engine_facts(checks: &mut Vec<Check>, facts: &EngineFacts, policy: &Policy) {
    checks.push(engine_version(facts));
    checks.push(if facts.cgroup_version == "2" {
        ok("cgroups", format!("version 2, driver {}", facts.cgroup_driver))
    } else {
        weak(
            "cgroups",
            format!("version {}, driver {}", facts.cgroup_version, facts.cgroup_driver),
            "Limits hold; Engine 29 and later deprecate version 1. Boot with systemd.unified_cgroup_hierarchy=1.",
        )
    });
    let limits = [
        (facts.memory_limit, "memory"),
        (facts.swap_limit, "swap"),
        (facts.pids_limit, "processes"),
        (facts.cpu_quota, "processor"),
    ];
    let absent: Vec<&str> = limits.iter().filter(|(has, _)| !has).map(|(_, what)| *what).collect();
    checks.push(if absent.is_empty() {
        ok("limits", "memory, swap, processes and processor can be limited")
    } else {
        missing(
            "limits",
            format!("cannot be limited: {}", absent.join(", ")),
            "Boot with cgroup_enable=memory swapaccount=1, or use a kernel with these controllers.",
        )
    });
    checks.push(if facts.user_namespaces {
        ok("user namespaces", "root inside is not root outside")
    } else {
        let remedy = "Add \"userns-remap\": \"default\" to /etc/docker/daemon.json and restart the Engine.";
        if policy.walls.user_namespace {
            missing("user namespaces", "off, and the policy asks for them", remedy)
        } else {
            weak("user namespaces", "off", remedy)
        }
    });
    checks.push(if facts.seccomp {
        ok("seccomp", "available; own profiles are used")
    } else {
        missing(
            "seccomp",
            "the Engine cannot filter system calls",
            "Use an Engine and a kernel with seccomp.",
        )
    });
    checks.push(if facts.apparmor {
        ok("apparmor", "available")
    } else {
        weak(
            "apparmor",
            "not available",
            "A second line of defence; Debian and Ubuntu kernels have it.",
        )
    });
    let strong: Vec<&str> = facts
        .runtimes
        .iter()
        .map(String::as_str)
        .filter(|name| name.contains("runsc") || name.contains("kata"))
        .collect();
    checks.push(if strong.is_empty() {
        weak(
            "runtimes",
            format!("{} (shared kernel)", facts.runtimes.join(", ")),
            "Install gVisor (runsc) or Kata and register it with the Engine: the guest then has a kernel of its own.",
        )
    } else {
        ok("runtimes", strong.join(", "))
    });
    checks.push(if facts.storage_driver.starts_with("overlay") {
        ok("storage driver", facts.storage_driver.clone())
    } else {
        weak(
            "storage driver",
            facts.storage_driver.clone(),
            "overlay2 is what is tested.",
        )
    });
    checks.push(match kernel_version(&facts.kernel) {
        Some(version) if version >= (6, 6) => ok("kernel", facts.kernel.clone()),
        _ => missing(
            "kernel",
            facts.kernel.clone(),
            "The builder's store is an overlay on tmpfs in a user namespace, which needs Linux 6.6 or later.",
        ),
    });
    for warning in &facts.warnings {
        checks.push(weak("engine warns", warning.clone(), "See the Engine's documentation."));
    }
}

fn engine_version(facts: &EngineFacts) -> Check {
    let detail = format!("{} (API {}) at {}", facts.version, facts.api_version, facts.root_dir);
    match numbers(&facts.version).as_slice() {
        [major, ..] if *major >= 20 => ok("engine", detail),
        _ => missing(
            "engine",
            detail,
            "Update the Engine: 20.10 is the oldest that is tested.",
        ),
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .collect()
}

fn kernel_version(text: &str) -> Option<(u64, u64)> {
    match numbers(text).as_slice() {
        [major, minor, ..] => Some((*major, *minor)),
        _ => None,
    }
}

async fn database_age(config: &Config, policy: &Policy, engine: &DockerEngine) -> Check {
    let name = "database";
    match database::current(engine, &config.data_dir, DatabaseKind::Real).await {
        Ok(found) => match seatrial_policy::database_fresh(policy, &found, false, Timestamp::now()) {
            Ok(()) => ok(name, super::db::sentence(&found)),
            Err(problem) => missing(name, problem.to_string(), "Get a new one with `seatrial db update`."),
        },
        Err(ScanError::DatabaseMissing) => {
            match database::current(engine, &config.data_dir, DatabaseKind::Fixture).await {
                Ok(found) => weak(
                    name,
                    super::db::sentence(&found),
                    "Good for `run --fixture-db` only. Get a real one with `seatrial db update`.",
                ),
                Err(_) => missing(
                    name,
                    "none",
                    "Get one with `seatrial db update`, or without a network `seatrial db import DIR`.",
                ),
            }
        }
        Err(error) => missing(name, error.to_string(), "Look at the Engine's log."),
    }
}

/// Free room below which jobs are likely to fail for it: a base image, its store, its scan and
/// the spool of one build with the default limits.
const ROOM: u64 = 10 << 30;
/// The same where all but the spools is on another host, whose disk is not seen from here.
const SPOOLS: u64 = 2 << 30;

fn disk(config: &Config, is_local: bool) -> Check {
    let existing = config
        .data_dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(&config.data_dir);
    match rustix::fs::statvfs(existing) {
        Ok(stats) => {
            let free = stats.f_bavail.saturating_mul(stats.f_frsize);
            let detail = format!(
                "{:.1} GiB free at {}",
                free as f64 / f64::from(1 << 30),
                config.data_dir.display()
            );
            match is_local {
                true if free < ROOM => weak(
                    "disk",
                    detail,
                    "Keep 10 GiB free: bases, spools and databases live there and in the Engine's data root.",
                ),
                false if free < SPOOLS => weak("disk", detail, "Keep 2 GiB free: spools live there."),
                true => ok("disk", detail),
                false => ok("disk", format!("{detail}; the Engine's own disk is not seen from here")),
            }
        }
        Err(error) => missing(
            "disk",
            format!("{}: {error}", config.data_dir.display()),
            "Set data_dir to a folder that can be written.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_alone_is_a_weak_pin() {
        let id = "sha256:00ec";
        for pin in [id, "seatrial/builder@sha256:00ec", "seatrial/builder:dev@sha256:00ec"] {
            assert_eq!(pinned("image: builder", "images.builder", pin, id).health, Health::Ok);
        }
        let tag = pinned("image: builder", "images.builder", "seatrial/builder:dev", id);
        assert_eq!(tag.health, Health::Weak);
        assert!(tag.remedy.unwrap().contains("Set images.builder to \"sha256:00ec\""));
    }

    #[test]
    fn versions_are_read_out_of_what_engines_say() {
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(numbers("20.10.24+dfsg1"), [20, 10, 24]);
    }
}
