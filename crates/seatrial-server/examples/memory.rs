//! The API over a ledger and a vault in memory, with a worker whose Engine only pretends: for trying clients
//! and for `schemathesis`. Listens on the address given, 127.0.0.1:8080 without one.

use std::{sync::Arc, time::Duration};

use seatrial_core::{image::ImageConfig, record::Budgets, testing::Fake};
use seatrial_pipeline::{
    case::Settings,
    service::{
        QueueLimits, Service,
        telemetry::Telemetry,
        upkeep,
        worker::{self, Phase, WorkerSettings, executor::Walker},
    },
};
use seatrial_policy::Policy;
use seatrial_server::{AppState, ServerConfig, serve};
use seatrial_store::{
    ledger::memory::MemoryLedger,
    vault::{SealedVault, Ttl, memory::Memory, ring::KeyRing},
};
use tokio::{net::TcpListener, sync::watch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = ServerConfig::default();
    if let Some(address) = std::env::args().nth(1) {
        config.listen = address.parse()?;
    }
    let settings = Arc::new(Settings {
        policy: Policy::default(),
        fixture_database: false,
        runtime: None,
        attempts: 2,
        sbom: false,
        config_checks: false,
    });
    let service = Service {
        ledger: Arc::new(MemoryLedger::new(Budgets::default())),
        vault: Arc::new(SealedVault::new(
            Memory::new(Ttl::default()),
            Arc::new(KeyRing::generate()?),
        )),
        dispatch: None,
        settings: settings.clone(),
        queue: QueueLimits::default(),
        telemetry: Telemetry::default(),
    };
    let fake = Fake::default();
    // What `FROM debian:bookworm-slim`, `CMD ["true"]` gives; any other image is a mismatch.
    fake.script().built_config = Some(ImageConfig {
        cmd: vec!["true".into()],
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..ImageConfig::default()
    });
    let walker = Arc::new(Walker {
        engine: Arc::new(fake.clone()),
        scanner: Arc::new(fake),
        settings,
    });
    let worker = WorkerSettings {
        name: "pretender".to_owned(),
        host: "memory".to_owned(),
        slots: 2,
        lease: Duration::from_secs(30),
        drain: Duration::from_secs(2),
        back_off: Duration::from_secs(1),
    };
    let (phase, asked) = watch::channel(Phase::Work);
    let working = {
        let service = service.clone();
        tokio::spawn(async move { worker::run(&service, walker, &worker, asked).await })
    };
    let keeping_up = {
        let service = service.clone();
        tokio::spawn(async move { upkeep::run(&service).await })
    };
    let state = AppState::new(service, &config)?;
    let listener = TcpListener::bind(config.listen).await?;
    serve(listener, state, config, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    phase.send_replace(Phase::Leave);
    working.await?;
    keeping_up.abort();
    Ok(())
}
