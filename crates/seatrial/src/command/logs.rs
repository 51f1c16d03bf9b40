//! `seatrial logs`: the output of a stage as it is, or the story of a job.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use seatrial_core::{finding::escape_untrusted, job::Stage, progress::Progress, record::NewsBody};

use super::{events::Source, remote};
use crate::{
    cli::{Cli, client::LogsArgs},
    client::{self, Client, follow::Follower, log},
    progress::sentence,
    show::news::words,
};

/// Shows output; 0 whatever became of the job.
pub(crate) async fn run(cli: &Cli, args: &LogsArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    match args.stage {
        Some(stage) => output(&client, args, stage.into()).await?,
        None => story(&client, args).await?,
    }
    Ok(0)
}

/// Events and output in the order in which they happened.
async fn story(client: &Client, args: &LogsArgs) -> Result<()> {
    let job = client::job(client, args.id).await?;
    let mut follower = Follower::new(client, &job, true);
    let mut source = Source::open(client, &job, 0, args.follow);
    while let Some(told) = source.next().await? {
        let Some(news) = &told.news else {
            continue;
        };
        let at = news.at.strftime("%H:%M:%S%.3fZ");
        for progress in follower.digest(&told).await {
            match &progress {
                Progress::LogLine { .. } => super::print(&format!("              {}", sentence(&progress))),
                _ => super::print(&format!("{at} {}", sentence(&progress))),
            }
        }
        if let NewsBody::Settled { .. } = news.body {
            super::print(&format!("{at} {}", escape_untrusted(&words(&news.body))));
        }
    }
    Ok(())
}

/// The bytes of one stage.
async fn output(client: &Client, args: &LogsArgs, stage: Stage) -> Result<()> {
    let mut sink = Sink::new();
    let read = log::read(client, args.id, stage, args.offset, args.follow, |bytes| {
        sink.write(bytes)
    })
    .await;
    sink.finish();
    match read {
        // Whoever read us has enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        read => read,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error: Option<&std::io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Standard output: raw where a program reads, line by line and escaped where a person does.
struct Sink {
    terminal: bool,
    line: Vec<u8>,
}

/// Longest line that is held back until it is whole, in bytes.
const MAX_LINE: usize = 8192;

impl Sink {
    fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            line: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.terminal {
            let mut out = std::io::stdout().lock();
            return out
                .write_all(bytes)
                .and_then(|()| out.flush())
                .context("cannot write to standard output");
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= MAX_LINE {
                self.show();
            }
        }
        Ok(())
    }

    fn show(&mut self) {
        super::print(&for_terminal(&self.line));
        self.line.clear();
    }

    fn finish(mut self) {
        if !self.line.is_empty() {
            self.show();
        }
    }
}

fn for_terminal(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    let pieces: Vec<String> = text.split('\t').map(escape_untrusted).collect();
    pieces.join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_output_cannot_drive_a_terminal() {
        assert_eq!(for_terminal(b"a\tb\x1b[2J\xff\r\n"), "a\tb\\u{1b}[2J\u{fffd}");
        assert_eq!(for_terminal("\u{202e}x\rY".as_bytes()), "\\u{202e}x\\rY");
    }
}
