//! A few threads that only read, each with a connection. A read never waits for the writer.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rusqlite::Connection;
use seatrial_core::ledger::LedgerError;
use tokio::sync::{mpsc, oneshot};

use super::file::{self, Fault};

/// More would wait for the processor, not for the disk.
const THREADS: usize = 3;
/// Reads that wait at most; more wait in their own tasks.
const INBOX: usize = 1_024;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Takes reads to the threads.
#[derive(Clone)]
pub(super) struct Readers {
    inbox: mpsc::Sender<Read>,
}

impl Readers {
    /// Starts the threads; they end when the last of these is dropped.
    pub(super) fn start(path: &Path) -> Result<Self, LedgerError> {
        let (inbox, reads) = mpsc::channel::<Read>(INBOX);
        let reads = Arc::new(Mutex::new(reads));
        for n in 0..THREADS {
            let db = file::reader(path)?;
            let reads = Arc::clone(&reads);
            thread::Builder::new()
                .name(format!("ledger-reader-{n}"))
                .spawn(move || {
                    loop {
                        let next = reads.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                        match next {
                            Some(read) => read(&db),
                            None => return,
                        }
                    }
                })
                .map_err(|error| LedgerError::Unfit(format!("no thread can be started: {error}")))?;
        }
        Ok(Self { inbox })
    }

    /// Reads what was committed before the call. `action` as a verb phrase.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let task: Read = Box::new(move |db| {
            if answer.is_closed() {
                return;
            }
            // Its caller may have gone meanwhile.
            let _ = answer.send(read(db).map_err(|fault| fault.at(action)));
        });
        let gone = || LedgerError::Unreachable {
            action,
            source: "its readers have ended".into(),
        };
        self.inbox.send(task).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
