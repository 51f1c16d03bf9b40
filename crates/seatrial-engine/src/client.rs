//! The calls to the Engine that we make, each bounded in time, each error mapped here and only here.
//!
//! # Liveness
//! A call never takes longer than its bound: starting a container can hang for ever (seen with
//! gVisor on KVM), so can a load on a full disk. A dropped call closes its connection; what the
//! Engine then still does is the janitor's business.

use std::{collections::HashMap, time::Duration};

use bollard::{
    Docker,
    container::LogOutput,
    errors::Error,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerSummary, EventMessage, ImageInspect,
        ImageSummary, Network, SystemInfo, SystemVersion, Volume, VolumeCreateRequest,
    },
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder,
        ImportImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListVolumesOptions,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptions,
        WaitContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use seatrial_core::{
    engine::EngineError,
    points::{self, Side},
};
use tokio::time::Instant;

use crate::{
    reach::{Reach, Way},
    stdio::{Piece, Stdio},
};

/// For calls that only look something up or write a few records.
const QUICK: Duration = Duration::from_secs(30);
/// For starting and removing containers, which wait for the kernel.
const HEAVY: Duration = Duration::from_secs(60);
/// For creating a container: with containerd's store and user namespaces an Engine copies all files of an image that
/// it sees for the first time, to give them other owners.
const CREATE: Duration = Duration::from_secs(3 * 60);
/// For loading an image: gigabytes of layers at disk speed.
const LOAD: Duration = Duration::from_secs(10 * 60);
/// For a saved image, from its first byte to its last.
const EXPORT: Duration = Duration::from_secs(20 * 60);
/// For each piece of it: an old Engine writes all of an image to its disk before the first.
const EXPORT_PIECE: Duration = Duration::from_secs(5 * 60);
/// More than an Engine remembers.
const MAX_EVENTS: usize = 1000;
/// For one pull.
const PULL: Duration = Duration::from_secs(10 * 60);

/// What became of something that was to be removed.
#[derive(Debug)]
pub(crate) enum Removal {
    /// The Engine removed it.
    Done,
    /// There is no such thing.
    Absent,
    /// In use, or its removal is already in progress: try again.
    Busy(EngineError),
}

/// A connection to the Engine.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    docker: Docker,
    reach: Reach,
}

impl Client {
    /// Goes to the Engine and agrees on a version.
    pub(crate) async fn connect(way: Way) -> Result<Self, EngineError> {
        let reach = way.reach();
        let docker = way.client().map_err(|problem| match reach {
            // It is not there: not yet, or no more.
            Reach::Socket => EngineError::Unreachable(problem.into()),
            Reach::Tls | Reach::Ssh | Reach::Plain => EngineError::Refused {
                action: "be reached",
                source: problem.into(),
            },
        })?;
        let docker = bounded("tell its version", QUICK, docker.negotiate_version()).await?;
        Ok(Self { docker, reach })
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    pub(crate) fn api_version(&self) -> String {
        let version = self.docker.client_version();
        format!("{}.{}", version.major_version, version.minor_version)
    }

    pub(crate) async fn info(&self) -> Result<SystemInfo, EngineError> {
        bounded("describe itself", QUICK, self.docker.info()).await
    }

    pub(crate) async fn version(&self) -> Result<SystemVersion, EngineError> {
        bounded("tell its version", QUICK, self.docker.version()).await
    }

    /// Creates a container. A warning is an error: it says that a wall will not stand.
    pub(crate) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = bounded(
            "create a container",
            CREATE,
            self.docker.create_container(Some(options), body),
        )
        .await?;
        match made.warnings.iter().find(|warning| !harmless(warning)) {
            Some(warning) => Err(EngineError::WallMissing(warning.clone())),
            None => Ok(()),
        }
    }

