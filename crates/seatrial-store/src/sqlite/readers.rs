//! A few threads that only read, each with a connection. A read never waits for the writer.

use std::{
    io,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Fault};

/// More would wait for the processor, not for the disk.
pub(crate) const THREADS: usize = 3;
/// Reads that wait at most; more wait in their own tasks.
const INBOX: usize = 1_024;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Takes reads to the threads.
pub(crate) struct Readers<E> {
    inbox: mpsc::Sender<Read>,
    error: PhantomData<fn() -> E>,
}

impl<E: Answer> Readers<E> {
    /// Starts a thread for each connection; they end when this is dropped.
    pub(crate) fn start(name: &str, connections: [Connection; THREADS]) -> io::Result<Self> {
        let (inbox, reads) = mpsc::channel::<Read>(INBOX);
        let reads = Arc::new(Mutex::new(reads));
        for (n, db) in connections.into_iter().enumerate() {
            let reads = Arc::clone(&reads);
            thread::Builder::new().name(format!("{name}-{n}")).spawn(move || {
                loop {
                    let next = reads.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    match next {
                        Some(read) => read(&db),
                        None => return,
                    }
                }
            })?;
        }
        Ok(Self {
            inbox,
            error: PhantomData,
        })
    }

    /// Reads what was committed before the call. `action` as a verb phrase.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Fault<E>> + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        let task: Read = Box::new(move |db| {
            if answer.is_closed() {
                return;
            }
            // Its caller may have gone meanwhile.
            let _ = answer.send(read(db).map_err(|fault| fault.at(action)));
        });
        let gone = || E::unreachable(action, "its readers have ended".into());
        self.inbox.send(task).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
