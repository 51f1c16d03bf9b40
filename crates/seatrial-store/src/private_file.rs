//! Files that hold secrets: never through a link, never shared with others, never half-written.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Secrets are short.
pub const LONGEST: u64 = 64 << 10;

/// Why such a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// As a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Others could have read or changed it.
    #[error("{} {why}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// The text of a file that only we can read and change.
///
/// # Errors
/// [`PrivateFileError`].
pub fn load(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    read(path, &open(path)?)
}

/// Makes the file with mode 0600, whole, unless there is one; whether it did.
///
/// # Errors
/// [`PrivateFileError`].
pub fn create(path: &Path, text: &str) -> Result<bool, PrivateFileError> {
    let written = write_beside(path, text)?;
    match written.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| true),
        Err(not) if not.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(not) => Err(failed("make", path)(not.error)),
    }
}

/// Opens the file if only we can read and change it.
pub(crate) fn open(path: &Path) -> Result<File, PrivateFileError> {
    let unsafe_because = |why: String| PrivateFileError::Unsafe {
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

/// The text of an open file.
pub(crate) fn read(path: &Path, file: &File) -> Result<Zeroizing<String>, PrivateFileError> {
    let meta = file.metadata().map_err(failed("read", path))?;
    let too_long = || io::Error::other("it is longer than 64 KiB");
    if meta.len() > LONGEST {
        return Err(failed("read", path)(too_long()));
    }
    // Room for all from the start: a string that grows leaves its bytes behind.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(failed("read", path))?;
    Ok(text)
}

/// Puts another file in its place.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    let written = write_beside(path, text)?;
    written
        .persist(path)
        .map_err(|not| failed("replace", path)(not.error))?;
    sync_folder(path)
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A durable file with mode 0600 and a name of its own, which goes when it is dropped.
fn write_beside(path: &Path, text: &str) -> Result<tempfile::NamedTempFile, PrivateFileError> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".keys-").tempfile_in(folder_of(path))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(failed("write", path))
}

fn sync_folder(path: &Path) -> Result<(), PrivateFileError> {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_made_file_is_ours_alone_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(create(&path, "one").unwrap());
        assert!(!create(&path, "two").unwrap());
        assert_eq!(load(&path).unwrap().as_str(), "one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_could_read_or_swap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, "one").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load(&link).unwrap_err().to_string().contains("is a link"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = load(&path).unwrap_err().to_string();
        assert!(
            refusal.ends_with("is open to others (mode 640): chmod 600"),
            "{refusal}"
        );
        assert!(load(folder.path()).is_err());
    }
}
