//! `seatrial list`: jobs, the newest first.

use anyhow::Result;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize as _;

use super::remote;
use crate::{
    cli::{Cli, OutputFormat, client::ListArgs},
    client::{
        Client, Failure,
        model::{Page, Summary},
    },
    show::table,
};

/// Most jobs that a server gives at once.
const PAGE: u64 = 100;

/// Columns, with widths that fit what usually stands in them: pages are printed as they come.
const COLUMNS: [(&str, usize); 5] = [
    ("JOB", 30),
    ("STATE", 10),
    ("WHERE OR WHY", 21),
    ("AGE", 7),
    ("TOOK", 7),
];

/// Lists jobs page by page.
pub(crate) async fn run(cli: &Cli, args: &ListArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut cursor: Option<String> = None;
    let mut first = true;
    loop {
        let page = page(&client, args, left.min(PAGE), cursor.as_deref()).await?;
        let shown = page.jobs.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        for job in &page.jobs[..shown] {
            match args.format {
                OutputFormat::Json => super::print(&serde_json::to_string(job)?),
                OutputFormat::Text => {
                    if std::mem::take(&mut first) && !cli.quiet {
                        super::print(&table::head(&COLUMNS, "LABELS"));
                    }
                    let job = Summary::deserialize(job)
                        .map_err(|error| client.foreign(format!("a job of its list cannot be read: {error}")))?;
                    super::print(&line(&job, Timestamp::now()));
                }
            }
        }
        left -= shown as u64;
        // A server that gives the same cursor again would be asked for ever.
        if left == 0 || page.next_cursor.is_none() || page.next_cursor == cursor {
            return Ok(0);
        }
        cursor = page.next_cursor;
    }
}

async fn page(client: &Client, args: &ListArgs, limit: u64, cursor: Option<&str>) -> Result<Page, Failure> {
    let limit = limit.to_string();
    let label = args.label.as_ref().map(|(key, value)| format!("{key}={value}"));
    let since = args.since.map(|since| since.to_string());
    let query: Vec<(&str, &str)> = [
        ("state", args.state.map(|state| state.word())),
        ("label", label.as_deref()),
        ("since", since.as_deref()),
        ("cursor", cursor),
        ("limit", Some(limit.as_str())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    client.document(&client.request(Method::GET, &["jobs"], &query)).await
}

fn line(job: &Summary, now: Timestamp) -> String {
    let place = match (job.reason, job.stage) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(stage)) => stage.to_string(),
        (None, None) => "-".to_owned(),
    };
    let took = match (job.started_at, job.finished_at) {
        (Some(from), Some(to)) => remote::ago(to, from),
        (Some(from), None) => remote::ago(now, from),
        (None, _) => "-".to_owned(),
    };
    let cells = [
        job.id.to_string(),
        remote::state(job.state),
        place,
        remote::ago(now, job.created_at),
        took,
    ];
    let labels: Vec<String> = job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    table::row(&COLUMNS, &cells, &labels.join(" "))
}
