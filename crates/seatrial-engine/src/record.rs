//! Records in the data directory of which volumes were filled to the end.
//!
//! A volume that exists may be half filled, or may have been removed and made again, empty. So a
//! record tells which birth label the volume had that was filled. (What the Engine calls the time of
//! its creation changes with its content: Engine 20.10 takes the time of the folder.)

use std::{fs, io, path::PathBuf, time::Duration};

use bollard::models::Volume;
use seatrial_core::engine::EngineError;

use crate::{engine::Inner, names};

/// Whether the volume exists and is the one that was filled.
pub(crate) async fn is_filled(inner: &Inner, name: &str) -> Result<bool, EngineError> {
    let Some(expected) = read(&path(inner, name))? else {
        return Ok(false);
    };
    let found = inner.client.volume(name).await?;
    Ok(found.as_ref().and_then(birth).is_some_and(|birth| birth == expected))
}

/// Notes that it was filled to the end.
pub(crate) fn note_filled(inner: &Inner, name: &str, volume: &Volume) -> Result<(), EngineError> {
    let birth = birth(volume).ok_or_else(|| EngineError::Broken(format!("the volume {name} is not one of ours")))?;
    write(&path(inner, name), birth.as_bytes())
}

/// Whether there is a record of this volume.
pub(crate) fn exists(inner: &Inner, name: &str) -> bool {
    path(inner, name).exists()
}

/// How long ago the volume was filled.
pub(crate) fn age(inner: &Inner, name: &str) -> Option<Duration> {
    fs::metadata(path(inner, name)).ok()?.modified().ok()?.elapsed().ok()
}

fn path(inner: &Inner, name: &str) -> PathBuf {
    inner.data_dir.join("volumes").join(name)
}

fn birth(volume: &Volume) -> Option<&str> {
    volume.labels.get(names::LABEL_BIRTH).map(String::as_str)
}

fn read(path: &std::path::Path) -> Result<Option<String>, EngineError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::Local {
            action: "read a record of the data directory",
            source,
        }),
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), EngineError> {
    let whole = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder)?;
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut fresh, bytes)?;
        fresh.as_file().sync_all()?;
        fresh.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    whole().map_err(|source| EngineError::Local {
        action: "write a record into the data directory",
        source,
    })
}
