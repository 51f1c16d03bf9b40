//! Request bodies: bounded in bytes, in time, and in what all of them together hold in memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    problem::{Code, Problem},
    state::AppState,
};

/// See [`Meter::take_copies`].
const COPIES: u64 = 3;

/// Counts a body while it is read, and stands for the memory that it has in use until it is dropped.
#[derive(Clone)]
pub(crate) struct Meter {
    max: u64,
    memory: Arc<Semaphore>,
    count: Arc<Mutex<Count>>,
}

#[derive(Default)]
struct Count {
    read: u64,
    copies: u64,
    kib: u64,
    held: Option<OwnedSemaphorePermit>,
    cut: Option<Cut>,
}

/// Why a body was cut off.
#[derive(Clone, Copy)]
enum Cut {
    TooLarge,
    NoMemory,
}

impl Meter {
    /// For a body of at most `max` bytes.
    pub(crate) fn new(state: &AppState, headers: &HeaderMap, max: u64) -> Result<Self, Problem> {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok());
        if length
            .and_then(|length| length.parse::<u64>().ok())
            .is_some_and(|length| length > max)
        {
            return Err(too_large(max));
        }
        Ok(Self {
            max,
            memory: state.body_memory().clone(),
            count: Arc::default(),
        })
    }

    fn take(&self, bytes: usize) -> Result<(), Cut> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.read += bytes as u64;
        let end = if count.read > self.max {
            Err(Cut::TooLarge)
        } else {
            self.cover(&mut count)
        };
        count.cut = end.err();
        end
    }

    /// Stands for copies of a part beside the body itself: as it came, as it is written anew, and as it is sealed.
    pub(crate) fn take_copies(&self, bytes: usize) -> Result<(), Problem> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.copies = bytes as u64 * COPIES;
        let end = self.cover(&mut count);
        count.cut = end.err();
        drop(count);
        self.cut().map_or(Ok(()), Err)
    }

    fn cover(&self, count: &mut Count) -> Result<(), Cut> {
        let wanted = (count.read + count.copies).div_ceil(1024);
        if wanted <= count.kib {
            return Ok(());
        }
        let more = u32::try_from(wanted - count.kib).map_err(|_| Cut::NoMemory)?;
        let permit = self
            .memory
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| Cut::NoMemory)?;
        match &mut count.held {
            Some(held) => held.merge(permit),
            None => count.held = Some(permit),
        }
        count.kib = wanted;
        Ok(())
    }

    /// The problem, if we cut the body off: readers of forms report that in words of their own.
    pub(crate) fn cut(&self) -> Option<Problem> {
        let cut = self.count.lock().unwrap_or_else(PoisonError::into_inner).cut?;
        Some(match cut {
            Cut::TooLarge => too_large(self.max),
            Cut::NoMemory => Problem::new(Code::Busy, "As many bodies are in memory as this process may hold.")
                .retry_after(Duration::from_secs(2)),
        })
    }

    /// The body as it comes, cut off where it goes too far.
    pub(crate) fn measure(&self, body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + use<> {
        let meter = self.clone();
        body.into_data_stream().map(move |piece| {
            let piece = piece?;
            match meter.take(piece.len()) {
                Ok(()) => Ok(piece),
                Err(_) => Err(axum::Error::new("the body was cut off")),
            }
        })
    }

    /// The whole body.
    pub(crate) async fn whole(&self, state: &AppState, body: Body) -> Result<Vec<u8>, Problem> {
        let read = async {
            let mut bytes = Vec::new();
            let mut pieces = std::pin::pin!(self.measure(body));
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| self.cut().unwrap_or_else(|| broken(&error)))?;
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        in_time(state, read).await
    }
}

fn too_large(max: u64) -> Problem {
    Problem::new(Code::TooLarge, format!("The body is larger than {max} bytes."))
}

/// Ends reading when the body's time is over.
pub(crate) async fn in_time<T>(state: &AppState, read: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let patience = state.config().body_time;
    tokio::time::timeout(patience, read).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Code::BodyTooSlow,
            format!("The body was not there within {} s.", patience.as_secs_f64()),
        ))
    })
}

/// The connection broke, or its framing is wrong.
fn broken(error: &axum::Error) -> Problem {
    tracing::debug!(error = error as &dyn std::error::Error, "a body ended early");
    Problem::new(Code::Malformed, "The body ended before it was whole.")
}
