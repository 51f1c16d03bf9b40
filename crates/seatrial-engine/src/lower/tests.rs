//! What the Engine is asked for, whole: a wall that changes shows in a snapshot.

use std::{collections::BTreeMap, time::Duration};

use seatrial_core::{
    digest::Digest,
    egress::EgressLog,
    engine::{ToolImage, ToolMount},
    id::{AttemptId, JobId},
    image::BaseImage,
    limits::BuildLimits,
};
use serde_json::{Value, json};

use super::*;

fn parts() -> Parts<'static> {
    Parts {
        image: "sha256:image",
        tools: Some("st-tools-x"),
        labels: HashMap::from([("io.seatrial.kind".to_owned(), "test".to_owned())]),
        host_cpus: 4,
        apparmor: false,
    }
}

fn attempt() -> AttemptId {
    AttemptId {
        job: JobId::fresh(),
        number: 1,
    }
}

fn run_request() -> RunRequest {
    RunRequest {
        attempt: attempt(),
        limits: RunLimits::default(),
        user: NOBODY.to_owned(),
        runtime: None,
        inputs: BTreeMap::new(),
        egress: None,
    }
}

/// A guest as it is asked for, for those who compare it with what is found.
pub(crate) fn asked_guest(runtime: Option<&str>) -> ContainerCreateBody {
    let request = RunRequest {
        runtime: runtime.map(str::to_owned),
        ..run_request()
    };
    guest(&parts(), &request, &image(&["/v"]), "st-data-x", None)
}

fn build_request() -> BuildRequest {
    let base = |store_volume: &str| BaseImage {
        name: "docker.io/library/busybox:latest".to_owned(),
        repo_digest: None,
        id: Digest::of(b"config"),
        layers: Vec::new(),
        config: ImageConfig::default(),
        platform: "linux/amd64".to_owned(),
        store_volume: store_volume.to_owned(),
    };
    BuildRequest {
        attempt: attempt(),
        dockerfile: "FROM busybox\n".to_owned(),
        context_tar: vec![0; 10_240].into(),
        bases: vec![base("st-base-a-1"), base("st-base-b-2")],
        final_base: Some(0),
        stage_steps: vec![1],
        stage_on_stage: false,
        limits: BuildLimits::default(),
        egress: None,
    }
}

fn image(volumes: &[&str]) -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        cmd: vec!["true".to_owned()],
        working_dir: "/app".to_owned(),
        volumes: volumes.iter().map(|path| ((*path).to_owned(), json!({}))).collect(),
        ..ImageConfig::default()
    }
}

fn tool_spec() -> ToolSpec {
    ToolSpec {
        role: "scan",
        attempt: None,
        image: ToolImage::Scanner,
        args: vec!["scan".to_owned()],
        mounts: vec![ToolMount {
            volume: "st-db-x".to_owned(),
            path: "/db",
            writable: false,
        }],
        tmp: 64 << 20,
        memory: 1 << 30,
        cpus: 2.0,
        pids: 64,
        time: Duration::from_secs(60),
        network: false,
        max_output: 1 << 20,
        user: NOBODY.to_owned(),
    }
}

/// The profiles by their names: a snapshot of them would hide all else.
fn shown(body: &ContainerCreateBody) -> Value {
    let mut body = serde_json::to_value(body).unwrap();
    for option in body["HostConfig"]["SecurityOpt"].as_array_mut().unwrap() {
        for (name, profile) in [
            ("builder.json", SECCOMP_BUILDER),
            ("guest.json", SECCOMP_GUEST),
            ("guest.json for gVisor", &for_gvisor(SECCOMP_GUEST)),
        ] {
            if *option == json!(security(profile)[1]) {
                *option = json!(format!("seccomp={name}"));
            }
        }
    }
    body.sort_all_objects();
    body
}

/// The entries of `/HostConfig/Tmpfs`.
fn covered(body: &ContainerCreateBody) -> Vec<String> {
    let mut paths: Vec<String> = body.host_config.clone().unwrap().tmpfs.unwrap().into_keys().collect();
    paths.sort();
    paths
}

#[test]
fn the_walls_of_a_builder() {
    insta::assert_json_snapshot!(shown(&builder(&parts(), &build_request())));
}

#[test]
fn the_walls_of_the_filler_of_a_store() {
    insta::assert_json_snapshot!(shown(&filler(&parts(), "st-base-a-1", 900)));
}

#[test]
fn the_walls_of_a_guest() {
    let body = guest(&parts(), &run_request(), &image(&[]), "st-data-x", None);
    insta::assert_json_snapshot!(shown(&body));
}

