//! What a build left: an OCI layout, sent as frames.
//!
//! Only the names that a layout has are looked at, and each through `openat2`, for a step of the
//! build may have put anything anywhere.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use crate::{
    beneath::{self, Found},
    wire::{Broken, is_sha256, surroundings},
};

/// All files; the engine takes no more.
const MAX_FILES: usize = 10_000;
/// `oci-layout` and `index.json`.
const BESIDES: usize = 2;

/// What may be sent.
pub(super) struct Listed {
    root: OwnedFd,
    /// Name and size, in the order in which they are sent.
    pub(super) files: Vec<(Vec<u8>, u64)>,
    pub(super) bytes: u64,
    /// Entries that are no part of a layout, or no plain files.
    pub(super) skipped: u64,
    /// More bytes or files than allowed.
    pub(super) too_large: bool,
}

/// Looks at everything, opens nothing.
pub(super) fn list(output: &Path, max: u64) -> Result<Listed, Broken> {
    let mut listed = Listed {
        root: beneath::directory(output)?,
        files: Vec::new(),
        bytes: 0,
        skipped: 0,
        too_large: false,
    };
    // Without the folder, or behind a link that a step put there, there are no blobs: no image, and the step's fault.
    let blobs = beneath::names(&listed.root, b"blobs/sha256", MAX_FILES - BESIDES);
    listed.skipped += u64::from(blobs.is_err());
    let (mut blobs, more) = blobs.unwrap_or_default();
    blobs.sort();
    listed.too_large = more;
    listed.add(b"oci-layout".to_vec(), max)?;
    listed.add(b"index.json".to_vec(), max)?;
    for blob in blobs {
        if is_sha256(&blob) {
            listed.add([&b"blobs/sha256/"[..], &blob].concat(), max)?;
        } else {
            listed.skipped += 1;
        }
    }
    Ok(listed)
}

impl Listed {
    fn add(&mut self, name: Vec<u8>, max: u64) -> Result<(), Broken> {
        match beneath::look(&self.root, &name, max)? {
            Found::File(_, size) => {
                self.bytes = self.bytes.saturating_add(size);
                self.too_large |= self.bytes > max;
                self.files.push((name, size));
            }
            Found::TooLarge(_) => self.too_large = true,
            Found::Missing(_) | Found::Other(_) => self.skipped += 1,
        }
        Ok(())
    }
}

/// Sends them, and the end. A file that is not what it was when it was listed breaks the role
/// before the end is sent.
pub(super) fn send(listed: &Listed, output: &mut impl Write) -> Result<(), Broken> {
    for (name, size) in &listed.files {
        let changed = || Broken::Surroundings("the output changed after the build".to_owned());
        let Found::File(mut file, now) = beneath::look(&listed.root, name, *size)? else {
            return Err(changed());
        };
        if now != *size {
            return Err(changed());
        }
        let mut header = format!("F {size} ").into_bytes();
        header.extend_from_slice(name);
        header.push(b'\n');
        output.write_all(&header).map_err(surroundings("send the output"))?;
        if copy(&mut file, output, *size)? != *size {
            return Err(changed());
        }
    }
    output
        .write_all(b".\n")
        .and_then(|()| output.flush())
        .map_err(surroundings("send the output"))
}

fn copy(file: &mut File, output: &mut impl Write, size: u64) -> Result<u64, Broken> {
    let mut chunk = vec![0; 1 << 17];
    let mut sent = 0;
    loop {
        let left = usize::try_from(size - sent).unwrap_or(usize::MAX);
        let want = left.min(chunk.len());
        let read = file.read(&mut chunk[..want]).map_err(surroundings("read the output"))?;
        if read == 0 {
            return Ok(sent);
        }
        output
            .write_all(&chunk[..read])
            .map_err(surroundings("send the output"))?;
        sent += read as u64;
    }
}
