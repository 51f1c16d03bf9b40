//! The way out of a builder or guest: frames between process 1 in its container and the proxy in another one.
//! What a frame is, and why nobody waits in a circle: `seatrial-holder/PROTOCOL.md`, section "The tunnel".
//!
//! # Who may say what
//! The container's side is hostile where a guest could have taken over process 1, the proxy's side where a host
//! could have taken over the proxy. So each frame is looked at here as far as its head, and goes on whole or not
//! at all; its payload nobody here reads.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use seatrial_core::{egress::EgressRequest, engine::EngineError, id::AttemptId};
use tokio::sync::Notify;

use crate::{
    container::Container,
    engine::Inner,
    lower,
    names::Kind,
    own,
    stdio::{Input, Interrupted, Piece, Stdio},
};

mod journal;

/// Kind, connection, length.
const HEAD: usize = 9;
/// Longest payload.
const MAX_PAYLOAD: usize = 32_768;
/// So much may wait for the proxy before the container is not read any more.
const HELD: usize = 1 << 20;
/// How long the proxy may take for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the container says: cut into frames that wait for the proxy.
#[derive(Default)]
pub(crate) struct Wire {
    cutter: Mutex<Cutter>,
    /// The last connection that was opened.
    newest: AtomicU32,
    held: Mutex<Held>,
    /// Something waits.
    more: Notify,
    /// Less waits than did.
    less: Notify,
}

#[derive(Default)]
struct Held {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Takes a piece of the container's standard output; what stands behind the last frame of all.
    pub(crate) fn take<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], EngineError> {
        let mut whole = Vec::new();
        let rest = locked(&self.cutter).cut(bytes, &mut whole, |head| self.may_go(head))?;
        if !whole.is_empty() {
            let mut held = locked(&self.held);
            held.bytes += whole.len();
            held.pieces.push_back(whole);
            drop(held);
            self.more.notify_one();
        }
        Ok(rest)
    }

    /// Waits until more may be taken.
    pub(crate) async fn room(&self) {
        while locked(&self.held).bytes > HELD {
            self.less.notified().await;
        }
    }

    async fn next(&self) -> Vec<u8> {
        loop {
            if let Some(piece) = self.pop() {
                self.less.notify_one();
                return piece;
            }
            self.more.notified().await;
        }
    }

    fn pop(&self) -> Option<Vec<u8>> {
        let mut held = locked(&self.held);
        let piece = held.pieces.pop_front()?;
        held.bytes -= piece.len();
        Some(piece)
    }

    /// Judges the head of a frame from the container.
    fn may_go(&self, head: &Head) -> bool {
        let newest = self.newest.load(Ordering::Relaxed);
        match head.kind {
            b'O' => {
                let next = newest.checked_add(1) == Some(head.id) && head.size == 0;
                if next {
                    self.newest.store(head.id, Ordering::Relaxed);
                }
                next
            }
            b'E' => head.id == 0 && head.size == 0,
            _ => head.is_of_both(newest),
        }
    }

    /// Judges the head of a frame from the proxy.
    fn may_come(&self, head: &Head) -> bool {
        head.is_of_both(self.newest.load(Ordering::Relaxed))
    }
}

/// What is read of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    kind: u8,
    id: u32,
    size: usize,
}

impl Head {
    fn parse([kind, a, b, c, d, size @ ..]: [u8; HEAD]) -> Self {
        Self {
            kind,
            id: u32::from_be_bytes([a, b, c, d]),
            size: u32::from_be_bytes(size) as usize,
        }
    }

    /// A frame that both sides may send, of a connection that there was.
    fn is_of_both(self, newest: u32) -> bool {
        let sized = match self.kind {
            b'D' => (1..=MAX_PAYLOAD).contains(&self.size),
            b'W' => self.size == 4,
            b'F' | b'X' => self.size == 0,
            _ => false,
        };
        sized && (1..=newest).contains(&self.id)
    }
}

/// Cuts a stream into frames.
#[derive(Default)]
struct Cutter {
    /// A frame that is not yet whole.
    part: Vec<u8>,
    /// There are no frames any more.
    ended: bool,
}

