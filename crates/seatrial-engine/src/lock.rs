//! Locks between processes that share a data directory: ten `seatrial run` side by side must fill
//! one store once.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use seatrial_core::engine::EngineError;
use tokio::time::Instant;

/// Waits for the lock at `path`, at most `patience`. It is given back when the file is dropped, so
/// also when the future or the process is.
pub(crate) async fn lock(path: &Path, patience: Duration) -> Result<File, EngineError> {
    let local = |source| EngineError::Local {
        action: "lock a file in the data directory",
        source,
    };
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(local)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(local(source)),
            Err(TryLockError::WouldBlock) if began.elapsed() > patience => {
                return Err(EngineError::Slow {
                    action: "finish what another process began",
                    after: patience,
                });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
