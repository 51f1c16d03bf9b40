//! Walls that were met, not only asked for: a probe of ours runs once in a container like the builder's and
//! once in one like the guest's, and what it met is compared with what [`lower`] asked for.
//!
//! What a probe in a kernel of its own sees of bounds are that kernel's; there the Engine's word counts, and the
//! evidence says so ([`Proof::Told`]).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bollard::models::ContainerCreateBody;
use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    engine::{BuildRequest, EngineError, EngineFacts, RunRequest},
    id::{AttemptId, JobId},
    image::ImageConfig,
    limits::{BuildLimits, RunLimits},
    walls::{Place, Proof, Wall, Walled, Walls},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    container::Container,
    engine::Inner,
    lower,
    names::Kind,
    own, record,
    report::Nonce,
    stdio::{Piece, Turn},
    walls,
};

/// How long a container may take to be made, to start and to end: a start in gVisor is known to hang on some hosts.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long what was met counts, while the Engine says the same of itself.
const COUNTS_FOR: Duration = Duration::from_secs(600);
/// How long a probe that could not be run is not tried again: jobs would wait for [`PATIENCE`] each, in line.
const FAILED_FOR: Duration = Duration::from_secs(60);
/// Notes of Engines that are no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// More than this is no answer of ours.
const MAX_ANSWER: usize = 64 << 10;

/// `EPERM`: the answer of our filter.
const EPERM: i64 = 1;
/// `EROFS`.
const EROFS: i64 = 30;

/// What was met: in a file, for a command that lives for a second would ask each time.
#[derive(Serialize, Deserialize)]
struct Met {
    since: Timestamp,
    walls: Walls,
}

/// Probes that are being run, one of a kind at a time, and runtimes in which one failed.
pub(crate) type Proving = Walled<Mutex<HashMap<Digest, Failure>>>;

/// A probe that could not be run in a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    since: Instant,
    why: String,
    transient: bool,
}

/// The walls around a build, and around a run in `runtime` (`None`: the Engine's default).
///
/// # Errors
/// [`EngineError::Stumbled`] when a runtime fails that gave its walls before; [`EngineError::WallMissing`] when one never
/// did and will not in a moment either; else the Engine's: it is away, or does not answer in time.
pub(crate) async fn prove(inner: &Inner, runtime: Option<&str>) -> Result<Walled<Walls>, EngineError> {
    let facts = inner.facts().await?;
    // Made sure of first: the first time it takes longer than any probe.
    own::own(inner).await?;
    let build = met(inner, &facts, "", Place::Build, None).await?;
    // What a run sees is compared with what a build saw: the Engine's own word for its kernel could be any.
    let run = met(inner, &facts, &build.kernel, Place::Run, runtime).await?;
    Ok(Walled { build, run })
}

async fn met(
    inner: &Inner,
    facts: &EngineFacts,
    host_kernel: &str,
    place: Place,
    runtime: Option<&str>,
) -> Result<Walls, EngineError> {
    let key = key(facts, host_kernel, place, runtime);
    let folder = inner.data_dir.join("walls");
    let path = folder.join(key.hex());
    // Held while the probe runs: jobs that begin together ask once.
    let mut failed = inner.proving.at(place).lock().await;
    let known = record::read(&path)?.and_then(|text| serde_json::from_str::<Met>(&text).ok());
    let now = Timestamp::now();
    let stood_before = known.is_some();
    if let Some(known) = known
        && (known.since..known.since + COUNTS_FOR).contains(&now)
    {
        return Ok(known.walls);
    }
    let Some(runtime_name) = runtime else {
        return remember(
            &folder,
            &path,
            now,
            bounded(inner, facts, host_kernel, place, None).await?,
        );
    };
    failed.retain(|_, failure| failure.since.elapsed() < FAILED_FOR);
    let failure = match failed.get(&key) {
        Some(failure) => failure.clone(),
        None => match bounded(inner, facts, host_kernel, place, runtime).await {
            Ok(walls) => return remember(&folder, &path, now, walls),
            // An Engine that is away says nothing of a runtime.
            Err(error @ EngineError::Unreachable(_)) => return Err(error),
            Err(error) => {
                let failure = Failure {
                    since: Instant::now(),
                    why: in_words(&error),
                    transient: error.is_transient(),
                };
                failed.insert(key, failure.clone());
                failure
            }
        },
    };
    let words = format!("no probe of ours could be run in {runtime_name}: {}", failure.why);
    Err(match (stood_before, failure.transient) {
        // Only slow or away: who relied on its walls waits, and gets no weaker ones.
        (true, _) => EngineError::Stumbled(words),
        (false, true) => EngineError::Slow {
            action: "run a probe in a guest's walls",
            after: PATIENCE,
        },
        (false, false) => EngineError::WallMissing(words),
    })
}

