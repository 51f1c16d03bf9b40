//! What the Engine says of itself.

use bollard::models::SystemInfo;
use seatrial_core::engine::{EngineError, EngineFacts};

use crate::client::Client;

pub(crate) async fn probe(client: &Client) -> Result<EngineFacts, EngineError> {
    let (info, version) = tokio::try_join!(client.info(), client.version())?;
    let mut facts = facts(info);
    facts.api_version = client.api_version();
    if let Some(version) = version.version {
        facts.version = version;
    }
    // `/info` names only the commit of the runtime; the components of `/version` name its version.
    let components = version.components.unwrap_or_default();
    let default_runtime = facts.default_runtime.clone();
    if let Some(component) = components.iter().find(|component| component.name == default_runtime) {
        facts.runtime_version = component.version.clone();
    }
    if let (Some(os), Some(arch)) = (version.os, version.arch) {
        facts.platform = format!("{os}/{arch}");
    }
    Ok(facts)
}

pub(crate) fn facts(info: SystemInfo) -> EngineFacts {
    let options = info.security_options.unwrap_or_default();
    let has = |name: &str| {
        options
            .iter()
            .any(|option| option.split(',').any(|part| part == format!("name={name}")))
    };
    let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
    runtimes.sort();
    let status = info.driver_status.unwrap_or_default();
    let text = |value: Option<String>| value.unwrap_or_default();
    let yes = |value: Option<bool>| value.unwrap_or(false);
    let cgroup_driver = info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default();
    let rootless = has("rootless");
    EngineFacts {
        version: text(info.server_version),
        api_version: String::new(),
        kernel: text(info.kernel_version),
        platform: String::new(),
        cgroup_version: info
            .cgroup_version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        // A rootless Engine is in a user namespace itself. Without cgroups it would be a wall in place
        // of the limits, so it does not count as one.
        user_namespaces: has("userns") || (rootless && cgroup_driver != "none"),
        cgroup_driver,
        rootless,
        seccomp: has("seccomp"),
        apparmor: has("apparmor"),
        runtimes,
        default_runtime: text(info.default_runtime),
        runtime_version: String::new(),
        storage_driver: text(info.driver),
        containerd_store: status
            .iter()
            .any(|row| row.iter().any(|cell| cell.contains("io.containerd.snapshotter"))),
        memory_limit: yes(info.memory_limit),
        swap_limit: yes(info.swap_limit),
        pids_limit: yes(info.pids_limit),
        cpu_quota: yes(info.cpu_cfs_quota),
        cpus: info.ncpu.and_then(|count| u64::try_from(count).ok()).unwrap_or(1),
        memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        root_dir: text(info.docker_root_dir),
        warnings: info.warnings.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemInfoCgroupDriverEnum;

    use super::*;

    #[test]
    fn walls_that_the_engine_does_not_mention_are_not_there() {
        let facts = facts(SystemInfo::default());
        assert!(
            !facts.user_namespaces && !facts.seccomp && !facts.memory_limit && !facts.pids_limit && !facts.cpu_quota
        );
    }

    #[test]
    fn a_rootless_engine_has_user_namespaces_when_it_has_limits() {
        let rootless = |driver| {
            facts(SystemInfo {
                security_options: Some(vec!["name=rootless".to_owned()]),
                cgroup_driver: Some(driver),
                ..SystemInfo::default()
            })
        };
        assert!(rootless(SystemInfoCgroupDriverEnum::SYSTEMD).user_namespaces);
        let unlimited = rootless(SystemInfoCgroupDriverEnum::NONE);
        assert!(!unlimited.user_namespaces && unlimited.rootless);
    }

    #[test]
    fn security_options_are_read_by_name() {
        let info = SystemInfo {
            security_options: Some(vec![
                "name=seccomp,profile=default".to_owned(),
                "name=userns".to_owned(),
            ]),
            ..SystemInfo::default()
        };
        let facts = facts(info);
        assert!(facts.seccomp && facts.user_namespaces && !facts.rootless && !facts.apparmor);
    }
}
