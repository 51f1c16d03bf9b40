//! The guest: its image loaded under a tag of ours, its container made and started while the scan still runs, with our
//! process 1 alone in it. That one reads the first byte of its input before it does anything of the image's, and gets it
//! only when the image was cleared.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::models::VolumeCreateRequest;
use seatrial_core::{
    digest::Digest,
    engine::{
        EngineError, EngineFacts, Guest, ReadyInput, RunEnd, RunExit, RunRequest, ToolImage, ToolMount, ToolSpec, Usage,
    },
    image::BuiltImage,
    log::LogSink,
    walls::{Place, Walls},
};

use crate::{
    archive, base,
    client::Client,
    container::Container,
    egress::{self, Proxy, Wire},
    engine::Inner,
    janitor::Chore,
    load::Load,
    lower,
    names::Kind,
    own,
    pool::{Member, Shape},
    report::{Filter, Nonce, Report},
    stdio::{self, Piece, Stdio, Turn},
    tool, walls,
};

/// A guest's proxy may stand ready for so long while the image is scanned. It ends before, with whoever started it.
const AHEAD: Duration = Duration::from_secs(lower::GUEST_IDLE_S);

/// After its limit a run is ended from outside: a guest may have starved process 1.
const STOPPED: Duration = Duration::from_secs(10);

struct Loaded {
    client: Client,
    container: Container,
    stdio: Stdio,
    proxy: Option<Proxy>,
    time: Duration,
    walls: Walls,
    /// The volume of the image that stood in the way of its start.
    unmountable: Option<String>,
}

