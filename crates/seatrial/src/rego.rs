//! The operator's checks in Rego: reading their files, and a process of this binary for each judged file.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use rustix::fs::{Mode, OFlags};
use seatrial_core::finding::escape_untrusted;
use seatrial_dockerfile::Parsed;
use seatrial_pipeline::admission::Checks;
use seatrial_policy::{
    Checked, Policy, Rego,
    rego::{self, MAX_BYTES, MAX_TEXTS},
};
use seatrial_rego::{Bounds, child::run, findings, input, process::ask, wire::Request};

/// Most entries of folders that are looked at for one entry of `rego.files`.
const MAX_SEEN: usize = 10_000;
/// What checks are tried on when a policy is checked: they must at least get through this.
const SAMPLE: &str = "FROM scratch AS a\nCOPY --chown=1:1 a b /c/\nENV a=b\nUSER 1000\nCMD [\"/c/a\"]\n";

/// Works checks out in a process for each file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processes;

impl Checks for Processes {
    fn check(&self, rego: &Rego, parsed: &Parsed) -> Checked {
        match results(rego, parsed) {
            Ok(hits) => Checked::Found(findings::findings(hits, parsed)),
            Err(why) => Checked::Failed(why),
        }
    }
}

/// Tries the checks of a policy on a small file, so that what does not compile is told before a guest meets it.
pub(crate) fn try_out(policy: &Policy) -> Result<()> {
    if policy.rego.is_on()
        && let Err(why) = results(&policy.rego, &seatrial_dockerfile::parse(SAMPLE.as_bytes()))
    {
        bail!("the checks of [rego] cannot be used\n{}", escape_untrusted(&why));
    }
    Ok(())
}

fn results(rego: &Rego, parsed: &Parsed) -> Result<Vec<seatrial_rego::Hit>, String> {
    if rego.texts.is_empty() {
        return Err("rego.files names no file of checks".to_owned());
    }
    let request = Request {
        texts: rego.texts.clone(),
        form: rego.form,
        namespaces: rego.namespaces.clone(),
        input: input::input(rego.form, parsed),
    };
    let bounds = Bounds {
        deadline: rego.deadline,
        memory: rego.memory.as_u64(),
    };
    let _place = Place::taken();
    ask(&request, bounds).map_err(|failure| failure.to_string())
}

/// How many files are checked now. A job that is cancelled leaves its process behind until the deadline: more than
/// there are processors would only make each slower.
static BUSY: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// One of the files that are checked now.
struct Place;

impl Place {
    fn taken() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let busy = BUSY.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = BUSY
            .1
            .wait_while(busy, |busy| *busy >= most)
            .unwrap_or_else(PoisonError::into_inner);
        *busy += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *BUSY.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        BUSY.1.notify_one();
    }
}

/// Is the process of [`Processes`].
pub(crate) fn child(millis: u64, memory: u64) -> Result<u8> {
    run(Bounds {
        deadline: Duration::from_millis(millis),
        memory,
    })?;
    Ok(0)
}

/// Reads what an entry of `rego.files` names: a file, or those of a folder that end with `.rego`, tests left out; named
/// as they are seen from the policy.
/// The entry itself may be a link, since the operator wrote it; in a folder no link is followed.
pub(crate) fn read(policy: &str, entry: &str) -> Result<Vec<rego::Text>, String> {
    if entry.is_empty() {
        return Err("an entry of rego.files is empty".to_owned());
    }
    let beside = Path::new(policy).parent().unwrap_or(Path::new(""));
    let path = beside.join(entry);
    let cannot = |path: &Path, why: &dyn std::fmt::Display| format!("{} cannot be read: {why}", path.display());
    let kind = fs::metadata(&path).map_err(|why| cannot(&path, &why))?;
    let paths = if kind.is_dir() {
        let found = below(&path)?;
        if found.is_empty() {
            return Err(format!("{} holds no file that ends with .rego", path.display()));
        }
        found
    } else if is_checks(&path) {
        vec![path.canonicalize().map_err(|why| cannot(&path, &why))?]
    } else {
        return Err(format!(
            "{} is neither a folder nor a file that ends with .rego",
            path.display()
        ));
    };
    let mut left = MAX_BYTES;
    let mut texts = Vec::new();
    for found in paths {
        let bytes = plain(&found, left).map_err(|why| cannot(&found, &why))?;
        left = left
            .checked_sub(bytes.len())
            .ok_or_else(|| format!("{} has more than {MAX_BYTES} bytes", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| cannot(&found, &"it is not UTF-8"))?;
        let named = if kind.is_dir() { &found } else { &path };
        // Authors read the name in findings: where the operator keeps his policy is not for them.
        let name = named.strip_prefix(beside).unwrap_or(named).display().to_string();
        texts.push(rego::Text { name, text });
    }
    Ok(texts)
}

/// Of a file that is no link, at most so many bytes and one more.
fn plain(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        let cannot = |why: std::io::Error| format!("the folder {} cannot be read: {why}", folder.display());
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            seen += 1;
            if seen > MAX_SEEN || found.len() > MAX_TEXTS {
                return Err(format!("{} holds too much; name a smaller folder", folder.display()));
            }
            let kind = entry.file_type().map_err(cannot)?;
            if kind.is_symlink() {
                // Left out, it would be a check, or a folder of them, that nobody misses.
                return Err(format!(
                    "{} is a link, which is not followed in a folder",
                    entry.path().display()
                ));
            } else if kind.is_dir() {
                open.push(entry.path());
            } else if is_checks(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_checks(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".rego") && !name.ends_with("_test.rego")
}
