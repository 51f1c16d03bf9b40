//! Trusted containers of ours that do one thing and end.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bollard::models::ContainerCreateBody;
use seatrial_core::engine::{EngineError, ToolEnd, ToolImage, ToolInput, ToolSpec};
use tokio::{sync::Notify, time::sleep};

use crate::{
    container::Container,
    engine::Inner,
    lower,
    names::Kind,
    own,
    pool::{Member, Shape},
    stdio::{Piece, Turn},
};

/// What is kept of standard error.
const KEPT_STDERR: usize = 64 << 10;
/// Longest wait for a tool to end after its streams did.
const ENDING: Duration = Duration::from_secs(30);

/// Runs a tool to its end.
pub(crate) async fn run(
    inner: &Inner,
    spec: &ToolSpec,
    mut source: Box<dyn ToolInput>,
) -> Result<ToolEnd, EngineError> {
    let (own, image, facts) = tokio::try_join!(own::own(inner), own::tool_image(inner, spec.image), inner.facts())?;
    let parts = lower::Parts {
        image: &image,
        tools: (spec.image != ToolImage::Holder).then_some(own.tools.as_str()),
        labels: HashMap::new(),
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let kind = Kind::Tool(spec.role);
    let body = lower::tool(&parts, spec);
    // Each job scans; what else there is, is seldom done or wants its input at once.
    let pooled = match (spec.attempt, spec.image) {
        (Some(_), ToolImage::Scanner) => inner.pool.take(&Shape::waiting(kind, body.clone()), &facts),
        _ => None,
    };
    let (container, mut stdio) = match pooled {
        Some(Member::Waiting(container, stdio)) => (*container, stdio),
        _ => {
            let labels = inner
                .identity()
                .labels(kind, spec.attempt, spec.time + Duration::from_secs(3600));
            let name = inner.identity().unique_name(kind);
            let mut container = Container::arm(&inner.client, &inner.janitor, name);
            let body = ContainerCreateBody {
                labels: Some(labels),
                ..body
            };
            let stdio = container.launch(body).await?;
            (container, stdio)
        }
    };

    let max_output = usize::try_from(spec.max_output).unwrap_or(usize::MAX);
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let too_much = AtomicBool::new(false);
    let fed = Notify::new();
    let mut input = stdio.input();
    let feed = async {
        while let Some(bytes) = source.next().await? {
            input.write(&bytes).await;
        }
        input.close().await;
        fed.notify_one();
        Ok(())
    };
    let talk = stdio.converse(feed, |turn| {
        match turn {
            Turn::Said(Piece::Out(bytes)) => {
                let room = max_output - stdout.len();
                stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if bytes.len() > room {
                    too_much.store(true, Ordering::Relaxed);
                    return Err(EngineError::Broken(String::new()));
                }
            }
            Turn::Said(Piece::Err(bytes)) => {
                stderr.extend_from_slice(&bytes);
                if stderr.len() > 2 * KEPT_STDERR {
                    stderr.drain(..stderr.len() - KEPT_STDERR);
                }
            }
            Turn::Quiet => {}
        }
        Ok(())
    });
    let bell = async {
        fed.notified().await;
        sleep(spec.time).await;
    };
    let timed_out = tokio::select! {
        end = talk => match end {
            Err(_) if too_much.load(Ordering::Relaxed) => false,
            other => {
                other?;
                false
            }
        },
        () = bell => true,
    };
    let too_much = too_much.load(Ordering::Relaxed);
    if timed_out || too_much {
        inner.client.kill(container.name()).await?;
    }
    let code = inner.client.wait(container.name(), ENDING).await?;
    let out_of_memory = inner.client.state(container.name()).await?.oom_killed.unwrap_or(false);
    stderr.drain(..stderr.len().saturating_sub(KEPT_STDERR));
    // What was cut off is no answer, whatever its end looked like.
    let code = if too_much && code == 0 { 137 } else { code };
    Ok(ToolEnd {
        code,
        stdout,
        stderr,
        out_of_memory,
        timed_out,
    })
}
