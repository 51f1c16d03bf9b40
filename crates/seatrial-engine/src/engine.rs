//! The Engine of this process: its settings, what it found out, and the seam's methods.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bollard::models::VolumeCreateRequest;
use seatrial_core::{
    digest::Digest,
    engine::{
        BuildEnd, BuildRequest, DataVolume, Engine, EngineError, EngineFacts, Guest, RunRequest, Swept, ToolEnd,
        ToolImage, ToolInput, ToolSpec,
    },
    id::AttemptId,
    image::{BaseImage, BuiltImage},
    limits::RunLimits,
    log::LogSink,
    walls::{Walled, Walls},
};
use tokio::sync::OnceCell;

use crate::{
    base::{self, Prepared},
    builder,
    client::{Client, Removal},
    data, guest,
    instance::Instance,
    janitor::Janitor,
    names::Identity,
    own::{self, Own},
    pool::{self, Pool},
    probe, prove,
    reach::{Reach, Way},
    sweep, tool,
};

/// How to reach the Engine, and which images of ours it has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineSettings {
    /// `unix:///var/run/docker.sock` unless given; `tcp://HOST:PORT`, `ssh://USER@HOST`.
    pub host: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for an Engine behind TCP.
    pub certificates: Option<PathBuf>,
    /// Reach an Engine behind TCP on loopback without TLS.
    pub allow_plain: bool,
    /// Locks, records and spools of this host. Processes that share it know of each other.
    pub data_dir: PathBuf,
    /// The builder: `name:tag`, `name:tag@sha256:…` or `sha256:…`.
    pub builder_pin: Option<String>,
    /// The scanner, likewise.
    pub scanner_pin: Option<String>,
    /// Fetch base images that the Engine does not have.
    pub pull: bool,
    /// How many containers of a kind stand ready for the next jobs, at most; 0: none.
    pub pool: usize,
}

/// A container Engine, here or elsewhere: no path of this host crosses to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DockerEngine {
    inner: Arc<Inner>,
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: EngineSettings,
    pub(crate) data_dir: PathBuf,
    pub(crate) client: Client,
    pub(crate) janitor: Janitor,
    pub(crate) own: OnceCell<Own>,
    pub(crate) builder: OnceCell<String>,
    pub(crate) scanner: OnceCell<String>,
    pub(crate) bases: Mutex<HashMap<String, Arc<Prepared>>>,
    facts: Mutex<Option<Known<EngineFacts>>>,
    pub(crate) proving: prove::Proving,
    pub(crate) pool: Pool,
    me: Weak<Self>,
    instance: Instance,
}

/// How long an answer to what the Engine is counts: one that was restarted with weaker walls is seen by the next
/// job, or by a worker's next look.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// What was so a moment ago.
#[derive(Clone, Debug)]
struct Known<T> {
    what: Arc<T>,
    since: Instant,
}

impl<T> Known<T> {
    fn at(&self, now: Instant) -> Option<Arc<T>> {
        let age = now.saturating_duration_since(self.since);
        (age < KNOWN_FOR).then(|| self.what.clone())
    }
}

impl Inner {
    /// This value itself, for what goes on in the background.
    pub(crate) fn me(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.instance.identity
    }

    /// What the Engine is, not longer ago than [`KNOWN_FOR`].
    pub(crate) async fn facts(&self) -> Result<Arc<EngineFacts>, EngineError> {
        let known = self.known().as_ref().and_then(|known| known.at(Instant::now()));
        if let Some(facts) = known {
            return Ok(facts);
        }
        let since = Instant::now();
        let facts = Arc::new(probe::probe(&self.client).await?);
        *self.known() = Some(Known {
            what: facts.clone(),
            since,
        });
        Ok(facts)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known<EngineFacts>>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file without a name: it is gone when the last handle is.
    pub(crate) fn spool_file(&self) -> Result<File, EngineError> {
        let local = |source| EngineError::Local {
            action: "create a spool file in the data directory",
            source,
        };
        let folder = self.data_dir.join("tmp");
        fs::create_dir_all(&folder).map_err(local)?;
        tempfile::tempfile_in(folder).map_err(local)
    }
}

impl DockerEngine {
    /// Connects, and takes an id for this process in the data directory.
    ///
    /// # Errors
    /// The Engine cannot be reached, or the data directory cannot be written.
    pub async fn connect(settings: EngineSettings) -> Result<Self, EngineError> {
        let data_dir = settings.data_dir.clone();
        fs::create_dir_all(&data_dir).map_err(|source| EngineError::Local {
            action: "create the data directory",
            source,
        })?;
        let instance = Instance::enter(&data_dir)?;
        let way = Way::parse(
            settings.host.as_deref(),
            settings.certificates.as_deref(),
            settings.allow_plain,
        )
        .map_err(|problem| EngineError::Refused {
            action: "be reached",
            source: problem.into(),
        })?;
        let client = Client::connect(way).await?;
        let inner = Arc::new_cyclic(|me| Inner {
            pool: Pool::new(settings.pool),
            me: me.clone(),
            settings,
            data_dir,
            janitor: Janitor::start(client.clone()),
            client,
            own: OnceCell::new(),
            builder: OnceCell::new(),
            scanner: OnceCell::new(),
            bases: Mutex::default(),
            facts: Mutex::default(),
            proving: Walled::default(),
            instance,
        });
        Ok(Self { inner })
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Hands over to the janitor all that stands ready for the next jobs; nothing more is made ready.
    pub async fn end_pool(&self) {
        pool::end(&self.inner).await;
    }

    /// How it is reached.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.inner.client.reach()
    }

