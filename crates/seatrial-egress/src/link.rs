//! One connection of the other end, as the frames see it: what came and was not taken yet, what may be sent, and
//! when something last went either way.
//!
//! The frames' side never waits for a connection. It puts data here, and there is room for all that the other end
//! may send; bytes are joined, so that a thousand frames of one byte take a thousand bytes.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};

use crate::frame::{Broken, Frame, Id, LONGEST, WINDOW};

/// So much is taken before the other end is told: it has seven times as much left until then.
const WORTH_TELLING: u32 = 32_768;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    id: Id,
    state: Mutex<State>,
    /// Something came, or the end.
    came: Notify,
    /// More may be sent.
    may: Notify,
    begun: Instant,
    /// Milliseconds from `begun` to when something last went either way.
    last: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// What came and was not taken.
    inbox: BytesMut,
    /// What the other end may still send.
    open: u32,
    finished: bool,
    /// What we may still send.
    credit: u32,
}

impl Link {
    pub(crate) fn new(id: Id) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                inbox: BytesMut::new(),
                open: WINDOW,
                finished: false,
                credit: WINDOW,
            }),
            came: Notify::new(),
            may: Notify::new(),
            begun: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// `D`.
    pub(crate) fn data(&self, data: &Bytes) -> Result<(), Broken> {
        let mut state = self.state();
        if state.finished {
            return Err(Broken::AfterEnd(self.id));
        }
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        state.open = state.open.checked_sub(size).ok_or(Broken::TooMuch(self.id))?;
        state.inbox.extend_from_slice(data);
        drop(state);
        self.touch();
        self.came.notify_one();
        Ok(())
    }

    /// `F`.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        if std::mem::replace(&mut self.state().finished, true) {
            return Err(Broken::AfterEnd(self.id));
        }
        self.came.notify_one();
        Ok(())
    }

    /// `W`.
    pub(crate) fn allow(&self, bytes: u32) -> Result<(), Broken> {
        let mut state = self.state();
        let credit = state.credit.checked_add(bytes).filter(|credit| *credit <= WINDOW);
        state.credit = credit.ok_or(Broken::TooGenerous(self.id))?;
        drop(state);
        self.may.notify_one();
        Ok(())
    }

    /// Something went either way.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
    }

    /// Comes back when nothing has gone either way for so long.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let seen = self.last.load(Relaxed);
            sleep_until(self.begun + Duration::from_millis(seen) + limit).await;
            if self.last.load(Relaxed) == seen {
                return;
            }
        }
    }

    /// What came, once something has; `None` after the last of it.
    async fn take(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
                if !state.inbox.is_empty() {
                    return Some(std::mem::take(&mut state.inbox).freeze());
                }
                if state.finished {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }

    /// How much of so much may be sent, once anything may.
    async fn spend(&self, most: usize) -> usize {
        loop {
            {
                let mut state = self.state();
                let may = state.credit.min(u32::try_from(most).unwrap_or(u32::MAX));
                if may > 0 {
                    state.credit -= may;
                    return may as usize;
                }
            }
            self.may.notified().await;
        }
    }

    fn give_back(&self, bytes: u32) {
        // Below the window, for it was taken from it.
        let mut state = self.state();
        state.open = state.open.saturating_add(bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries what comes into a connection, and gives the room back as it is taken. Ends with the last of it, or when
/// nobody takes it any more.
pub(crate) async fn inward(link: &Link, mut to: WriteHalf<DuplexStream>, out: &mpsc::Sender<Frame>) {
    let mut taken = 0;
    while let Some(data) = link.take().await {
        for piece in data.chunks(LONGEST) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            taken += u32::try_from(piece.len()).unwrap_or(u32::MAX);
            if taken < WORTH_TELLING {
                continue;
            }
            link.give_back(taken);
            if out.send(Frame::Credit(link.id, taken)).await.is_err() {
                return;
            }
            taken = 0;
        }
    }
    let _ = to.shutdown().await;
}

/// Carries what a connection says out, as far as it may be. Ends with the last of it.
pub(crate) async fn outward(link: &Link, mut from: ReadHalf<DuplexStream>, out: &mpsc::Sender<Frame>) {
    let mut room = BytesMut::new();
    loop {
        room.reserve(LONGEST);
        match from.read_buf(&mut room).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        while !room.is_empty() {
            let may = link.spend(room.len().min(LONGEST)).await;
            let data = room.split_to(may).freeze();
            if out.send(Frame::Data(link.id, data)).await.is_err() {
                return;
            }
            link.touch();
        }
    }
    let _ = out.send(Frame::Finish(link.id)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Bytes {
        vec![0; count].into()
    }

    #[test]
    fn more_data_than_the_window_breaks_the_stream() {
        let link = Link::new(1);
        for _ in 0..8 {
            link.data(&bytes(LONGEST)).unwrap();
        }
        assert_eq!(link.data(&bytes(1)), Err(Broken::TooMuch(1)));
    }

    #[test]
    fn more_credit_than_the_window_breaks_the_stream() {
        let link = Link::new(1);
        assert_eq!(link.allow(1), Err(Broken::TooGenerous(1)));
        assert_eq!(link.allow(u32::MAX), Err(Broken::TooGenerous(1)));
        assert_eq!(link.allow(0), Ok(()));
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let link = Link::new(1);
        link.finish().unwrap();
        assert_eq!(link.data(&bytes(0)), Err(Broken::AfterEnd(1)));
        assert_eq!(link.finish(), Err(Broken::AfterEnd(1)));
    }

    #[tokio::test]
    async fn credit_that_was_spent_can_be_given_back_and_no_more() {
        let link = Link::new(1);
        assert_eq!(link.spend(1000).await, 1000);
        assert_eq!(link.allow(1001), Err(Broken::TooGenerous(1)));
        assert_eq!(link.allow(1000), Ok(()));
        assert_eq!(link.spend(usize::MAX).await, WINDOW as usize);
    }

    #[tokio::test]
    async fn frames_of_one_byte_take_a_byte_each() {
        let link = Link::new(1);
        for _ in 0..10_000 {
            link.data(&bytes(1)).unwrap();
        }
        link.finish().unwrap();
        assert_eq!(link.take().await.unwrap().len(), 10_000);
        assert_eq!(link.take().await, None);
    }
}
