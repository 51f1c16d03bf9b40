//! The ring's file: never through a link, never shared with others, never half-written.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::RingError;

/// A ring is a few hundred bytes.
const LONGEST_FILE: u64 = 64 << 10;

/// Which state of a file: each change is a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

fn stamp_of(meta: &fs::Metadata) -> Stamp {
    Stamp {
        inode: meta.ino(),
        changed: (meta.ctime(), meta.ctime_nsec()),
        bytes: meta.len(),
    }
}

pub(super) fn stamp(path: &Path) -> io::Result<Stamp> {
    fs::symlink_metadata(path).map(|meta| stamp_of(&meta))
}

/// Opens the file if only we can read and change it.
pub(super) fn open(path: &Path) -> Result<File, RingError> {
    let unsafe_because = |why: String| RingError::Unsafe {
        path: path.to_owned(),
        why,
    };
    // NONBLOCK: a pipe in its place would hold us up.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(unsafe_because("is a link: name the file itself".into()));
        }
        Err(source) => return Err(failed("open", path)(source)),
    };
    let meta = file.metadata().map_err(failed("open", path))?;
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() {
        return Err(unsafe_because("is not a file".into()));
    }
    if meta.uid() != us {
        let owner = meta.uid();
        return Err(unsafe_because(format!(
            "belongs to user {owner}, and this is user {us}"
        )));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(unsafe_because(format!(
            "is open to others (mode {mode:03o}): chmod 600"
        )));
    }
    Ok(file)
}

/// Opens the file and keeps other changers out until it is dropped.
pub(super) fn open_locked(path: &Path) -> Result<File, RingError> {
    let busy = || RingError::Busy { path: path.to_owned() };
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
    }
    // Somebody may have put another file in its place between the opening and the lock.
    let ours = file.metadata().map_err(failed("lock", path))?;
    let there = fs::symlink_metadata(path).map_err(failed("lock", path))?;
    if ours.ino() != there.ino() {
        return Err(busy());
    }
    Ok(file)
}

pub(super) fn read(path: &Path, file: &File) -> Result<(Zeroizing<String>, Stamp), RingError> {
    let meta = file.metadata().map_err(failed("read", path))?;
    let too_long = || io::Error::other("it is longer than 64 KiB");
    if meta.len() > LONGEST_FILE {
        return Err(failed("read", path)(too_long()));
    }
    // Room for all from the start: a string that grows leaves its bytes behind.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    file.take(LONGEST_FILE)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    Ok((text, stamp_of(&meta)))
}

/// Makes the file, whole, unless there is one.
pub(super) fn create(path: &Path, text: &str) -> Result<(), RingError> {
    let written = write_beside(path, text)?;
    match written.persist_noclobber(path) {
        Ok(_) => sync_folder(path),
        Err(not) if not.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(not) => Err(failed("make", path)(not.error)),
    }
}

/// Puts another file in its place.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), RingError> {
    let written = write_beside(path, text)?;
    written
        .persist(path)
        .map_err(|not| failed("replace", path)(not.error))?;
    sync_folder(path)
}

/// A durable file with mode 0600 and a name of its own, which goes when it is dropped.
fn write_beside(path: &Path, text: &str) -> Result<tempfile::NamedTempFile, RingError> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".keys-").tempfile_in(folder_of(path))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(failed("write", path))
}

fn sync_folder(path: &Path) -> Result<(), RingError> {
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make durable", path))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RingError {
    move |source| RingError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
