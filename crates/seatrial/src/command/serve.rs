//! `seatrial serve` and `seatrial worker`: the processes of the service.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use seatrial_core::engine::Engine as _;
use seatrial_engine::DockerEngine;
use seatrial_pipeline::service::{
    Service, deliver,
    metrics::Metrics,
    points,
    telemetry::Telemetry,
    upkeep,
    worker::{
        self, Phase, WorkerSettings,
        executor::{Executor, Noop},
    },
};
use seatrial_server::{AppState, webhook::HttpSender};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{
    cli::{ExecutorKind, ServeArgs, WorkerArgs},
    config::Config,
    telemetry::{self, Told},
    wiring::{self, Role},
};

/// Between two looks for what dead siblings left on the Engine.
const SWEEP: Duration = Duration::from_secs(60);

/// API and, unless it is told otherwise, one worker in one process.
pub(crate) async fn serve(config: &Config, args: &ServeArgs) -> Result<u8> {
    let us = Us::new();
    let telemetry = telemetry::start(config, &us.name)?;
    let served = serve_until_asked(config, args, &us, telemetry.clone()).await;
    telemetry::finish(telemetry).await;
    served
}

async fn serve_until_asked(config: &Config, args: &ServeArgs, us: &Us, telemetry: Told) -> Result<u8> {
    let settings = wiring::settings(config, &args.worker.policy, args.worker.fixture_db)?;
    let secrets = wiring::webhook_secrets(config)?;
    let listener = listen(config.server.listen).await?;
    let service = wiring::service(config, settings, Role::Api, telemetry.telemetry).await?;
    let (phase, asked) = phases()?;
    let _upkeep = keep_up(&service, Role::Api);
    let working = if args.no_worker {
        None
    } else {
        Some(work(config, &service, &args.worker, us, asked.clone()).await?)
    };
    let state = AppState::new(service.clone(), &config.server).context("the server settings cannot be used")?;
    if working.is_some() {
        let metrics = &service.telemetry.metrics;
        state.metrics().register(|registry| metrics.register_worker(registry));
    }
    // The worker's last jobs are told of too.
    let (working_ends, idle) = oneshot::channel::<()>();
    let delivering = match secrets {
        Some(secrets) => {
            let sender = HttpSender::new(&config.server.webhooks, secrets, state.metrics().clone())
                .context("webhooks cannot be sent")?;
            Some(deliver(config, &service, sender, idle, asked.clone()))
        }
        None => None,
    };
    let address = listener.local_addr().context("cannot tell the address")?;
    tracing::info!(listen = %address, ledger = service.ledger.durability().kind, "serving");
    let _ = writeln!(
        std::io::stderr(),
        "Seatrial serves http://{address} (documentation at http://{address}/docs). Ctrl-C ends it in order."
    );
    let mut leaving = asked.clone();
    let shutdown = async move {
        let _ = leaving.wait_for(|phase| *phase != Phase::Work).await;
    };
    let served = seatrial_server::serve(listener, state, config.server.clone(), shutdown).await;
    // Also when serving failed: the worker hands its jobs back.
    phase.send_if_modified(|phase| {
        let changed = *phase == Phase::Work;
        if changed {
            *phase = Phase::Drain;
        }
        changed
    });
    if let Some(working) = working {
        working.await.context("the worker broke")?;
    }
    drop(working_ends);
    if let Some(delivering) = delivering {
        delivering.await.context("the sender of webhooks broke")?;
    }
    served.context("the server ended")?;
    Ok(0)
}

/// A worker alone: it listens on nothing, unless it is told to show how it is.
pub(crate) async fn worker(config: &Config, args: &WorkerArgs) -> Result<u8> {
    let us = Us::new();
    let telemetry = telemetry::start(config, &us.name)?;
    let worked = work_until_asked(config, args, &us, telemetry.clone()).await;
    telemetry::finish(telemetry).await;
    worked
}

async fn work_until_asked(config: &Config, args: &WorkerArgs, us: &Us, telemetry: Told) -> Result<u8> {
    let settings = wiring::settings(config, &args.policy, args.fixture_db)?;
    // Before anything that may take time: a probe has an answer while the ledger is waited for, and while
    // the worker drains.
    let probe = match config.worker.listen {
        Some(address) => Some(probe(address, &telemetry.telemetry).await?),
        None => None,
    };
    let service = points::marked(wiring::service(config, settings, Role::Worker, telemetry.telemetry).await?);
    let (_phase, asked) = phases()?;
    let _upkeep = keep_up(&service, Role::Worker);
    let working = work(config, &service, args, us, asked).await?;
    working.await.context("the worker broke")?;
    if let Some(probe) = probe {
        probe.abort();
    }
    Ok(0)
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// The port of a worker.
async fn probe(address: SocketAddr, telemetry: &Telemetry) -> Result<JoinHandle<()>> {
    let listener = listen(address).await?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let _ = writeln!(std::io::stderr(), "Seatrial's worker shows http://{address}/metrics");
    let telemetry = telemetry.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = seatrial_server::probe::serve(listener, &telemetry, std::future::pending()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the worker's port is closed");
        }
    }))
}

