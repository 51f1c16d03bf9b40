//! Limits and walls, lowered to what the Engine is asked for: one function per kind of container,
//! and nobody else writes a `HostConfig`.
//!
//! Every container of ours has no network (but for the database updater), no capability that is not
//! named here, no new privileges, a read-only root, no log on the host's disk, no swap, and bounds
//! on memory, processes and processors. All that can be written is a sized tmpfs, so it counts in
//! the memory, or a volume of ours.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use seatrial_core::{
    egress::EgressRequest,
    engine::{BuildRequest, RunRequest, ToolSpec},
    image::ImageConfig,
    limits::RunLimits,
};

/// Where our static binary is in every container.
pub(crate) const HOLDER: &str = "/.seatrial/holder";
/// The proxy, in our image alone.
pub(crate) const EGRESS: &str = "/.seatrial/egress";
/// Seccomp profile of the builder: what buildah needs, which includes mounts in its own namespace.
pub(crate) const SECCOMP_BUILDER: &str = include_str!("../seccomp/builder.json");
/// Seccomp profile of the guest, and of everything that is no builder.
pub(crate) const SECCOMP_GUEST: &str = include_str!("../seccomp/guest.json");

/// Who reads `/data`, and who the guest is unless the operator says otherwise.
pub(crate) const NOBODY: &str = "65532:65532";
/// What process 1 of a guest needs to start the guest as another user, without any of these, to lend it the container's
/// streams, and to end it.
const INIT_CAPABILITIES: [&str; 5] = ["CHOWN", "KILL", "SETGID", "SETPCAP", "SETUID"];
/// Seconds that a guest has between the polite signal and the other one.
const GRACE_S: u64 = 1;
/// Seconds that are waited for the end of a container that should have ended by itself.
pub(crate) const DEAD_MAN_S: u64 = 30;
/// Seconds after its limit at which a builder ends by itself, whoever is still there to see it: time for its worker
/// to be the first.
pub(crate) const BUILD_GRACE_S: u64 = 6;
/// Seconds that a guest's process 1 waits for its first byte while the image is scanned: a policy may give a scan 7 hours.
pub(crate) const GUEST_IDLE_S: u64 = 8 * 3600;
/// Where process 1 listens for programs that want out.
const WAY_OUT_PORT: u16 = 3128;
/// What its end of the tunnel holds of 32 connections, with their threads: 8 MiB and some.
const TUNNEL_MEMORY: u64 = 16 << 20;
/// Its threads: two for each connection, and the one that takes them.
const TUNNEL_THREADS: u64 = 65;
/// The proxy: what it holds of 32 connections, and names that it looked up.
const PROXY_MEMORY: u64 = 96 << 20;
/// Where processors are short, a container of ours gets an eighth of what others of the Engine have, 1024: an API and
/// a ledger that run beside a crowd of jobs come first.
const CPU_SHARES: i64 = 128;
/// Terminals that a build or a run may have at once. The kernel has 4,096 for all. A container's own folder of them has no
/// bound but the 1,024 that are kept for the host; one that the Engine mounts may use those too, so 64 slots with a
/// build each must not be able to.
const TERMINALS: u32 = 16;
/// How many declared volumes an image may have.
pub(crate) const MAX_VOLUMES: usize = 8;

/// What all kinds need to know.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    /// Id of the image.
    pub(crate) image: &'a str,
    /// The volume with our static binary; not used for our own image.
    pub(crate) tools: Option<&'a str>,
    /// Labels.
    pub(crate) labels: HashMap<String, String>,
    /// Processors of the Engine's host: it refuses to promise more.
    pub(crate) host_cpus: u64,
    /// The Engine puts containers under its AppArmor profile, which forbids every mount.
    pub(crate) apparmor: bool,
}

