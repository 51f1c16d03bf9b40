//! Answers that go on for as long as a job does: events and followed logs.
//!
//! # Back-pressure
//! A task of its own reads the ledger and the vault and hands pieces over a short channel. A reader that
//! takes nothing for a while is dropped; it resumes where it was. Jobs never wait for a reader: the task
//! only ever reads.

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

use crate::{problem::Problem, state::AppState};

/// Pieces that wait for a reader.
const WAITING: usize = 16;

/// Where a stream's pieces go.
pub(crate) struct Reader {
    pieces: mpsc::Sender<Bytes>,
    state: AppState,
    kind: &'static str,
}

/// The stream is over: its reader left, did not read, or the process goes.
pub(crate) struct Over;

/// What a wait brought.
pub(crate) enum Turn<T> {
    /// What was waited for.
    Came(T),
    /// Nothing for as long as it may be silent.
    Silent,
}

impl Reader {
    /// Hands a piece over.
    pub(crate) async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), Over> {
        let patience = self.state.config().write_time;
        match self.pieces.send_timeout(piece.into(), patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Over),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                tracing::info!(stream = self.kind, "a reader that does not read was dropped");
                self.state.metrics().stream_dropped(self.kind);
                Err(Over)
            }
        }
    }

    /// Waits for something, at most until the stream has been silent for too long.
    pub(crate) async fn wait<T>(&mut self, what: impl Future<Output = T>, until: Instant) -> Result<Turn<T>, Over> {
        tokio::select! {
            value = what => Ok(Turn::Came(value)),
            () = sleep_until(until) => Ok(Turn::Silent),
            () = self.pieces.closed() => Err(Over),
            () = self.state.gone() => Err(Over),
        }
    }
}

/// Starts a stream: `tell` runs in a task of its own until it returns.
pub(crate) fn start<F, T>(state: &AppState, kind: &'static str, tell: F) -> Result<Body, Problem>
where
    F: FnOnce(Reader) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let place = state.stream_place()?;
    let open = state.metrics().stream(kind);
    let (pieces, taken) = mpsc::channel(WAITING);
    let reader = Reader {
        pieces,
        state: state.clone(),
        kind,
    };
    let told = tell(reader);
    let task = async move {
        told.await;
        drop((place, open));
    };
    tokio::spawn(task.in_current_span());
    Ok(Body::from_stream(
        ReceiverStream::new(taken).map(Ok::<_, std::convert::Infallible>),
    ))
}
