//! A build context that somebody sent: read as a stranger's archive, written anew as our own.
//!
//! What the builder gets is what `seatrial run` makes of a folder: folders, plain files and symbolic
//! links, each once, sorted, owned by root, without times and attributes. Everything else is refused and
//! named: an archive that means one thing here and another thing elsewhere is no context.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use seatrial_core::finding::escape_untrusted;
use tar::{Archive, Builder, EntryType, Header};

use crate::problem::Code;

/// Most entries, the same as for a folder of the command line.
const MAX_ENTRIES: usize = 100_000;
/// Longest path and longest target of a link, in bytes: as long as Linux takes.
const MAX_PATH: usize = 4095;
/// Most parts of a path: the tree of a real project is not as deep, and each part may imply a folder.
const MAX_DEPTH: usize = 128;
/// Most bytes in the paths of folders that are only implied. Each is as long as the path to it, so few entries
/// could imply hundreds of megabytes.
const MAX_IMPLIED: usize = 8 << 20;
/// Longest name of one file, in bytes.
const MAX_NAME: usize = 255;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadContext {
    /// It is not a tar, or ends early.
    #[error("The context cannot be read as a tar: {}.", escape_untrusted(.0))]
    NotTar(String),
    /// One of the usual mistakes.
    #[error("The context is compressed; send the tar itself.")]
    Compressed,
    /// Something in it.
    #[error("The context's entry '{}' is refused: {why}.", escape_untrusted(.entry))]
    Entry {
        /// Its path, cut.
        entry: String,
        /// Why, as a clause.
        why: &'static str,
    },
    /// Too many entries.
    #[error("The context has more than {MAX_ENTRIES} entries, or too many folders that are only implied.")]
    TooMany,
    /// As we write it, it is longer than allowed.
    #[error("The context is larger than {0} bytes when every folder is written out.")]
    TooLarge(u64),
}

impl BadContext {
    /// The kind of problem that it is.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::TooLarge,
            _ => Code::InvalidSubmission,
        }
    }
}

/// What an entry may be.
enum Kept<'a> {
    Folder { mode: u32 },
    File { mode: u32, bytes: &'a [u8] },
    Link { target: Vec<u8> },
}

/// Reads `archive` and writes what it holds anew, at most `max` bytes.
pub(crate) fn rewrite(archive: &[u8], max: u64) -> Result<Vec<u8>, BadContext> {
    if is_compressed(archive) {
        return Err(BadContext::Compressed);
    }
    write(&read(archive)?, max)
}

fn is_compressed(archive: &[u8]) -> bool {
    [&b"\x1f\x8b"[..], b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"]
        .iter()
        .any(|magic| archive.starts_with(magic))
}

/// Sorted by parts of the path: a folder comes before what is in it.
fn read(bytes: &[u8]) -> Result<BTreeMap<PathBuf, Kept<'_>>, BadContext> {
    let not_tar = |why: std::io::Error| BadContext::NotTar(why.to_string());
    let mut kept = BTreeMap::new();
    let mut archive = Archive::new(bytes);
    for entry in archive.entries().map_err(not_tar)? {
        let entry = entry.map_err(not_tar)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue; // `git archive` writes its commit there
        }
        let raw = entry.path_bytes().into_owned();
        let refuse = |why| BadContext::Entry {
            entry: String::from_utf8_lossy(&raw).chars().take(200).collect(),
            why,
        };
        let path = plain(&raw).map_err(refuse)?;
        let mode = entry.header().mode().map_err(not_tar)? & 0o777;
        let new = match kind {
            EntryType::Directory => Kept::Folder { mode },
            EntryType::Regular => {
                let begins = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
                let ends = begins.saturating_add(usize::try_from(entry.size()).unwrap_or(usize::MAX));
                let Some(bytes) = bytes.get(begins..ends) else {
                    return Err(refuse("the archive ends within it"));
                };
                Kept::File { mode, bytes }
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
                    return Err(refuse("a link needs a target of 1 to 4,095 bytes"));
                }
                Kept::Link { target }
            }
            EntryType::Link => return Err(refuse("a hard link; send the file twice")),
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(refuse("a device or a pipe")),
            _ => return Err(refuse("neither a file, nor a folder, nor a symbolic link")),
        };
        let Some(path) = path else {
            // The archive's own root: `tar -c .` writes it.
            match new {
                Kept::Folder { .. } => continue,
                _ => return Err(refuse("it has no name")),
            }
        };
        let is_folder = matches!(new, Kept::Folder { .. });
        match kept.get(&path) {
            None => {}
            Some(Kept::Folder { .. }) if is_folder => {}
            Some(_) => return Err(refuse("it stands twice, as different things")),
        }
        kept.insert(path, new);
        if kept.len() > MAX_ENTRIES {
            return Err(BadContext::TooMany);
        }
    }
    with_folders(kept)
}

/// Adds folders that are only implied, and refuses what would be written through something else.
fn with_folders(mut kept: BTreeMap<PathBuf, Kept<'_>>) -> Result<BTreeMap<PathBuf, Kept<'_>>, BadContext> {
    let mut missing = BTreeMap::new();
    let mut implied = 0;
    for path in kept.keys() {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            match kept.get(parent) {
                // Its own folders are looked at when its turn comes.
                Some(Kept::Folder { .. }) => break,
                Some(_) => {
                    return Err(BadContext::Entry {
                        entry: path.to_string_lossy().chars().take(200).collect(),
                        why: "what should be its folder is a file or a link",
                    });
                }
                None if missing.contains_key(parent) => break,
                None => {
                    implied += parent.as_os_str().len();
                    if kept.len() + missing.len() >= MAX_ENTRIES || implied > MAX_IMPLIED {
                        return Err(BadContext::TooMany);
                    }
                    missing.insert(parent.to_owned(), Kept::Folder { mode: 0o755 });
                }
            }
        }
    }
    kept.append(&mut missing);
    Ok(kept)
}

/// A relative path of plain parts; `None` for the root itself.
fn plain(raw: &[u8]) -> Result<Option<PathBuf>, &'static str> {
    if raw.is_empty() || raw.len() > MAX_PATH {
        return Err("a path is 1 to 4,095 bytes");
    }
    if raw.contains(&0) {
        return Err("its path holds a zero byte");
    }
    if raw.starts_with(b"/") {
        return Err("its path is absolute");
    }
    let mut path = PathBuf::new();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its path leads out of the context"),
            _ if path.iter().nth(MAX_DEPTH - 1).is_some() => return Err("its path has more than 128 parts"),
            part if part.len() > MAX_NAME => return Err("a name in its path is longer than 255 bytes"),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn write(kept: &BTreeMap<PathBuf, Kept<'_>>, max: u64) -> Result<Vec<u8>, BadContext> {
    let not_written = |why: std::io::Error| BadContext::NotTar(why.to_string());
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in kept {
        append(&mut tar, path, entry).map_err(not_written)?;
        if tar.get_ref().len() as u64 > max {
            return Err(BadContext::TooLarge(max));
        }
    }
    let tar = tar.into_inner().map_err(not_written)?;
    if tar.len() as u64 > max {
        return Err(BadContext::TooLarge(max));
    }
    Ok(tar)
}

fn append(tar: &mut Builder<Vec<u8>>, path: &Path, entry: &Kept<'_>) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    match entry {
        Kept::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            tar.append_data(&mut header, path, std::io::empty())
        }
        Kept::File { mode, bytes } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, *bytes)
        }
        Kept::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, path, OsStr::from_bytes(target))
        }
    }
}

#[cfg(test)]
mod tests;