/// The error with what it comes from.
fn in_words(error: &EngineError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        words.push_str(&format!(": {deeper}"));
        source = deeper.source();
    }
    words
}

async fn bounded(
    inner: &Inner,
    facts: &EngineFacts,
    host_kernel: &str,
    place: Place,
    runtime: Option<&str>,
) -> Result<Walls, EngineError> {
    let asked = timeout(PATIENCE, ask(inner, facts, host_kernel, place, runtime)).await;
    asked.unwrap_or(Err(EngineError::Slow {
        action: match place {
            Place::Build => "run a probe in a builder's walls",
            Place::Run => "run a probe in a guest's walls",
        },
        after: PATIENCE,
    }))
}

/// Notes what was met, and drops notes that nobody asked for in a day.
fn remember(folder: &Path, path: &Path, since: Timestamp, walls: Walls) -> Result<Walls, EngineError> {
    let met = Met { since, walls };
    record::write(path, &serde_json::to_vec(&met).unwrap_or_default())?;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > FORGOTTEN_AFTER) {
            // What stays is dropped the next time.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(met.walls)
}

/// What a probe's answer depends on: when one of these changes, it counts no more. Of what is asked for it is the
/// text that says so, for it has no other form that is the same each time.
fn key(facts: &EngineFacts, host_kernel: &str, place: Place, runtime: Option<&str>) -> Digest {
    // Every job asks, and the text never changes.
    static ASKED: LazyLock<[Digest; 3]> = LazyLock::new(|| {
        [include_str!("lower.rs"), lower::SECCOMP_BUILDER, lower::SECCOMP_GUEST].map(|text| Digest::of(text.as_bytes()))
    });
    let key = (facts, host_kernel, place, runtime, own::binary_digest(), *ASKED);
    Digest::of(format!("{key:?}").as_bytes())
}

