//! The scripts, and their arguments in order.

use std::sync::LazyLock;

use redis::{FromRedisValue, RedisResult, Script, ScriptInvocation, ToRedisArgs, aio::MultiplexedConnection};
use seatrial_core::{
    job::JobState,
    ledger::Delivery,
    record::{JobRecord, News, SCHEMA},
};

use super::keys::{Keys, caller_mark};

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("lua/common.lua"), "\n", include_str!($file))));
    };
}

script!(COMMIT, "lua/commit.lua");
script!(CREATE, "lua/create.lua");
script!(PICK, "lua/pick.lua");
script!(OVERDUE, "lua/overdue.lua");
script!(ERASE, "lua/erase.lua");
script!(DELIVERIES, "lua/deliveries.lua");
script!(DELIVERED, "lua/delivered.lua");
script!(BEAT, "lua/beat.lua");

/// A script with its arguments.
pub(super) struct Call(ScriptInvocation<'static>);

impl Call {
    /// The first argument is always the prefix; the one key only tells which shard.
    pub(super) fn new(script: &'static LazyLock<Script>, keys: &Keys) -> Self {
        let mut invocation = script.key(keys.name("j:"));
        invocation.arg(&keys.prefix);
        Self(invocation)
    }

    pub(super) fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.0.arg(value);
        self
    }

    /// A script that Redis does not know (it was restarted) is sent once more with its text: that one
    /// was not run, so nothing is done twice.
    pub(super) async fn run<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> RedisResult<T> {
        self.0.invoke_async(connection).await
    }
}

/// A job to be written, with where it is found.
pub(super) struct Put {
    /// The number that was read with it.
    pub(super) cas: u64,
    /// As it becomes.
    pub(super) record: JobRecord,
    /// To be told.
    pub(super) news: Vec<News>,
    /// Wakes those who watch it.
    pub(super) tell: bool,
    /// It ends with this: word of it is to be sent, if anybody wants it.
    pub(super) ends: bool,
}

impl Put {
    /// Appends the arguments that `put` of common.lua takes.
    pub(super) fn add_to(&self, call: Call, grace: std::time::Duration, now: jiff::Timestamp) -> PutResult {
        let record = &self.record;
        let index = record.index(grace);
        let place = match (&record.state, index.waiting) {
            (JobState::Queued { .. }, Some(waiting)) if waiting.not_before > now => "delayed",
            (JobState::Queued { .. }, _) => "ready",
            (JobState::Running { .. }, _) => "running",
            (JobState::Settled(_), _) => "settled",
        };
        let front = index.waiting.is_some_and(|waiting| waiting.front);
        let delivery = if self.ends && record.webhook.is_some() {
            serde_json::to_string(&Delivery {
                job: record.id,
                tries: 0,
                dead: false,
                last_error: None,
            })?
        } else {
            String::new()
        };
        let mut call = call
            .arg(record.id.to_string())
            .arg(self.cas)
            .arg(record.priority.to_string())
            .arg(caller_mark(&record.caller))
            .arg(if front { "1" } else { "0" })
            .arg(place)
            .arg(micros(record.not_before))
            .arg(index.due_at.map(micros).map_or_else(String::new, |at| at.to_string()))
            .arg(
                record
                    .finished_at
                    .map(micros)
                    .map_or_else(String::new, |at| at.to_string()),
            )
            .arg(if self.tell { "1" } else { "0" })
            .arg(delivery)
            .arg(record.schema.max(SCHEMA))
            .arg(serde_json::to_string(record)?)
            .arg(self.news.len());
        for news in &self.news {
            call = call.arg(serde_json::to_string(news)?);
        }
        Ok(call)
    }
}

type PutResult = Result<Call, serde_json::Error>;

/// Rounded up: an index must not say that a time has come before the record agrees.
pub(super) fn micros(at: jiff::Timestamp) -> i64 {
    let micros = at.as_microsecond();
    if at.subsec_nanosecond() % 1000 > 0 {
        micros.saturating_add(1)
    } else {
        micros
    }
}
