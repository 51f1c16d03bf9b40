//! Our own Docker Engine for development: own socket, data, bridge and user namespaces, so that
//! no test touches what else runs on the machine.

mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::{
    dev::{self, Dev},
    images, packages, sh,
};

/// How long a daemon may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// An Engine that answers.
pub(crate) struct Engine {
    /// `unix://…`, as `DOCKER_HOST` has it.
    pub(crate) host: String,
    /// Started by us, in the dev folder.
    pub(crate) own: bool,
}

impl Engine {
    /// The `docker` command, talking to this Engine and to no other.
    pub(crate) fn docker(&self) -> Command {
        let mut command = sh::command("docker");
        command.arg("--host").arg(&self.host);
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        command
    }

    /// The server's version, if it answers.
    fn version(&self) -> Option<String> {
        let answer = sh::attempt(self.docker().args(["version", "--format", "{{.Server.Version}}"])).ok()?;
        answer
            .status
            .success()
            .then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }
}

/// Where everything of our Engine lies.
struct Place {
    socket: PathBuf,
    data: PathBuf,
    exec: PathBuf,
    pidfile: PathBuf,
    log: PathBuf,
    config: PathBuf,
    bridge: String,
    namespace: String,
}

impl Place {
    fn of(dev: &Dev) -> Self {
        // Users of the containers must be able to walk to the images; a home is often closed to them.
        let suffix = dev.engine.suffix();
        let small = dev.path(folder(dev));
        let big = if dev.is_open() {
            small.clone()
        } else {
            PathBuf::from(format!("/var/lib/seatrial-dev-{}{suffix}", dev.tag()))
        };
        Self {
            socket: small.join("docker.sock"),
            data: big.join("data"),
            exec: big.join("exec"),
            pidfile: small.join("docker.pid"),
            log: small.join("dockerd.log"),
            config: small.join("daemon.json"),
            bridge: format!("st-{}{}", dev.tag(), dev.engine.short_suffix()),
            namespace: format!("seatrial-dev-{}{suffix}", dev.tag()),
        }
    }

    fn engine(&self) -> Engine {
        Engine {
            host: format!("unix://{}", self.socket.display()),
            own: true,
        }
    }

    /// The daemon of the pidfile, if that process lives and is ours.
    fn daemon(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(&self.pidfile).ok()?.trim().parse().ok()?;
        let words = command_line(pid);
        let is_dockerd = words.first().is_some_and(|word| word.ends_with("dockerd"));
        (is_dockerd && words.contains(&self.engine().host)).then_some(pid)
    }

    /// Processes that have this word on their command line. The words asked for hold a path or a
    /// name of this Engine alone.
    fn processes(&self, word: &str) -> Vec<u32> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .filter(|pid| command_line(*pid).iter().any(|found| found == word))
            .collect()
    }
}

/// The folder of the Engine's small files, beneath the dev folder.
fn folder(dev: &Dev) -> String {
    format!("engine{}", dev.engine.suffix())
}

/// The words of a process's command line; none for one that has ended.
fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .split_terminator('\0')
        .map(str::to_owned)
        .collect()
}

fn terminate(pid: u32) -> Result<()> {
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    rustix::process::kill_process(process, Signal::TERM).with_context(|| format!("cannot end process {pid}"))
}

/// Our Engine, if it runs and answers.
pub(crate) fn running(dev: &Dev) -> Option<Engine> {
    let place = Place::of(dev);
    place.daemon()?;
    let engine = place.engine();
    engine.version().is_some().then_some(engine)
}

/// An Engine of the machine: `DOCKER_HOST`, else the usual socket.
pub(crate) fn of_the_machine() -> Option<Engine> {
    let host = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    sh::find("docker")?;
    let engine = Engine { host, own: false };
    engine.version().is_some().then_some(engine)
}

/// Starts our Engine, or gives the one that runs already.
pub(crate) fn up(dev: &Dev) -> Result<Engine> {
    if let Some(engine) = running(dev) {
        eprintln!("The Engine runs already: {}", engine.host);
        return Ok(engine);
    }
    if !cfg!(target_os = "linux") {
        bail!(
            "our own Engine starts on Linux only.\n\
             Install Docker (https://docs.docker.com/get-docker/), start it, and run `make demo`: it uses that one."
        );
    }
    packages::need(
        &[
            packages::DOCKERD,
            packages::DOCKER,
            packages::IP,
            packages::IPTABLES,
            packages::USERADD,
            packages::NEWUIDMAP,
            packages::SETSID,
            packages::UNSHARE,
            packages::PIVOT_ROOT,
        ],
        "the Engine",
    )?;
    if !packages::is_root() {
        bail!(
            "only root can start an Engine with a bridge and user namespaces of its own: \
             run `sudo -E make setup`, or start Docker and run `make demo`, which uses that one"
        );
    }
    dev.create()?;
    dev.folder(folder(dev))?;
    let place = Place::of(dev);
    if place.daemon().is_some() {
        // It lives but does not answer: it may still be starting, so it gets its time first.
        return answering(&place, || place.daemon().is_some())
            .context("an Engine of an earlier run lives but does not answer; `cargo xtask engine down` ends it");
    }
    // What a killed daemon leaves behind would keep the next one from starting: its pidfiles, its
    // socket, its containerd.
    let containerd = place.exec.join("containerd");
    let config = containerd.join("containerd.toml").display().to_string();
    for pid in place.processes(&config) {
        terminate(pid)?;
    }
    if !wait_until(PATIENCE, || place.processes(&config).is_empty()) {
        bail!("containerd of an earlier run does not end");
    }
    for stale in [&place.pidfile, &place.socket, &containerd.join("containerd.pid")] {
        remove_if_there(stale)?;
    }
    let tree = match dev.engine.suite() {
        Some(suite) => Some(tree::prepare(dev, suite)?),
        None => None,
    };
    make_bridge(&place.bridge)?;
    configure(dev, &place)?;
    let mut daemon = start(dev, &place, tree.as_deref())?;
    let engine = answering(&place, || matches!(daemon.try_wait(), Ok(None)))?;
    eprintln!("The Engine is up: {}", engine.host);
    Ok(engine)
}

