//! Loading an image, in two parts: the request with the first file of the archive, which is the same for all, and
//! later the rest. An Engine starts a process of its own for each load when the first bytes are there (20.10; 50 ms
//! of the 130 that a small image takes), and that can be over before there is an image.
//!
//! # Liveness
//! Who drops it closes the connection: the Engine then sees an archive that ends early, and forgets it.

use std::{io, pin::Pin};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use seatrial_core::engine::EngineError;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{archive, client::Client};

/// The rest of an archive.
pub(crate) type Rest = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A load that has begun.
pub(crate) struct Load {
    rest: oneshot::Sender<Rest>,
    /// One task, which ends with this.
    answer: JoinSet<Result<(), bollard::errors::Error>>,
}

impl Load {
    /// Begins; does not wait for the Engine.
    pub(crate) fn begin(client: &Client) -> Self {
        let (rest, later) = oneshot::channel::<Rest>();
        let gone = || stream::once(async { Err(io::Error::other("the load was given up")) }).boxed();
        let later = later.map(move |rest| rest.unwrap_or_else(|_| gone())).into_stream();
        let archive = stream::iter([Ok(archive::beginning())]).chain(later.flatten());
        let mut answer = JoinSet::new();
        answer.spawn(client.load(archive));
        Self { rest, answer }
    }

    /// The Engine has not said anything, nor hung up, as far as is known by now.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.answer.try_join_next().is_none()
    }

    /// Sends the rest and waits for the Engine's word.
    pub(crate) async fn finish(mut self, rest: Rest) -> Result<(), EngineError> {
        Client::loaded(async {
            // Where nobody takes it any more, the answer says why.
            let _ = self.rest.send(rest);
            match self.answer.join_next().await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) | None => Err(io::Error::other("the task of a load ended early").into()),
            }
        })
        .await
    }
}
