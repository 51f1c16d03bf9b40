//! `seatrial status`: where a job is, or how it ended.

use std::fmt::Write as _;

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::finding::escape_untrusted;

use super::remote;
use crate::{
    cli::{Cli, OutputFormat, client::StatusArgs},
    client::{
        self,
        model::{Job, Webhook},
    },
};

/// Shows a job; 0 whatever became of it.
pub(crate) async fn run(cli: &Cli, args: &StatusArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    let job = client::job(&client, args.id).await?;
    match args.format {
        OutputFormat::Json => super::print_json(&job.raw)?,
        OutputFormat::Text if cli.quiet => super::print(&remote::state(job.view.state)),
        OutputFormat::Text if job.is_over() => {
            super::print(&times(&job));
            remote::print_end(cli, &job, None);
        }
        OutputFormat::Text => super::print(&underway(&job, Timestamp::now())),
    }
    Ok(0)
}

fn times(job: &Job) -> String {
    let view = &job.view;
    let mut out = String::new();
    let _ = writeln!(out, "  made   {}", view.created_at);
    if let (Some(from), Some(to)) = (view.started_at, view.finished_at) {
        let _ = writeln!(
            out,
            "  ended  {to}, {} after its start, tries: {}",
            remote::ago(to, from),
            view.attempt
        );
    }
    labels(&mut out, job);
    out.extend(job.webhook().as_ref().map(hook));
    out
}

fn underway(job: &Job, now: Timestamp) -> String {
    let view = &job.view;
    let mut out = format!("{} {}", view.id, remote::state(view.state));
    if let Some(stage) = view.stage.filter(|_| view.queue_position.is_none()) {
        let _ = write!(out, ", {stage}");
    }
    if view.attempt > 0 {
        let _ = write!(out, ", try {}", view.attempt);
    }
    if let Some(worker) = job.stored("worker").filter(|worker| !worker.is_empty()) {
        let _ = write!(out, ", worker {}", escape_untrusted(worker));
    }
    out.push('\n');
    match view.queue_position {
        Some(0) => out.push_str("  queue  next\n"),
        Some(before) => {
            let _ = writeln!(out, "  queue  {before} before it");
        }
        None => {}
    }
    let _ = writeln!(
        out,
        "  made   {} ({} ago)",
        view.created_at,
        remote::ago(now, view.created_at)
    );
    if let Some(started) = view.started_at {
        let _ = writeln!(out, "  began  {started} ({} ago)", remote::ago(now, started));
    }
    let _ = writeln!(out, "  ends   {} at the latest", view.deadline_at);
    labels(&mut out, job);
    out.extend(job.webhook().as_ref().map(hook));
    if job.cancel_requested() {
        out.push_str("  somebody asked for its end\n");
    }
    out
}

fn labels(out: &mut String, job: &Job) {
    for (key, value) in &job.view.labels {
        let _ = writeln!(out, "  label  {}={}", escape_untrusted(key), escape_untrusted(value));
    }
}

/// Where its call-back stands.
fn hook(webhook: &Webhook) -> String {
    let mut line = format!(
        "  hook   {}: {}",
        escape_untrusted(&webhook.url),
        escape_untrusted(&webhook.state)
    );
    if webhook.tries > 0 {
        let _ = write!(line, ", failed tries: {}", webhook.tries);
    }
    if let Some(error) = &webhook.last_error {
        let _ = write!(line, ", the last: {}", escape_untrusted(error));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_back_is_shown_with_what_went_wrong() {
        let mut webhook = Webhook {
            url: "https://x.example/".to_owned(),
            state: "waiting".to_owned(),
            tries: 0,
            last_error: None,
        };
        assert_eq!(hook(&webhook), "  hook   https://x.example/: waiting\n");
        webhook.state = "dead".to_owned();
        webhook.tries = 3;
        webhook.last_error = Some("500\u{1b}".to_owned());
        assert_eq!(
            hook(&webhook),
            "  hook   https://x.example/: dead, failed tries: 3, the last: 500\\u{1b}\n"
        );
    }
}
