//! `seatrial events`: what happened to a job.

use std::time::Duration;

use anyhow::Result;
use seatrial_core::finding::escape_untrusted;

use super::remote;
use crate::{
    cli::{Cli, OutputFormat, client::EventsArgs},
    client::{
        self, Client, Failure,
        events::Events,
        model::{Job, Told},
    },
    show::news::words,
};

/// With a server that does not say which event is the last: so long without one, and what there is was told.
const QUIET: Duration = Duration::from_secs(1);

/// Prints events as they come.
pub(crate) async fn run(cli: &Cli, args: &EventsArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    let mut source = Source::open(&client, &client::job(&client, args.id).await?, args.after, args.follow);
    while let Some(told) = source.next().await? {
        match args.format {
            OutputFormat::Json => super::print(&serde_json::to_string(&told.raw)?),
            OutputFormat::Text => super::print(&line(&told)),
        }
    }
    Ok(0)
}

/// A job's events: until it is over, or those that there are now.
pub(crate) struct Source<'a> {
    events: Events<'a>,
    end: End,
    last: u64,
}

#[derive(Clone, Copy)]
enum End {
    WithTheJob,
    At(u64),
    WhenQuiet,
}

impl<'a> Source<'a> {
    /// Those after `after` of a job as it is now.
    pub(crate) fn open(client: &'a Client, job: &Job, after: u64, follow: bool) -> Self {
        Self {
            events: Events::after(client, job.view.id, after),
            end: match job.last_event() {
                _ if follow => End::WithTheJob,
                Some(last) => End::At(last),
                None => End::WhenQuiet,
            },
            last: after,
        }
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Failure> {
        let told = match self.end {
            End::At(last) if self.last >= last => None,
            End::At(_) | End::WithTheJob => self.events.next().await?,
            End::WhenQuiet => match tokio::time::timeout(QUIET, self.events.next()).await {
                Ok(told) => told?,
                Err(_) => None,
            },
        };
        if let Some(told) = &told {
            self.last = told.seq;
        }
        Ok(told)
    }
}

fn line(told: &Told) -> String {
    match &told.news {
        Some(news) => format!(
            "{:>4}  {}  {}",
            told.seq,
            news.at.strftime("%Y-%m-%d %H:%M:%S%.3fZ"),
            escape_untrusted(&words(&news.body))
        ),
        None => format!("{:>4}  {}", told.seq, escape_untrusted(&told.raw.to_string())),
    }
}