/// The builder of one attempt.
pub(crate) fn builder(parts: &Parts<'_>, request: &BuildRequest) -> ContainerCreateBody {
    let limits = &request.limits;
    let store = limits.store.as_u64();
    let layers = limits.layers.as_u64();
    let deadline = limits.time.as_secs() + BUILD_GRACE_S;
    let online = u64::from(request.egress.is_some());
    let mut mounts = vec![tools_mount(parts)];
    for (index, base) in request.bases.iter().enumerate() {
        mounts.push(volume(&base.store_volume, &format!("/base/{index}"), false));
    }
    let mut args = [
        "build",
        "--deadline-s",
        &deadline.to_string(),
        "--max-out",
        &(layers + OUTPUT_EXTRA).to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend(tunnel(request.egress.is_some()));
    args.extend(
        [
            // The image's labels are the guest's alone: the judge compares them.
            "--",
            "--identity-label=false",
        ]
        .map(str::to_owned),
    );
    if request.stage_on_stage {
        // Without it buildah removes the image in between at the end, and fails: "layer not known",
        // for its layers are in a store that is read only. With it every step is a layer, which
        // takes longer, so only those pay who need it.
        args.push("--layers".to_owned());
    }
    let mut host = builder_walls(
        parts,
        limits.memory.as_u64() + online * TUNNEL_MEMORY,
        limits.cpus,
        u64::from(limits.pids) + BUILDER_THREADS + online * TUNNEL_THREADS,
    );
    host.mounts = Some(mounts);
    host.tmpfs = Some(tmpfs(&[
        (
            "/var/lib/containers",
            format!("size={store},nr_inodes={},mode=0755,exec,nosuid,nodev", inodes(store)),
        ),
        (
            "/out",
            format!(
                "size={},nr_inodes=16384,mode=0755,noexec,nosuid,nodev",
                layers + OUTPUT_EXTRA
            ),
        ),
        ("/ctx", context(request.context_tar.len() as u64)),
        ("/run", format!("{SCRATCH},mode=0755")),
        ("/tmp", format!("{SCRATCH},mode=1777")),
        ("/var/tmp", format!("{SCRATCH},mode=1777")),
    ]));
    body(parts, "0:0", args, host)
}

/// The trusted filler of a base's store.
pub(crate) fn filler(parts: &Parts<'_>, store_volume: &str, deadline_s: u64) -> ContainerCreateBody {
    let mut host = builder_walls(parts, 2 << 30, 2.0, 256);
    host.mounts = Some(vec![tools_mount(parts), volume(store_volume, "/base", true)]);
    host.tmpfs = Some(tmpfs(&[
        (
            "/var/lib/containers",
            "size=67108864,nr_inodes=16384,mode=0755,exec,nosuid,nodev".to_owned(),
        ),
        ("/run", format!("{SCRATCH},mode=0755")),
        ("/tmp", format!("{SCRATCH},mode=1777")),
        ("/var/tmp", format!("{SCRATCH},mode=1777")),
    ]));
    let args = ["fill", "--deadline-s", &deadline_s.to_string()].map(str::to_owned);
    body(parts, "0:0", args.to_vec(), host)
}

/// The guest. `command` is what the image says, read by us from the verified config.
pub(crate) fn guest(
    parts: &Parts<'_>,
    request: &RunRequest,
    config: &ImageConfig,
    data_volume: &str,
    inputs_volume: Option<&str>,
) -> ContainerCreateBody {
    let limits = &request.limits;
    // Our init counts too: its main thread, the one of its limit, the one of its life line. gVisor counts
    // its own threads.
    let online = u64::from(request.egress.is_some());
    let mut pids = u64::from(limits.pids) + 3 + online * TUNNEL_THREADS;
    let gvisor = request.runtime.as_deref().is_some_and(is_gvisor);
    if gvisor {
        pids = pids.max(256);
    }
    let memory = limits.memory.as_u64() + online * TUNNEL_MEMORY;
    let mut host = walls(parts, memory, limits.cpus, pids);
    if gvisor {
        host.security_opt = Some(security(&for_gvisor(SECCOMP_GUEST)));
    }
    host.cap_add = Some(INIT_CAPABILITIES.map(str::to_owned).to_vec());
    host.runtime = request.runtime.clone();
    host.shm_size = i64::try_from(limits.tmp.as_u64()).ok();
    let mut mounts = vec![tools_mount(parts), data_mount(data_volume, limits, false, None)];
    mounts.extend(inputs_volume.map(|name| volume(name, "/inputs", false)));
    let sized = format!("size={},nr_inodes=16384,noexec,nosuid,nodev", limits.tmp.as_u64());
    let mut tmpfs = tmpfs(&[("/tmp", format!("{sized},mode=1777"))]);
    // An uncovered volume would be an unbounded folder on the host's disk. The Engine sees that one is
    // covered only when the tmpfs has the path without a slash at its end.
    for path in config.volumes.keys().map(|path| path.trim_end_matches('/')) {
        if !mounts.iter().any(|mount| mount.target.as_deref() == Some(path)) {
            tmpfs
                .entry(path.to_owned())
                .or_insert_with(|| format!("{sized},mode=0777"));
        }
    }
    host.mounts = Some(mounts);
    host.tmpfs = Some(tmpfs);
    let deadline = limits.time.as_secs_f64().ceil().max(1.0);
    let mut args: Vec<String> = [
        "init",
        "--deadline-s",
        &deadline.to_string(),
        "--grace-s",
        &GRACE_S.to_string(),
        "--idle-s",
        &GUEST_IDLE_S.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    if !config.working_dir.is_empty() {
        // Entered by our init in the container: the runtime never opens a path of the guest's.
        args.extend(["--workdir".to_owned(), config.working_dir.clone()]);
    }
    // Process 1 is root in there, and the guest is not: of its own user's processes it may starve any, and in gVisor,
    // where process 1 is one like others, stop it.
    args.extend(["--user".to_owned(), request.user.clone()]);
    args.extend(tunnel(request.egress.is_some()));
    args.push("--".to_owned());
    let mut body = body(parts, "0:0", args, host);
    body.working_dir = Some("/".to_owned());
    body.cmd = Some(command(config));
    let mut environment = Vec::new();
    if !config.env.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push("HOME=/tmp".to_owned());
    }
    if request.egress.is_some() {
        environment.extend(way_out());
    }
    body.env = (!environment.is_empty()).then_some(environment);
    body
}

/// What tells process 1 to open the way out.
fn tunnel(online: bool) -> impl Iterator<Item = String> {
    let words = ["--egress".to_owned(), WAY_OUT_PORT.to_string()];
    words.into_iter().filter(move |_| online)
}

/// What tells programs where it begins; a builder's process 1 tells them by itself.
fn way_out() -> Vec<String> {
    let proxy = format!("http://127.0.0.1:{WAY_OUT_PORT}");
    let none = "localhost,127.0.0.1,::1";
    [("http_proxy", &*proxy), ("https_proxy", &*proxy), ("no_proxy", none)]
        .iter()
        .flat_map(|(name, value)| {
            [
                format!("{name}={value}"),
                format!("{}={value}", name.to_ascii_uppercase()),
            ]
        })
        .collect()
}

/// The proxy of one stage: our image with a network, and nothing else.
pub(crate) fn proxy(parts: &Parts<'_>, request: &EgressRequest, deadline_s: u64) -> ContainerCreateBody {
    let mut host = walls(parts, PROXY_MEMORY, 1.0, 16);
    host.network_mode = Some("bridge".to_owned());
    let mut args: Vec<String> = Vec::new();
    let numbers = [
        ("--deadline-s", deadline_s),
        ("--max-bytes", request.bytes),
        ("--max-connections", 32),
        ("--max-requests", request.requests.into()),
    ];
    args.extend(
        numbers
            .iter()
            .flat_map(|(name, number)| [(*name).to_owned(), number.to_string()]),
    );
    for (name, list) in [("--allow", &request.allow), ("--also", &request.also)] {
        args.extend(list.iter().flat_map(|entry| [name.to_owned(), entry.clone()]));
    }
    args.extend(
        request
            .resolver
            .iter()
            .flat_map(|address| ["--resolver".to_owned(), address.to_string()]),
    );
    let mut body = body(parts, NOBODY, args, host);
    if let Some(program) = body.entrypoint.as_mut().and_then(|words| words.first_mut()) {
        EGRESS.clone_into(program);
    }
    body.network_disabled = Some(false);
    body
}

/// What the image runs: its entry point, then its arguments.
pub(crate) fn command(config: &ImageConfig) -> Vec<String> {
    config.entrypoint.iter().chain(&config.cmd).cloned().collect()
}

/// The container that keeps `/data` alive and reads from it. The volume is made with it.
pub(crate) fn data_holder(
    parts: &Parts<'_>,
    volume_name: &str,
    limits: &RunLimits,
    deadline_s: u64,
) -> ContainerCreateBody {
    // A file that is read is held in memory.
    let mut host = walls(parts, limits.data.as_u64() + (32 << 20), 1.0, 8);
    host.mounts = Some(vec![data_mount(volume_name, limits, true, Some(parts.labels.clone()))]);
    let args = ["hold", "--deadline-s", &deadline_s.to_string()].map(str::to_owned);
    body(parts, NOBODY, args.to_vec(), host)
}

/// A trusted tool.
pub(crate) fn tool(parts: &Parts<'_>, spec: &ToolSpec) -> ContainerCreateBody {
    let mut host = walls(parts, spec.memory, spec.cpus, u64::from(spec.pids) + 2);
    if spec.network {
        host.network_mode = Some("bridge".to_owned());
    }
    let mut mounts: Vec<Mount> = parts.tools.iter().map(|_| tools_mount(parts)).collect();
    mounts.extend(
        spec.mounts
            .iter()
            .map(|mount| volume(&mount.volume, mount.path, mount.writable)),
    );
    host.mounts = Some(mounts);
    host.tmpfs = Some(tmpfs(&[(
        "/tmp",
        format!(
            "size={},nr_inodes={},mode=1777,noexec,nosuid,nodev",
            spec.tmp,
            inodes(spec.tmp)
        ),
    )]));
    let mut body = body(parts, &spec.user, spec.args.clone(), host);
    body.network_disabled = Some(!spec.network);
    body
}

/// Room in the builder's output for its manifest, config and index.
pub(crate) const OUTPUT_EXTRA: u64 = 16 << 20;
/// A small folder that a program of the builder's image writes to.
const SCRATCH: &str = "size=67108864,nr_inodes=16384,noexec,nosuid,nodev";
/// Threads of the builder's own programs.
const BUILDER_THREADS: u64 = 64;

/// The same container for whoever is next: it waits for its first byte, and its limit counts from that.
pub(crate) fn waiting(
    mut body: ContainerCreateBody,
    labels: HashMap<String, String>,
    idle_s: u64,
) -> ContainerCreateBody {
    if let Some(words) = &mut body.entrypoint {
        // Behind our binary and its role.
        let at = words.len().min(2);
        words.splice(at..at, ["--idle-s".to_owned(), idle_s.to_string()]);
    }
    body.labels = Some(labels);
    body
}

/// Room for what a tar of ours unpacks to. An entry has a header of 512 bytes at least; a file of one
/// byte takes 1 KiB there and a page here, and no other takes more for its length.
fn context(tar: u64) -> String {
    // In steps: a builder that stands ready has one size.
    let tar = tar.max(1 << 20).next_power_of_two();
    let (size, inodes) = (4 * tar + (1 << 20), tar / 512 + 1024);
    format!("size={size},nr_inodes={inodes},mode=0755,noexec,nosuid,nodev")
}

/// Files are 8 KiB on average in real images; a store of small ones fills up earlier.
fn inodes(size: u64) -> u64 {
    (size / 4096).max(1024)
}

fn walls(parts: &Parts<'_>, memory: u64, cpus: f64, pids: u64) -> HostConfig {
    let memory = i64::try_from(memory).unwrap_or(i64::MAX);
    let cpus = cpus.clamp(0.01, parts.host_cpus.max(1) as f64);
    HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory), // both together: no swap
        nano_cpus: Some((cpus * 1e9) as i64),
        cpu_shares: Some(CPU_SHARES),
        pids_limit: Some(i64::try_from(pids).unwrap_or(i64::MAX)),
        ulimits: Some(vec![ulimit("core", 0), ulimit("nofile", 16384)]),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        shm_size: Some(64 << 20), // the Engine's default could be set to anything
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(security(SECCOMP_GUEST)),
        oom_score_adj: Some(500), // ours goes before the host's
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

/// The builder is root in its container, because files of an image have owners. It gets what
/// changing owners and modes asks for, and no capability over the host: its mounts happen in a user
/// namespace of its own.
fn builder_walls(parts: &Parts<'_>, memory: u64, cpus: f64, pids: u64) -> HostConfig {
    let mut host = walls(parts, memory, cpus, pids);
    let capabilities = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "SETFCAP",
        "SETGID",
        "SETUID",
        "SYS_CHROOT",
    ];
    host.cap_add = Some(capabilities.map(str::to_owned).to_vec());
    let mut options = security(SECCOMP_BUILDER);
    if parts.apparmor {
        options.push("apparmor=unconfined".to_owned());
    }
    host.security_opt = Some(options);
    host
}

