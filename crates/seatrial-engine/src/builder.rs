//! One build in one throw-away container.
//!
//! # Liveness
//! The caller bounds the time by dropping this future, which kills the container. Should we be
//! gone too, PID 1 of the builder sees the end of its input and ends everything at once, and a little
//! after the limit in any case. Whatever comes out is
//! counted while it comes: bytes, files, headers.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::models::ContainerCreateBody;
use seatrial_core::{
    BoxError,
    digest::Digest,
    engine::{BuildEnd, BuildFailure, BuildRequest, EngineError, EngineFacts, Usage},
    log::LogSink,
    walls::Place,
};
use sha2::{Digest as _, Sha256};

use crate::{
    base,
    container::Container,
    egress::{self, Wire},
    engine::Inner,
    frames::{self, Frames},
    layer::Bad,
    lower,
    names::Kind,
    own::{self, Own},
    pool::{Member, Shape},
    report::{Filter, Nonce, Report},
    stdio::{self, Input, Piece, Stdio, Turn},
    steps::Steps,
    verify::{self, Blob, Expected, Output},
    walls,
};

/// Files in the builder's output: our static binary sends no more.
const MAX_FILES: usize = 10_000;
/// A store with less free than this is full.
const FULL: u64 = 64 << 10;

/// Builds.
pub(crate) async fn build(
    inner: &Inner,
    request: &BuildRequest,
    logs: &dyn LogSink,
    step: &(dyn Fn(usize) + Send + Sync),
) -> Result<BuildEnd, EngineError> {
    let began = Instant::now();
    let (own, image, facts) = tokio::try_join!(own::own(inner), own::builder_image(inner), inner.facts())?;
    let life = request.limits.time + Duration::from_secs(lower::DEAD_MAN_S);
    let ((container, mut stdio, stood_ready), mut proxy) =
        tokio::try_join!(stand(inner, request, own, image, &facts, life), async {
            match &request.egress {
                Some(egress) => egress::open(inner, request.attempt, egress, life).await.map(Some),
                None => Ok(None),
            }
        })?;

    let nonce = Nonce::fresh();
    let steps = Steps::new(logs, step, &request.stage_steps);
    let mut filter = Filter::new(&nonce, &steps);
    let mut frames = Frames::default();
    let mut spool = Spool::new(
        inner.spool_file()?,
        request.limits.layers.as_u64() + lower::OUTPUT_EXTRA,
    );
    // Open until the builder's end: it ends by itself when this is dropped.
    let mut input = stdio.input();
    let wire = Wire::default();
    let online = proxy.is_some();
    let talk = async {
        feed(&mut input, request, &nonce).await?;
        match &mut proxy {
            Some(proxy) => proxy.carry(&wire, &mut input).await,
            None => Ok(()),
        }
    };
    stdio
        .converse_when(
            || wire.room(),
            talk,
            |turn| {
                match turn {
                    Turn::Said(Piece::Out(bytes)) => {
                        let output = if online { wire.take(&bytes)? } else { &bytes };
                        frames.take(output, &mut spool)?;
                    }
                    Turn::Said(Piece::Err(bytes)) => filter.take(&bytes),
                    Turn::Quiet => filter.quiet(),
                }
                Ok(())
            },
        )
        .await?;
    if let Some(proxy) = proxy {
        proxy.end().await;
    }
    let report = filter.end();
    let hints = steps.hints();
    drop(steps);

    let mut usage = report.as_ref().map(Report::usage).unwrap_or_default();
    usage.wall_s = Some(began.elapsed().as_secs_f64());
    let from = if stood_ready {
        "from using a builder that stood ready to its end"
    } else {
        "from creating the builder to its end"
    };
    usage.sources.insert("wall_s".into(), from.to_owned());
    let Some(report) = report else {
        return ended_without_report(inner, &container, usage).await;
    };
    if report.flag("orphaned") {
        return Err(stdio::cut_off());
    }
    if report.flag("deadline") {
        return Err(EngineError::Slow {
            action: "be told to stop a build at its limit",
            after: request.limits.time + Duration::from_secs(lower::BUILD_GRACE_S),
        });
    }
    if let Some(failure) = failure(request, &report, hints) {
        return blamed(failure, report.code()).map(|failure| BuildEnd::Failed(failure, usage));
    }
    if !spool.complete || !frames.is_between_frames() {
        return Err(EngineError::Broken("the builder's output ended early".to_owned()));
    }
    drop(container);
    check(inner, request, spool.into_output(), usage).await
}

