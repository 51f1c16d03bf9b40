//! A slot: a place for one volume that was filled to the end, and the record that says so.
//!
//! Every filling gets a volume with a fresh name; the record is written last, by rename, and names
//! it. So a filling that died never counts, whatever it left, and nobody writes into a volume that
//! is in force. One process fills a slot at a time. A note in the data directory is kept of each
//! volume of a slot: whoever fills next removes what died half way, and what was replaced so long
//! ago that no job can be about to use it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use seatrial_core::{BoxError, engine::Engine, scanner::ScanError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A replaced volume stays this long: a job that read the record before starts its scanner later.
const REPLACED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest wait for a sibling: a download takes at most 25 minutes (`database::update`).
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// In the note of a volume that was in force once.
const REPLACED: &[u8] = b"replaced\n";

/// Where the record of a slot is.
pub(crate) struct Slot {
    record: PathBuf,
}

/// The right to fill a slot; the kernel gives it back with the file.
pub(crate) struct Held {
    slot: Slot,
    in_force: Option<String>,
    _lock: File,
}

/// What every record says, whichever version of ours wrote it.
#[derive(Deserialize)]
struct Names {
    volume: String,
}

impl Slot {
    /// `record` ends in `.json`.
    pub(crate) fn new(record: PathBuf) -> Self {
        Self { record }
    }

    /// The record; `None` when there is none or an older version of ours wrote it.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, ScanError> {
        match fs::read(&self.record) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(local("read a record of the data directory", source)),
        }
    }

    /// Waits for the right to fill.
    pub(crate) async fn hold(self) -> Result<Held, ScanError> {
        let failed = |source| local("lock a record of the data directory", source);
        fs::create_dir_all(self.notes()).map_err(failed)?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.record.with_extension("lock"))
            .map_err(failed)?;
        let began = tokio::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => {
                    return Err(ScanError::TimedOut(PATIENCE));
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Ok(Held {
            in_force: self.read::<Names>()?.map(|names| names.volume),
            slot: self,
            _lock: file,
        })
    }

    fn notes(&self) -> PathBuf {
        self.record.with_extension("volumes")
    }
}

impl Held {
    /// Removes what is left over, then makes a fresh volume.
    pub(crate) async fn begin(&self, engine: &dyn Engine, prefix: &str) -> Result<String, ScanError> {
        self.tidy(engine).await?;
        // The note is there before the volume is, and its random name is the volume's.
        let note = tempfile::Builder::new()
            .prefix(prefix)
            .rand_bytes(12)
            .tempfile_in(self.slot.notes())
            .and_then(|note| note.keep().map_err(|error| error.error))
            .map_err(|source| local("note a volume in the data directory", source))?
            .1;
        let volume = name(&note);
        engine.create_volume(&volume).await?;
        Ok(volume)
    }

    /// Puts a filled volume in force.
    pub(crate) fn switch(self, record: &impl Serialize) -> Result<(), ScanError> {
        let failed = |source: BoxError| local("write a record into the data directory", source);
        let text = serde_json::to_vec_pretty(record).map_err(|source| failed(source.into()))?;
        if let Some(replaced) = &self.in_force {
            fs::write(self.slot.notes().join(replaced), REPLACED).map_err(|source| failed(source.into()))?;
        }
        let whole = || -> io::Result<()> {
            let mut fresh = tempfile::NamedTempFile::new_in(self.slot.record.parent().unwrap_or(&self.slot.record))?;
            fresh.write_all(&text)?;
            fresh.as_file().sync_all()?;
            fresh.persist(&self.slot.record).map_err(|error| error.error)?;
            Ok(())
        };
        whole().map_err(|source| failed(source.into()))
    }

    /// Removes a volume whose filling failed.
    pub(crate) async fn give_up(&self, engine: &dyn Engine, volume: &str) {
        self.remove(engine, volume).await;
    }

    async fn tidy(&self, engine: &dyn Engine) -> Result<(), ScanError> {
        let failed = |source| local("read the notes of volumes", source);
        for note in fs::read_dir(self.slot.notes()).map_err(failed)? {
            let path = note.map_err(failed)?.path();
            let volume = name(&path);
            if self.in_force.as_ref() == Some(&volume) {
                continue;
            }
            // Nobody else fills while we hold the slot: what was never in force is of a dead process.
            let died = fs::read(&path).map_err(failed)? != REPLACED;
            let age = fs::metadata(&path)
                .and_then(|meta| meta.modified())
                .map_err(failed)?
                .elapsed();
            if died || age.is_ok_and(|age| age > REPLACED_FOR) {
                self.remove(engine, &volume).await;
            }
        }
        Ok(())
    }

    async fn remove(&self, engine: &dyn Engine, volume: &str) {
        match engine.remove_volume(volume).await {
            Ok(()) => {
                let _ = fs::remove_file(self.slot.notes().join(volume));
            }
            Err(error) => tracing::info!(
                volume,
                error = &error as &dyn std::error::Error,
                "a volume that is not needed any more stays for now"
            ),
        }
    }
}

fn name(note: &Path) -> String {
    note.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file of ours that could not be read or written.
pub(crate) fn local(action: &'static str, source: impl Into<BoxError>) -> ScanError {
    ScanError::Local {
        action,
        source: source.into(),
    }
}