    /// The id of this process, as it stands in names and labels of what it makes.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.inner.identity().instance
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn probe(&self) -> Result<EngineFacts, EngineError> {
        Ok((*self.inner.facts().await?).clone())
    }

    fn free_disk(&self, facts: &EngineFacts) -> Option<u64> {
        let of_the_engine = self.reach().is_local().then_some(Path::new(&facts.root_dir));
        [Some(self.inner.data_dir.as_path()), of_the_engine]
            .into_iter()
            .flatten()
            .filter_map(|place| rustix::fs::statvfs(place).ok())
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
            .min()
    }

    async fn prove(&self, runtime: Option<&str>) -> Result<Walled<Walls>, EngineError> {
        prove::prove(&self.inner, runtime).await
    }

    async fn prepare_base(&self, name: &str) -> Result<BaseImage, EngineError> {
        base::prepare(&self.inner, name).await
    }

    async fn export_base(&self, base: &BaseImage) -> Result<Box<dyn ToolInput>, EngineError> {
        base::export(&self.inner, base).await
    }

    async fn build(
        &self,
        request: &BuildRequest,
        logs: &dyn LogSink,
        step: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<BuildEnd, EngineError> {
        builder::build(&self.inner, request, logs, step).await
    }

    async fn load(
        &self,
        image: &BuiltImage,
        request: &RunRequest,
        data: &dyn DataVolume,
    ) -> Result<Box<dyn Guest>, EngineError> {
        guest::load(&self.inner, image, request, data.volume()).await
    }

    async fn open_data(&self, attempt: AttemptId, limits: &RunLimits) -> Result<Box<dyn DataVolume>, EngineError> {
        data::open(&self.inner, attempt, limits).await
    }

    async fn tool(&self, spec: ToolSpec, input: Box<dyn ToolInput>) -> Result<ToolEnd, EngineError> {
        tool::run(&self.inner, &spec, input).await
    }

    async fn has_volume(&self, name: &str) -> Result<bool, EngineError> {
        Ok(self.inner.client.volume(name).await?.is_some())
    }

    async fn create_volume(&self, name: &str) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(self.inner.identity().lasting_labels("lasting")),
            ..VolumeCreateRequest::default()
        };
        self.inner.client.create_volume(request).await.map(drop)
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        match self.inner.client.remove_volume(name).await? {
            Removal::Done | Removal::Absent => Ok(()),
            Removal::Busy(error) => Err(error),
        }
    }

    async fn tool_image(&self, image: ToolImage) -> Result<Digest, EngineError> {
        let id = own::tool_image(&self.inner, image).await?;
        id.parse()
            .map_err(|_| EngineError::Broken("the engine names an image without a digest".to_owned()))
    }

    async fn sweep(&self) -> Result<Swept, EngineError> {
        sweep::sweep(&self.inner).await
    }

    async fn answers(&self) -> Result<(), EngineError> {
        let answer = self.inner.client.version().await.map(drop);
        if answer.is_err() {
            // One that comes back may be another one.
            self.inner.known().take();
        }
        answer
    }

    async fn tidy(&self, patience: Duration) {
        self.inner.janitor.idle(patience).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_was_counts_for_ten_seconds() {
        let since = Instant::now();
        let known = Known {
            what: Arc::new("20.10"),
            since,
        };
        assert!(known.at(since + Duration::from_millis(9_999)).is_some());
        assert!(known.at(since + KNOWN_FOR).is_none());
    }
}
