//! One connection that many callers share, and that comes back.
//!
//! A command whose answer did not come may have been done, so none is sent twice: its caller hears that
//! Redis gave no answer, and the next caller gets a new connection. A time-out counts as a lost connection,
//! for a peer that vanished without a word would hold it for many minutes.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, aio::MultiplexedConnection};
use seatrial_core::ledger::LedgerError;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::scripts::Call;

/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(2);
/// After a failed try, the next callers are told so at once for this long, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A connection that comes back.
pub(super) struct Link {
    client: Client,
    /// For a whole call, a new connection included.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<MultiplexedConnection>,
    /// Goes up with each connection, so that a late failure does not end a newer one.
    generation: u64,
    /// Tries that failed since the last good one, when the last did, and how.
    failed: Option<(u32, Instant, String)>,
}

impl Link {
    pub(super) fn new(client: Client, patience: Duration) -> Self {
        Self {
            client,
            patience,
            state: Mutex::new(State::default()),
        }
    }

    /// The client, for connections of another kind.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends commands together and waits for all answers.
    pub(super) async fn pipe<T: FromRedisValue>(
        &self,
        action: &'static str,
        commands: &Pipeline,
    ) -> Result<T, LedgerError> {
        self.ask(action, async |mut connection| {
            commands.query_async(&mut connection).await
        })
        .await
    }

    /// Runs a script.
    pub(super) async fn call<T: FromRedisValue>(&self, action: &'static str, call: &Call) -> Result<T, LedgerError> {
        self.ask(action, async |mut connection| call.run(&mut connection).await)
            .await
    }

    async fn ask<T>(
        &self,
        action: &'static str,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, LedgerError> {
        let (generation, error) = match timeout(self.patience, self.connection()).await {
            Err(_) => return Err(silent(action)),
            Ok(Err(error)) => return Err(unreachable(action, error)),
            Ok(Ok((generation, connection))) => match timeout(self.patience, ask(connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !is_lost(&error) => return Err(told(action, error)),
                Ok(Err(error)) => (generation, unreachable(action, error)),
                Err(_) => (generation, silent(action)),
            },
        };
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.live = None;
        }
        Err(error)
    }

    /// The live connection, or a new one. Whoever comes while one connects waits for it.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Box<dyn std::error::Error + Send + Sync>> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            return Ok((state.generation, live.clone()));
        }
        if let Some((tries, at, how)) = &state.failed {
            let pause = PAUSES
                .1
                .min(PAUSES.0.saturating_mul(2_u32.saturating_pow((*tries).min(10))));
            if at.elapsed() < pause {
                return Err(format!("no connection: {how}").into());
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1024);
        // A connection under way dies with the caller who waits for it; the next one begins anew.
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(live) => {
                if state.failed.take().is_some() {
                    tracing::info!("connected to Redis again");
                }
                state.generation += 1;
                state.live = Some(live.clone());
                Ok((state.generation, live))
            }
            Err(error) => {
                let tries = state.failed.as_ref().map_or(0, |(tries, ..)| *tries) + 1;
                state.failed = Some((tries, Instant::now(), error.to_string()));
                Err(Box::new(error))
            }
        }
    }
}

/// The connection is of no use any more.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// What Redis answered instead of doing it. Also an answer that we cannot read.
fn told(action: &'static str, error: RedisError) -> LedgerError {
    match error.kind() {
        redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::Parse => LedgerError::Broken {
            what: "an answer of Redis".to_owned(),
            source: Box::new(error),
        },
        _ => unreachable(action, error),
    }
}

pub(super) fn unreachable(
    action: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError::Unreachable {
        action,
        source: source.into(),
    }
}

fn silent(action: &'static str) -> LedgerError {
    unreachable(action, "no answer in time")
}