    /// Attaches to a container that was not started yet, so that no byte is lost.
    pub(crate) async fn attach(&self, name: &str) -> Result<Stdio, EngineError> {
        let options = AttachContainerOptionsBuilder::new()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let attached = bounded(
            "attach to a container",
            QUICK,
            self.docker.attach_container(name, Some(options)),
        )
        .await?;
        let output = attached.output.map(|piece| match piece {
            Ok(LogOutput::StdOut { message }) => Ok(Piece::Out(message)),
            Ok(LogOutput::StdErr { message }) => Ok(Piece::Err(message)),
            // The Engine makes the frames, the guest has no hand in them: half a frame is a broken connection.
            Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) => Err(EngineError::Unreachable(
                "its stream of a container's output broke off, or is garbled".into(),
            )),
            Err(error) => Err(mapped("stream a container's output", error)),
        });
        Ok(Stdio {
            input: Some(attached.input),
            output: Box::pin(output),
        })
    }

    pub(crate) async fn start(&self, name: &str) -> Result<(), EngineError> {
        bounded("start a container", HEAVY, self.docker.start_container(name, None)).await
    }

    /// Waits at most `patience` for the end of a container; its exit code.
    pub(crate) async fn wait(&self, name: &str, patience: Duration) -> Result<i32, EngineError> {
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut ends = self.docker.wait_container(name, Some(options));
        let end = bounded("end a container", patience, async {
            match ends.next().await {
                Some(Ok(end)) => Ok(end.status_code),
                // Any code that is not 0 comes as an error.
                Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
                Some(Err(error)) => Err(error),
                None => Err(Error::DockerStreamError {
                    error: "it did not say how the container ended".to_owned(),
                }),
            }
        })
        .await?;
        Ok(i32::try_from(end).unwrap_or(i32::MAX))
    }

    pub(crate) async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, EngineError> {
        bounded("describe a container", QUICK, self.docker.inspect_container(name, None)).await
    }

    pub(crate) async fn state(&self, name: &str) -> Result<ContainerState, EngineError> {
        let seen = self.inspect(name).await?;
        seen.state
            .ok_or_else(|| EngineError::Broken("the engine describes a container without its state".to_owned()))
    }

    pub(crate) async fn kill(&self, name: &str) -> Result<(), EngineError> {
        // 409: it has ended already. The signal is KILL unless told otherwise.
        bounded("kill a container", HEAVY, async {
            match self.docker.kill_container(name, None).await {
                Err(Error::DockerResponseServerError {
                    status_code: 404 | 409, ..
                }) => Ok(()),
                other => other,
            }
        })
        .await
    }

    pub(crate) async fn remove_container(&self, name: &str) -> Result<Removal, EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        removal("remove a container", self.docker.remove_container(name, Some(options))).await
    }

    pub(crate) async fn remove_volume(&self, name: &str) -> Result<Removal, EngineError> {
        removal(
            "remove a volume",
            self.docker.remove_volume(name, None::<RemoveVolumeOptions>),
        )
        .await
    }

    /// Removes a name of an image. Never by id: the same image may belong to somebody else too.
    pub(crate) async fn untag(&self, tag: &str) -> Result<Removal, EngineError> {
        // Without `noprune` the Engine would also delete untagged parents, which are not ours.
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(true).build();
        removal("remove an image's tag", async {
            self.docker.remove_image(tag, Some(options), None).await.map(drop)
        })
        .await
    }

    pub(crate) async fn volume(&self, name: &str) -> Result<Option<Volume>, EngineError> {
        bounded("describe a volume", QUICK, async {
            absent(self.docker.inspect_volume(name).await)
        })
        .await
    }

    pub(crate) async fn create_volume(&self, request: VolumeCreateRequest) -> Result<Volume, EngineError> {
        bounded("create a volume", QUICK, self.docker.create_volume(request)).await
    }

    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, EngineError> {
        bounded("describe an image", QUICK, async {
            absent(self.docker.inspect_image(name).await)
        })
        .await
    }

    /// Pulls one image by its completed name.
    pub(crate) async fn pull(&self, name: &str) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::new().from_image(name).build();
        let mut news = self.docker.create_image(Some(options), None, None);
        let pulled = tokio::time::timeout(PULL, async {
            while let Some(line) = news.next().await {
                line?;
            }
            Ok(())
        });
        let error = match points::around("engine", "pull an image", pulled).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(EngineError::Slow {
                    action: "pull an image",
                    after: PULL,
                });
            }
        };
        let unknown = |text: &str| {
            ["not found", "manifest unknown", "does not exist", "no such manifest"]
                .iter()
                .any(|sign| text.contains(sign))
        };
        match &error {
            Error::DockerResponseServerError { status_code: 404, .. } => {
                Err(EngineError::NoImage { name: name.to_owned() })
            }
            Error::DockerStreamError { error: text } if unknown(text) => {
                Err(EngineError::NoImage { name: name.to_owned() })
            }
            Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. } => Err(EngineError::Registry {
                name: name.to_owned(),
                source: Box::new(error),
            }),
            _ => Err(mapped("pull an image", error)),
        }
    }

    /// A `docker save` archive of one image.
    pub(crate) fn export(&self, name: &str) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let docker = self.docker.clone();
        let name = name.to_owned();
        let pieces = docker
            .export_image(&name)
            .map_err(|error| mapped("export an image", error));
        bounded_stream("export an image", EXPORT_PIECE, EXPORT, pieces)
    }

    /// Loads an archive, as long as that takes: see [`Self::loaded`].
    pub(crate) fn load<S>(&self, archive: S) -> impl Future<Output = Result<(), Error>> + Send + use<S>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let docker = self.docker.clone();
        async move {
            let mut news = docker.import_image_stream(options, archive, None);
            while let Some(line) = news.next().await {
                line?;
            }
            Ok(())
        }
    }

    /// The bound of a load whose archive is all on its way.
    pub(crate) async fn loaded(load: impl Future<Output = Result<(), Error>>) -> Result<(), EngineError> {
        bounded("load an image", LOAD, load).await
    }

    pub(crate) async fn containers(&self, label: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        bounded("list containers", HEAVY, self.docker.list_containers(Some(options))).await
    }

    pub(crate) async fn volumes(&self, label: &str) -> Result<Vec<Volume>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let answer = bounded("list volumes", HEAVY, self.docker.list_volumes(Some(options))).await?;
        Ok(answer.volumes.unwrap_or_default())
    }

    pub(crate) async fn images(&self, reference: &str) -> Result<Vec<ImageSummary>, EngineError> {
        let filters = HashMap::from([("reference", vec![reference])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        bounded("list images", HEAVY, self.docker.list_images(Some(options))).await
    }

    /// Whosever they are, stopped ones too.
    pub(crate) async fn all_containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        bounded("list containers", HEAVY, self.docker.list_containers(Some(options))).await
    }

    /// Whosever they are.
    pub(crate) async fn all_volumes(&self) -> Result<Vec<Volume>, EngineError> {
        let answer = bounded(
            "list volumes",
            HEAVY,
            self.docker.list_volumes(None::<ListVolumesOptions>),
        )
        .await?;
        Ok(answer.volumes.unwrap_or_default())
    }

    /// Whosever they are.
    pub(crate) async fn all_networks(&self) -> Result<Vec<Network>, EngineError> {
        bounded("list networks", HEAVY, self.docker.list_networks(None)).await
    }

    /// Whosever they are, parts of others too.
    pub(crate) async fn all_images(&self) -> Result<Vec<ImageSummary>, EngineError> {
        let options = ListImagesOptionsBuilder::new().all(true).build();
        bounded("list images", HEAVY, self.docker.list_images(Some(options))).await
    }

    /// What the Engine remembers of containers that were created since a second until now: a bounded number of events.
    pub(crate) async fn creations(&self, since: i64, until: i64) -> Result<Vec<EventMessage>, EngineError> {
        let filters = HashMap::from([("type", vec!["container"]), ("event", vec!["create"])]);
        let options = EventsOptionsBuilder::new()
            .since(&since.to_string())
            .until(&until.to_string())
            .filters(&filters)
            .build();
        let told = self.docker.events(Some(options)).take(MAX_EVENTS).try_collect();
        bounded("tell what was created", QUICK, told).await
    }
}

