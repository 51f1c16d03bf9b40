//! `seatrial workers`: who works for a server.

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::ledger::WorkerCard;

use super::remote;
use crate::{
    cli::{Cli, OutputFormat, client::WorkersArgs},
    client,
    show::table,
};

const COLUMNS: [(&str, usize); 6] = [
    ("WORKER", 28),
    ("BUSY", 5),
    ("SEEN", 6),
    ("UP", 7),
    ("DATABASE", 8),
    ("RUNTIME", 8),
];

/// Lists workers.
pub(crate) async fn run(cli: &Cli, args: &WorkersArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    let workers = client::workers(&client).await?;
    match args.format {
        OutputFormat::Json => super::print_json(&workers.raw)?,
        OutputFormat::Text if workers.cards.is_empty() => {
            super::print("no worker: start one with `seatrial worker` or `seatrial serve`");
        }
        OutputFormat::Text => {
            for line in lines(&workers.cards, Timestamp::now()) {
                super::print(&line);
            }
        }
    }
    Ok(0)
}

/// A head and a line a worker.
pub(crate) fn lines(cards: &[WorkerCard], now: Timestamp) -> Vec<String> {
    let mut lines = vec![table::head(&COLUMNS, "STATE")];
    lines.extend(cards.iter().map(|card| line(card, now)));
    lines
}

fn line(card: &WorkerCard, now: Timestamp) -> String {
    let since = |then: Option<Timestamp>| then.map_or_else(|| "-".to_owned(), |then| remote::ago(now, then));
    let state = match (&card.unfit, card.draining) {
        (Some(why), _) => format!("unfit: {why}"),
        (None, true) => "draining: takes no more".to_owned(),
        (None, false) => "fit".to_owned(),
    };
    let cells = [
        card.name.clone(),
        format!("{}/{}", card.busy, card.slots),
        since(card.seen_at),
        since(Some(card.started_at)),
        since(card.database_updated_at),
        card.walls
            .as_ref()
            .map_or_else(|| "-".to_owned(), |walls| walls.runtime.clone()),
    ];
    table::row(&COLUMNS, &cells, &format!("{state} ({})", card.version))
}
