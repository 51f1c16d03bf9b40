//! From a job's events and its stages' output to what a watcher is told: the same words as `seatrial run`.
//!
//! Output is fetched when an event says that there is more, so it comes in the order in which things
//! happened, and a server is asked for nothing twice. It is for watching: a piece that cannot be had now
//! comes with the next one, and never stops the waiting.

use std::collections::BTreeMap;

use seatrial_core::{
    id::JobId,
    job::Stage,
    progress::{Progress, Watch},
    record::NewsBody,
};

use super::{
    Client, Failure,
    events::Events,
    log,
    model::{Job, Told},
};
use crate::show::news::words;

/// Longest line that is told in one piece, in bytes.
const MAX_LINE: usize = 1000;
/// Longest piece, in bytes: a stage keeps no more than a few MiB in all.
const MAX_PIECE: u64 = 16 << 20;
/// Pieces of output that are fetched for one event: a server may cut what it gives.
const MAX_PIECES: usize = 64;

/// Waits for a job's end and tells what happens meanwhile. `output` also tells what its stages write.
pub(crate) async fn to_the_end(client: &Client, job: &Job, watch: &dyn Watch, output: bool) -> Result<Job, Failure> {
    let id = job.view.id;
    let mut follower = Follower::new(client, job, output);
    let mut events = Events::after(client, id, 0);
    while let Some(told) = events.next().await? {
        for progress in follower.digest(&told).await {
            watch.tell(progress);
        }
    }
    super::job(client, id).await
}

/// Turns events into progress.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    id: JobId,
    wants_output: bool,
    /// The job was over when we came: its output is all there, and is fetched once for each stage.
    replay: bool,
    /// Only the last try's output is kept.
    shown_attempt: u32,
    attempt: u32,
    open: BTreeMap<Stage, Output>,
}

#[derive(Default)]
struct Output {
    offset: u64,
    line: Vec<u8>,
}

impl<'a> Follower<'a> {
    /// Of a job as it was when its events began to be read.
    pub(crate) fn new(client: &'a Client, job: &Job, wants_output: bool) -> Self {
        Self {
            client,
            id: job.view.id,
            wants_output,
            replay: job.is_over(),
            shown_attempt: job.view.attempt,
            attempt: 0,
            open: BTreeMap::new(),
        }
    }

    /// What an event means to somebody who watches, what was written before it first.
    pub(crate) async fn digest(&mut self, told: &Told) -> Vec<Progress> {
        let mut out = Vec::new();
        let Some(news) = &told.news else {
            return out; // a newer server knows more kinds
        };
        match &news.body {
            NewsBody::StageStarted { stage } => {
                self.open.insert(*stage, Output::default());
                out.push(Progress::StageStarted { stage: *stage });
            }
            NewsBody::StageFinished { stage, millis } => {
                self.close(*stage, &mut out).await;
                out.push(Progress::StageFinished {
                    stage: *stage,
                    millis: *millis,
                });
            }
            NewsBody::BuildStep { step, of, text } => out.push(Progress::BuildStep {
                step: *step,
                of: *of,
                text: text.clone(),
            }),
            NewsBody::Log { stage, total } => {
                let known = self.open.entry(*stage).or_default().offset;
                if !self.replay && *total > known {
                    self.fetch(*stage, &mut out).await;
                }
            }
            NewsBody::Claimed { attempt, .. } => {
                self.attempt = *attempt;
                self.open.clear();
                note(&mut out, words(&news.body));
            }
            NewsBody::Lost { .. } | NewsBody::Faulted { .. } | NewsBody::HandedBack { .. } => {
                self.close_all(&mut out).await;
                note(&mut out, words(&news.body));
            }
            NewsBody::Settled { .. } => self.close_all(&mut out).await, // the verdict has better words
            NewsBody::Queued { .. } | NewsBody::CancelRequested | NewsBody::Note { .. } => {
                note(&mut out, words(&news.body));
            }
        }
        out
    }

    async fn close_all(&mut self, out: &mut Vec<Progress>) {
        let stages: Vec<Stage> = self.open.keys().copied().collect();
        for stage in stages {
            self.close(stage, out).await;
        }
    }

    /// Tells the rest of a stage's output.
    async fn close(&mut self, stage: Stage, out: &mut Vec<Progress>) {
        // Resolve and collect run nothing of the guest's.
        if matches!(stage, Stage::Build | Stage::Scan | Stage::Run) {
            self.fetch(stage, out).await;
        }
        if let Some(rest) = self.open.remove(&stage).filter(|rest| !rest.line.is_empty()) {
            out.push(line(stage, &rest.line));
        }
    }

    async fn fetch(&mut self, stage: Stage, out: &mut Vec<Progress>) {
        if !self.wants_output || self.attempt < self.shown_attempt {
            return;
        }
        for _ in 0..MAX_PIECES {
            let output = self.open.entry(stage).or_default();
            match piece(self.client, self.id, stage, output, out).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    tracing::debug!(error = &failure as &dyn std::error::Error, "output cannot be had now");
                    return;
                }
            }
        }
    }
}

/// Fetches one piece; false when there is no more for now.
async fn piece(
    client: &Client,
    id: JobId,
    stage: Stage,
    output: &mut Output,
    out: &mut Vec<Progress>,
) -> Result<bool, Failure> {
    let mut response = match client.once(log::request(client, id, stage, output.offset, false)).await {
        Ok(response) => response,
        Err(failure) if matches!(failure.status(), Some(404 | 416)) => return Ok(false),
        Err(failure) => return Err(failure),
    };
    let before = output.offset;
    let complete = log::is_complete(&response) == Some(true);
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| Failure::unreachable(&client.server(), &error))?
    {
        output.offset += bytes.len() as u64;
        if output.offset - before > MAX_PIECE {
            return Err(client.foreign("its piece of output does not end"));
        }
        split(stage, &bytes, &mut output.line, out);
    }
    Ok(output.offset > before && !complete)
}

fn split(stage: Stage, bytes: &[u8], rest: &mut Vec<u8>, out: &mut Vec<Progress>) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, ended) = match piece {
            [text @ .., b'\n'] => (text, true),
            text => (text, false),
        };
        let room = MAX_LINE - rest.len();
        rest.extend_from_slice(&text[..text.len().min(room)]); // the end of a longer line is left out
        if ended {
            out.push(line(stage, rest));
            rest.clear();
        }
    }
}

fn line(stage: Stage, bytes: &[u8]) -> Progress {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    Progress::LogLine {
        stage,
        line: String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn note(out: &mut Vec<Progress>, text: impl Into<String>) {
    out.push(Progress::Note { text: text.into() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_told_line_by_line_however_it_is_cut() {
        let text = format!("one\r\ntwo\n\n{}\nlast", "x".repeat(3000));
        for size in [1, 5, 1000, 5000] {
            let (mut rest, mut out) = (Vec::new(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                split(Stage::Run, chunk, &mut rest, &mut out);
            }
            let lines: Vec<usize> = out
                .iter()
                .map(|progress| match progress {
                    Progress::LogLine { line, .. } => line.len(),
                    _ => panic!(),
                })
                .collect();
            assert_eq!(lines, [3, 3, 0, MAX_LINE], "cut at {size}");
            assert_eq!(rest, b"last");
        }
    }
}