impl Cutter {
    /// Appends whole frames to `whole`; what comes after the frame `E` is left.
    fn cut<'a>(
        &mut self,
        mut bytes: &'a [u8],
        whole: &mut Vec<u8>,
        may: impl Fn(&Head) -> bool,
    ) -> Result<&'a [u8], EngineError> {
        while !self.ended && !bytes.is_empty() {
            let want = match self.part.first_chunk::<HEAD>() {
                None => HEAD,
                Some(head) => HEAD + Head::parse(*head).size,
            };
            let (now, rest) = bytes.split_at(bytes.len().min(want - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = rest;
            let Some(head) = self.part.first_chunk::<HEAD>().map(|head| Head::parse(*head)) else {
                break;
            };
            // Judged as soon as it is there: a length that is too large is never waited for.
            if self.part.len() == HEAD && !may(&head) {
                return Err(broken(&head));
            }
            if self.part.len() == HEAD + head.size {
                if head.kind == b'E' {
                    self.ended = true;
                } else {
                    whole.extend_from_slice(&self.part);
                }
                self.part.clear();
            }
        }
        Ok(bytes)
    }
}

fn broken(head: &Head) -> EngineError {
    EngineError::Broken(format!(
        "a frame of the tunnel breaks its rules: kind {}, connection {}, {} bytes",
        char::from(head.kind).escape_default(),
        head.id,
        head.size
    ))
}

/// The proxy of one stage.
pub(crate) struct Proxy {
    stdio: Stdio,
    input: Input,
    journal: journal::Journal,
    container: Container,
}

/// Starts the proxy. It ends when this is dropped, and when nobody is there to drop it.
pub(crate) async fn open(
    inner: &Inner,
    attempt: AttemptId,
    request: &EgressRequest,
    life: Duration,
) -> Result<Proxy, EngineError> {
    let (own, facts) = tokio::try_join!(own::own(inner), inner.facts())?;
    let parts = lower::Parts {
        image: &own.image,
        tools: None,
        labels: inner.identity().labels(Kind::Egress, Some(attempt), life),
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let name = inner.identity().unique_name(Kind::Egress);
    let mut container = Container::arm(&inner.client, &inner.janitor, name);
    let mut stdio = container.launch(lower::proxy(&parts, request, life.as_secs())).await?;
    Ok(Proxy {
        input: stdio.input(),
        stdio,
        journal: journal::Journal::new(request.seen.clone()),
        container,
    })
}

impl Proxy {
    /// Carries frames both ways until it is dropped, or until one of the two breaks off. Neither way waits
    /// for the other.
    pub(crate) async fn carry(&mut self, wire: &Wire, container: &mut Input) -> Result<(), Interrupted> {
        let Self {
            stdio, input, journal, ..
        } = self;
        let to_proxy = async {
            while !input.is_gone() {
                let piece = wire.next().await;
                input.write(&piece).await;
                input.flush().await;
            }
            // Why it takes no more is for the other way to find out.
            std::future::pending::<Result<(), EngineError>>().await
        };
        let to_container = async {
            let mut cutter = Cutter::default();
            let mut whole = Vec::new();
            while let Some(piece) = stdio.output.next().await {
                match piece? {
                    Piece::Out(bytes) => {
                        cutter.cut(&bytes, &mut whole, |head| wire.may_come(head))?;
                        container.write(&whole).await;
                        container.flush().await;
                        whole.clear();
                    }
                    Piece::Err(bytes) => journal.take(&bytes),
                }
            }
            Err(EngineError::Stumbled(format!(
                "the egress proxy ended before its time{}",
                journal.last_words()
            )))
        };
        tokio::try_join!(to_proxy, to_container)
            .map(|((), ())| ())
            .map_err(Interrupted::Engine)
    }

    /// Ends it, and waits a moment for its last lines.
    pub(crate) async fn end(self) {
        let Self {
            mut stdio,
            input,
            mut journal,
            container: _container,
            ..
        } = self;
        let rest = async {
            input.close().await;
            while let Some(Ok(piece)) = stdio.output.next().await {
                if let Piece::Err(bytes) = piece {
                    journal.take(&bytes);
                }
            }
        };
        if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
            tracing::warn!("an egress proxy did not end in time; what it still had to tell is lost");
        }
    }
}

#[cfg(test)]
mod tests;