#[test]
fn the_walls_of_a_guest_with_inputs_and_volumes_under_gvisor() {
    let request = RunRequest {
        runtime: Some("runsc".to_owned()),
        ..run_request()
    };
    let volumes = image(&["/var/lib/db", "/cache/", "/data", "/tmp", "/inputs"]);
    let body = guest(&parts(), &request, &volumes, "st-data-x", Some("st-in-x"));
    insta::assert_json_snapshot!(shown(&body));
}

#[test]
fn the_walls_of_the_holder_of_data() {
    let parts = Parts { tools: None, ..parts() };
    let body = data_holder(&parts, "st-data-x", &RunLimits::default(), 86_400);
    insta::assert_json_snapshot!(shown(&body));
}

#[test]
fn the_walls_of_a_tool() {
    insta::assert_json_snapshot!(shown(&tool(&parts(), &tool_spec())));
}

#[test]
fn only_a_tool_that_asks_for_it_has_a_network() {
    let online = tool(
        &parts(),
        &ToolSpec {
            network: true,
            ..tool_spec()
        },
    );
    let mut differs = shown(&tool(&parts(), &tool_spec()));
    differs["NetworkDisabled"] = json!(false);
    differs["HostConfig"]["NetworkMode"] = json!("bridge");
    assert_eq!(shown(&online), differs);
}

#[test]
fn apparmor_is_off_for_builders_alone() {
    let parts = Parts {
        apparmor: true,
        ..parts()
    };
    let has = |body: ContainerCreateBody| shown(&body).to_string().contains("apparmor=unconfined");
    assert!(has(builder(&parts, &build_request())));
    assert!(has(filler(&parts, "st-base-a-1", 900)));
    assert!(!has(guest(&parts, &run_request(), &image(&[]), "st-data-x", None)));
    assert!(!has(tool(&parts, &tool_spec())));
}

#[test]
fn every_volume_of_an_image_is_a_mount_of_ours_or_a_tmpfs() {
    // Engine 20.10 makes a volume of its own for `/v/` unless the tmpfs is at `/v`.
    let image = image(&["/data/", "/inputs", "/tmp", "/v", "/v/", "/w/"]);
    let cover = |inputs| covered(&guest(&parts(), &run_request(), &image, "st-data-x", inputs));
    assert_eq!(cover(None), ["/inputs", "/tmp", "/v", "/w"]);
    assert_eq!(cover(Some("st-in-x")), ["/tmp", "/v", "/w"]);
}

#[test]
fn every_tmpfs_is_bounded_in_bytes_and_in_files() {
    for body in [
        builder(&parts(), &build_request()),
        filler(&parts(), "st-base-a-1", 900),
        guest(&parts(), &run_request(), &image(&["/v"]), "st-data-x", None),
        tool(&parts(), &tool_spec()),
    ] {
        for (path, options) in body.host_config.unwrap().tmpfs.unwrap() {
            assert!(
                options.contains("size=") && options.contains("nr_inodes=") && options.contains("nosuid,nodev"),
                "{path}: {options}"
            );
        }
    }
}

#[test]
fn a_context_of_the_smallest_files_has_room() {
    for (files, tar, page) in [(100_000, 512, 0), (65_000, 1024, 4096)] {
        let request = BuildRequest {
            context_tar: vec![0; files * tar + 1024].into(),
            ..build_request()
        };
        let body = shown(&builder(&parts(), &request));
        let options = body["HostConfig"]["Tmpfs"]["/ctx"].as_str().unwrap().to_owned();
        let number = |key: &str| -> usize {
            let option = options.split(',').find_map(|option| option.strip_prefix(key));
            option.unwrap().parse().unwrap()
        };
        assert!(number("size=") >= files * page, "{options}");
        assert!(number("nr_inodes=") > files, "{options}");
    }
}

#[test]
fn no_more_processors_are_asked_for_than_the_engine_has() {
    let parts = Parts {
        host_cpus: 1,
        ..parts()
    };
    let body = shown(&builder(&parts, &build_request()));
    assert_eq!(body["HostConfig"]["NanoCpus"], 1_000_000_000);
}

#[test]
fn gvisor_gets_the_guests_profile_with_clone3_allowed_and_nothing_else_changed() {
    let rules = |profile: &str| {
        let profile: Value = serde_json::from_str(profile).unwrap();
        profile["syscalls"].as_array().unwrap().clone()
    };
    let (plain, gvisor) = (rules(SECCOMP_GUEST), rules(&for_gvisor(SECCOMP_GUEST)));
    let changed: Vec<(&Value, &Value)> = plain.iter().zip(&gvisor).filter(|(one, other)| one != other).collect();
    assert_eq!((plain.len(), changed.len()), (gvisor.len(), 1));
    assert_eq!(changed[0].1["names"], json!(["clone3"]));
    assert_eq!(changed[0].1["action"], "SCMP_ACT_ALLOW");
}