/// Writes the daemon's configuration: our runtimes, and nothing that this machine has for another Engine.
fn configure(dev: &Dev, place: &Place) -> Result<()> {
    let runtimes = match images::runsc(dev) {
        Ok(runsc) => serde_json::json!({
            "runsc": { "path": runsc, "runtimeArgs": ["--platform=systrap", "--network=none", "--oci-seccomp"] }
        }),
        Err(error) => {
            eprintln!("This Engine has no gVisor: {error:#}");
            serde_json::json!({})
        }
    };
    let mut config = serde_json::json!({ "runtimes": runtimes });
    if dev.engine.has_containerd_store() {
        config["features"] = serde_json::json!({ "containerd-snapshotter": true });
    }
    fs::write(&place.config, config.to_string()).with_context(|| format!("cannot write {}", place.config.display()))
}

/// Starts the daemon: the machine's, or the one of a tree.
fn start(dev: &Dev, place: &Place, tree: Option<&Path>) -> Result<Child> {
    let log = fs::File::create(&place.log).with_context(|| format!("cannot write {}", place.log.display()))?;
    // A session of its own: it outlives our terminal and takes no Ctrl-C.
    let mut command = sh::command("setsid");
    match tree {
        Some(tree) => {
            let big = place.data.parent().unwrap_or(dev.root());
            tree::enter(&mut command, tree, [dev.root(), big])?;
            command.arg("dockerd");
        }
        None => {
            command.arg(sh::find("dockerd").context("dockerd is missing")?);
        }
    }
    command
        .arg("--config-file")
        .arg(&place.config)
        .arg("--host")
        .arg(&place.engine().host)
        .arg("--data-root")
        .arg(&place.data)
        .arg("--exec-root")
        .arg(&place.exec)
        .arg("--pidfile")
        .arg(&place.pidfile)
        // Never `--bridge none`: a second daemon with it removes the docker0 of the first.
        .args(["--bridge", &place.bridge])
        // A containerd of the system may serve us too; there we keep to ourselves.
        .args(["--containerd-namespace", &place.namespace])
        .args([
            "--containerd-plugins-namespace",
            &format!("{}-plugins", place.namespace),
        ])
        // No rule and no switch of the machine's network is touched.
        .args(["--iptables=false", "--ip-masq=false", "--ip-forward=false"]);
    if dev.engine.has_user_namespaces() {
        command.arg("--userns-remap=default");
    }
    command
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start dockerd")
}

/// Waits for the first answer, as long as the daemon lives.
fn answering(place: &Place, mut lives: impl FnMut() -> bool) -> Result<Engine> {
    let engine = place.engine();
    wait_until(PATIENCE, || engine.version().is_some() || !lives());
    if engine.version().is_some() {
        return Ok(engine);
    }
    let log = fs::read(&place.log).unwrap_or_default();
    bail!(
        "the Engine gave no answer; the end of {}:\n{}",
        place.log.display(),
        sh::tail(&log)
    )
}

/// Stops our Engine and removes its bridge. Containers go first: none outlives its Engine.
pub(crate) fn down(dev: &Dev) -> Result<()> {
    let place = Place::of(dev);
    if place.daemon().is_none() && !place.processes(&place.namespace).is_empty() {
        eprintln!("The Engine was killed and left containers behind; it is started once more to end them.");
        up(dev)?;
    }
    let Some(pid) = place.daemon() else {
        eprintln!("No Engine of {} runs.", dev.root().display());
        return tidy(&place);
    };
    if let Some(engine) = running(dev) {
        let ids = sh::output(engine.docker().args(["ps", "--all", "--quiet", "--no-trunc"]))?;
        if !ids.trim().is_empty() {
            sh::output(
                engine
                    .docker()
                    .args(["rm", "--force", "--volumes"])
                    .args(ids.split_whitespace()),
            )?;
        }
    }
    terminate(pid)?;
    if !wait_until(PATIENCE, || place.daemon().is_none()) {
        bail!("the Engine (process {pid}) did not end within {} s", PATIENCE.as_secs());
    }
    tidy(&place)?;
    eprintln!("The Engine is down.");
    Ok(())
}

