//! Counts what goes to and comes from hosts, and stops it at the limits.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::link::Link;

/// How the limits are told.
pub(crate) const ENOUGH: &str = "the limit of bytes is reached";

/// What may still be carried, all connections together.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(AtomicU64::new(bytes))
    }

    /// Whether nothing may be carried any more.
    pub(crate) fn is_spent(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

/// What one connection to a host carried.
#[derive(Debug)]
pub(crate) struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    over: AtomicBool,
    limit: u64,
    budget: Arc<Budget>,
}

impl Meter {
    pub(crate) fn new(limit: u64, budget: Arc<Budget>) -> Self {
        Self {
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            over: AtomicBool::new(false),
            limit,
            budget,
        }
    }

    /// Bytes to the host.
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Relaxed)
    }

    /// Bytes from it.
    pub(crate) fn down(&self) -> u64 {
        self.down.load(Relaxed)
    }

    /// Whether a limit stopped it.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// What may still be carried.
    fn left(&self) -> u64 {
        let own = self.limit.saturating_sub(self.up() + self.down());
        own.min(self.budget.0.load(Relaxed))
    }

    /// Takes bytes from what is left. There is one thread, so nobody takes between the look and the taking.
    fn charge(&self, bytes: usize, way: &AtomicU64) -> io::Result<()> {
        let bytes = bytes as u64;
        if bytes > self.left() {
            if bytes > self.budget.0.load(Relaxed) {
                // What was left and is too little is for nobody: all that follows gets the same answer.
                self.budget.0.store(0, Relaxed);
            }
            return Err(self.stop());
        }
        way.fetch_add(bytes, Relaxed);
        self.budget.0.fetch_sub(bytes, Relaxed);
        Ok(())
    }

    fn stop(&self) -> io::Error {
        self.over.store(true, Relaxed);
        io::Error::other(ENOUGH)
    }
}

/// A connection to a host, counted.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) stream: TcpStream,
    pub(crate) meter: Arc<Meter>,
    pub(crate) link: Arc<Link>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, to);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.link.touch();
            // Too much was read from the host, perhaps; none of it goes on.
            if let Err(error) = self.meter.charge(to.filled().len() - before, &self.meter.down) {
                to.set_filled(before);
                return Poll::Ready(Err(error));
            }
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let left = usize::try_from(self.meter.left()).unwrap_or(usize::MAX);
        if left == 0 && !from.is_empty() {
            return Poll::Ready(Err(self.meter.stop()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, &from[..from.len().min(left)]);
        if let Poll::Ready(Ok(sent)) = polled {
            self.link.touch();
            self.meter.charge(sent, &self.meter.up)?;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_and_too_little_is_for_nobody() {
        let budget = Arc::new(Budget::new(10));
        let (one, two) = (Meter::new(100, Arc::clone(&budget)), Meter::new(5, Arc::clone(&budget)));
        assert!(
            two.charge(6, &two.down).is_err() && !budget.is_spent(),
            "its own limit is its own"
        );
        assert!(one.charge(11, &one.down).is_err() && budget.is_spent());
    }

    #[test]
    fn all_connections_share_one_budget_and_each_has_a_limit() {
        let budget = Arc::new(Budget::new(10));
        let (one, two) = (Meter::new(7, Arc::clone(&budget)), Meter::new(7, budget));
        one.charge(7, &one.down).unwrap();
        assert!(one.charge(1, &one.up).is_err() && one.is_over());
        two.charge(3, &two.up).unwrap();
        assert!(!two.is_over() && two.charge(0, &two.down).is_ok());
        assert!(two.charge(1, &two.down).is_err() && two.is_over() && two.budget.is_spent());
        assert_eq!((one.up(), one.down(), two.up(), two.down()), (0, 7, 3, 0));
    }
}
