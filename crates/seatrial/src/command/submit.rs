//! `seatrial submit`: hands a Dockerfile to a server.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, bail};
use reqwest::{
    Method, Request,
    header::{self, HeaderName, HeaderValue},
};
use seatrial_core::{id::CorrelationId, record::Priority};
use seatrial_pipeline::case::ResultPath;
use serde_json::{Value, json};

use super::remote::{self, Waited};
use crate::{
    cli::{Cli, OutputFormat, client::SubmitArgs},
    client::{Client, Failure, form::Form, model::Job},
    context, show,
};

/// What is read at most. The server has limits of its own, and says so; these keep a mistake from filling
/// the memory of this process.
const MAX_DOCKERFILE: u64 = 4 << 20;
const MAX_CONTEXT: u64 = 1 << 30;
const MAX_INPUTS: u64 = 1 << 30;

/// Submits and, if asked for, waits; returns the exit code.
pub(crate) async fn run(cli: &Cli, args: &SubmitArgs) -> Result<u8> {
    let text = super::read_bounded(&args.dockerfile, MAX_DOCKERFILE)?;
    if text.len() as u64 > MAX_DOCKERFILE {
        bail!("{} is larger than any Dockerfile", args.dockerfile.display());
    }
    let (kind, body) = form(args, &text)?;
    if let Some(folder) = &args.output {
        super::run::new_folder(folder)?;
    }
    let (client, show) = if args.wait {
        let (client, show) = remote::waiting_client(cli, &args.server, &args.correlation_id, args.format)?;
        (client, Some(show))
    } else {
        (remote::client(cli, &args.server, &args.correlation_id)?, None)
    };
    let request = request(&client, args, &kind, body)?;
    let job: Job = match client.document(&request).await {
        Ok(job) => job,
        Err(failure) => {
            if let Some(show) = &show {
                show.finish();
            }
            return refused(cli, args, &text, failure);
        }
    };
    let Some(show) = show else {
        return submitted(cli, args, &text, &job);
    };
    client.note(format!("submitted as {}", job.view.id));
    let job = match remote::wait(cli, &client, &show, &job).await? {
        Waited::Over(job) => job,
        Waited::Interrupted => return Ok(remote::INTERRUPTED),
    };
    match args.format {
        OutputFormat::Json => super::print_json(&job.raw)?,
        OutputFormat::Text => remote::print_end(cli, &job, Some((&args.dockerfile, &text))),
    }
    if let Some(folder) = &args.output {
        let Some(written) = remote::unless_interrupted(remote::write_output(&client, folder, &job)).await else {
            let _ = writeln!(std::io::stderr(), "Interrupted: {} is not whole.", folder.display());
            return Ok(remote::INTERRUPTED);
        };
        written.context("the job ended, but its output could not be fetched")?;
    }
    Ok(remote::exit_code(&job))
}

fn form(args: &SubmitArgs, text: &[u8]) -> Result<(String, Vec<u8>)> {
    let options = serde_json::to_vec(&options(args)?).context("cannot write the options")?;
    let mut form = Form::new().part("options", None, "application/json", &options).part(
        "dockerfile",
        Some("Dockerfile"),
        "text/x-dockerfile",
        text,
    );
    if let Some(folder) = &args.context {
        let tar = context::pack(folder, MAX_CONTEXT)?;
        form = form.part("context", Some("context.tar"), "application/x-tar", &tar);
    }
    for (name, bytes) in super::run::inputs(&args.inputs, MAX_INPUTS)? {
        form = form.part("inputs", Some(&name), "application/octet-stream", &bytes);
    }
    Ok(form.finish())
}

fn options(args: &SubmitArgs) -> Result<Value> {
    ResultPath::parse(&args.result)?;
    let labels: serde_json::Map<String, Value> = args
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    let mut options = json!({
        "labels": labels,
        "priority": Priority::from(args.priority),
        "result": args.result,
        "artifacts": args.artifacts || args.output.is_some(),
    });
    if let Some(delay) = args.delay {
        // In the one form that is read the same everywhere.
        options["delay"] = format!("{}s", delay.as_millis().div_ceil(1000)).into();
    }
    if !args.walls.is_empty() {
        options["walls"] = serde_json::to_value(super::run::asked(&args.walls))?;
    }
    if let Some(webhook) = &args.webhook {
        options["webhook"] = webhook.as_str().into();
    }
    Ok(options)
}

fn request(client: &Client, args: &SubmitArgs, kind: &str, body: Vec<u8>) -> Result<Request> {
    // Without a key of the user's a fresh one: it makes our own second try safe.
    let fresh = CorrelationId::accept_or_fresh("");
    let key = args.idempotency_key.as_deref().unwrap_or(fresh.as_str());
    let mut request = client.request(Method::POST, &["jobs"], &[]);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind)?);
    headers.insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_str(key)?);
    *request.body_mut() = Some(body.into());
    Ok(request)
}

/// The server made no job. A text that is no Dockerfile is shown as `analyze` shows it.
fn refused(cli: &Cli, args: &SubmitArgs, text: &[u8], failure: Failure) -> Result<u8> {
    let problem = match &failure {
        Failure::Refused(problem) if problem.is_about_the_text() => problem,
        _ => return Err(failure.into()),
    };
    match args.format {
        OutputFormat::Json => super::print_json(&problem.raw)?,
        OutputFormat::Text => {
            let path = args.dockerfile.display().to_string();
            if !cli.quiet {
                super::print(&show::findings::text(&path, text, &problem.findings()));
            }
            let _ = write!(std::io::stderr(), "{}", problem.in_short());
        }
    }
    Ok(failure.exit_code())
}

/// The server has the job: its id alone on standard output, so that a script can take it.
fn submitted(cli: &Cli, args: &SubmitArgs, text: &[u8], job: &Job) -> Result<u8> {
    let id = job.view.id;
    if args.format == OutputFormat::Json {
        super::print_json(&job.raw)?;
        return Ok(remote::exit_code(job));
    }
    super::print(&id.to_string());
    if job.is_over() {
        let mut told = String::new();
        if !cli.quiet {
            let path = args.dockerfile.display().to_string();
            told = show::findings::weighty(&path, text, &job.view.analysis.findings);
        }
        told.push_str(&crate::verdict::text(&job.view, true));
        let _ = anstream::stderr().write_all(told.as_bytes());
    } else if !cli.quiet && std::io::stderr().is_terminal() {
        let before = match job.view.queue_position {
            Some(0) => "next in the queue; ".to_owned(),
            Some(jobs) => format!("{jobs} before it in the queue; "),
            None => String::new(),
        };
        let told = match job.webhook() {
            Some(_) => "; the webhook is called then",
            None => "",
        };
        let _ = writeln!(
            std::io::stderr(),
            "{before}`seatrial wait {id}` waits for its end{told}"
        );
    }
    Ok(remote::exit_code(job))
}