fn way() -> EgressRequest {
    EgressRequest {
        allow: vec!["pypi.org".to_owned(), "*.debian.org:80".to_owned()],
        also: vec!["10.1.0.0/16".to_owned()],
        bytes: 1000,
        requests: 7,
        resolver: Some("10.1.0.53:53".parse().unwrap()),
        seen: EgressLog::default(),
    }
}

#[test]
fn a_way_out_gives_a_builder_a_tunnel_and_no_network() {
    let offline = build_request();
    let online = BuildRequest {
        egress: Some(way()),
        ..offline.clone()
    };
    let mut differs = shown(&builder(&parts(), &offline));
    let at = differs["Entrypoint"]
        .as_array()
        .unwrap()
        .iter()
        .position(|word| word == "--");
    let words = differs["Entrypoint"].as_array_mut().unwrap();
    for word in ["3128", "--egress"] {
        words.insert(at.unwrap(), json!(word));
    }
    for (key, more) in [
        ("Memory", TUNNEL_MEMORY),
        ("MemorySwap", TUNNEL_MEMORY),
        ("PidsLimit", TUNNEL_THREADS),
    ] {
        let value = &mut differs["HostConfig"][key];
        *value = json!(value.as_u64().unwrap() + more);
    }
    assert_eq!(shown(&builder(&parts(), &online)), differs);
    assert_eq!(differs["HostConfig"]["NetworkMode"], "none");
}

#[test]
fn a_way_out_gives_a_guest_a_tunnel_and_no_network() {
    let online = RunRequest {
        egress: Some(way()),
        ..run_request()
    };
    let mut differs = shown(&guest(&parts(), &run_request(), &image(&[]), "st-data-x", None));
    let at = differs["Entrypoint"]
        .as_array()
        .unwrap()
        .iter()
        .position(|word| word == "--");
    let words = differs["Entrypoint"].as_array_mut().unwrap();
    for word in ["3128", "--egress"] {
        words.insert(at.unwrap(), json!(word));
    }
    for (key, more) in [
        ("Memory", TUNNEL_MEMORY),
        ("MemorySwap", TUNNEL_MEMORY),
        ("PidsLimit", TUNNEL_THREADS),
    ] {
        let value = &mut differs["HostConfig"][key];
        *value = json!(value.as_u64().unwrap() + more);
    }
    differs["Env"] = json!([
        "HOME=/tmp",
        "http_proxy=http://127.0.0.1:3128",
        "HTTP_PROXY=http://127.0.0.1:3128",
        "https_proxy=http://127.0.0.1:3128",
        "HTTPS_PROXY=http://127.0.0.1:3128",
        "no_proxy=localhost,127.0.0.1,::1",
        "NO_PROXY=localhost,127.0.0.1,::1",
    ]);
    let body = guest(&parts(), &online, &image(&[]), "st-data-x", None);
    assert_eq!(shown(&body), differs);
    assert_eq!(differs["HostConfig"]["NetworkMode"], "none");
}

#[test]
fn the_walls_of_a_proxy() {
    let parts = Parts { tools: None, ..parts() };
    insta::assert_json_snapshot!(shown(&proxy(&parts, &way(), 960)));
}

#[test]
fn terminals_are_the_containers_own_and_bounded_where_the_kernel_is_the_hosts() {
    let mounts = |runtime: Option<&str>| {
        let body = ContainerCreateBody {
            labels: Some(HashMap::from([("io.seatrial.kind".to_owned(), "run".to_owned())])),
            host_config: Some(HostConfig {
                runtime: runtime.map(str::to_owned),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let host = with_terminals(body, "st-run-x").host_config.unwrap();
        serde_json::to_value(host.mounts.unwrap_or_default()).unwrap()
    };
    for runtime in [None, Some("runc")] {
        let mounts = mounts(runtime);
        assert_eq!(mounts[0]["Target"], "/dev/pts");
        assert_eq!(mounts[0]["Source"], "st-run-x-pts", "no other container has it");
        let options = &mounts[0]["VolumeOptions"];
        assert_eq!(options["Labels"]["io.seatrial.kind"], "run", "the sweep knows it");
        assert_eq!(options["DriverConfig"]["Options"]["type"], "devpts");
        let how = options["DriverConfig"]["Options"]["o"].as_str().unwrap();
        assert!(how.contains("newinstance,max=16,"), "{how}");
    }
    for runtime in ["runsc", "kata-qemu"] {
        assert_eq!(mounts(Some(runtime)), serde_json::json!([]));
    }
}