/// Warnings of the Engine that take no wall away.
fn harmless(warning: &str) -> bool {
    // Containers without a network have none to forward; those with one do not listen.
    warning.starts_with("IPv4 forwarding is disabled")
}

/// Runs one call within its bound. Each action is a point before and one after.
async fn bounded<T>(
    action: &'static str,
    after: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    let asked = Instant::now();
    let answer = points::around("engine", action, tokio::time::timeout(after, call)).await;
    // Where a trial's time goes: RUST_LOG=seatrial_engine=trace.
    tracing::trace!(action, ms = asked.elapsed().as_secs_f64() * 1e3, "answered");
    match answer {
        Ok(answer) => answer.map_err(|error| mapped(action, error)),
        Err(_) => Err(EngineError::Slow { action, after }),
    }
}

/// Each piece within `idle`, all of them within `whole`; who takes the pieces slowly pays for it too.
fn bounded_stream<T>(
    action: &'static str,
    idle: Duration,
    whole: Duration,
    pieces: impl Stream<Item = Result<T, EngineError>> + Send,
) -> impl Stream<Item = Result<T, EngineError>> + Send {
    let end = Instant::now() + whole;
    points::pass("engine", action, Side::Before);
    futures_util::stream::unfold(Some(Box::pin(pieces)), move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout_at(end.min(Instant::now() + idle), pieces.next()).await {
            Ok(Some(piece)) => Some((piece, Some(pieces))),
            Ok(None) => {
                points::pass("engine", action, Side::After);
                None
            }
            Err(_) => {
                let after = if Instant::now() < end { idle } else { whole };
                Some((Err(EngineError::Slow { action, after }), None))
            }
        }
    })
}

