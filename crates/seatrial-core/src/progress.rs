//! What happens while a job runs, told to whoever watches.

use serde::Serialize;

use crate::job::Stage;

/// Something worth telling.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// A stage began.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// The builder says that it reached a step. A hint: the guest's output shares the stream.
    BuildStep {
        /// From 1.
        step: usize,
        /// How many there are.
        of: usize,
        /// The instruction as it stands in the rendering. Hostile: escape before printing.
        text: String,
    },
    /// A line of output of a stage. Hostile: escape before printing.
    LogLine {
        /// Which stage wrote it.
        stage: Stage,
        /// Without its line end, cut at 1,000 bytes.
        line: String,
    },
    /// Something that takes time outside the job proper, such as fetching a base.
    Note {
        /// A sentence.
        text: String,
    },
}

/// Takes progress. Must return quickly: it is called from the middle of a stage.
pub trait Watch: Send + Sync {
    /// One piece of news.
    fn tell(&self, news: Progress);
}

/// Tells nobody.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn tell(&self, _: Progress) {}
}
