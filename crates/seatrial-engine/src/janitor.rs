//! Removes what is not needed any more, in the background.
//!
//! # Liveness
//! `Drop` cannot wait, so every guard hands its objects over here, by name. Each is removed in its
//! own task: containers first, then the volumes that they used, then tags. What is busy is tried
//! again; what still resists after two minutes is left to the sweep. When the process ends before
//! the janitor is done, the sweep of the next one finds the rest.
//!
//! A request to create something may still be on its way inside the Engine when its future is
//! dropped. So a guard is armed before the request, and an object that was never confirmed is
//! looked for several times before it is believed absent.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use seatrial_core::engine::EngineError;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::client::{Client, Removal};

/// How long a busy object is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an object that was never confirmed may still appear.
const APPEARS: Duration = Duration::from_secs(3);

/// Things to remove, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chore {
    pub(crate) containers: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) tags: Vec<String>,
    /// All of them are known to exist (or to have existed).
    pub(crate) confirmed: bool,
}

/// Takes chores. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Janitor {
    chores: mpsc::UnboundedSender<Chore>,
    /// Chores that are not done.
    open: Arc<watch::Sender<usize>>,
}

impl Janitor {
    /// Starts the janitor's task, which ends when the last clone is dropped and all is done.
    pub(crate) fn start(client: Client) -> Self {
        let (chores, mut incoming) = mpsc::unbounded_channel::<Chore>();
        let open = Arc::new(watch::Sender::new(0));
        let count = Arc::clone(&open);
        tokio::spawn(async move {
            while let Some(chore) = incoming.recv().await {
                let client = client.clone();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    do_chore(&client, &chore).await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { chores, open }
    }

    /// Hands over. Never waits.
    pub(crate) fn take(&self, chore: Chore) {
        self.open.send_modify(|open| *open += 1);
        if self.chores.send(chore).is_err() {
            // Its task is gone with the runtime: the sweep finds it at the next start.
            self.open.send_modify(|open| *open -= 1);
        }
    }

    /// Waits until nothing is left to do, at most `patience`.
    pub(crate) async fn idle(&self, patience: Duration) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(patience, open.wait_for(|open| *open == 0)).await;
    }
}

async fn do_chore(client: &Client, chore: &Chore) {
    let sure = chore.confirmed;
    join_all((chore.containers.iter()).map(|name| persist("container", name, sure, || client.remove_container(name))))
        .await;
    join_all((chore.volumes.iter()).map(|name| persist("volume", name, sure, || client.remove_volume(name)))).await;
    join_all((chore.tags.iter()).map(|name| persist("tag", name, sure, || client.untag(name)))).await;
}

/// Removes one thing, trying again while it is busy.
async fn persist<F>(what: &'static str, name: &str, confirmed: bool, mut remove: impl FnMut() -> F)
where
    F: Future<Output = Result<Removal, EngineError>>,
{
    let began = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let (patience, problem) = match remove().await {
            Ok(Removal::Done) => return,
            Ok(Removal::Absent) if confirmed => return,
            Ok(Removal::Absent) => (APPEARS, None),
            Ok(Removal::Busy(error)) | Err(error) => (PATIENCE, Some(error)),
        };
        if began.elapsed() >= patience {
            if let Some(error) = problem {
                tracing::warn!(
                    what,
                    name,
                    error = &error as &dyn std::error::Error,
                    "left to the sweep"
                );
            }
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn busy() -> Result<Removal, EngineError> {
        Ok(Removal::Busy(EngineError::Broken("in use".to_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_busy_is_tried_again_until_it_is_gone() {
        let tries = Cell::new(0);
        persist("volume", "v", true, || {
            tries.set(tries.get() + 1);
            let answer = if tries.get() < 4 { busy() } else { Ok(Removal::Done) };
            async { answer }
        })
        .await;
        assert_eq!(tries.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_still_appear_is_looked_for_more_than_once() {
        let tries = Cell::new(0);
        persist("container", "c", false, || {
            tries.set(tries.get() + 1);
            let answer = if tries.get() < 3 {
                Removal::Absent
            } else {
                Removal::Done
            };
            async { Ok(answer) }
        })
        .await;
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_to_be_gone_is_not_looked_for_again() {
        let tries = Cell::new(0);
        persist("container", "c", true, || {
            tries.set(tries.get() + 1);
            async { Ok(Removal::Absent) }
        })
        .await;
        assert_eq!(tries.get(), 1);
    }
}
