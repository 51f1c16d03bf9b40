//! `scan`: process 1 of the scanner.
//!
//! The cache of a base is copied before it is used, because its keys come from the config of a
//! guest: no two jobs write to the same one.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    EXIT_DEADLINE,
    args::Args,
    beneath,
    child::{self, DEFAULT_PATH, Job},
    deadline::Deadline,
    life, spool,
    wire::{Broken, Name, header, length, protocol, surroundings, word},
};

pub(super) const OPTIONS: &[&str] = &[
    "--deadline-s",
    "--idle-s",
    "--cache",
    "--db",
    "--base-fill",
    "--program",
    "--tmp",
];

const MAX_COMMANDS: usize = 8;

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    let after = args.required_deadline()?;
    life::wait_for_job(args.idle()?)?;
    let deadline = Deadline::start(after, std::time::Duration::ZERO);
    walk(args, &deadline).map_err(|broken| match deadline.passed() {
        true => Broken::Deadline,
        false => broken,
    })
}

fn walk(args: &Args, deadline: &Deadline) -> Result<i32, Broken> {
    let tmp = args.path("--tmp").unwrap_or_else(|| "/tmp".into());
    let program = args.text("--program").unwrap_or("/usr/local/bin/trivy".as_ref());
    let groups: Vec<&[OsString]> = args.operands.split(|word| word == "--next").collect();
    if groups.len() > MAX_COMMANDS || groups.iter().any(|group| group.is_empty()) {
        return Err(Broken::Usage("scan runs 1 to 8 commands".to_owned()));
    }
    prepare(args, &tmp)?;
    receive(&mut io::stdin().lock(), &tmp)?;
    for group in groups {
        let command = [&[program.to_owned()], group].concat();
        let code = scan(&command, &tmp, deadline)?;
        if code != 0 {
            return Ok(code);
        }
    }
    if let Some(target) = args.path("--base-fill") {
        publish(&cache_file(&tmp.join("c")), &cache_file(&target)).map_err(surroundings("keep the cache"))?;
    }
    Ok(0)
}

fn cache_file(root: &Path) -> PathBuf {
    root.join("fanal/fanal.db")
}

fn prepare(args: &Args, tmp: &Path) -> Result<(), Broken> {
    let cache = tmp.join("c");
    let made = || {
        fs::create_dir_all(cache.join("fanal"))?;
        fs::create_dir_all(tmp.join("oci"))?;
        let db = args.path("--db").unwrap_or_else(|| "/db".into());
        let java = db.with_file_name("java-db");
        if java.try_exists()? {
            std::os::unix::fs::symlink(java, cache.join("java-db"))?;
        }
        std::os::unix::fs::symlink(db, cache.join("db"))?;
        let prepared = args.path("--cache").map(|root| cache_file(&root));
        match prepared.map(|file| fs::copy(file, cache_file(&cache))) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // The copy has the mode of the original, which may be read-only.
            Some(Ok(_)) => fs::set_permissions(cache_file(&cache), fs::Permissions::from_mode(0o600))?,
            None | Some(Err(_)) => {}
        }
        Ok(())
    };
    made().map_err(surroundings("prepare the scanner"))
}

/// Takes everything up to the end mark.
fn receive(input: &mut impl BufRead, tmp: &Path) -> Result<(), Broken> {
    let root = beneath::directory(&tmp.join("oci"))?;
    loop {
        let header = header(input)?;
        match word(&header) {
            (b".", None) => return Ok(()),
            (b"T", Some(size)) => {
                spool::at(input, &tmp.join("base.tar"), length(size, u64::MAX)?)?;
            }
            (b"F", Some(rest)) => {
                let (size, name) = word(rest);
                let name = name.ok_or_else(|| protocol("F without a name"))?;
                let size = length(size, u64::MAX)?;
                spool::file(input, &root, &Name::parse(name)?, 0o600, size)?;
            }
            _ => return Err(protocol("no such frame for a scanner")),
        }
    }
}

/// Runs one command and sends what it printed, then its code.
fn scan(command: &[OsString], tmp: &Path, deadline: &Deadline) -> Result<i32, Broken> {
    let spooled = tmp.join("printed");
    let failed = || surroundings("spool the output");
    let stdout = fs::File::create_new(&spooled).map_err(failed())?;
    let job = Job {
        command,
        directory: None,
        environment: Some(environment(tmp)),
        stdout: Some(stdout.into()),
        stderr: None,
        user: None,
    };
    let end = child::run(job, deadline)?;
    if end.late {
        return Ok(EXIT_DEADLINE);
    }
    let mut printed = fs::File::open(&spooled).map_err(failed())?;
    fs::remove_file(&spooled).map_err(failed())?;
    let size = printed.metadata().map_err(failed())?.len();
    let mut output = io::stdout().lock();
    let sent = writeln!(output, "ST1 O {size}")
        .and_then(|()| io::copy(&mut printed, &mut output))
        .and_then(|copied| {
            // A frame that is shorter than its header must not look like an answer.
            if copied == size {
                writeln!(output, "ST1 X {}", end.code)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        })
        .and_then(|()| output.flush());
    sent.map_err(surroundings("send the output"))?;
    Ok(end.code)
}

fn environment(tmp: &Path) -> Vec<(OsString, OsString)> {
    let ours = [
        ("PATH", OsString::from(DEFAULT_PATH)),
        ("HOME", tmp.into()),
        ("TMPDIR", tmp.into()),
    ];
    let ours = ours.map(|(name, value)| (OsString::from(name), value));
    std::env::vars_os().chain(ours).collect()
}

fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let directory = to.parent().unwrap_or(to);
    fs::create_dir_all(directory)?;
    let fresh = directory.join(".fresh");
    fs::copy(from, &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, to)?;
    fs::File::open(directory)?.sync_all()
}
