//! Answers of a server, as far as this client reads them. Fields that it does not know are kept in what it
//! prints as JSON, and fields that a list leaves out are empty.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    job::{Reason, Stage},
    ledger::WorkerCard,
    record::{News, Priority},
    view::{JobView, StateWord},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// A job: what we understand of it, and the document as it came.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What we understand.
    pub(crate) view: JobView,
    /// As it came.
    pub(crate) raw: Value,
}

impl Job {
    /// A text that only a stored job has.
    pub(crate) fn stored(&self, name: &str) -> Option<&str> {
        self.raw.get(name)?.as_str()
    }

    /// Number of its last event, where the server says it.
    pub(crate) fn last_event(&self) -> Option<u64> {
        self.raw.get("last_event")?.as_u64()
    }

    /// Somebody asked for its end.
    pub(crate) fn cancel_requested(&self) -> bool {
        self.raw
            .get("cancel_requested")
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// Where its call-back stands, where it has one.
    pub(crate) fn webhook(&self) -> Option<Webhook> {
        Webhook::deserialize(self.raw.get("webhook")?).ok()
    }

    /// It is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.view.state, StateWord::Ended(_))
    }
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let view = JobView::deserialize(&raw).map_err(D::Error::custom)?;
        Ok(Self { view, raw })
    }
}

/// Where a call-back stands.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Webhook {
    /// Where to.
    pub(crate) url: String,
    /// As a word; a newer server may have others.
    pub(crate) state: String,
    /// Tries that failed.
    #[serde(default)]
    pub(crate) tries: u32,
    /// What the last one said.
    #[serde(default)]
    pub(crate) last_error: Option<String>,
}

/// A job in a list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    /// Its id.
    pub(crate) id: JobId,
    /// Its state.
    pub(crate) state: StateWord,
    /// The stage it is in, or ended in.
    #[serde(default)]
    pub(crate) stage: Option<Stage>,
    /// Why it ended.
    #[serde(default)]
    pub(crate) reason: Option<Reason>,
    /// Admission.
    pub(crate) created_at: Timestamp,
    /// First claim.
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    /// Settlement.
    #[serde(default)]
    pub(crate) finished_at: Option<Timestamp>,
    /// The submitter's labels.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// A page of a list, each job as it came.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Page {
    /// The jobs.
    pub(crate) jobs: Vec<Value>,
    /// Where the next page begins.
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

/// Workers that live, and the document as it came.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    /// By name.
    pub(crate) cards: Vec<WorkerCard>,
    /// As it came.
    pub(crate) raw: Value,
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Cards {
            workers: Vec<WorkerCard>,
        }
        let raw = Value::deserialize(deserializer)?;
        let cards = Cards::deserialize(&raw).map_err(D::Error::custom)?.workers;
        Ok(Self { cards, raw })
    }
}

/// How the queue stands.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Queue {
    /// Jobs that wait, by priority.
    #[serde(default)]
    pub(crate) waiting: BTreeMap<Priority, u64>,
    /// How long the first in each has waited, in seconds.
    #[serde(default)]
    pub(crate) oldest_s: BTreeMap<Priority, f64>,
    /// Jobs that are held.
    #[serde(default)]
    pub(crate) running: u64,
}

/// Something that happened, as a server told it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Its number.
    pub(crate) seq: u64,
    /// What it means; `None` for a kind that a newer server has.
    pub(crate) news: Option<News>,
    /// As it came.
    pub(crate) raw: Value,
}
