//! `build`: process 1 of a throw-away builder.
//!
//! # Who may speak
//! The guest's commands run in our pid namespace, as a root of their own. They get neither a
//! stream of the container (buildah writes to a pipe of ours) nor the time after buildah's end
//! (everything is killed before the output is read). What is sent is hostile all the same: the
//! engine checks every byte of it.
//!
//! # When buildah starts
//! At once, before there is a job: its Dockerfile is a named pipe, which it opens when it has its user namespace and its
//! stores. A builder that stands ready has those three starts of a program of 33 MB behind it.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, PipeReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, Mode};

use crate::{
    EXIT_DEADLINE,
    args::Args,
    child::{self, DEFAULT_PATH, Job, Started},
    deadline::Deadline,
    egress::{self, Tunnel},
    life,
    report::Report,
    wire::{Broken, body, header, is_sha256, length, nonce, protocol, surroundings, word},
};

mod output;
mod space;

pub(super) const OPTIONS: &[&str] = &[
    "--deadline-s",
    "--idle-s",
    "--max-out",
    "--under",
    "--buildah",
    "--egress",
];

const MAX_DOCKERFILE: u64 = 4 << 20;
const MAX_BASE_LAYERS: usize = 2000;
/// Base stores that one job may stand on.
const MAX_BASES: usize = 64;

/// Where everything stands. Below `/`, except in tests.
pub(super) struct Places {
    own: PathBuf,
    tools: PathBuf,
    context: PathBuf,
    output: PathBuf,
    output_volume: PathBuf,
    store: PathBuf,
    bases: PathBuf,
    runtime: PathBuf,
}

impl Places {
    fn under(root: &Path) -> Self {
        Self {
            own: root.join("run/seatrial"),
            tools: root.join(".seatrial"),
            context: root.join("ctx"),
            output: root.join("out/oci"),
            output_volume: root.join("out"),
            store: root.join("var/lib/containers"),
            bases: root.join("base"),
            runtime: root.join("run/containers/storage"),
        }
    }

    fn storage_conf(&self) -> PathBuf {
        self.own.join("storage.conf")
    }

    fn dockerfile(&self) -> PathBuf {
        self.own.join("Dockerfile")
    }

    fn blobs(&self) -> PathBuf {
        self.output.join("blobs/sha256")
    }
}

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    let after = args.required_deadline()?;
    let max_out = args
        .number("--max-out", u64::MAX)?
        .ok_or_else(|| Broken::Usage("--max-out is missing".to_owned()))?;
    let places = Places::under(&args.path("--under").unwrap_or_else(|| "/".into()));
    prepare(&places)?;
    let buildah = Buildah::start(args, &places)?;
    life::wait_for_job(args.idle()?)?;
    let deadline = Deadline::start(after, Duration::ZERO);
    walk(buildah, &places, max_out, &deadline).map_err(|broken| match deadline.passed() {
        true => Broken::Deadline,
        false => broken,
    })
}

fn walk(buildah: Buildah, places: &Places, max_out: u64, deadline: &Deadline) -> Result<i32, Broken> {
    let began = Instant::now();
    let mut input = io::stdin().lock();
    let nonce = nonce(&mut input)?;
    let (dockerfile, placeholders) = receive(&mut input, places)?;
    drop(input);
    let tunnel = buildah.tunnel.clone();
    life::hold(deadline, tunnel.as_ref())?;
    let watch = space::Watch::start(&places.store, &places.output_volume);
    let end = buildah.build(places.dockerfile(), dockerfile, began, deadline)?;
    let lowest = watch.stop();
    let spoilt = remove(&placeholders);

    let mut report = Report::of(&nonce, &end);
    lowest.tell(&mut report);
    if end.late {
        report.send()?;
        return Ok(EXIT_DEADLINE);
    }
    if let Some(tunnel) = tunnel {
        tunnel.close();
    }
    let listed = output::list(&places.output, max_out)?;
    if end.code == 0 && !listed.too_large {
        output::send(&listed, &mut io::stdout().lock())?;
    }
    report.add("out_files", listed.files.len());
    report.add("out_bytes", listed.bytes);
    report.add("out_skipped", listed.skipped + spoilt);
    report.add("out_too_large", u8::from(listed.too_large));
    report.send()?;
    Ok(0)
}