/// This process, as registry and traces know it.
struct Us {
    host: String,
    name: String,
}

impl Us {
    fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
        let name = process_name(&host);
        Self { host, name }
    }
}

/// Reaps in every process, forgets in those of the API; ends when it is dropped.
fn keep_up(service: &Service, role: Role) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let reaping = service.clone();
    tasks.spawn(async move { upkeep::reap_always(&reaping).await });
    if role == Role::Api {
        let forgetting = service.clone();
        tasks.spawn(async move { upkeep::forget_always(&forgetting).await });
    }
    tasks
}

/// Sends word of jobs' ends until nothing works here any more; tries under way then end, unless the process is to
/// leave at once. What is cut off is sent again.
fn deliver(
    config: &Config,
    service: &Service,
    sender: HttpSender,
    idle: oneshot::Receiver<()>,
    mut asked: watch::Receiver<Phase>,
) -> JoinHandle<()> {
    let (service, settings) = (service.clone(), config.server.webhooks.deliveries());
    tokio::spawn(async move {
        let leaves = async move {
            let _ = asked.wait_for(|phase| *phase == Phase::Leave).await.map(drop);
        };
        let goes = async move { drop(idle.await) };
        tokio::select! {
            () = deliver::run(&service, Arc::new(sender), &settings, goes) => {}
            () = leaves => {}
        }
    })
}

/// Starts a worker's loop.
async fn work(
    config: &Config,
    service: &Service,
    args: &WorkerArgs,
    us: &Us,
    asked: watch::Receiver<Phase>,
) -> Result<JoinHandle<()>> {
    let (executor, engine, slots): (Arc<dyn Executor>, Option<Arc<DockerEngine>>, usize) = match args.executor {
        ExecutorKind::Walk => {
            let (walker, engine) = wiring::walker(config, service.settings.clone()).await?;
            let slots = match config.worker.slots {
                Some(slots) => slots,
                None => slots(service, &engine).await?,
            };
            (Arc::new(walker), Some(engine), slots)
        }
        ExecutorKind::Noop => {
            let noop = Noop {
                takes: args.noop_takes,
                stages: args.noop_stages,
            };
            (Arc::new(noop), None, config.worker.slots.unwrap_or(8))
        }
    };
    let settings = WorkerSettings {
        name: us.name.clone(),
        host: us.host.clone(),
        slots,
        lease: config.worker.lease,
        drain: config.worker.drain,
        back_off: config.worker.back_off,
    };
    let service = service.clone();
    Ok(tokio::spawn(async move {
        let metrics = service.telemetry.metrics.clone();
        let sweeping = engine.clone().map(|engine| tokio::spawn(sweep(engine, metrics)));
        worker::run(&service, executor, &settings, asked).await;
        if let Some(sweeping) = sweeping {
            sweeping.abort();
        }
        if let Some(engine) = engine {
            engine.end_pool().await;
            engine.tidy(Duration::from_secs(20)).await;
        }
    }))
}

/// `host-` and 8 random characters: a name is never used twice.
fn process_name(host: &str) -> String {
    let random = seatrial_core::id::JobId::fresh().short();
    let host: String = host
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
        .take(64)
        .collect();
    format!("{host}-{}", &random[random.len() - 8..])
}

/// As many jobs as processors and memory of the Engine's host carry, at least one: a job's largest stages are
/// a build beside a scanner that waits.
async fn slots(service: &Service, engine: &DockerEngine) -> Result<usize> {
    let facts = engine.probe().await.context("the container engine gave no answer")?;
    let limits = &service.settings.policy.limits;
    let scan = limits.scan.memory.as_u64() + limits.build.layers.as_u64();
    let memory = limits.build.memory.as_u64() + scan;
    let by_memory = facts.memory / memory.max(1);
    let by_cpus = facts.cpus.max(1);
    Ok(usize::try_from(by_memory.min(by_cpus)).unwrap_or(1).clamp(1, 64))
}

async fn sweep(engine: Arc<DockerEngine>, metrics: Metrics) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let swept = engine.sweep().await;
        metrics.swept(swept.as_ref().ok().copied());
        match swept {
            Ok(swept) if swept == seatrial_core::engine::Swept::default() => {}
            Ok(swept) => tracing::info!(
                containers = swept.containers,
                volumes = swept.volumes,
                images = swept.images,
                "removed what dead processes had left"
            ),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the sweep failed"),
        }
    }
}

/// The first interrupt or SIGTERM drains, the second leaves at once.
fn phases() -> Result<(Arc<watch::Sender<Phase>>, watch::Receiver<Phase>)> {
    let (phase, asked) = watch::channel(Phase::Work);
    let phase = Arc::new(phase);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    tokio::spawn({
        let phase = phase.clone();
        async move {
            for next in [Phase::Drain, Phase::Leave] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(phase = ?next, "asked to stop");
                phase.send_replace(next);
            }
        }
    });
    Ok((phase, asked))
}
