//! An Engine and a scanner in memory, for tests of the pipeline: they do what a script says and
//! write down what was asked of them. Contracts of seams that have several adapters stand in modules
//! of their own. Never part of a product build (feature `testing`).

pub mod ledger;

pub mod vault;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    digest::Digest,
    egress::EgressRow,
    engine::{
        BuildEnd, BuildFailure, BuildRequest, DataListing, DataVolume, Engine, EngineError, EngineFacts, Guest,
        ReadEnd, ReadyInput, RunEnd, RunExit, RunRequest, Swept, ToolEnd, ToolImage, ToolInput, ToolSpec, Usage,
    },
    id::AttemptId,
    image::{BaseImage, BuiltImage, ImageConfig, SpooledLayer},
    limits::{MAX_READ, RunLimits},
    log::LogSink,
    scanner::{
        Database, DatabaseKind, ImageSource, Misconfiguration, ScanEnd, ScanError, ScanReport, ScanRequest, Scanner,
        Vulnerability,
    },
    walls::{Place, Proof, Wall, Walled, Walls},
};

/// What a fake does next, and what it was asked for.
#[derive(Default)]
pub struct Script {
    /// Runtimes of the Engine beside its default one.
    pub runtimes: Vec<String>,
    /// Those of them that turn out to have no kernel of their own.
    pub pretenders: Vec<String>,
    /// Errors that the next proofs of a named runtime give, in order; then they succeed.
    pub prove_errors: VecDeque<EngineError>,
    /// Bytes free on its disk, if it tells.
    pub free_disk: Option<u64>,
    /// Errors that the next builds give, in order; then they succeed.
    pub build_errors: VecDeque<EngineError>,
    /// How the build ends; `None` builds an image.
    pub build_failure: Option<BuildFailure>,
    /// The build never ends.
    pub build_hangs: bool,
    /// Has a build that hangs ask the network once more.
    pub asks_again: Arc<tokio::sync::Notify>,
    /// How long it takes.
    pub build_takes: std::time::Duration,
    /// `/data` is never opened.
    pub data_hangs: bool,
    /// The image is never loaded.
    pub load_hangs: bool,
    /// Config of the built image, when it differs from what was judged.
    pub built_config: Option<ImageConfig>,
    /// How the run ends; `None` is code 0.
    pub exit: Option<RunExit>,
    /// Usage of the run.
    pub usage: Usage,
    /// The result file.
    pub result: Option<ReadEnd>,
    /// Other names in `/data`.
    pub names: Vec<Vec<u8>>,
    /// ONBUILD triggers of the base.
    pub on_build: Vec<String>,
    /// `USER` of the base.
    pub base_user: String,
    /// The scanner fails with this.
    pub scan_failure: Option<fn() -> ScanError>,
    /// The scanner cannot read the image.
    pub unscannable: Option<String>,
    /// Which image the scanner reports on, when it is not the one that it got.
    pub scanned: Option<Digest>,
    /// What the scanner finds.
    pub vulnerabilities: Vec<Vulnerability>,
    /// When the database was made; `None` is now.
    pub database_updated_at: Option<Timestamp>,
    /// There is no database.
    pub no_database: bool,
    /// How often the Engine gives no answer when it is asked whether it is there.
    pub silent: usize,
    /// The Engine enforces no process limit.
    pub no_pids_limit: bool,
    /// How the next tools end, in order.
    pub tool_ends: VecDeque<ToolEnd>,
    /// The role of each tool that was run, its memory and its `/tmp`, in bytes.
    pub tool_room: Vec<(&'static str, u64, u64)>,
    /// Lasting volumes that exist.
    pub volumes: BTreeSet<String>,
    /// The Engine does not answer questions about volumes.
    pub volumes_unknown: bool,
    /// What was asked, in order.
    pub asked: Vec<String>,
}

/// An Engine and a scanner that share one script.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Script>>);

impl Fake {
    /// The script, to set up or to read.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call that starts with this was made.
    #[must_use]
    pub fn was_asked(&self, what: &str) -> bool {
        self.script().asked.iter().any(|asked| asked.starts_with(what))
    }

    fn note(&self, what: impl Into<String>) {
        self.script().asked.push(what.into());
    }
}

#[async_trait]
impl Engine for Fake {
    async fn probe(&self) -> Result<EngineFacts, EngineError> {
        let (limited, mut runtimes) = {
            let script = self.script();
            (!script.no_pids_limit, script.runtimes.clone())
        };
        runtimes.push("runc".into());
        Ok(EngineFacts {
            version: "29.7.0".into(),
            api_version: "1.52".into(),
            kernel: "6.18".into(),
            platform: "linux/amd64".into(),
            cgroup_version: "2".into(),
            cgroup_driver: "systemd".into(),
            user_namespaces: true,
            rootless: false,
            seccomp: true,
            apparmor: true,
            runtimes,
            default_runtime: "runc".into(),
            runtime_version: "1.3.3".into(),
            storage_driver: "overlay2".into(),
            containerd_store: false,
            memory_limit: true,
            swap_limit: true,
            pids_limit: limited,
            cpu_quota: true,
            cpus: 2,
            memory: 1 << 34,
            root_dir: "/var/lib/docker".into(),
            warnings: Vec::new(),
        })
    }