/// Removes what an ended daemon leaves: bridge, socket, pidfile, mounts.
fn tidy(place: &Place) -> Result<()> {
    if sh::find("ip").is_some() && has_bridge(&place.bridge) {
        sh::output(sh::command("ip").args(["link", "delete", &place.bridge, "type", "bridge"]))?;
    }
    for stale in [&place.pidfile, &place.socket] {
        remove_if_there(stale)?;
    }
    for root in [&place.exec, &place.data] {
        for mount in dev::mounts_below(root)? {
            sh::output(sh::command("umount").arg(&mount))?;
        }
    }
    Ok(())
}

/// Says what runs, for people.
pub(crate) fn status(dev: &Dev) -> Result<()> {
    let place = Place::of(dev);
    let Some(pid) = place.daemon() else {
        println!("own Engine    {} is down ({})", dev.engine.name(), dev.root().display());
        println!("start it with `cargo xtask engine up`");
        return Ok(());
    };
    let engine = place.engine();
    println!("own Engine    {} ({})", engine.host, dev.engine.name());
    println!("process       {pid}");
    println!(
        "version       {}",
        engine.version().unwrap_or_else(|| "does not answer".to_owned())
    );
    println!("data          {}", place.data.display());
    println!("log           {}", place.log.display());
    println!("bridge        {}", place.bridge);
    if engine.version().is_some() {
        let count = |args: &[&str]| sh::output(engine.docker().args(args)).map(|text| text.lines().count());
        println!("containers    {}", count(&["ps", "--all", "--quiet"])?);
        println!("images        {}", count(&["images", "--quiet"])?);
        println!("volumes       {}", count(&["volume", "ls", "--quiet"])?);
    }
    Ok(())
}

/// Volumes of the product that outlive jobs on purpose: bases, their scans, databases, tools.
const LASTING: [&str; 4] = ["st-base-", "st-scan-", "st-db-", "st-tools-"];

/// Fails when a job left something on our Engine.
pub(crate) fn leftovers(dev: &Dev) -> Result<()> {
    let engine = running(dev).context("our Engine is down")?;
    let list = |args: &[&str]| sh::output(engine.docker().args(args));
    let mut left = Vec::new();
    for name in list(&["ps", "--all", "--format", "{{.Names}}"])?.lines() {
        left.push(format!("container {name}"));
    }
    let volumes = list(&["volume", "ls", "--format", "{{.Name}}"])?;
    let (lasting, passing): (Vec<&str>, Vec<&str>) = volumes
        .lines()
        .partition(|name| LASTING.iter().any(|kind| name.starts_with(kind)));
    left.extend(passing.iter().map(|name| format!("volume {name}")));
    for name in list(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"])?.lines() {
        left.push(format!("network {name}"));
    }
    let images = list(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    left.extend(
        images
            .lines()
            .filter(|name| name.starts_with("seatrial/job"))
            .map(|name| format!("image {name}")),
    );
    println!("kept on purpose: {}", lasting.join(" "));
    if !left.is_empty() {
        bail!("left behind: {}", left.join(", "));
    }
    println!("left behind: nothing");
    Ok(())
}

/// Removes the Engine's data, where it lies outside the dev folder. The Engine is down.
pub(crate) fn remove_data(dev: &Dev) -> Result<()> {
    let place = Place::of(dev);
    for folder in [&place.data, &place.exec] {
        if let Some(mount) = dev::mounts_below(folder)?.first() {
            bail!("{} is still mounted; nothing was removed", mount.display());
        }
    }
    match place.data.parent() {
        Some(parent) if !parent.starts_with(dev.root()) && parent.exists() => {
            fs::remove_dir_all(parent).with_context(|| format!("cannot remove {}", parent.display()))
        }
        _ => Ok(()),
    }
}

fn has_bridge(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// A bridge on a subnet that no interface of the machine has. One that an earlier run left is used.
fn make_bridge(name: &str) -> Result<()> {
    if has_bridge(name) {
        sh::output(sh::command("ip").args(["link", "delete", name, "type", "bridge"]))
            .context("a bridge of an earlier run cannot be removed")?;
    }
    let taken = sh::output(sh::command("ip").args(["-4", "-oneline", "addr", "show"]))?;
    let free = (64..=127)
        .rev()
        .find(|third| !taken.contains(&format!(" 172.30.{third}.")))
        .context("no subnet of 172.30.64.0/18 is free for the Engine's bridge")?;
    let address = format!("172.30.{free}.1/24");
    for args in [
        &["link", "add", name, "type", "bridge"] as &[&str],
        &["addr", "add", &address, "dev", name],
        &["link", "set", name, "up"],
    ] {
        sh::output(sh::command("ip").args(args))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Asks ten times a second: a daemon tells nobody when it is ready.
fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