/// Whether a runtime is gVisor's, by its name.
pub(crate) fn is_gvisor(runtime: &str) -> bool {
    ["runsc", "gvisor"].iter().any(|name| runtime.contains(name))
}

/// Whether a runtime is Kata's, by its name.
pub(crate) fn is_kata(runtime: &str) -> bool {
    runtime.contains("kata")
}

fn has_own_kernel(runtime: &str) -> bool {
    is_gvisor(runtime) || is_kata(runtime)
}

/// The profile as gVisor can apply it: it knows no other answer than `EPERM`, and for `clone3` the C libraries take
/// only `ENOSYS` for "use clone": no program could start a thread. So `clone3` is let through; the namespaces that it
/// could make are those of gVisor's kernel, not the host's.
fn for_gvisor(profile: &str) -> String {
    let Ok(mut profile) = serde_json::from_str::<serde_json::Value>(profile) else {
        return profile.to_owned();
    };
    for rule in profile["syscalls"].as_array_mut().into_iter().flatten() {
        let is_clone3 = rule["names"]
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name == "clone3"));
        if is_clone3 && let Some(rule) = rule.as_object_mut() {
            rule.remove("errnoRet");
            rule.insert("action".to_owned(), "SCMP_ACT_ALLOW".into());
        }
    }
    profile.to_string()
}