/// The whole command line.
fn command(args: &Args, places: &Places) -> Vec<OsString> {
    let program = args.text("--buildah").unwrap_or("buildah".as_ref());
    let mut command: Vec<OsString> = vec![program.to_owned()];
    // chroot isolation knows no other network; the container's own is empty.
    let fixed = ["bud", "--pull-never", "--isolation", "chroot", "--network", "host"];
    command.extend(fixed.map(OsString::from));
    let mut profile = OsString::from("seccomp=");
    profile.push(places.tools.join(super::install::STEP_NAME));
    command.extend(["--security-opt".into(), profile]);
    command.extend(args.operands.iter().cloned());
    command.extend(["-f".into(), places.dockerfile().into_os_string()]);
    let mut target = OsString::from("oci:");
    target.push(&places.output);
    target.push(":1");
    command.extend(["-t".into(), target, places.context.clone().into_os_string()]);
    command
}

fn prepare(places: &Places) -> Result<(), Broken> {
    let made = || {
        fs::create_dir_all(&places.own)?;
        fs::create_dir_all(&places.context)?;
        fs::create_dir_all(places.blobs())?;
        fs::create_dir_all(places.store.join("tmp"))?;
        fs::write(places.output.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs::write(places.storage_conf(), storage_conf(places)?)?;
        rustix::fs::mkfifoat(CWD, places.dockerfile(), Mode::RUSR | Mode::WUSR).map_err(io::Error::from)
    };
    made().map_err(surroundings("prepare the builder"))
}

/// The base stores are read by buildah and never written: they are mounted read-only.
fn storage_conf(places: &Places) -> io::Result<String> {
    let mut bases = Vec::new();
    for index in 0..MAX_BASES {
        let base = places.bases.join(index.to_string());
        if base.try_exists()? {
            bases.push(format!("\"{}\"", base.display()));
        }
    }
    Ok(format!(
        "[storage]\ndriver = \"overlay\"\nrunroot = \"{}\"\ngraphroot = \"{}\"\n\
         [storage.options]\nadditionalimagestores = [{}]\n",
        places.runtime.display(),
        places.store.join("storage").display(),
        bases.join(", "),
    ))
}

/// Takes everything up to `G`: the Dockerfile, and the placeholders that it made.
fn receive(input: &mut impl BufRead, places: &Places) -> Result<(Vec<u8>, Vec<PathBuf>), Broken> {
    let mut placeholders = Vec::new();
    let (mut dockerfile, mut context) = (None, false);
    loop {
        let header = header(input)?;
        match word(&header) {
            (b"G", None) => break,
            (b"D", Some(size)) if dockerfile.is_none() => {
                let mut text = Vec::new();
                body(input, &mut text, length(size, MAX_DOCKERFILE)?)?;
                dockerfile = Some(text);
            }
            (b"C", Some(size)) if !context => {
                context = true;
                unpack(input, &places.context, length(size, u64::MAX)?)?;
            }
            (b"B", Some(digest)) if is_sha256(digest) => {
                if placeholders.len() == MAX_BASE_LAYERS {
                    return Err(protocol("too many base layers"));
                }
                let name = std::str::from_utf8(digest).unwrap_or_default();
                let path = places.blobs().join(name);
                fs::write(&path, b"placeholder").map_err(surroundings("write a placeholder"))?;
                placeholders.push(path);
            }
            _ => return Err(protocol("no such frame for a builder, or given twice")),
        }
    }
    let dockerfile = dockerfile.ok_or_else(|| protocol("the Dockerfile is missing"))?;
    Ok((dockerfile, placeholders))
}

/// The tar is written by the engine from checked entries, so a plain `tar` may read it.
fn unpack(input: &mut impl BufRead, target: &Path, size: u64) -> Result<(), Broken> {
    if size == 0 {
        return Ok(());
    }
    let mut tar = Command::new("tar")
        .env("PATH", DEFAULT_PATH)
        .args(["x", "-C"])
        .arg(target)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(surroundings("start tar"))?;
    let fed = match tar.stdin.take() {
        Some(mut pipe) => body(input, &mut pipe, size),
        None => Ok(()),
    };
    let status = tar.wait().map_err(surroundings("wait for tar"))?;
    fed?;
    if status.success() {
        Ok(())
    } else {
        Err(Broken::Surroundings("the context cannot be unpacked".to_owned()))
    }
}

/// buildah, which runs and waits for its Dockerfile.
struct Buildah {
    started: Started,
    /// What it and its steps print.
    printed: PipeReader,
    tunnel: Option<Tunnel>,
}

impl Buildah {
    fn start(args: &Args, places: &Places) -> Result<Self, Broken> {
        let (tunnel, port) = Tunnel::asked(args)?.unzip();
        let (printed, writer) = io::pipe().map_err(surroundings("make a pipe"))?;
        let twin = writer.try_clone().map_err(surroundings("make a pipe"))?;
        let mut environment = environment(&places.storage_conf(), &places.store.join("tmp"));
        // buildah hands these on to each RUN, and puts them into no image.
        environment.extend(port.into_iter().flat_map(egress::variables));
        let started = child::start(Job {
            command: &command(args, places),
            directory: None,
            environment: Some(environment),
            stdout: Some(writer.into()),
            stderr: Some(twin.into()),
            user: None,
        })?;
        Ok(Self {
            started,
            printed,
            tunnel,
        })
    }

    fn build(
        self,
        pipe: PathBuf,
        dockerfile: Vec<u8>,
        began: Instant,
        deadline: &Deadline,
    ) -> Result<child::End, Broken> {
        // A buildah that failed before never opens the pipe: this thread ends with us, and its end tells why.
        thread::spawn(move || {
            let opened = fs::OpenOptions::new().write(true).open(pipe);
            opened.and_then(|mut pipe| pipe.write_all(&dockerfile))
        });
        let printed = self.printed;
        let forward = thread::spawn(move || forward(printed));
        let end = self.started.wait(began, deadline);
        // Every process that could hold the other end is dead, so this ends too.
        let _ = forward.join();
        end
    }
}

/// What buildah is told, and nothing of what the container's image says.
pub(super) fn environment(storage_conf: &Path, tmp: &Path) -> Vec<(OsString, OsString)> {
    [
        ("PATH", OsString::from(DEFAULT_PATH)),
        ("HOME", "/root".into()),
        ("TMPDIR", tmp.into()),
        ("CONTAINERS_STORAGE_CONF", storage_conf.into()),
        // With pivot_root buildah remounts the root that it leaves, which a read-only root does not
        // allow; and ours must be read-only, for what a step reaches through /proc would else be
        // the host's disk without a bound. With chroot a step comes out into this container, as
        // through /proc; in exchange the kernel refuses user namespaces to who is in a chroot.
        ("BUILDAH_NOPIVOT", "1".into()),
        // For each step buildah starts itself eight times, for milliseconds of which the first collections of garbage are a
        // sixth (`docs/BENCHMARKS.md`). The bound is where it collects as ever. Steps do not see these.
        ("GOGC", "400".into()),
        ("GOMEMLIMIT", "64MiB".into()),
    ]
    .map(|(name, value)| (OsString::from(name), value))
    .to_vec()
}

/// Copies what buildah and its steps print. When nobody reads us the rest is thrown away, so that
/// the build ends.
fn forward(mut from: PipeReader) {
    let mut chunk = vec![0; 1 << 16];
    let mut listening = true;
    while let Ok(size @ 1..) = from.read(&mut chunk) {
        let mut stderr = io::stderr().lock();
        listening = listening && stderr.write_all(&chunk[..size]).is_ok();
    }
}

/// Those that are no longer what was put there, by a step, are told like anything else that is no part of a layout.
fn remove(placeholders: &[PathBuf]) -> u64 {
    let spoilt = |path: &&PathBuf| fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
    placeholders.iter().filter(spoilt).count() as u64
}
