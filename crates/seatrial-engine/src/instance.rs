//! Who this process is, provably alive: a lock that the kernel gives back when the process ends.
//!
//! A sweep asks the lock, never a clock or a process id, whether the owner of an object still lives.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use seatrial_core::engine::EngineError;

use crate::names::Identity;

/// This process, as long as the value lives.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) identity: Identity,
    path: PathBuf,
    _lock: File,
}

impl Instance {
    /// Takes a fresh id in `data_dir`.
    pub(crate) fn enter(data_dir: &Path) -> Result<Self, EngineError> {
        let local = |action| move |source| EngineError::Local { action, source };
        let folder = data_dir.join("instances");
        fs::create_dir_all(&folder).map_err(local("create the folder of instances"))?;
        let host = host_id(data_dir).map_err(local("read or write this host's id"))?;
        loop {
            let instance = random_id();
            let path = folder.join(format!("{instance}.lock"));
            // `create_new`: an id that was ever taken here is not taken again.
            let lock = match File::create_new(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(local("create the lock of this instance")(source)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                // A sweep of a sibling tried it in this very moment.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(source)) => return Err(local("lock this instance")(source)),
            }
            // The sweep of a sibling saw it before it was locked, and took it for a dead one's.
            if !path.exists() {
                continue;
            }
            return Ok(Self {
                identity: Identity { host, instance },
                path,
                _lock: lock,
            });
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Gone already is fine; a file that stays is only a lock that nobody holds.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the process with this id still runs on this host.
pub(crate) fn is_alive(data_dir: &Path, instance: &str) -> bool {
    let plain = instance.len() == ID_LEN && instance.bytes().all(|byte| ID_ALPHABET.contains(&byte));
    if !plain {
        return false;
    }
    match File::open(data_dir.join("instances").join(format!("{instance}.lock"))) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        // Only a free lock proves death; it is given back at once when the file is closed.
        Ok(file) => file.try_lock().is_err(),
    }
}

/// Ids of the other processes of this data directory that live.
pub(crate) fn living_siblings(data_dir: &Path, own: &str) -> Vec<String> {
    let entries = fs::read_dir(data_dir.join("instances")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".lock")?.to_owned()))
        .filter(|id| id != own && is_alive(data_dir, id))
        .collect()
}

/// Removes the lock files of the dead.
pub(crate) fn forget_the_dead(data_dir: &Path) {
    let Ok(entries) = fs::read_dir(data_dir.join("instances")) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            // Still locked by us while it is removed: nobody can take it for a living one.
            let _ = fs::remove_file(&path);
        }
    }
}

fn host_id(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join("host-id");
    for _ in 0..100 {
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().len() == ID_LEN => return Ok(text.trim().to_owned()),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the file host-id does not hold an id",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Written beside and linked into place, so that siblings never see a half.
        let fresh = tempfile::NamedTempFile::new_in(data_dir)?;
        fs::write(fresh.path(), random_id())?;
        match fs::hard_link(fresh.path(), &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the file host-id comes and goes"))
}

const ID_LEN: usize = 8;
/// Crockford's base 32 in lower case, as in ULIDs.
const ID_ALPHABET: &[u8] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 40 random bits: the last 8 characters of a ULID.
fn random_id() -> String {
    let text = ulid::Ulid::generate().to_string().to_ascii_lowercase();
    text[text.len() - ID_LEN..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_lives_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let instance = Instance::enter(folder.path()).unwrap();
        let id = instance.identity.instance.clone();
        assert!(is_alive(folder.path(), &id));
        drop(instance);
        assert!(!is_alive(folder.path(), &id));
    }

    #[test]
    fn a_lock_file_whose_process_died_is_not_alive_and_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let alive = Instance::enter(folder.path()).unwrap();
        let left = folder.path().join("instances/0000000z.lock");
        fs::write(&left, "").unwrap();
        assert!(!is_alive(folder.path(), "0000000z"));
        forget_the_dead(folder.path());
        assert!(!left.exists());
        assert!(is_alive(folder.path(), &alive.identity.instance));
    }

    #[test]
    fn a_process_is_no_sibling_of_its_own_and_a_dead_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let one = Instance::enter(folder.path()).unwrap();
        let two = Instance::enter(folder.path()).unwrap();
        fs::write(folder.path().join("instances/0000000z.lock"), "").unwrap();
        let siblings = living_siblings(folder.path(), &one.identity.instance);
        assert_eq!(siblings, std::slice::from_ref(&two.identity.instance));
    }

    #[test]
    fn all_processes_of_one_folder_are_on_the_same_host() {
        let folder = tempfile::tempdir().unwrap();
        let one = Instance::enter(folder.path()).unwrap();
        let two = Instance::enter(folder.path()).unwrap();
        assert_eq!(one.identity.host, two.identity.host);
        assert_ne!(one.identity.instance, two.identity.instance);
    }

    #[test]
    fn an_id_with_a_path_in_it_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_alive(folder.path(), "../../x"));
    }
}
