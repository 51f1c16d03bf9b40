//! `seatrial top`: queue and workers, drawn each second.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use seatrial_core::{id::CorrelationId, progress::Unwatched, record::Priority};

use super::{remote, workers};
use crate::{
    cli::{Cli, client::TopArgs},
    client::{
        self, Client, Failure,
        model::{Queue, Workers},
    },
};

/// How often it is drawn.
const BEAT: Duration = Duration::from_secs(1);
/// Most workers shown; `seatrial workers` lists all.
const MAX_WORKERS: usize = 30;

/// Draws until an interrupt; once when nobody watches.
pub(crate) async fn run(cli: &Cli, args: &TopArgs) -> Result<u8> {
    if !std::io::stdout().is_terminal() {
        let client = remote::client(cli, &args.server, "")?;
        super::print(&screen(&client, &look(&client).await?).join("\n"));
        return Ok(0);
    }
    // A note in the middle of a drawn screen would tear it.
    let client = Client::new(
        &args.server.server,
        CorrelationId::accept_or_fresh(""),
        Arc::new(Unwatched),
    )?;
    let mut seen = look(&client).await?; // a server that is not there at all is an error
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    if let Ok(look) = ProgressStyle::with_template("{msg}") {
        bar.set_style(look);
    }
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        let mut lines = screen(&client, &seen);
        lines.extend(
            trouble
                .take()
                .map(|failure: Failure| format!("\nas of before: {failure}")),
        );
        bar.set_message(lines.join("\n")); // draws too
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            turn = async {
                beat.tick().await;
                look(&client).await
            } => match turn {
                Ok(now) => seen = now,
                Err(failure) => trouble = Some(failure),
            },
        }
    }
    bar.abandon();
    let _ = writeln!(std::io::stdout());
    Ok(0)
}

async fn look(client: &Client) -> Result<(Queue, Workers), Failure> {
    Ok((client::queue(client).await?, client::workers(client).await?))
}

fn screen(client: &Client, (queue, workers): &(Queue, Workers)) -> Vec<String> {
    let waiting: u64 = queue.waiting.values().sum();
    let slots: usize = workers.cards.iter().map(|card| card.slots).sum();
    let fit = workers
        .cards
        .iter()
        .filter(|card| card.unfit.is_none() && !card.draining)
        .count();
    let mut lines = vec![
        format!("{}  {}", client.server(), Timestamp::now().strftime("%H:%M:%SZ")),
        format!(
            "{waiting} waiting, {} running; {fit} of {} workers fit, {slots} slots",
            queue.running,
            workers.cards.len()
        ),
        String::new(),
        format!("{:<8}  {:>8}  OLDEST", "QUEUE", "WAITING"),
    ];
    for priority in Priority::ALL {
        let oldest = queue.oldest_s.get(&priority).copied();
        lines.push(format!(
            "{priority:<8}  {:>8}  {}",
            queue.waiting.get(&priority).copied().unwrap_or_default(),
            oldest.map_or_else(|| "-".to_owned(), remote::span)
        ));
    }
    lines.push(String::new());
    let shown = workers.cards.len().min(MAX_WORKERS);
    lines.extend(workers::lines(&workers.cards[..shown], Timestamp::now()));
    if workers.cards.len() > shown {
        lines.push(format!("and {} more", workers.cards.len() - shown));
    }
    lines
}
