//! Records in the data directory of which volumes were filled to the end.
//!
//! A volume that exists may be half filled, or may have been removed and made again, empty. So a
//! record tells which birth label the volume had that was filled. (What the Engine calls the time of
//! its creation changes with its content: Engine 20.10 takes the time of the folder.)

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

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

/// Names of stores of bases that anything is remembered of.
pub(crate) fn stores(data_dir: &Path) -> BTreeSet<String> {
    let files = ["volumes", "bases"].map(|folder| fs::read_dir(data_dir.join(folder)));
    let names = files.into_iter().flatten().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| name.strip_suffix(".links").unwrap_or(&name).to_owned())
        .filter(|name| names::base_of_volume(name).is_some())
        .collect()
}

/// Forgets a store: first that it was ever filled.
pub(crate) fn forget_store(data_dir: &Path, name: &str) {
    for path in [format!("volumes/{name}"), format!("bases/{name}.links")] {
        // Gone already is fine; what stays is tried again by the next sweep.
        let _ = fs::remove_file(data_dir.join(path));
    }
}

fn path(inner: &Inner, name: &str) -> PathBuf {
    inner.data_dir.join("volumes").join(name)
}

fn birth(volume: &Volume) -> Option<&str> {
    volume.labels.get(names::LABEL_BIRTH).map(String::as_str)
}

/// The text of a record, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<String>, EngineError> {
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
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_forgotten_leaves_nothing_and_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "volumes/st-base-aaaa-1",
            "volumes/st-base-aaaa-2",
            "volumes/st-tools-x",
            "bases/st-base-aaaa-1.links",
            "bases/st-base-bbbb-3.links",
            "bases/aaaa.json",
            "bases/aaaa.lock",
        ];
        for file in files {
            write(&folder.path().join(file), b"").unwrap();
        }
        let stores: Vec<String> = stores(folder.path()).into_iter().collect();
        assert_eq!(stores, ["st-base-aaaa-1", "st-base-aaaa-2", "st-base-bbbb-3"]);
        forget_store(folder.path(), "st-base-aaaa-1");
        let left: Vec<&str> = files
            .into_iter()
            .filter(|file| folder.path().join(file).exists())
            .collect();
        assert_eq!(
            left,
            [
                "volumes/st-base-aaaa-2",
                "volumes/st-tools-x",
                "bases/st-base-bbbb-3.links",
                "bases/aaaa.json",
                "bases/aaaa.lock"
            ]
        );
    }
}