    fn free_disk(&self, _: &EngineFacts) -> Option<u64> {
        self.script().free_disk
    }

    async fn prove(&self, runtime: Option<&str>) -> Result<Walled<Walls>, EngineError> {
        let mut script = self.script();
        if runtime.is_some()
            && let Some(error) = script.prove_errors.pop_front()
        {
            return Err(error);
        }
        let proven = |place: Place, own_kernel: bool| {
            let mut proven: BTreeMap<Wall, Proof> = Wall::ALL.into_iter().map(|wall| (wall, Proof::Seen)).collect();
            if !own_kernel {
                proven.remove(&Wall::OwnKernel);
            }
            if script.no_pids_limit {
                proven.remove(&Wall::PidsBound);
            }
            Walls {
                engine: "29.7.0".into(),
                runtime: runtime.unwrap_or("runc").into(),
                kernel: "6.18".into(),
                cgroup: "2".into(),
                network: "none".into(),
                user_namespace: true,
                ..Walls::default()
            }
            .proven_by(proven, place)
        };
        let own_kernel = runtime.is_some_and(|name| !script.pretenders.iter().any(|other| other == name));
        Ok(Walled {
            build: proven(Place::Build, false),
            run: proven(Place::Run, own_kernel),
        })
    }

    async fn prepare_base(&self, name: &str) -> Result<BaseImage, EngineError> {
        self.note(format!("prepare_base {name}"));
        let script = self.script();
        let config = ImageConfig {
            on_build: script.on_build.clone(),
            user: script.base_user.clone(),
            ..ImageConfig::default()
        };
        drop(script);
        Ok(BaseImage {
            name: name.to_owned(),
            repo_digest: None,
            id: Digest::of(name.as_bytes()),
            layers: vec![Digest::of(b"base layer")],
            config,
            platform: "linux/amd64".into(),
            store_volume: "st-base".into(),
        })
    }

    async fn export_base(&self, _: &BaseImage) -> Result<Box<dyn ToolInput>, EngineError> {
        Ok(Box::new(ReadyInput::new(Vec::new())))
    }

    async fn build(
        &self,
        request: &BuildRequest,
        logs: &dyn LogSink,
        step: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<BuildEnd, EngineError> {
        self.note("build");
        step(1);
        if let Some(egress) = &request.egress {
            let host = format!("try-{}.example", request.attempt.number);
            egress.seen.add(1, EgressRow::carried(&host));
        }
        logs.write(b"STEP 1\nbuilding\n");
        if self.script().build_hangs {
            let ask = self.script().asks_again.clone();
            ask.notified().await;
            if let Some(egress) = &request.egress {
                egress.seen.add(2, EgressRow::carried("again.example"));
            }
            std::future::pending::<()>().await;
        }
        let takes = self.script().build_takes;
        tokio::time::sleep(takes).await;
        let mut script = self.script();
        if let Some(error) = script.build_errors.pop_front() {
            return Err(error);
        }
        if let Some(failure) = script.build_failure.clone() {
            return Ok(BuildEnd::Failed(failure, Usage::default()));
        }
        let config_bytes: Arc<[u8]> = Arc::from(request.dockerfile.as_bytes());
        let spool = std::fs::File::open("/dev/null").map_err(|source| EngineError::Local {
            action: "open the spool",
            source,
        })?;
        let layer = Digest::of(b"new layer");
        Ok(BuildEnd::Built(
            Box::new(BuiltImage {
                id: Digest::of(&config_bytes),
                config_bytes,
                config: script.built_config.clone().unwrap_or_default(),
                layers: vec![Digest::of(b"base layer"), layer],
                base_layers: 1,
                new_layers: vec![SpooledLayer {
                    digest: layer,
                    offset: 0,
                    len: 0,
                }],
                spool: Arc::new(spool),
            }),
            Usage::default(),
        ))
    }

    async fn load(&self, _: &BuiltImage, _: &RunRequest, _: &dyn DataVolume) -> Result<Box<dyn Guest>, EngineError> {
        self.note("load");
        if self.script().load_hangs {
            std::future::pending::<()>().await;
        }
        Ok(Box::new(FakeGuest(self.clone())))
    }

    async fn open_data(&self, _: AttemptId, _: &RunLimits) -> Result<Box<dyn DataVolume>, EngineError> {
        if self.script().data_hangs {
            std::future::pending::<()>().await;
        }
        Ok(Box::new(FakeData(self.clone())))
    }

    async fn tool(&self, spec: ToolSpec, mut input: Box<dyn ToolInput>) -> Result<ToolEnd, EngineError> {
        self.note(format!("tool {} {}", spec.role, spec.args.join(" ")));
        self.script().tool_room.push((spec.role, spec.memory, spec.tmp));
        while input
            .next()
            .await
            .map_err(|error| EngineError::Broken(error.to_string()))?
            .is_some()
        {}
        let mut asked = false; // a tool takes time: others get a turn
        std::future::poll_fn(|turn| {
            turn.waker().wake_by_ref();
            match std::mem::replace(&mut asked, true) {
                false => std::task::Poll::Pending,
                true => std::task::Poll::Ready(()),
            }
        })
        .await;
        let end = self.script().tool_ends.pop_front();
        end.ok_or_else(|| EngineError::Broken("the fake has no more tools".into()))
    }

    async fn has_volume(&self, name: &str) -> Result<bool, EngineError> {
        let script = self.script();
        if script.volumes_unknown {
            return Err(EngineError::Unreachable("the fake is away".into()));
        }
        Ok(script.volumes.contains(name))
    }

    async fn create_volume(&self, name: &str) -> Result<(), EngineError> {
        self.script().volumes.insert(name.to_owned());
        Ok(())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.script().volumes.remove(name);
        Ok(())
    }

    async fn tool_image(&self, _: ToolImage) -> Result<Digest, EngineError> {
        Ok(Digest::of(b"tool"))
    }

    async fn sweep(&self) -> Result<Swept, EngineError> {
        Ok(Swept::default())
    }

    async fn answers(&self) -> Result<(), EngineError> {
        self.note("answers");
        let mut script = self.script();
        if script.silent == 0 {
            return Ok(());
        }
        script.silent -= 1;
        Err(EngineError::Unreachable("no such file".into()))
    }

    async fn tidy(&self, _: Duration) {
        self.note("tidy");
    }
}

struct FakeGuest(Fake);

#[async_trait]
impl Guest for FakeGuest {
    async fn start(self: Box<Self>, logs: &dyn LogSink) -> Result<RunEnd, EngineError> {
        self.0.note("start");
        logs.write(b"running\n");
        let script = self.0.script();
        Ok(RunEnd {
            exit: script.exit.clone().unwrap_or(RunExit::Code(0)),
            usage: script.usage.clone(),
            walls: Walls::default(),
        })
    }
}

struct FakeData(Fake);

#[async_trait]
impl DataVolume for FakeData {
    fn volume(&self) -> &str {
        "st-data"
    }

