//! The ring's file, and who may change it.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use super::RingError;
use crate::private_file::{self, PrivateFileError};

/// Which state of a file: each change is a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl From<PrivateFileError> for RingError {
    fn from(error: PrivateFileError) -> Self {
        match error {
            PrivateFileError::Io { action, path, source } => Self::Io { action, path, source },
            PrivateFileError::Unsafe { path, why } => Self::Unsafe { path, why },
        }
    }
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
    Ok(private_file::open(path)?)
}

/// Opens the file and keeps other changers out until it is dropped.
pub(super) fn open_locked(path: &Path) -> Result<File, RingError> {
    let busy = || RingError::Busy { path: path.to_owned() };
    let failed = private_file::failed("lock", path);
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        Err(TryLockError::Error(source)) => return Err(failed(source).into()),
    }
    // Somebody may have put another file in its place between the opening and the lock.
    let ours = file.metadata().map_err(&failed)?;
    let there = fs::symlink_metadata(path).map_err(&failed)?;
    if ours.ino() != there.ino() {
        return Err(busy());
    }
    Ok(file)
}

pub(super) fn read(path: &Path, file: &File) -> Result<(Zeroizing<String>, Stamp), RingError> {
    let meta = file.metadata().map_err(private_file::failed("read", path))?;
    Ok((private_file::read(path, file)?, stamp_of(&meta)))
}

/// Makes the file, whole, unless there is one.
pub(super) fn create(path: &Path, text: &str) -> Result<(), RingError> {
    private_file::create(path, text)?;
    Ok(())
}

/// Puts another file in its place.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), RingError> {
    Ok(private_file::replace(path, text)?)
}
