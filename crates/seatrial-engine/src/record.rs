//! Records in the data directory of which volumes were filled to the end.
//!
//! A volume that exists may be half filled, or may have been removed and made again, empty. So a
//! record tells when the Engine made the volume that was filled; another date is another volume.

use std::{fs, io, path::PathBuf};

use bollard::models::Volume;
use seatrial_core::engine::EngineError;

use crate::engine::Inner;

/// Whether the volume exists and is the one that was filled.
pub(crate) async fn is_filled(inner: &Inner, name: &str) -> Result<bool, EngineError> {
    let Some(expected) = read(&path(inner, name))? else {
        return Ok(false);
    };
    let found = inner.client.volume(name).await?;
    Ok(found.is_some_and(|volume| birth(&volume) == expected))
}

/// Notes that it was filled to the end.
pub(crate) fn note_filled(inner: &Inner, name: &str, volume: &Volume) -> Result<(), EngineError> {
    write(&path(inner, name), birth(volume).as_bytes())
}

fn path(inner: &Inner, name: &str) -> PathBuf {
    inner.data_dir.join("volumes").join(name)
}

/// When the Engine made it, and where.
fn birth(volume: &Volume) -> String {
    let made = volume.created_at.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{made} {}\n", volume.mountpoint)
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
