//! A part of a file, read by position: the spool has no cursor of its own, so many may read it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

/// `len` bytes of a file from `offset` on.
#[derive(Debug)]
pub(crate) struct Region<'a> {
    file: &'a File,
    offset: u64,
    len: u64,
    at: u64,
}

impl<'a> Region<'a> {
    pub(crate) fn new(file: &'a File, offset: u64, len: u64) -> Self {
        Self {
            file,
            offset,
            len,
            at: 0,
        }
    }

    /// All bytes, at most `max`; `None` when there are more.
    pub(crate) fn whole(file: &File, offset: u64, len: u64, max: u64) -> io::Result<Option<Vec<u8>>> {
        if len > max {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }
}

impl Read for Region<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = into.len().min(left);
        let got = self.file.read_at(&mut into[..want], self.offset + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Seek for Region<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the beginning"))?;
        Ok(self.at)
    }
}
