//! Word that work came, and that a job moved. Both only save time: whoever waits looks again after a while
//! anyhow, so a lost word costs a moment and nothing else.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisResult, Value};
use seatrial_core::id::JobId;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

/// Longest wait for word, on either kind.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between tries to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that answers nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Those of this process who wait for work.
#[derive(Default)]
pub(super) struct Idle {
    waiting: AtomicUsize,
    wanted: Notify,
    token: Notify,
    /// When work is known to become ready: the end of a delay.
    next: Mutex<Option<Instant>>,
}

impl Idle {
    /// Remembers when to look again at the latest.
    pub(super) fn look_again_in(&self, span: Option<Duration>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = span.map(|span| Instant::now() + span);
    }

    /// Returns when work may have come, or after a while.
    pub(super) async fn wait(&self) {
        /// Counts also when the waiter is dropped.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        self.wanted.notify_one();
        // Taken, so that a ledger that does not answer the next claim is not asked without a pause.
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let limit = next.map_or(LOOK_AGAIN, |next| {
            next.saturating_duration_since(Instant::now()).min(LOOK_AGAIN)
        });
        // Gone by or got a token: both mean to look.
        let _ = timeout(limit, self.token.notified()).await;
    }

    /// Waits in Redis for tokens while anybody here waits for work. Never ends; `list` is the list of tokens.
    pub(super) async fn listen(&self, client: Client, list: String) {
        let mut failures = 0;
        loop {
            self.wanted.notified().await;
            if let Err(error) = self.pop(&client, &list, &mut failures).await {
                tracing::debug!(error = %error, "no word of new work; polling");
                pause(&mut failures).await;
                self.wanted.notify_one();
            }
        }
    }

    async fn pop(&self, client: &Client, list: &str, failures: &mut u32) -> RedisResult<()> {
        let mut connection = timeout(PATIENCE, client.get_multiplexed_async_connection_with_config(&config()))
            .await
            .map_err(|_| silent())??;
        *failures = 0;
        loop {
            while self.waiting.load(Ordering::Acquire) > 0 {
                let mut pop = redis::cmd("BLPOP");
                pop.arg(list).arg(1);
                let popped: Option<(String, String)> = timeout(PATIENCE, pop.query_async(&mut connection))
                    .await
                    .map_err(|_| silent())??;
                if popped.is_none() {
                    continue;
                }
                if self.waiting.load(Ordering::Acquire) > 0 {
                    self.token.notify_one();
                } else {
                    // Everybody here has found something to do meanwhile: the token is for another process.
                    let push: RedisResult<()> = redis::cmd("LPUSH")
                        .arg(list)
                        .arg("1")
                        .query_async(&mut connection)
                        .await;
                    push?;
                }
            }
            self.wanted.notified().await;
        }
    }
}

/// Those of this process who wait for a job to move.
#[derive(Default)]
pub(super) struct Watchers(Mutex<HashMap<JobId, Arc<Notify>>>);

impl Watchers {
    /// Returns when the job moved, or after a while.
    pub(super) async fn wait(&self, id: JobId) {
        let watch = Watch {
            watchers: self,
            id,
            notify: Arc::clone(self.lock().entry(id).or_default()),
        };
        let _ = timeout(LOOK_AGAIN, watch.notify.notified()).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: JobId) {
        if let Some(notify) = self.lock().get(&id) {
            notify.notify_waiters();
        }
    }

    fn tell_all(&self) {
        for notify in self.lock().values() {
            notify.notify_waiters();
        }
    }

    /// Hears of moved jobs from Redis and passes it on. Never ends.
    pub(super) async fn listen(self: Arc<Self>, client: Client, channel: String) {
        let mut failures = 0;
        loop {
            if let Err(error) = self.subscribe(&client, &channel, &mut failures).await {
                tracing::debug!(error = %error, "no word of moved jobs; polling");
            }
            pause(&mut failures).await;
        }
    }

    async fn subscribe(self: &Arc<Self>, client: &Client, channel: &str, failures: &mut u32) -> RedisResult<()> {
        let watchers = Arc::clone(self);
        let config = config().set_push_sender(move |push: PushInfo| -> Result<(), redis::aio::SendError> {
            watchers.hear(&push);
            Ok(())
        });
        let mut connection = timeout(PATIENCE, client.get_multiplexed_async_connection_with_config(&config))
            .await
            .map_err(|_| silent())??;
        timeout(PATIENCE, connection.subscribe(channel))
            .await
            .map_err(|_| silent())??;
        *failures = 0;
        // What moved meanwhile was not heard.
        self.tell_all();
        loop {
            sleep(LOOK_AGAIN).await;
            let alive: RedisResult<()> = timeout(PATIENCE, redis::cmd("PING").query_async(&mut connection))
                .await
                .map_err(|_| silent())?;
            alive?;
        }
    }

    fn hear(&self, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Message, [_, Value::BulkString(id)]) => {
                if let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
                    self.tell(id);
                }
            }
            (PushKind::Disconnection, _) => self.tell_all(),
            _ => {}
        }
    }
}

/// Takes its entry away when nobody else watches the job.
struct Watch<'a> {
    watchers: &'a Watchers,
    id: JobId,
    notify: Arc<Notify>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock();
        // The map's and ours.
        if Arc::strong_count(&self.notify) <= 2 {
            watchers.remove(&self.id);
        }
    }
}

/// The client for pushed messages: they need the newer protocol.
pub(super) fn with_push(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings))
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(None)
}

async fn pause(failures: &mut u32) {
    *failures = failures.saturating_add(1);
    let pause = PAUSES.0.saturating_mul(2_u32.saturating_pow((*failures).min(10)));
    sleep(pause.min(PAUSES.1)).await;
}

fn silent() -> redis::RedisError {
    redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"))
}