/// Loads the image, brings the inputs, creates the container, and starts our process 1 in it, which waits.
pub(crate) async fn load(
    inner: &Inner,
    image: &BuiltImage,
    request: &RunRequest,
    data: &str,
) -> Result<Box<dyn Guest>, EngineError> {
    let (own, facts) = tokio::try_join!(own::own(inner), inner.facts())?;
    let who = inner.identity();
    let tag = who.job_tag(request.attempt);
    let life = request.limits.time + Duration::from_secs(lower::DEAD_MAN_S + 3600);
    let mut container =
        Container::arm(&inner.client, &inner.janitor, who.name(Kind::Run, request.attempt)).with_tag(tag.clone());
    let inputs = (!request.inputs.is_empty()).then(|| who.name(Kind::Inputs, request.attempt));
    if let Some(volume) = &inputs {
        container = container.with_volume(volume.clone());
    }
    let (id, ()) = tokio::try_join!(load_image(inner, image, &tag, &facts), async {
        match &inputs {
            Some(volume) => bring_inputs(inner, request, volume, life).await,
            None => Ok(()),
        }
    })?;
    let parts = lower::Parts {
        image: &id,
        tools: Some(&own.tools),
        labels: who.labels(Kind::Run, Some(request.attempt), life),
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let body = lower::guest(&parts, request, &image.config, data, inputs.as_deref());
    let body = lower::with_terminals(body, container.name());
    let stdio = container.create(body.clone()).await?;
    let mut walls = walls::standing(&body, inner.client.inspect(container.name()).await?, &facts, Place::Run)?;
    // The guest's own, as the probe saw them: process 1 has others, so that the guest cannot reach it.
    walls.user.clone_from(&request.user);
    walls.capabilities.clear();
    let (started, proxy) = tokio::join!(container.start(), async {
        match &request.egress {
            Some(egress) => egress::open(inner, request.attempt, egress, life + AHEAD)
                .await
                .map(Some),
            None => Ok(None),
        }
    });
    let (proxy, unmountable) = (
        proxy?,
        match started {
            Ok(()) => None,
            // The image's fault, which is told when it would be run: a scan may have more to say.
            Err(error) => Some(
                unmountable(&error, image.config.volumes.keys())
                    .map(str::to_owned)
                    .ok_or(error)?,
            ),
        },
    );
    Ok(Box::new(Loaded {
        client: inner.client.clone(),
        container,
        stdio,
        proxy,
        time: request.limits.time,
        walls,
        unmountable,
    }))
}

/// The id under which the Engine has the image, which must be the image that was checked.
async fn load_image(inner: &Inner, image: &BuiltImage, tag: &str, facts: &EngineFacts) -> Result<String, EngineError> {
    let containerd_store = facts.containerd_store;
    let stored = match image.layers.get(..image.base_layers) {
        Some(base @ [_, ..]) if containerd_store => base::stored(inner, base).await?,
        _ => None,
    };
    // A connection that rests on its way to another host may be dropped there without a word.
    let pooled = (inner.client.reach().is_local()).then(|| inner.pool.take(&Shape::Load, facts));
    let load = match pooled.flatten() {
        Some(Member::Load(load)) => load,
        _ => Load::begin(&inner.client),
    };
    load.finish(Box::pin(archive::rest(image, tag, stored.as_deref())))
        .await?;
    let other = || EngineError::Broken("the engine loaded another image than the one that was checked".to_owned());
    let found = inner.client.image(tag).await?.ok_or_else(other)?;
    let layers = found.root_fs.and_then(|root| root.layers).unwrap_or_default();
    let same_layers = layers.iter().map(String::as_str).eq(image
        .layers
        .iter()
        .map(Digest::to_string)
        .collect::<Vec<_>>()
        .iter()
        .map(String::as_str));
    let id = found.id.ok_or_else(other)?;
    // containerd's store names an image by its manifest, which we wrote; the old one by its config.
    if !same_layers || (!containerd_store && id != image.id.to_string()) {
        return Err(other());
    }
    Ok(id)
}

/// Writes the input files into a volume of the attempt's own, through our static binary.
async fn bring_inputs(inner: &Inner, request: &RunRequest, volume: &str, life: Duration) -> Result<(), EngineError> {
    let labels = inner.identity().labels(Kind::Inputs, Some(request.attempt), life);
    let made = VolumeCreateRequest {
        name: Some(volume.to_owned()),
        labels: Some(labels),
        ..Default::default()
    };
    inner.client.create_volume(made).await?;
    let mut bytes = Vec::new();
    for (name, content) in &request.inputs {
        bytes.extend_from_slice(format!("F 444 {} {name}\n", content.len()).as_bytes());
        bytes.extend_from_slice(content);
    }
    bytes.extend_from_slice(b".\n");
    let spec = ToolSpec {
        role: "put",
        attempt: Some(request.attempt),
        image: ToolImage::Holder,
        args: ["put", "--deadline-s", "120", "--mode", "755", "/target"]
            .map(str::to_owned)
            .to_vec(),
        mounts: vec![ToolMount {
            volume: volume.to_owned(),
            path: "/target",
            writable: true,
        }],
        tmp: 1 << 20,
        memory: 128 << 20,
        cpus: 1.0,
        pids: 8,
        time: Duration::from_secs(120),
        network: false,
        max_output: 4096,
        user: "0:0".to_owned(),
    };
    let end = tool::run(inner, &spec, Box::new(ReadyInput::new(bytes))).await;
    let problem = match end {
        Ok(end) if end.code == 0 => return Ok(()),
        Ok(end) => EngineError::Broken(format!(
            "the inputs could not be written: exit code {}, {}",
            end.code,
            String::from_utf8_lossy(&end.stderr).trim()
        )),
        Err(error) => error,
    };
    inner.janitor.take(Chore {
        volumes: vec![volume.to_owned()],
        ..Chore::default()
    });
    Err(problem)
}

#[async_trait]
impl Guest for Loaded {
    async fn start(mut self: Box<Self>, logs: &dyn LogSink) -> Result<RunEnd, EngineError> {
        if let Some(volume) = self.unmountable {
            return Ok(RunEnd {
                exit: RunExit::CannotMount(volume),
                usage: Usage::default(),
                walls: self.walls,
            });
        }
        let began = Instant::now();
        let nonce = Nonce::fresh();
        let mut filter = Filter::new(&nonce, logs);
        let mut input = self.stdio.input();
        let wire = Wire::default();
        let mut proxy = self.proxy.take();
        let online = proxy.is_some();
        let feed = async {
            // Open until the guest's end: PID 1 ends it when this is dropped.
            input.write(&nonce.line()).await;
            input.flush().await;
            match &mut proxy {
                Some(proxy) => proxy.carry(&wire, &mut input).await,
                None => Ok(()),
            }
        };
        let talk = self.stdio.converse_when(
            || wire.room(),
            feed,
            |turn| {
                match turn {
                    // With a way out the guest's own output is on the other stream, and this one has frames alone.
                    Turn::Said(Piece::Out(bytes)) if online => match wire.take(&bytes) {
                        Ok([]) => {}
                        Ok(_) => return Err(EngineError::Broken("a guest's frames ended before it did".to_owned())),
                        Err(error) => return Err(error),
                    },
                    Turn::Said(Piece::Out(bytes)) => logs.write(&bytes),
                    Turn::Said(Piece::Err(bytes)) => filter.take(&bytes),
                    Turn::Quiet => filter.quiet(),
                }
                Ok(())
            },
        );
        // PID 1 in the container keeps the limit; this is for one that cannot. Whoever waits for us gives up at 30 s,
        // and calls it a fault of ours: a guest must not get so far.
        let in_time = tokio::time::timeout(self.time + STOPPED, talk).await;
        if let Some(proxy) = proxy {
            proxy.end().await;
        }
        let report = filter.end();
        let mut usage = report.as_ref().map(Report::usage).unwrap_or_default();
        if usage.wall_s.is_none() {
            usage.wall_s = Some(began.elapsed().as_secs_f64());
            usage.sources.insert(
                "wall_s".into(),
                "from the first byte to process 1 to the end of the output".to_owned(),
            );
        }
        let exit = match in_time {
            Ok(talked) => {
                talked?;
                match &report {
                    Some(report) => exit(report)?,
                    None => exit_without_report(&self.client, self.container.name()).await?,
                }
            }
            Err(_) => {
                self.client.kill(self.container.name()).await?;
                RunExit::TimedOut
            }
        };
        if let Some(why) = report.as_ref().and_then(Report::start_error) {
            logs.write(format!("seatrial: the command of the image cannot be started: {why}\n").as_bytes());
        }
        self.settle(usage, exit).await
    }
}

impl Loaded {
    /// Waits for the Engine to see the end: `/data` is read only after the guest is gone.
    async fn settle(self, usage: Usage, exit: RunExit) -> Result<RunEnd, EngineError> {
        self.client
            .wait(self.container.name(), Duration::from_secs(lower::DEAD_MAN_S))
            .await?;
        Ok(RunEnd {
            exit,
            usage,
            walls: self.walls,
        })
    }
}

/// The volume of the image that the runtime could not mount, because of what is there: a file of the base, or the job's
/// read-only inputs. Layers of the build were looked at; what the base holds was not.
fn unmountable<'v>(error: &EngineError, mut volumes: impl Iterator<Item = &'v String>) -> Option<&'v str> {
    let EngineError::Refused { source, .. } = error else {
        return None;
    };
    let said = source.to_string();
    let in_the_way = ["not a directory", "read-only file system"];
    in_the_way.iter().find(|why| said.contains(*why))?;
    volumes.find_map(|volume| {
        let volume = volume.trim_end_matches('/');
        said.contains(&format!("to rootfs at \"{volume}\"")).then_some(volume)
    })
}

