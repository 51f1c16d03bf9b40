//! `fill`: process 1 of the container that makes the read-only store of one base.
//!
//! It is trusted with a writable volume because its input is an allow-listed base, and nothing in
//! it is executed.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::build::environment;
use crate::{
    EXIT_DEADLINE,
    args::Args,
    child::{self, Job},
    deadline::Deadline,
    report::Report,
    spool,
    wire::{Broken, header, is_sha256, length, nonce, protocol, surroundings, word},
};

pub(super) const OPTIONS: &[&str] = &["--deadline-s", "--store", "--buildah", "--own"];

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    let deadline = Deadline::start(args.required_deadline()?, std::time::Duration::ZERO);
    walk(args, &deadline).map_err(|broken| match deadline.passed() {
        true => Broken::Deadline,
        false => broken,
    })
}

fn walk(args: &Args, deadline: &Deadline) -> Result<i32, Broken> {
    let store = args.path("--store").unwrap_or_else(|| "/base".into());
    let own = args.path("--own").unwrap_or_else(|| "/run/seatrial".into());
    let tmp = store.join(".seatrial-tmp");
    prepare(&own, &tmp)?;
    let mut input = io::stdin().lock();
    let nonce = nonce(&mut input)?;
    let archive = tmp.join("base.tar");
    match word(&header(&mut input)?) {
        (b"T", Some(size)) => spool::at(&mut input, &archive, length(size, u64::MAX)?)?,
        _ => return Err(protocol("fill takes one T frame")),
    }
    let printed = tmp.join("id");
    let stdout = fs::File::create_new(&printed).map_err(surroundings("make a file"))?;
    let job = Job {
        command: &buildah(args, &store, &own, &archive),
        directory: None,
        environment: Some(environment(&own.join("storage.conf"), &tmp)),
        stdout: Some(stdout.into()),
        stderr: None,
        user: None,
    };
    let end = child::run(job, deadline)?;
    let id = fs::read(&printed).map_err(surroundings("read the id"))?;
    fs::remove_dir_all(&tmp).map_err(surroundings("tidy the store"))?;
    if end.code == 0 && !end.late {
        let opened = fs::File::open(&store).map_err(surroundings("open the store"))?;
        rustix::fs::syncfs(&opened).map_err(|error| surroundings("sync")(error.into()))?;
        let id = id.trim_ascii();
        if !is_sha256(id) {
            return Err(Broken::Surroundings("buildah printed no id".to_owned()));
        }
        let mut output = io::stdout().lock();
        output
            .write_all(&[id, b"\n"].concat())
            .and_then(|()| output.flush())
            .map_err(surroundings("answer"))?;
    }
    Report::of(&nonce, &end).send()?;
    Ok(if end.late { EXIT_DEADLINE } else { 0 })
}

fn prepare(own: &Path, tmp: &Path) -> Result<(), Broken> {
    let made = || {
        fs::create_dir_all(own)?;
        // A filler that was killed may have left its own.
        match fs::remove_dir_all(tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir(tmp)?;
        fs::write(own.join("storage.conf"), "[storage]\ndriver = \"overlay\"\n")
    };
    made().map_err(surroundings("prepare the filler"))
}

fn buildah(args: &Args, store: &Path, own: &Path, archive: &Path) -> Vec<OsString> {
    let mut source = OsString::from("docker-archive:");
    source.push(archive);
    let runtime: PathBuf = own.join("fill");
    vec![
        args.text("--buildah").unwrap_or("buildah".as_ref()).to_owned(),
        "--root".into(),
        store.into(),
        "--runroot".into(),
        runtime.into(),
        "--storage-driver".into(),
        "overlay".into(),
        "pull".into(),
        "--quiet".into(),
        source,
    ]
}
