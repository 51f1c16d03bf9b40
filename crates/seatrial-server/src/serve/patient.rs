//! A socket that does not wait for ever for a peer that takes nothing or next to nothing, and that closes politely.
//!
//! An answer that refuses a large body is sent before the body was read. A socket that is closed with bytes
//! unread resets the connection, and the peer never sees why it was refused. So what comes after the last
//! answer is read and thrown away for a moment.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Longest time in which a peer may go on sending after the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes that are thrown away then.
const LINGER_BYTES: usize = 16 << 20;

/// Bytes that win back a second of patience: a peer that takes fewer in each second of ours is given up in the end,
/// or a few bytes now and then would keep an answer of megabytes in memory for a day.
const PACE: f64 = 16.0 * 1024.0;

/// A stream whose writes fail when its peer lets it wait for longer than it has patience. What the peer takes wins
/// patience back, up to what it was in the beginning.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    left: Duration,
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    lingering: Option<Lingering>,
}

/// The last answer was sent.
struct Lingering {
    over: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            left: patience,
            stalled: None,
            lingering: None,
        }
    }

    /// Passes on what a write said; `taken` counts the bytes in it. A write that waits too long becomes an error.
    fn judge<T>(
        &mut self,
        said: Poll<io::Result<T>>,
        context: &mut Context<'_>,
        taken: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(said) = said {
            if let Some((since, _)) = self.stalled.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            let bytes = said.as_ref().map_or(0, taken);
            let won = Duration::from_secs_f64(bytes as f64 / PACE);
            self.left = self.patience.min(self.left + won);
            return Poll::Ready(said);
        }
        let left = self.left;
        let (_, stalled) = self
            .stalled
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(stalled.as_mut().poll(context));
        self.stalled = None;
        self.left = Duration::ZERO;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(said, context, |taken| *taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(said, context, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let said = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.judge(said, context, |()| 0))?;
            self.lingering = Some(Lingering {
                over: Box::pin(sleep(LINGER)),
                left: LINGER_BYTES,
            });
        }
        let this = &mut *self;
        let Some(lingering) = &mut this.lingering else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let mut scratch = [0; 8192];
            let mut into = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut into) {
                Poll::Ready(Ok(())) if !into.filled().is_empty() && lingering.left > 0 => {
                    lingering.left = lingering.left.saturating_sub(into.filled().len());
                }
                // The peer is done, or too much for our patience.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(lingering.over.as_mut().poll(context));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(said, context, |taken| *taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        let error = patient.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_takes_its_share_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 4 << 20 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                let mut into = vec![0; 64 << 10];
                taken += theirs.read(&mut into).await.unwrap();
            }
        });
        patient.write_all(&vec![0; 4 << 20]).await.unwrap();
        reader.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_few_bytes_now_and_then_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        let begun = Instant::now();
        let reader = tokio::spawn(async move {
            while theirs.read(&mut [0; 8]).await.is_ok_and(|taken| taken > 0) {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        let error = patient.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(60));
        drop(patient);
        reader.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_finish_its_sentence_but_not_talk_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        let talker = tokio::spawn(async move { while theirs.write_all(&[0; 64]).await.is_ok() {} });
        let begun = Instant::now();
        patient.shutdown().await.unwrap();
        drop(patient);
        talker.await.unwrap();
        assert!(begun.elapsed() <= LINGER);
        let (ours, _silent) = tokio::io::duplex(64);
        let mut patient = Patient::new(ours, Duration::from_secs(30));
        patient.shutdown().await.unwrap();
        assert!(begun.elapsed() <= LINGER * 2);
    }
}
