//! Opening names beneath a directory without ever leaving it: `openat2` for every component.
//!
//! # Invariant
//! No link, no mount point, no `..` is followed, and nothing but a plain file is ever opened for
//! reading: first a handle that opens nothing (`O_PATH`), then a judgement, then the file.

use std::{
    fs::{File, Metadata},
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::wire::{Broken, Name, surroundings};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What stands under a name.
#[derive(Debug)]
pub(crate) enum Found {
    /// A plain file with one link, within the bound, ready to be read; its size.
    File(File, u64),
    /// Nothing, or nothing that we may open.
    Missing(&'static str),
    /// Something else; a clause.
    Other(String),
    /// A plain file, but larger.
    TooLarge(u64),
}

/// A directory which we trust to be where we say.
pub(crate) fn directory(path: &Path) -> Result<OwnedFd, Broken> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| surroundings(&format!("open {}", path.display()))(error.into()))
}

/// Whether this kernel, and the filter around us, let us use `openat2` at all.
pub(crate) fn available(root: &OwnedFd) -> Result<(), Broken> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, ".", flags, Mode::empty(), RESOLVE) {
        Ok(_) => Ok(()),
        Err(error) => Err(surroundings("use openat2")(error.into())),
    }
}

/// Looks at `name`, and opens it when it is a plain file of at most `max` bytes.
pub(crate) fn look(root: &OwnedFd, name: &[u8], max: u64) -> Result<Found, Broken> {
    let handle = match resolve(root, name, HANDLE) {
        Ok(handle) => File::from(handle),
        Err(error) => return refusal(error),
    };
    let seen = handle.metadata().map_err(surroundings("look at a file"))?;
    if let Some(clause) = objection(&seen) {
        return Ok(Found::Other(clause));
    }
    if seen.len() > max {
        return Ok(Found::TooLarge(seen.len()));
    }
    let file = match resolve(root, name, READ) {
        Ok(file) => File::from(file),
        Err(error) => return refusal(error),
    };
    let opened = file.metadata().map_err(surroundings("look at a file"))?;
    let fingerprint = |meta: &Metadata| (meta.dev(), meta.ino(), meta.nlink(), meta.len());
    if fingerprint(&seen) != fingerprint(&opened) {
        return Ok(Found::Other(CHANGED.to_owned()));
    }
    Ok(Found::File(file, opened.len()))
}

/// The clause for a file that did not hold still.
const CHANGED: &str = "a file that changed while it was read";

/// Reads a file that [`look`] opened; it must still have the size that it had.
pub(crate) fn read(file: File, size: u64) -> Result<Result<Vec<u8>, &'static str>, Broken> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(size + 1)
        .read_to_end(&mut bytes)
        .map_err(surroundings("read a file"))?;
    Ok(if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(CHANGED)
    })
}

/// Creates a new file, and the directories above it.
pub(crate) fn create(root: &OwnedFd, name: &Name, mode: u32) -> Result<File, Broken> {
    let shown = name.as_bytes().escape_ascii().to_string();
    let failed = |error: Errno| surroundings(&format!("create {shown}"))(error.into());
    for parent in name.parents() {
        make_directory(root, parent).map_err(failed)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat2(root, name.as_bytes(), flags, private, RESOLVE);
    let file = file.map_err(failed)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed)?;
    Ok(File::from(file))
}

fn make_directory(root: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    let (above, last) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    let flags = HANDLE | OFlags::DIRECTORY;
    let parent = resolve(root, above, flags)?;
    match rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => resolve(&parent, last, flags).map(drop),
        Err(error) => Err(error),
    }
}

/// The names in the directory `name` (`.` for `root`), at most `max`, and whether there were more.
pub(crate) fn names(root: &OwnedFd, name: &[u8], max: usize) -> Result<(Vec<Vec<u8>>, bool), Broken> {
    let failed = |error: Errno| surroundings("list a directory")(error.into());
    let opened = resolve(root, name, READ | OFlags::DIRECTORY).map_err(failed)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(opened).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if names.len() == max {
            return Ok((names, true));
        }
        names.push(name.to_vec());
    }
    Ok((names, false))
}

/// `openat2` as everything here uses it. The kernel may ask to try again when something was
/// renamed meanwhile.
fn resolve(root: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..100 {
        match rustix::fs::openat2(&root, name, flags, Mode::empty(), RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}

fn refusal(error: Errno) -> Result<Found, Broken> {
    Ok(match error {
        Errno::NOENT | Errno::NOTDIR => Found::Missing("nothing has this name"),
        Errno::ACCESS | Errno::PERM => Found::Missing("it may not be opened"),
        Errno::LOOP => Found::Other("behind a symbolic link".to_owned()),
        Errno::XDEV => Found::Other("on another file system".to_owned()),
        // It was judged to be a plain file, and is something else now.
        Errno::NXIO | Errno::AGAIN => Found::Other(CHANGED.to_owned()),
        other => return Err(surroundings("open a file")(other.into())),
    })
}

/// What is wrong with a thing that is not a plain file of its own.
fn objection(meta: &Metadata) -> Option<String> {
    let kind = meta.file_type();
    let clause = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_block_device() {
        "a block device"
    } else if !kind.is_file() {
        "a thing of an unknown kind"
    } else if meta.nlink() != 1 {
        return Some(format!("a file with {} links", meta.nlink()));
    } else {
        return None;
    };
    Some(clause.to_owned())
}