/// A builder that waits for its input: one that stood ready (then it says so), else a new one.
async fn stand(
    inner: &Inner,
    request: &BuildRequest,
    own: &Own,
    image: &str,
    facts: &EngineFacts,
    life: Duration,
) -> Result<(Container, Stdio, bool), EngineError> {
    let parts = lower::Parts {
        image,
        tools: Some(&own.tools),
        labels: HashMap::new(),
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let body = lower::builder(&parts, request);
    let shape = Shape::waiting(Kind::Build, body.clone());
    if let Some(Member::Waiting(container, stdio)) = inner.pool.take(&shape, facts) {
        return Ok((*container, stdio, true));
    }
    let body = ContainerCreateBody {
        labels: Some(inner.identity().labels(Kind::Build, Some(request.attempt), life)),
        ..body
    };
    let name = inner.identity().name(Kind::Build, request.attempt);
    let body = lower::with_terminals(body, &name);
    let mut container = Container::arm(&inner.client, &inner.janitor, name);
    let stdio = container.create(body.clone()).await?;
    // What the evidence says of builders was met by a probe in one like this; here it is made sure that it is like
    // it.
    walls::standing(
        &body,
        inner.client.inspect(container.name()).await?,
        facts,
        Place::Build,
    )?;
    container.start().await?;
    Ok((container, stdio, false))
}

/// Everything that PID 1 of the builder is told.
async fn feed(input: &mut Input, request: &BuildRequest, nonce: &Nonce) -> Result<(), BoxError> {
    let mut head = nonce.line();
    let mut section = |kind: char, bytes: &[u8]| {
        head.extend_from_slice(format!("{kind} {}\n", bytes.len()).as_bytes());
        head.extend_from_slice(bytes);
    };
    section('D', request.dockerfile.as_bytes());
    let base = request.final_base.and_then(|index| request.bases.get(index));
    for layer in base.iter().flat_map(|base| &base.layers) {
        head.extend_from_slice(format!("B {}\n", layer.hex()).as_bytes());
    }
    if !request.context_tar.is_empty() {
        head.extend_from_slice(format!("C {}\n", request.context_tar.len()).as_bytes());
    }
    input.write(&head).await;
    input.write(&request.context_tar).await;
    input.write(b"G\n").await;
    input.flush().await;
    Ok(())
}

/// Why the guest's build failed, if it did.
fn failure(
    request: &BuildRequest,
    report: &Report,
    (step, exit_code): (Option<usize>, Option<i32>),
) -> Option<BuildFailure> {
    if report.flag("out_too_large") {
        return Some(BuildFailure::TooLarge {
            limit: request.limits.layers.as_u64(),
        });
    }
    if report.code() == Some(0) {
        return None;
    }
    let some = |key: &str| report.number(key).is_some_and(|count| count > 0);
    let full = |key: &str| report.number(key).is_some_and(|free| free < FULL);
    // Files on tmpfs are memory: a store that could not fill up because memory ended is "memory".
    // The lowest that was seen counts: buildah tidies up after a step that failed.
    Some(if some("oom_kill") {
        BuildFailure::OutOfMemory
    } else if full("store_low") || report.number("store_inodes_low") == Some(0) {
        BuildFailure::TooLarge {
            limit: request.limits.store.as_u64(),
        }
    } else if full("out_low") {
        BuildFailure::TooLarge {
            limit: request.limits.layers.as_u64(),
        }
    } else if some("pids_max") {
        BuildFailure::TooManyProcesses
    } else {
        BuildFailure::Step { step, exit_code }
    })
}

/// Whether the guest can be at fault. Before the first step nothing of it was run: seen on a busy host, where
/// buildah could not seal the copy of itself that it runs.
fn blamed(failure: BuildFailure, code: Option<i32>) -> Result<BuildFailure, EngineError> {
    match failure {
        BuildFailure::Step { step: None, .. } => Err(EngineError::Stumbled(format!(
            "the builder ended with code {} before the first step",
            code.unwrap_or(-1)
        ))),
        other => Ok(other),
    }
}

/// PID 1 was ended by somebody else.
async fn ended_without_report(inner: &Inner, container: &Container, usage: Usage) -> Result<BuildEnd, EngineError> {
    let code = inner.client.wait(container.name(), Duration::from_secs(30)).await?;
    let state = inner.client.state(container.name()).await?;
    if state.oom_killed == Some(true) {
        // The store is memory, and nobody gives it back when a process is killed.
        return Ok(BuildEnd::Failed(BuildFailure::OutOfMemory, usage));
    }
    if stdio::is_cut_off(code) {
        return Err(stdio::cut_off());
    }
    let why = state.error.unwrap_or_default();
    Err(EngineError::Broken(format!(
        "the builder ended without a report (exit code {code}) {why}"
    )))
}

/// Reads headers and hashes of up to gigabytes: not on a thread that others wait for.
async fn check(inner: &Inner, request: &BuildRequest, output: Output, usage: Usage) -> Result<BuildEnd, EngineError> {
    let base = request.final_base.and_then(|index| request.bases.get(index)).cloned();
    let prepared = base.as_ref().map(|base| base::prepared(inner, base)).transpose()?;
    let platform = inner.facts().await?.platform.clone();
    let max_bytes = request.limits.layers.as_u64();
    let checked = tokio::task::spawn_blocking(move || {
        let expected = Expected {
            base_layers: base.as_ref().map_or(&[], |base| &base.layers),
            base_links: prepared.as_ref().map_or(&[], |prepared| &prepared.links),
            platform: base.as_ref().map_or(&platform, |base| &base.platform),
            max_bytes,
        };
        verify::verify(output, &expected)
    })
    .await
    .map_err(|error| EngineError::Broken(format!("checking a build was given up: {error}")))?;
    match checked {
        Ok(image) => Ok(BuildEnd::Built(Box::new(image), usage)),
        Err(Bad::Refused(why)) => Ok(BuildEnd::Failed(BuildFailure::Refused { why }, usage)),
        Err(Bad::Local(source)) => Err(EngineError::Local {
            action: "read what a build left",
            source,
        }),
    }
}

/// Writes the builder's files into one file of ours that has no name, hashing each.
struct Spool {
    file: File,
    written: u64,
    max: u64,
    files: HashMap<String, Blob>,
    current: Option<(String, u64, Sha256)>,
    complete: bool,
}

impl Spool {
    fn new(file: File, max: u64) -> Self {
        Self {
            file,
            written: 0,
            max,
            files: HashMap::new(),
            current: None,
            complete: false,
        }
    }

    fn into_output(self) -> Output {
        Output {
            spool: Arc::new(self.file),
            files: self.files,
        }
    }
}

fn broken(what: &str) -> EngineError {
    EngineError::Broken(format!("the builder's output cannot be read: {what}"))
}

impl frames::Take for Spool {
    fn header(&mut self, line: &[u8]) -> Result<u64, EngineError> {
        if self.complete {
            return Err(broken("it goes on after its end"));
        }
        if line == b"." {
            self.complete = true;
            return Ok(0);
        }
        let text = std::str::from_utf8(line).map_err(|_| broken("a header is not text"))?;
        let (len, name) = text
            .strip_prefix("F ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| broken("a header is not one of a file"))?;
        let len = frames::number(len).ok_or_else(|| broken("a length is not a number"))?;
        if len > self.max - self.written {
            return Err(broken("it is larger than the builder was told"));
        }
        if self.files.len() >= MAX_FILES || self.files.contains_key(name) {
            return Err(broken("it has too many files, or one twice"));
        }
        self.current = Some((name.to_owned(), self.written, Sha256::new()));
        Ok(len)
    }

    fn body(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.file.write_all(bytes).map_err(|source| EngineError::Local {
            action: "spool what a build left",
            source,
        })?;
        self.written += bytes.len() as u64;
        if let Some((_, _, hash)) = &mut self.current {
            hash.update(bytes);
        }
        Ok(())
    }

    fn body_ends(&mut self) -> Result<(), EngineError> {
        if let Some((name, offset, hash)) = self.current.take() {
            let digest = Digest::from_bytes(hash.finalize().into());
            self.files.insert(
                name,
                Blob {
                    offset,
                    len: self.written - offset,
                    digest,
                },
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_that_fails_before_the_first_step_is_our_fault_and_tried_again() {
        let failed = |step| BuildFailure::Step { step, exit_code: None };
        let error = blamed(failed(None), Some(125)).unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().contains("code 125"), "{error}");
        assert_eq!(blamed(failed(Some(1)), Some(1)).unwrap(), failed(Some(1)));
        assert_eq!(
            blamed(BuildFailure::OutOfMemory, Some(137)).unwrap(),
            BuildFailure::OutOfMemory
        );
    }
}