async fn ask(
    inner: &Inner,
    facts: &EngineFacts,
    host_kernel: &str,
    place: Place,
    runtime: Option<&str>,
) -> Result<Walls, EngineError> {
    let own = own::own(inner).await?;
    let parts = lower::Parts {
        image: &own.image,
        tools: Some(&own.tools),
        labels: inner.identity().labels(Kind::Probe, None, 2 * PATIENCE),
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let name = inner.identity().unique_name(Kind::Probe);
    let mut container = Container::arm(&inner.client, &inner.janitor, name.clone());
    let (body, bounds) = match place {
        Place::Build => builder(&parts),
        Place::Run => guest(&parts, &name, runtime),
    };
    let body = lower::with_terminals(body, &name);
    let mut stdio = container.create(body.clone()).await?;
    let told = walls::standing(&body, inner.client.inspect(container.name()).await?, facts, place)?;
    container.start().await?;
    let mut input = stdio.input();
    let feed = async {
        input.write(&Nonce::fresh().line()).await;
        // Not closed: process 1 takes the end of its input for our end.
        input.flush().await;
        Ok(())
    };
    let mut answer = Vec::new();
    let mut complaint = Vec::new();
    stdio
        .converse(feed, |turn| {
            match turn {
                Turn::Said(Piece::Out(bytes)) => answer.extend_from_slice(&bytes),
                Turn::Said(Piece::Err(bytes)) => complaint.extend_from_slice(&bytes),
                Turn::Quiet => {}
            }
            if answer.len().max(complaint.len()) > MAX_ANSWER {
                return Err(EngineError::Broken("a probe of ours says too much".to_owned()));
            }
            Ok(())
        })
        .await?;
    let answer = Answer::read(&String::from_utf8_lossy(&answer));
    if answer.0.is_empty() {
        return Err(EngineError::Broken(format!(
            "a probe in {}'s walls said nothing: {}",
            place.as_str(),
            String::from_utf8_lossy(&complaint).trim()
        )));
    }
    tracing::debug!(place = place.as_str(), runtime, answer = ?answer.0, "walls were probed");
    let walls = judge(told, &answer, &bounds, facts, host_kernel, place);
    // Such a runtime gets a filter that lets more through, because another kernel stands behind it.
    if runtime.is_some_and(lower::is_gvisor) && !walls.proven.contains_key(&Wall::OwnKernel) {
        return Err(EngineError::WallMissing(
            "it has the name of gVisor's and no kernel of its own".to_owned(),
        ));
    }
    Ok(walls)
}

/// What the probe is compared with.
struct Bounds {
    memory: i64,
    pids: i64,
    nano_cpus: i64,
    /// Folders that can be written, and their sizes in bytes.
    folders: Vec<(&'static str, u64)>,
}

impl Bounds {
    fn of(body: &ContainerCreateBody, folders: Vec<(&'static str, u64)>) -> Self {
        let host = body.host_config.clone().unwrap_or_default();
        Self {
            memory: host.memory.unwrap_or_default(),
            pids: host.pids_limit.unwrap_or_default(),
            nano_cpus: host.nano_cpus.unwrap_or_default(),
            folders,
        }
    }

    /// The probe's arguments.
    fn folders(&self) -> impl Iterator<Item = String> {
        self.folders.iter().map(|(folder, _)| (*folder).to_owned())
    }
}

/// A guest that is our probe.
fn guest(parts: &lower::Parts<'_>, data: &str, runtime: Option<&str>) -> (ContainerCreateBody, Bounds) {
    let limits = RunLimits {
        time: PATIENCE,
        ..RunLimits::default()
    };
    let folders = vec![
        ("/data", limits.data.as_u64()),
        ("/tmp", limits.tmp.as_u64()),
        ("/dev/shm", limits.tmp.as_u64()),
    ];
    let mut config = ImageConfig {
        entrypoint: vec![lower::HOLDER.to_owned(), "probe".to_owned()],
        ..ImageConfig::default()
    };
    config.cmd = folders.iter().map(|(folder, _)| (*folder).to_owned()).collect();
    let request = RunRequest {
        attempt: nobody(),
        limits,
        user: lower::NOBODY.to_owned(),
        runtime: runtime.map(str::to_owned),
        inputs: BTreeMap::new(),
        egress: None,
    };
    let mut body = lower::guest(parts, &request, &config, data, None);
    // A job's volume is made with its holder, which labels it; a sweep must know this one too.
    let mounts = body.host_config.iter_mut().flat_map(|host| &mut host.mounts).flatten();
    for options in mounts
        .filter(|mount| mount.source.as_deref() == Some(data))
        .filter_map(|mount| mount.volume_options.as_mut())
    {
        options.labels = Some(parts.labels.clone());
    }
    let bounds = Bounds::of(&body, folders);
    (body, bounds)
}

/// A builder in which our probe runs in buildah's place.
fn builder(parts: &lower::Parts<'_>) -> (ContainerCreateBody, Bounds) {
    let limits = BuildLimits::default();
    let folders = vec![
        ("/var/lib/containers", limits.store.as_u64()),
        ("/out", limits.layers.as_u64() + lower::OUTPUT_EXTRA),
        ("/tmp", 64 << 20),
        ("/dev/shm", 64 << 20),
    ];
    let request = BuildRequest {
        attempt: nobody(),
        dockerfile: String::new(),
        context_tar: Arc::from([]),
        bases: Vec::new(),
        final_base: None,
        stage_steps: Vec::new(),
        stage_on_stage: false,
        limits,
        egress: None,
    };
    let mut body = lower::builder(parts, &request);
    let bounds = Bounds::of(&body, folders);
    let deadline = PATIENCE.as_secs().to_string();
    let init = [lower::HOLDER, "init", "--deadline-s", &deadline, "--"].map(str::to_owned);
    body.entrypoint = Some(init.to_vec());
    let mut command = vec![lower::HOLDER.to_owned(), "probe".to_owned()];
    command.extend(bounds.folders());
    body.cmd = Some(command);
    (body, bounds)
}

/// A probe belongs to no job.
fn nobody() -> AttemptId {
    AttemptId {
        job: JobId::fresh(),
        number: 0,
    }
}

/// What the probe said.
struct Answer(HashMap<String, String>);

impl Answer {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("-", String::as_str)
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).parse().ok()
    }

    /// A set of capabilities that is known to be empty. Older kernels have no ambient ones.
    fn empty(&self, key: &str) -> bool {
        let text = self.text(key);
        (key == "cap_amb" && text == "-") || i64::from_str_radix(text, 16) == Ok(0)
    }

    /// Whether an attempt was made and did not go well.
    fn refused(&self, name: &str) -> bool {
        self.number(&format!("try:{name}")).is_some_and(|number| number != 0)
    }

    /// Whether our filter answered it.
    fn filtered(&self, name: &str) -> bool {
        self.number(&format!("try:{name}")) == Some(EPERM)
    }
}

/// What stands, and how that is known.
fn judge(told: Walls, answer: &Answer, bounds: &Bounds, facts: &EngineFacts, host_kernel: &str, place: Place) -> Walls {
    let kernel = answer.text("kernel");
    let known = !matches!(kernel, "-") && !matches!(host_kernel, "" | "-");
    let own_kernel = place == Place::Run && known && kernel != host_kernel;
    let mut proven = BTreeMap::new();
    let mut seen = |wall: Wall, is: bool| {
        if is {
            proven.insert(wall, Proof::Seen);
        }
    };
    seen(Wall::OwnKernel, own_kernel);
    seen(Wall::UserNamespace, maps_root_away(answer.text("uid_map")));
    let no_namespace = place == Place::Build || (answer.filtered("mount") && answer.filtered("userns"));
    seen(
        Wall::Seccomp,
        answer.number("seccomp") == Some(2)
            && ["packet", "alg", "vsock"].iter().all(|family| answer.filtered(family))
            && no_namespace,
    );
    seen(Wall::NoNewPrivileges, answer.number("no_new_privs") == Some(1));
    let sets = ["cap_eff", "cap_prm", "cap_inh", "cap_bnd", "cap_amb"];
    seen(Wall::NoCapabilities, sets.iter().all(|set| answer.empty(set)));
    // A kernel may look at the rights of a user first; then the mount says it.
    let read_only = answer.number("try:root") == Some(EROFS) || answer.text("root_flag") == "ro";
    seen(Wall::ReadOnlyRoot, answer.refused("root") && read_only);
    let files = [
        "core_pattern",
        "modprobe",
        "sysrq",
        "uevent_helper",
        "mem",
        "kmem",
        "port",
        "kcore",
    ];
    seen(Wall::KernelFiles, files.iter().all(|file| answer.refused(file)));
    seen(Wall::NoNetwork, answer.text("interfaces") == "lo");
    let sizes = bounds.folders.iter().all(|(folder, size)| {
        let found = answer.number(&format!("size:{folder}"));
        // No size at all is 0.
        found.is_some_and(|found| found > 0 && u64::try_from(found).is_ok_and(|found| found <= *size))
    });
    seen(Wall::StoreBound, sizes);
    if !own_kernel {
        seen(Wall::MemoryBound, answer.number("memory") == Some(bounds.memory));
        seen(Wall::PidsBound, answer.number("pids") == Some(bounds.pids));
        let quota = answer.number("cpu_quota").zip(answer.number("cpu_period"));
        // Microseconds: the Engine rounds a little.
        let promised = |(quota, period): (i64, i64)| {
            quota > 0 && quota * 1_000 <= bounds.nano_cpus / 1_000 * period / 1_000 + 1_000_000
        };
        seen(Wall::CpuBound, quota.is_some_and(promised));
    }
    for (wall, is) in [
        (Wall::UserNamespace, facts.user_namespaces),
        (Wall::MemoryBound, facts.memory_limit),
        (Wall::PidsBound, facts.pids_limit),
        (Wall::CpuBound, facts.cpu_quota),
        // gVisor has no such flag to show, and no file system of ours has files that would give any.
        (Wall::NoNewPrivileges, told.no_new_privileges),
        // Its mounts do not all say it; that nothing can be made in `/` was seen.
        (Wall::ReadOnlyRoot, told.read_only_root && answer.refused("root")),
    ] {
        if own_kernel && is {
            proven.entry(wall).or_insert(Proof::Told);
        }
    }
    let mut walls = told;
    // Bytes that a kernel put there; the profile's name ends with its mode in parentheses.
    walls.apparmor = match answer.text("apparmor") {
        "-" => "absent".to_owned(),
        profile => profile.to_owned(),
    };
    walls.user_namespace = proven.contains_key(&Wall::UserNamespace);
    if place == Place::Build {
        walls.kernel = kernel.to_owned();
    }
    walls.proven_by(proven, place)
}

/// Whether 0 inside is another number outside. gVisor shows a map of its own, over everything.
fn maps_root_away(map: &str) -> bool {
    let numbers: Vec<u64> = map.split(':').filter_map(|number| number.parse().ok()).collect();
    matches!(numbers.as_slice(), [0, outside, count] if *outside != 0 && *count < u64::from(u32::MAX))
}

#[cfg(test)]
#[path = "prove/tests.rs"]
mod tests;