    async fn read(&self, name: &str, max: u64) -> Result<ReadEnd, EngineError> {
        self.0.note(format!("read {name}"));
        if max > MAX_READ {
            return Err(EngineError::Broken("the holder reads no more than 64 MiB".into()));
        }
        let known = self.0.script().result.clone();
        Ok(
            match known.unwrap_or_else(|| ReadEnd::Bytes(br#"{"perf": 0.99}"#.to_vec())) {
                ReadEnd::Bytes(bytes) if bytes.len() as u64 > max => ReadEnd::TooLarge(bytes.len() as u64),
                end => end,
            },
        )
    }

    async fn list(&self) -> Result<DataListing, EngineError> {
        Ok(DataListing {
            names: self.0.script().names.clone(),
            truncated: false,
            used_bytes: Some(14),
        })
    }
}

#[async_trait]
impl Scanner for Fake {
    async fn database(&self) -> Result<Database, ScanError> {
        if self.script().no_database {
            return Err(ScanError::DatabaseMissing);
        }
        let updated_at = self.script().database_updated_at.unwrap_or_else(Timestamp::now);
        Ok(Database {
            kind: DatabaseKind::Real,
            updated_at,
            sha256: "00".into(),
            volume: "st-db".into(),
            java: None,
        })
    }

    async fn prepare_base(&self, _: &BaseImage, _: &Database) -> Result<(), ScanError> {
        Ok(())
    }

    async fn scan(&self, request: &ScanRequest, mut source: Box<dyn ImageSource>) -> Result<ScanEnd, ScanError> {
        let Some(image) = source.image().await else {
            return Err(ScanError::Abandoned);
        };
        self.note("scan");
        let script = self.script();
        if let Some(failure) = script.scan_failure {
            return Err(failure());
        }
        if let Some(clause) = &script.unscannable {
            return Ok(ScanEnd::Unscannable(clause.clone()));
        }
        Ok(ScanEnd::Report(Box::new(ScanReport {
            image: script.scanned.unwrap_or(image.id),
            scanner: "fake 1".into(),
            scanner_image: "sha256:0".into(),
            database: request.database.clone(),
            os: Some("debian 12".into()),
            packages: 3,
            vulnerabilities: script.vulnerabilities.clone(),
            secrets: Vec::new(),
            sbom: None,
        })))
    }

    async fn lint(&self, _: AttemptId, _: &str) -> Result<Vec<Misconfiguration>, ScanError> {
        Ok(Vec::new())
    }
}