/// PID 1 was ended by somebody else.
async fn exit_without_report(client: &Client, name: &str) -> Result<RunExit, EngineError> {
    let code = client.wait(name, Duration::from_secs(lower::DEAD_MAN_S)).await?;
    let state = client.state(name).await?;
    if state.oom_killed == Some(true) {
        return Ok(RunExit::OutOfMemory);
    }
    if stdio::is_cut_off(code) {
        return Err(stdio::cut_off());
    }
    let why = state.error.unwrap_or_default();
    Err(EngineError::Broken(format!(
        "the guest's container ended without a report (exit code {code}) {why}"
    )))
}

/// What the report says of the guest. That its life line ended while we hold it says nothing of it.
fn exit(report: &Report) -> Result<RunExit, EngineError> {
    if report.flag("orphaned") {
        return Err(stdio::cut_off());
    }
    if report.flag("deadline") {
        return Ok(RunExit::TimedOut);
    }
    if report.start_error().is_some() {
        return Ok(RunExit::CannotStart);
    }
    let killed = report.number("signal") == Some(9);
    if killed && report.number("oom_kill").is_some_and(|count| count > 0) {
        return Ok(RunExit::OutOfMemory);
    }
    // A code that could not be read is a failure, never a success.
    Ok(RunExit::Code(report.code().unwrap_or(255)))
}

#[cfg(test)]
mod tests {
    use seatrial_core::log::BoundedLog;

    use super::*;

    fn said(report: &str) -> Result<RunExit, EngineError> {
        let nonce = Nonce::fresh();
        let nonce_line = nonce.line();
        let log = BoundedLog::new(100);
        let mut filter = Filter::new(&nonce, &log);
        filter.take(b"\nST1-REPORT ");
        filter.take(nonce_line.trim_ascii_end());
        filter.take(format!(" {report}\n").as_bytes());
        exit(&filter.end().unwrap())
    }

    #[test]
    fn a_connection_that_was_lost_is_no_verdict_on_the_guest() {
        let lost = said("code=137 signal=9 oom_kill=1 deadline=1 orphaned=1").unwrap_err();
        assert!(lost.is_transient(), "{lost}");
        assert_eq!(
            said("code=137 signal=9 deadline=1 orphaned=0").unwrap(),
            RunExit::TimedOut
        );
        assert_eq!(said("code=0 deadline=0 orphaned=0").unwrap(), RunExit::Code(0));
    }
}
