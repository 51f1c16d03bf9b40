//! The walls around a guest and a builder, read back from the Engine before the start: evidence is what stands,
//! not what was asked for.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig};
use seatrial_core::{
    digest::Digest,
    engine::{EngineError, EngineFacts},
    walls::{Place, Walls},
};
use serde_json::Value;

use crate::lower;

/// Settings that are walls, or that would be holes in them.
const COMPARED: [&str; 22] = [
    "Binds",
    "CapAdd",
    "CapDrop",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "GroupAdd",
    "IpcMode",
    "Memory",
    "MemorySwap",
    "NanoCpus",
    "NetworkMode",
    "PidMode",
    "PidsLimit",
    "Privileged",
    "ReadonlyRootfs",
    "SecurityOpt",
    "ShmSize",
    "Tmpfs",
    "UTSMode",
    "UsernsMode",
    "VolumesFrom",
];

/// What stands, or which wall does not.
pub(crate) fn standing(
    asked: &ContainerCreateBody,
    found: ContainerInspectResponse,
    facts: &EngineFacts,
    place: Place,
) -> Result<Walls, EngineError> {
    let who = match place {
        Place::Build => "the builder",
        Place::Run => "the guest",
    };
    let nothing = HostConfig::default();
    let wanted = asked.host_config.as_ref().unwrap_or(&nothing);
    let host = found.host_config.unwrap_or_default();
    let (wanted_json, host_json) = (json(wanted), json(&host));
    for key in COMPARED {
        if !same(&wanted_json[key], &host_json[key]) {
            return missing(format!(
                "{key} of {who} is {}, not {}",
                host_json[key], wanted_json[key]
            ));
        }
    }
    let runtime = host.runtime.unwrap_or_default();
    if wanted.runtime.as_ref().is_some_and(|wanted| *wanted != runtime) {
        return missing(format!("the runtime of {who} is {runtime}"));
    }
    let user = found.config.and_then(|config| config.user).unwrap_or_default();
    if asked.user.as_ref() != Some(&user) {
        return missing(format!("the user of {who} is {user}"));
    }
    let ours: Vec<&String> = wanted
        .mounts
        .iter()
        .flatten()
        .filter_map(|mount| mount.source.as_ref())
        .collect();
    for mount in found.mounts.unwrap_or_default() {
        if mount.name.as_ref().is_none_or(|name| !ours.contains(&name)) {
            let destination = mount.destination.unwrap_or_default();
            return missing(format!("{who} has a volume at {destination} that is not ours"));
        }
    }
    Ok(Walls {
        engine: facts.version.clone(),
        seccomp: seccomp(&runtime, place),
        runtime,
        user_namespace: facts.user_namespaces,
        kernel: facts.kernel.clone(),
        cgroup: facts.cgroup_version.clone(),
        network: host.network_mode.unwrap_or_default(),
        capabilities: host.cap_add.unwrap_or_default(),
        read_only_root: host.readonly_rootfs.unwrap_or_default(),
        no_new_privileges: host
            .security_opt
            .is_some_and(|options| options.iter().any(|option| option == "no-new-privileges")),
        user,
        ..Walls::default()
    })
}

/// Which filter stands between the guest and a kernel. The Engine gives ours to every runtime.
fn seccomp(runtime: &str, place: Place) -> String {
    if lower::is_gvisor(runtime) {
        // runsc takes a container's profile only with --oci-seccomp; whether it did, the probe sees.
        return "gVisor's own".to_owned();
    }
    if lower::is_kata(runtime) {
        return "Kata's: guest.json only if its agent is told to apply it".to_owned();
    }
    let (name, profile) = match place {
        Place::Build => ("builder.json", lower::SECCOMP_BUILDER),
        Place::Run => ("guest.json", lower::SECCOMP_GUEST),
    };
    format!("{name} {}", Digest::of(profile.as_bytes()))
}

fn missing<T>(what: String) -> Result<T, EngineError> {
    Err(EngineError::WallMissing(what))
}

fn json(host: &HostConfig) -> Value {
    serde_json::to_value(host).unwrap_or_default()
}

/// The Engine writes "not set" in many ways.
fn same(asked: &Value, found: &Value) -> bool {
    let unset = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    asked == found || (unset(asked) && unset(found))
}

#[cfg(test)]
#[path = "walls/tests.rs"]
mod tests;
