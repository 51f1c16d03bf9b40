//! The key ring: a few keys with ids. The first one, the current, wraps the data keys of new jobs; all of
//! them open.
//!
//! In a file it is one `id:base64` a line, the current one first; lines that begin with `#` are remarks.
//! `openssl rand -base64 32` makes a key. Whoever reads the file can read all jobs, whoever loses it has
//! lost them all.

mod file;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use seatrial_core::{
    id::JobId,
    vault::{VaultError, WrappedKey},
};
use ulid::Ulid;
use zeroize::Zeroizing;

use self::file::Stamp;
use super::seal::{self, Secret};

/// More keys than anybody rotates through, and a bound on the work.
const MOST_KEYS: usize = 256;
const LONGEST_ID: usize = 64;

/// What goes before the keys in a file that we write.
const REMARKS: &str = "# Seatrial's key ring: one id:key a line. The first key seals, all open.\n\
    # Keep it secret and keep it: without it, nothing in the vault can be read.\n";

/// Why a key ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file system said no.
    #[error("cannot {action} the key ring {}", path.display())]
    Io {
        /// As a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// Others could have read or changed it.
    #[error("the key ring {} {why}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Not a key ring. Says nothing of what is in the line.
    #[error("line {line} of the key ring {why}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// It holds no key or far too many.
    #[error("the key ring holds {count} keys: it needs 1 to {MOST_KEYS}")]
    Count {
        /// How many.
        count: usize,
    },
    /// Another process changes it.
    #[error("another process is changing the key ring {}: try again", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to retire.
    #[error("the key ring has no key '{id}'")]
    NoSuchKey {
        /// As asked for.
        id: String,
    },
    /// The current key seals new jobs.
    #[error("key '{id}' is the current one: rotate first, and retire it when no job needs it any more")]
    Current {
        /// As asked for.
        id: String,
    },
    /// The kernel gave none.
    #[error("no random bytes for a key")]
    NoRandom(#[source] VaultError),
}

/// Keys with ids. Shows no key in its `Debug`, and overwrites them when it is dropped.
pub struct KeyRing {
    loaded: RwLock<Loaded>,
    /// Where it came from.
    path: Option<PathBuf>,
}

#[derive(Clone)]
struct Loaded {
    keys: Arc<Keys>,
    /// Which state of the file.
    stamp: Option<Stamp>,
}

/// At least one; the current one first.
struct Keys(Vec<RingKey>);

struct RingKey {
    id: String,
    secret: Secret,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("KeyRing")
            .field("ids", &self.ids())
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// A ring with one fresh key, in memory alone: what it seals is lost with it.
    ///
    /// # Errors
    /// [`RingError::NoRandom`].
    pub fn generate() -> Result<Self, RingError> {
        Ok(Self::in_memory(Keys(vec![RingKey::fresh()?])))
    }

    /// A ring from the text of a ring file.
    ///
    /// # Errors
    /// [`RingError::Malformed`], [`RingError::Count`].
    pub fn from_text(text: &str) -> Result<Self, RingError> {
        Ok(Self::in_memory(Keys::parse(text)?))
    }

    fn in_memory(keys: Keys) -> Self {
        let keys = Arc::new(keys);
        Self {
            loaded: RwLock::new(Loaded { keys, stamp: None }),
            path: None,
        }
    }

    /// The ring at `path`, made with one fresh key if there is none: for the embedded default. Processes
    /// that start at once agree on one.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn open_or_create(path: &Path) -> Result<Self, RingError> {
        match Self::load(path) {
            Err(RingError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        file::create(path, &Keys(vec![RingKey::fresh()?]).to_text())?;
        Self::load(path) // ours, or the one of a process that was faster
    }

    /// The ring at `path`. Makes none: a ring that is not there was forgotten, not wanted.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn load(path: &Path) -> Result<Self, RingError> {
        let (keys, stamp) = read(path)?;
        let loaded = Loaded {
            keys: Arc::new(keys),
            stamp: Some(stamp),
        };
        Ok(Self {
            loaded: RwLock::new(loaded),
            path: Some(path.to_owned()),
        })
    }

    /// Adds a fresh key in front of the ring at `path`, and gives its id. Rings that are loaded already go
    /// on with their current key, and load the file again when they meet an id that they do not know.
    ///
    /// # Errors
    /// [`RingError`]; the file is as it was then.
    pub fn rotate(path: &Path) -> Result<String, RingError> {
        let fresh = RingKey::fresh()?;
        let id = fresh.id.clone();
        change(path, |keys| {
            keys.insert(0, fresh);
            Ok(())
        })?;
        Ok(id)
    }

    /// Takes a key out of the ring at `path`: what it sealed cannot be opened any more, by nobody.
    ///
    /// # Errors
    /// [`RingError`]; the file is as it was then.
    pub fn retire(path: &Path, id: &str) -> Result<(), RingError> {
        let id = id.to_owned();
        change(path, |keys| match keys.iter().position(|key| key.id == id) {
            None => Err(RingError::NoSuchKey { id }),
            Some(0) => Err(RingError::Current { id }),
            Some(place) => {
                keys.remove(place);
                Ok(())
            }
        })
    }

    /// Ids of all keys, the current one first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.loaded().keys.0.iter().map(|key| key.id.clone()).collect()
    }

    /// A fresh data key for a job, wrapped by the current key.
    pub(crate) fn new_key(&self, job: JobId) -> Result<WrappedKey, VaultError> {
        let loaded = self.loaded();
        let Some(current) = loaded.keys.0.first() else {
            return Err(VaultError::NoSuchKey { key: "current".into() }); // `Keys` are never empty
        };
        let secret = seal::fresh()?;
        let cover = seal::key_cover(job, &current.id);
        let wrapped = seal::close(&current.secret, &cover, seal::draft(secret.as_slice())?)?;
        Ok(WrappedKey(format!(
            "{}.{}",
            current.id,
            STANDARD_NO_PAD.encode(wrapped)
        )))
    }

    /// A job's data key.
    pub(crate) fn open_key(&self, job: JobId, wrapped: &WrappedKey) -> Result<Secret, VaultError> {
        let (id, sealed) = wrapped.0.split_once('.').unwrap_or((&wrapped.0, ""));
        let keys = self.keys_with(id);
        let Some(key) = keys.0.iter().find(|key| key.id == id) else {
            return Err(VaultError::NoSuchKey { key: printable(id) });
        };
        let open = || {
            let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
            let plain = Zeroizing::new(seal::open(&key.secret, &seal::key_cover(job, id), sealed)?);
            plain.as_slice().try_into().ok().map(Secret::new)
        };
        open().ok_or_else(|| VaultError::WrongKey { key: id.to_owned() })
    }

    /// The keys, loaded again when this id is not among them and the file has changed: another process may
    /// seal with a key that was added since.
    fn keys_with(&self, id: &str) -> Arc<Keys> {
        let Loaded { keys, stamp } = self.loaded();
        let Some(path) = &self.path else { return keys };
        if keys.0.iter().any(|key| key.id == id) || file::stamp(path).ok() == stamp {
            return keys;
        }
        match read(path) {
            Ok((fresh, stamp)) => {
                tracing::info!(keys = fresh.0.len(), "the key ring has changed and was loaded again");
                let fresh = Arc::new(fresh);
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Loaded {
                    keys: Arc::clone(&fresh),
                    stamp: Some(stamp),
                };
                fresh
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the key ring has changed and cannot be loaded again");
                keys
            }
        }
    }

    fn loaded(&self) -> Loaded {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RingKey {
    fn fresh() -> Result<Self, RingError> {
        Ok(Self {
            id: Ulid::generate().to_string().to_ascii_lowercase(),
            secret: seal::fresh().map_err(RingError::NoRandom)?,
        })
    }
}

impl Keys {
    fn parse(text: &str) -> Result<Self, RingError> {
        let mut keys: Vec<RingKey> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let malformed = |why| RingError::Malformed { line, why };
            let (id, key) = text.split_once(':').ok_or(malformed("is not id:key"))?;
            if !is_id(id) {
                return Err(malformed("has an id that is not 1 to 64 of A-Z, a-z, 0-9, _ and -"));
            }
            let mut secret = Secret::default();
            match STANDARD.decode_slice(key.trim(), secret.as_mut_slice()) {
                Ok(32) => {}
                Ok(_) | Err(_) => return Err(malformed("has a key that is not 32 bytes in base64")),
            }
            if secret.iter().all(|byte| *byte == secret[0]) {
                return Err(malformed("has a key that is no random one"));
            }
            if keys.iter().any(|other| other.id == id || *other.secret == *secret) {
                return Err(malformed("repeats an id or a key"));
            }
            let id = id.to_owned();
            keys.push(RingKey { id, secret });
        }
        match keys.len() {
            1..=MOST_KEYS => Ok(Self(keys)),
            count => Err(RingError::Count { count }),
        }
    }

    fn to_text(&self) -> Zeroizing<String> {
        // Enough from the start: a string that grows leaves its bytes behind.
        let room = REMARKS.len() + self.0.len() * (LONGEST_ID + 48);
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str(REMARKS);
        for key in &self.0 {
            let base64 = Zeroizing::new(STANDARD.encode(key.secret.as_slice()));
            let _ = writeln!(text, "{}:{}", key.id, *base64); // a String takes everything
        }
        text
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(allowed)
}

/// An id as it may stand in a message.
fn printable(id: &str) -> String {
    if is_id(id) { id.to_owned() } else { "?".into() }
}

fn read(path: &Path) -> Result<(Keys, Stamp), RingError> {
    let file = file::open(path)?;
    let (text, stamp) = file::read(path, &file)?;
    Ok((Keys::parse(&text)?, stamp))
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<RingKey>) -> Result<(), RingError>) -> Result<(), RingError> {
    let locked = file::open_locked(path)?;
    let (text, _) = file::read(path, &locked)?;
    let mut keys = Keys::parse(&text)?;
    how(&mut keys.0)?;
    if keys.0.len() > MOST_KEYS {
        return Err(RingError::Count { count: keys.0.len() });
    }
    file::replace(path, &keys.to_text())
}

#[cfg(test)]
mod tests;