fn absent<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn removal(action: &'static str, call: impl Future<Output = Result<(), Error>>) -> Result<Removal, EngineError> {
    bounded(action, HEAVY, async {
        Ok(match call.await {
            Ok(()) => Removal::Done,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Removal::Absent,
            Err(error @ Error::DockerResponseServerError { status_code: 409, .. }) => {
                Removal::Busy(mapped(action, error))
            }
            // "driver failed to remove root filesystem: device or resource busy" and the like.
            Err(error @ Error::DockerResponseServerError { status_code: 500, .. }) => {
                Removal::Busy(mapped(action, error))
            }
            Err(error) => return Err(error),
        })
    })
    .await
}

/// The only place where the client library's errors become ours.
fn mapped(action: &'static str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { .. }
        | Error::DockerStreamError { .. }
        | Error::DockerContainerWaitError { .. } => EngineError::Refused {
            action,
            source: Box::new(error),
        },
        Error::RequestTimeoutError => EngineError::Slow {
            action,
            after: Duration::from_secs(24 * 3600),
        },
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::APIVersionParseError { .. } => {
            EngineError::Broken(format!(
                "the engine's answer when asked to {action} cannot be read: {error}"
            ))
        }
        _ => EngineError::Unreachable(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);
    const WHOLE: Duration = Duration::from_secs(60);

    /// How many pieces came, and what the wait for the next one was told to be.
    async fn taken(pieces: impl Stream<Item = Result<(), EngineError>> + Send) -> (usize, Option<Duration>) {
        let mut pieces = Box::pin(bounded_stream("export an image", IDLE, WHOLE, pieces));
        let mut count = 0;
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(()) => count += 1,
                Err(EngineError::Slow { after, .. }) => {
                    assert!(pieces.next().await.is_none());
                    return (count, Some(after));
                }
                Err(error) => panic!("{error}"),
            }
        }
        (count, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_stands_still_or_never_ends_is_given_up() {
        let each = |pause| {
            stream::repeat(()).then(move |()| async move {
                tokio::time::sleep(pause).await;
                Ok(())
            })
        };
        assert_eq!(taken(stream::pending()).await, (0, Some(IDLE)));
        assert_eq!(taken(each(Duration::from_secs(7))).await, (8, Some(WHOLE)));
        assert_eq!(taken(each(Duration::from_secs(9)).take(3)).await, (3, None));
    }
}
