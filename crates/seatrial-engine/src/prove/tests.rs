use bollard::models::SystemInfo;
use seatrial_core::walls::Level;

use super::*;
use crate::probe;

/// The kernel that a build saw.
const HOST: &str = "6.18.0";

fn facts() -> EngineFacts {
    EngineFacts {
        kernel: HOST.to_owned(),
        memory_limit: true,
        pids_limit: true,
        cpu_quota: true,
        cpus: 2,
        ..probe::facts(SystemInfo::default())
    }
}

fn parts() -> lower::Parts<'static> {
    lower::Parts {
        image: "sha256:00",
        tools: Some("st-tools"),
        labels: HashMap::new(),
        host_cpus: 2,
        apparmor: false,
    }
}

fn bounds(place: Place) -> Bounds {
    match place {
        Place::Build => builder(&parts()).1,
        Place::Run => guest(&parts(), "st-probe", None).1,
    }
}

/// What a probe says where every wall of user namespaces stands.
fn answer(place: Place) -> Answer {
    let bounds = bounds(place);
    let mut text = format!(
        "uid=65532\ncap_eff=0\ncap_prm=0\ncap_inh=0000000000000000\ncap_bnd=0\ncap_amb=0\nno_new_privs=1\nseccomp=2\n\
         uid_map=0:100000:65536\nkernel=6.18.0\napparmor=-\ninterfaces=lo\nmemory={}\npids={}\ncpu_quota={}\n\
         cpu_period=100000\nroot_flag=rw\ntry:root=30\ntry:core_pattern=30\ntry:modprobe=13\ntry:sysrq=30\ntry:uevent_helper=2\n\
         try:mem=2\ntry:kmem=2\ntry:port=2\ntry:kcore=61\ntry:packet=1\ntry:alg=1\ntry:vsock=1\ntry:mknod=1\n\
         try:mount=1\ntry:userns=1\n",
        bounds.memory,
        bounds.pids,
        bounds.nano_cpus / 10_000,
    );
    for (folder, size) in &bounds.folders {
        text.push_str(&format!("size:{folder}={size}\n"));
    }
    Answer::read(&text)
}

fn judged(place: Place, key: &str, value: &str) -> Walls {
    let mut answer = answer(place);
    answer.0.insert(key.to_owned(), value.to_owned());
    judge(told(), &answer, &bounds(place), &facts(), HOST, place)
}

fn told() -> Walls {
    Walls {
        runtime: "runsc".to_owned(),
        no_new_privileges: true,
        ..Walls::default()
    }
}

#[test]
fn a_probe_that_met_every_wall_proves_the_level_of_user_namespaces() {
    for place in [Place::Build, Place::Run] {
        let walls = judge(told(), &answer(place), &bounds(place), &facts(), HOST, place);
        assert_eq!(walls.level, Some(Level::Userns), "{:?}", walls.proven);
        assert!(walls.proven.values().all(|proof| *proof == Proof::Seen));
        assert!(walls.user_namespace && walls.apparmor == "absent");
    }
}

#[test]
fn root_that_is_root_outside_too_is_the_weakest_level() {
    let walls = judged(Place::Run, "uid_map", "0:0:4294967295");
    assert_eq!(walls.level, Some(Level::Namespaces));
    assert!(!walls.user_namespace);
}