fn security(profile: &str) -> Vec<String> {
    // The profile without white space: the Engine takes it inline.
    let profile = serde_json::from_str::<serde_json::Value>(profile)
        .map_or_else(|_| profile.to_owned(), |value| value.to_string());
    vec!["no-new-privileges".to_owned(), format!("seccomp={profile}")]
}

fn body(parts: &Parts<'_>, user: &str, args: Vec<String>, host: HostConfig) -> ContainerCreateBody {
    let mut entrypoint = vec![HOLDER.to_owned()];
    entrypoint.extend(args);
    ContainerCreateBody {
        image: Some(parts.image.to_owned()),
        hostname: Some("seatrial".to_owned()),
        user: Some(user.to_owned()),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        network_disabled: Some(true),
        stop_signal: Some("SIGKILL".to_owned()),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        labels: Some(parts.labels.clone()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn tools_mount(parts: &Parts<'_>) -> Mount {
    volume(parts.tools.unwrap_or_default(), "/.seatrial", false)
}

/// A volume that exists already.
fn volume(name: &str, target: &str, writable: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(!writable),
        // Nothing of an image is ever copied into a volume: the Engine would follow its links.
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// `/data`: the volume is made by whoever comes first, always with the same bounds. The mode lets
/// the guest in without knowing which user of the host it is; it cannot change it.
fn data_mount(name: &str, limits: &RunLimits, read_only: bool, labels: Option<HashMap<String, String>>) -> Mount {
    let options = format!(
        "size={},nr_inodes={},mode=0777,nosuid,nodev,noexec",
        limits.data.as_u64(),
        u64::from(limits.data_files) + 1
    );
    let mut mount = volume(name, "/data", !read_only);
    if let Some(volume_options) = &mut mount.volume_options {
        volume_options.labels = labels;
        volume_options.driver_config = Some(local("tmpfs", options));
    }
    mount
}

/// Gives a builder or guest terminals of its own, in a volume that is named after the container `name`: the folder
/// that a runtime makes for them has no bound. Kernels of their own have terminals of their own.
pub(crate) fn with_terminals(mut body: ContainerCreateBody, name: &str) -> ContainerCreateBody {
    let mut host = body.host_config.take().unwrap_or_default();
    if !host.runtime.as_deref().is_some_and(has_own_kernel) {
        let mut mount = volume(&format!("{name}-pts"), "/dev/pts", true);
        if let Some(volume_options) = &mut mount.volume_options {
            volume_options.labels = body.labels.clone();
            volume_options.driver_config = Some(local(
                "devpts",
                format!("newinstance,max={TERMINALS},ptmxmode=0666,mode=0620,nosuid,noexec"),
            ));
        }
        host.mounts.get_or_insert_default().push(mount);
    }
    body.host_config = Some(host);
    body
}

/// A volume that is a file system of the kernel's, mounted by the Engine.
fn local(kind: &str, options: String) -> MountVolumeOptionsDriverConfig {
    let options = [("type", kind.to_owned()), ("device", kind.to_owned()), ("o", options)];
    MountVolumeOptionsDriverConfig {
        name: Some("local".to_owned()),
        options: Some(options.map(|(key, value)| (key.to_owned(), value)).into()),
    }
}

fn tmpfs(entries: &[(&str, String)]) -> HashMap<String, String> {
    entries
        .iter()
        .map(|(path, options)| ((*path).to_owned(), options.clone()))
        .collect()
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    }
}

#[cfg(test)]
#[path = "lower/tests.rs"]
pub(crate) mod tests;
