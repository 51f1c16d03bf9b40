//! Bytes both ways, unread.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use crate::{journal::Record, meter::Metered};

/// Bytes at a time, each way.
const PIECE: usize = 32_768;

/// A tunnel that begins when its answer is out.
pub(crate) struct Tunnel {
    pub(crate) from: OnUpgrade,
    pub(crate) to: Metered,
    pub(crate) record: Record,
}

impl Tunnel {
    /// Carries until both sides have said all, or one is gone.
    pub(crate) async fn run(mut self) {
        let Ok(from) = self.from.await else {
            return;
        };
        let mut from = TokioIo::new(from);
        match copy_bidirectional_with_sizes(&mut from, &mut self.to, PIECE, PIECE).await {
            Ok(_) => self.record.allowed(None),
            Err(_) => self.record.stopped("the connection broke"),
        }
    }
}
