use bollard::models::{ContainerConfig, MountPoint, SystemInfo};
use serde_json::json;

use super::*;
use crate::{lower::tests::asked_guest, probe};

fn facts() -> EngineFacts {
    probe::facts(SystemInfo::default())
}

/// What an Engine says that did as it was told.
fn inspected(asked: &ContainerCreateBody) -> ContainerInspectResponse {
    let mut host = asked.host_config.clone().unwrap();
    host.runtime.get_or_insert_with(|| "runc".to_owned());
    host.privileged = Some(false);
    host.binds = Some(Vec::new());
    host.pid_mode = Some(String::new());
    let mounts = host.mounts.iter().flatten().map(|mount| MountPoint {
        name: mount.source.clone(),
        destination: mount.target.clone(),
        ..MountPoint::default()
    });
    ContainerInspectResponse {
        mounts: Some(mounts.collect()),
        config: Some(ContainerConfig {
            user: asked.user.clone(),
            ..ContainerConfig::default()
        }),
        host_config: Some(host),
        ..ContainerInspectResponse::default()
    }
}

/// What is said when one setting of the host's is another.
fn with(key: &str, value: Value) -> String {
    let asked = asked_guest(None);
    let mut found = inspected(&asked);
    let mut host = json(&found.host_config.unwrap());
    host[key] = value;
    found.host_config = Some(serde_json::from_value(host).unwrap());
    standing(&asked, found, &facts(), Place::Run).unwrap_err().to_string()
}

#[test]
fn walls_that_stand_are_told_as_they_were_found() {
    let asked = asked_guest(None);
    let walls = standing(&asked, inspected(&asked), &facts(), Place::Run).unwrap();
    assert_eq!((walls.runtime.as_str(), walls.network.as_str()), ("runc", "none"));
    // Those of process 1; the guest's own are another user and none.
    assert_eq!(walls.user, "0:0");
    assert_eq!(walls.capabilities, ["CHOWN", "KILL", "SETGID", "SETPCAP", "SETUID"]);
    assert!(walls.read_only_root && walls.no_new_privileges);
    assert!(walls.seccomp.starts_with("guest.json sha256:"), "{}", walls.seccomp);
}

#[test]
fn a_wall_that_does_not_stand_is_an_error() {
    for (key, value) in [
        ("NetworkMode", json!("bridge")),
        ("ReadonlyRootfs", json!(false)),
        ("CapDrop", json!([])),
        ("CapAdd", json!(["SYS_ADMIN"])),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("Memory", json!(0)),
        ("PidsLimit", json!(null)),
        ("Tmpfs", json!({})),
        ("Privileged", json!(true)),
        ("Binds", json!(["/:/host"])),
        ("PidMode", json!("host")),
        ("UsernsMode", json!("host")),
    ] {
        let error = with(key, value);
        assert!(error.contains(&format!("{key} of the guest is")), "{error}");
    }
}

#[test]
fn another_user_runtime_or_volume_is_an_error() {
    let asked = asked_guest(Some("runsc"));
    let error = |change: fn(&mut ContainerInspectResponse)| {
        let mut found = inspected(&asked);
        change(&mut found);
        standing(&asked, found, &facts(), Place::Run).unwrap_err().to_string()
    };
    let user = error(|found| found.config = None);
    assert!(user.contains("the user of the guest"), "{user}");
    let runtime = error(|found| found.host_config.as_mut().unwrap().runtime = Some("runc".to_owned()));
    assert!(runtime.contains("the runtime of the guest is runc"), "{runtime}");
    let volume = error(|found| {
        found.mounts.as_mut().unwrap().push(MountPoint {
            name: Some("0123abcd".to_owned()),
            destination: Some("/v".to_owned()),
            ..MountPoint::default()
        });
    });
    assert!(volume.contains("a volume at /v that is not ours"), "{volume}");
}

#[test]
fn a_runtime_with_a_filter_of_its_own_is_not_said_to_have_ours() {
    for runtime in ["runsc", "kata-qemu"] {
        let asked = asked_guest(Some(runtime));
        let walls = standing(&asked, inspected(&asked), &facts(), Place::Run).unwrap();
        assert!(!walls.seccomp.contains("sha256:"), "{}", walls.seccomp);
    }
}
