//! What does a try: the walk itself, or nothing at all when only the queue is measured.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    engine::Engine,
    job::{Stage, Token},
    progress::{Progress, Watch},
    scanner::Scanner,
    walls::{Asked, Walls},
};

use crate::{
    admission::{Checks, NoChecks},
    case::{Case, Ports, Settings},
    fault::{HostFault, Stop},
    room::Room,
    stage::resolve,
    worker::attempt,
};

/// Whether a worker may take jobs, and what it tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Fitness {
    /// Why not.
    pub unfit: Option<String>,
    /// The walls around a build here, when they suffice.
    pub build_walls: Option<Walls>,
    /// The same around a run.
    pub walls: Option<Walls>,
    /// When the vulnerability database was made.
    pub database_updated_at: Option<Timestamp>,
}

/// Does tries.
#[async_trait]
pub trait Executor: Send + Sync {
    /// One try. Dropping it ends it.
    ///
    /// # Errors
    /// [`Stop`]: the job's end, or a fault of ours.
    async fn attempt(&self, case: &Case, token: Token, watch: Arc<dyn Watch>) -> Result<(), Stop>;
    /// Whether a try could be made now.
    async fn fitness(&self) -> Fitness;
    /// Waits until what dropped tries had started is gone, at most `patience`.
    async fn tidy(&self, patience: Duration);
    /// Who works the operator's checks out; without anybody a policy with checks denies.
    fn checks(&self) -> Arc<dyn Checks> {
        Arc::new(NoChecks)
    }
}

/// The walk.
pub struct Walker {
    /// Builds, loads, runs.
    pub engine: Arc<dyn Engine>,
    /// Scans.
    pub scanner: Arc<dyn Scanner>,
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// Disk that its trials were promised.
    pub room: Room,
    /// Works the operator's checks out.
    pub checks: Arc<dyn Checks>,
}

#[async_trait]
impl Executor for Walker {
    async fn attempt(&self, case: &Case, token: Token, watch: Arc<dyn Watch>) -> Result<(), Stop> {
        let ports = Ports {
            engine: self.engine.clone(),
            scanner: self.scanner.clone(),
            watch,
            room: self.room.clone(),
        };
        // The token names the objects of this try: another worker's try of the same job has another one.
        attempt(&ports, case, u32::try_from(token.0).unwrap_or(u32::MAX), token).await
    }

    async fn fitness(&self) -> Fitness {
        // What it was a moment ago does not say that it is there now.
        if let Err(error) = self.engine.answers().await {
            return unfit(&HostFault::from(error));
        }
        let (engine, database) = tokio::join!(self.engine.probe(), self.scanner.database());
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => return unfit(&HostFault::from(error)),
        };
        let database = match database {
            Ok(database) => database,
            Err(error) => return unfit(&HostFault::from(error)),
        };
        let asked = Asked::default();
        let chosen = match resolve::fit(&self.settings, &*self.engine, &engine, &database, &asked).await {
            Ok(chosen) => Ok(chosen.walls),
            Err(Stop::Settled(outcome)) => Err(outcome.message),
            Err(Stop::Host(fault)) => Err(fault.outcome().message),
        };
        let (unfit, (build_walls, walls)) = match chosen {
            Ok(walls) => (None, (Some(walls.build), Some(walls.run))),
            Err(why) => (Some(why), (None, None)),
        };
        Fitness {
            unfit,
            build_walls,
            walls,
            database_updated_at: Some(database.updated_at),
        }
    }

    async fn tidy(&self, patience: Duration) {
        self.engine.tidy(patience).await;
    }

    fn checks(&self) -> Arc<dyn Checks> {
        self.checks.clone()
    }
}

fn unfit(fault: &HostFault) -> Fitness {
    Fitness {
        unfit: Some(fault.outcome().message),
        ..Fitness::default()
    }
}

/// Succeeds at once and touches nothing: for benchmarks and chaos of the queue alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop {
    /// How long a try takes.
    pub takes: Duration,
    /// Also tell each stage, as a real trial does.
    pub stages: bool,
}

#[async_trait]
impl Executor for Noop {
    async fn attempt(&self, _: &Case, _: Token, watch: Arc<dyn Watch>) -> Result<(), Stop> {
        if self.stages {
            for stage in [Stage::Resolve, Stage::Build, Stage::Scan, Stage::Run, Stage::Collect] {
                watch.tell(Progress::StageStarted { stage });
                tokio::time::sleep(self.takes / 5).await;
                watch.tell(Progress::StageFinished { stage, millis: 0 });
            }
        } else if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        Ok(())
    }

    async fn fitness(&self) -> Fitness {
        Fitness::default()
    }

    async fn tidy(&self, _: Duration) {}
}