#[test]
fn each_thing_that_a_probe_can_do_and_must_not_takes_its_wall_away() {
    for (key, value, wall) in [
        ("cap_bnd", "0000000000000400", Wall::NoCapabilities),
        ("cap_eff", "-", Wall::NoCapabilities),
        ("no_new_privs", "0", Wall::NoNewPrivileges),
        ("seccomp", "0", Wall::Seccomp),
        ("try:alg", "97", Wall::Seccomp),
        ("try:mount", "2", Wall::Seccomp),
        ("try:userns", "0", Wall::Seccomp),
        ("interfaces", "lo,eth0", Wall::NoNetwork),
        ("interfaces", "-", Wall::NoNetwork),
        ("memory", "9223372036854771712", Wall::MemoryBound),
        ("memory", "max", Wall::MemoryBound),
        ("pids", "max", Wall::PidsBound),
        ("cpu_quota", "-1", Wall::CpuBound),
        ("cpu_quota", "max", Wall::CpuBound),
        ("size:/tmp", "270553174016", Wall::StoreBound),
        ("size:/data", "-", Wall::StoreBound),
        ("size:/tmp", "0", Wall::StoreBound),
        ("try:root", "0", Wall::ReadOnlyRoot),
        ("try:root", "13", Wall::ReadOnlyRoot),
        ("try:core_pattern", "0", Wall::KernelFiles),
        ("try:kcore", "0", Wall::KernelFiles),
        ("try:mem", "-", Wall::KernelFiles),
    ] {
        let walls = judged(Place::Run, key, value);
        assert!(!walls.proven.contains_key(&wall), "{key}={value}: {:?}", walls.proven);
        assert_eq!(walls.level, None, "{key}={value}");
    }
}

#[test]
fn bounds_of_another_kernel_are_the_engines_word_and_its_own_namespaces_are_no_map() {
    let mut answer = answer(Place::Run);
    for (key, value) in [
        ("kernel", "4.4.0"),
        ("uid_map", "0:0:4294967295"),
        ("no_new_privs", "-"),
        ("seccomp", "0"),
        ("memory", "-"),
        ("pids", "-"),
        ("try:userns", "0"),
    ] {
        answer.0.insert(key.to_owned(), value.to_owned());
    }
    let walls = judge(told(), &answer, &bounds(Place::Run), &facts(), HOST, Place::Run);
    assert_eq!(walls.level, Some(Level::Gvisor), "{:?}", walls.proven);
    assert_eq!(walls.proven.get(&Wall::OwnKernel), Some(&Proof::Seen));
    assert_eq!(walls.proven.get(&Wall::MemoryBound), Some(&Proof::Told));
    assert!(!walls.proven.contains_key(&Wall::Seccomp) && !walls.user_namespace);
    let unlimited = EngineFacts {
        memory_limit: false,
        ..facts()
    };
    let walls = judge(told(), &answer, &bounds(Place::Run), &unlimited, HOST, Place::Run);
    assert_eq!(walls.level, None);
}

#[test]
fn an_answer_that_says_nothing_proves_nothing() {
    let walls = judge(
        told(),
        &Answer::read("garbage\n"),
        &bounds(Place::Run),
        &facts(),
        HOST,
        Place::Run,
    );
    assert!(walls.proven.is_empty() && walls.level.is_none());
}

#[test]
fn a_kernel_is_another_one_only_when_both_were_seen_and_never_around_a_build() {
    let run = answer(Place::Run);
    for unknown in ["", "-"] {
        let walls = judge(told(), &run, &bounds(Place::Run), &facts(), unknown, Place::Run);
        assert!(!walls.proven.contains_key(&Wall::OwnKernel), "{unknown:?}");
    }
    let walls = judge(told(), &run, &bounds(Place::Run), &facts(), "4.4.0", Place::Run);
    assert!(walls.proven.contains_key(&Wall::OwnKernel));
    let build = judge(
        told(),
        &answer(Place::Build),
        &bounds(Place::Build),
        &facts(),
        "4.4.0",
        Place::Build,
    );
    assert!(!build.proven.contains_key(&Wall::OwnKernel));
    assert_eq!(build.kernel, HOST);
}

#[test]
fn another_engine_kernel_stage_or_runtime_is_asked_anew() {
    let facts = facts();
    let other = EngineFacts {
        user_namespaces: !facts.user_namespaces,
        ..facts.clone()
    };
    let keys = [
        key(&facts, HOST, Place::Run, None),
        key(&facts, HOST, Place::Build, None),
        key(&facts, HOST, Place::Run, Some("runsc")),
        key(&facts, "4.4.0", Place::Run, None),
        key(&other, HOST, Place::Run, None),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(keys[index + 1..].iter().all(|another| another != one));
    }
    assert_eq!(keys[0], key(&facts, HOST, Place::Run, None));
}
