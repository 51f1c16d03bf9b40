//! Live progress: one moving line on a terminal, plain lines elsewhere, nothing when quiet.
//!
//! Goes to standard error, so that standard output holds the answer alone. All guest text is
//! escaped before it comes near a terminal.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use seatrial_core::{
    finding::escape_untrusted,
    job::Stage,
    progress::{Progress, Watch},
};

/// Shows a job's progress.
pub(crate) struct Show {
    begun: Instant,
    style: Style,
}

enum Style {
    Quiet,
    Plain(Mutex<()>),
    Live { bar: ProgressBar, state: Mutex<Live> },
}

#[derive(Default)]
struct Live {
    stage: Option<Stage>,
    step: String,
    line: String,
}

impl Show {
    /// Chooses by what standard error is.
    pub(crate) fn new(quiet: bool, terminal: bool) -> Self {
        let style = if quiet {
            Style::Quiet
        } else if terminal {
            let bar = ProgressBar::new_spinner();
            if let Ok(look) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
                bar.set_style(look);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            Style::Live {
                bar,
                state: Mutex::default(),
            }
        } else {
            Style::Plain(Mutex::new(()))
        };
        Self {
            begun: Instant::now(),
            style,
        }
    }

    /// Takes the moving line away.
    pub(crate) fn finish(&self) {
        if let Style::Live { bar, .. } = &self.style {
            bar.finish_and_clear();
        }
    }

    fn plain(&self, text: &str) {
        if let Style::Plain(turn) = &self.style {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(std::io::stderr(), "{:7.2}s {text}", self.begun.elapsed().as_secs_f64());
        }
    }
}

impl Watch for Show {
    fn tell(&self, news: Progress) {
        match &self.style {
            Style::Quiet => {}
            Style::Plain(_) => self.plain(&sentence(&news)),
            Style::Live { bar, state } => {
                let mut live = state.lock().unwrap_or_else(PoisonError::into_inner);
                match news {
                    Progress::StageStarted { stage } => {
                        *live = Live {
                            stage: Some(stage),
                            ..Live::default()
                        }
                    }
                    Progress::StageFinished { stage, millis } => {
                        bar.println(format!("  ✓ {stage:<8} {:.2} s", seconds(millis)))
                    }
                    Progress::BuildStep { step, of, text } => {
                        live.step = format!("step {step} of {of}: {}", escape_untrusted(&text))
                    }
                    Progress::LogLine { line, .. } => live.line = escape_untrusted(&line),
                    Progress::Note { text } => bar.println(format!("  · {}", escape_untrusted(&text))),
                }
                let stage = live.stage.map(|stage| stage.to_string()).unwrap_or_default();
                let parts = [stage.as_str(), live.step.as_str(), live.line.as_str()];
                bar.set_message(
                    parts
                        .into_iter()
                        .filter(|part| !part.is_empty())
                        .collect::<Vec<_>>()
                        .join(" · "),
                );
            }
        }
    }
}

/// News in one line, escaped.
pub(crate) fn sentence(news: &Progress) -> String {
    match news {
        Progress::StageStarted { stage } => format!("{stage} ..."),
        Progress::StageFinished { stage, millis } => format!("{stage} done in {:.2} s", seconds(*millis)),
        Progress::BuildStep { step, of, text } => format!("build: step {step} of {of}: {}", escape_untrusted(text)),
        Progress::LogLine { stage, line } => format!("{stage} | {}", escape_untrusted(line)),
        Progress::Note { text } => escape_untrusted(text),
    }
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_text_cannot_drive_the_terminal() {
        let line = sentence(&Progress::LogLine {
            stage: Stage::Run,
            line: "\u{1b}]0;owned\u{7}".to_owned(),
        });
        assert_eq!(line, "run | \\u{1b}]0;owned\\u{7}");
    }
}
