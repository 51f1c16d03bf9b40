//! One layer as a tar archive: root's files, no times, in the order in which they are added.

use std::{fs::File, io::BufWriter, path::Path};

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// A layer that is being written.
pub(super) struct Layer {
    archive: Builder<BufWriter<File>>,
}

impl Layer {
    /// Begins an archive.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            archive: Builder::new(BufWriter::new(file)),
        })
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        Ok(self.archive.append_data(&mut header, path, std::io::empty())?)
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
        Ok(self.archive.append_data(&mut header, path, bytes)?)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.archive.append_link(&mut header, path, target)?)
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<()> {
        use std::io::Write as _;
        Ok(self.archive.into_inner()?.flush()?)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
