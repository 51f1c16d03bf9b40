//! The streams of one container: what is written to it, what it says.

use std::{io, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use seatrial_core::{BoxError, engine::EngineError};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// A piece of output, at most as large as the Engine's buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Standard output.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
}

/// Both directions, attached before the container is started.
pub(crate) struct Stdio {
    pub(crate) input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    pub(crate) output: Pin<Box<dyn Stream<Item = Result<Piece, EngineError>> + Send>>,
}

/// The writing half. A container that has ended takes no more input: that is no error here, its
/// output and its exit code say what happened.
pub(crate) struct Input {
    writer: Option<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl Input {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        if let Some(writer) = &mut self.writer
            && gone(writer.write_all(bytes).await)
        {
            self.writer = None;
        }
    }

    pub(crate) async fn flush(&mut self) {
        if let Some(writer) = &mut self.writer
            && gone(writer.flush().await)
        {
            self.writer = None;
        }
    }

    /// Nobody reads any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.writer.is_none()
    }

    /// Ends the container's standard input.
    pub(crate) async fn close(mut self) {
        if let Some(mut writer) = self.writer.take() {
            let _ = gone(writer.flush().await);
            let _ = gone(writer.shutdown().await);
        }
    }
}

/// The error of ours that it is when a container ends because its streams broke while we held them:
/// never a verdict on who was in it.
pub(crate) fn cut_off() -> EngineError {
    EngineError::Unreachable("the connection to a container was lost while it ran".into())
}

/// Whether a container of ours that left no report ended with a code that says so: our own deadline
/// (the end of the life line is one), or a kill from outside, as by an Engine that stops.
pub(crate) fn is_cut_off(code: i32) -> bool {
    matches!(code, 124 | 137)
}

fn gone(result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        tracing::debug!(%error, "a container takes no more input");
    }
    result.is_err()
}

impl Stdio {
    /// Nothing was said and nothing ended, as far as is known by now. What was said is lost.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.output.next().now_or_never().is_none()
    }

    /// Takes the writing half; the second time it is one that nobody reads.
    pub(crate) fn input(&mut self) -> Input {
        Input {
            writer: self.input.take(),
        }
    }

    /// Runs `feed` and hands every piece of output to `take`, until the output ends. An error of
    /// either ends both.
    pub(crate) async fn converse(
        &mut self,
        feed: impl Future<Output = Result<(), BoxError>>,
        take: impl FnMut(Turn) -> Result<(), EngineError>,
    ) -> Result<(), Interrupted> {
        let feed = async { feed.await.map_err(Interrupted::Input) };
        self.converse_when(|| std::future::ready(()), feed, take).await
    }

    /// The same, and waits for `ready` before each piece of output is read.
    pub(crate) async fn converse_when<R: Future<Output = ()>>(
        &mut self,
        ready: impl Fn() -> R,
        feed: impl Future<Output = Result<(), Interrupted>>,
        mut take: impl FnMut(Turn) -> Result<(), EngineError>,
    ) -> Result<(), Interrupted> {
        let mut feed = std::pin::pin!(feed);
        let mut fed = false;
        loop {
            let turn = tokio::select! {
                result = &mut feed, if !fed => {
                    result?;
                    fed = true;
                    continue;
                }
                piece = async {
                    ready().await;
                    tokio::time::timeout(QUIET, self.output.next()).await
                } => piece,
            };
            let turn = match turn {
                Ok(Some(piece)) => Turn::Said(piece.map_err(Interrupted::Engine)?),
                Ok(None) => return Ok(()),
                Err(_) => Turn::Quiet,
            };
            take(turn).map_err(Interrupted::Engine)?;
        }
    }
}

/// How long a container says nothing before [`Turn::Quiet`] is told.
const QUIET: Duration = Duration::from_millis(50);

/// What happened on the output.
pub(crate) enum Turn {
    /// Something was said.
    Said(Piece),
    /// Nothing was said for a moment: what is held back for lack of its end may go.
    Quiet,
}

/// Why a conversation ended before the output did.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The source of the input failed.
    Input(BoxError),
    /// The Engine failed, or we gave up.
    Engine(EngineError),
}

impl From<BoxError> for Interrupted {
    fn from(source: BoxError) -> Self {
        Self::Input(source)
    }
}

impl From<Interrupted> for EngineError {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Engine(error) => error,
            Interrupted::Input(source) => Self::Refused {
                action: "be given its input",
                source,
            },
        }
    }
}
