//! From the configuration to the parts of the service.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use seatrial_core::{
    dispatch::{Dispatch, DispatchError},
    ledger::{Ledger, LedgerError},
    record::Budgets,
    scanner::DatabaseKind,
    vault::Vault,
};
use seatrial_pipeline::{
    case::Settings,
    room::Room,
    service::{Service, telemetry::Telemetry, worker::executor::Walker},
};
use seatrial_scan::{Trivy, TrivySettings};
use seatrial_server::webhook::Secrets;
use seatrial_store::{
    dispatch::rabbitmq::{RabbitDispatch, RabbitOptions},
    ledger::{
        redis::{RedisLedger, RedisOptions},
        sqlite::SqliteLedger,
    },
    private_file,
    vault::{
        OpenError, SealedVault,
        folder::Folder,
        redis::{Redis, RedisOptions as VaultRedis},
        ring::KeyRing,
    },
};

use tokio::time::{Instant, sleep};

use crate::{
    command,
    config::{Config, SecretUrl},
};

/// How long a process waits at its start for a part of the service that gives no answer.
const AWAY: Duration = Duration::from_secs(30);

/// Which process asks: it decides what a missing right means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Takes submissions, so it must see that the ledger keeps them.
    Api,
    /// Works on what was taken.
    Worker,
}

/// Connects to ledger, vault and broker.
pub(crate) async fn service(config: &Config, settings: Settings, role: Role, telemetry: Telemetry) -> Result<Service> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))?;
    let ledger = ledger(config, role).await?;
    let vault = vault(config, &settings).await?;
    let dispatch = dispatch(config).await?;
    Ok(Service {
        ledger,
        vault,
        dispatch,
        settings: Arc::new(settings),
        queue: config.queue.limits(),
        telemetry,
    })
}

/// The operator's settings of a trial.
pub(crate) fn settings(config: &Config, policy: &[PathBuf], fixture_database: bool) -> Result<Settings> {
    Ok(Settings {
        policy: command::policy(config, policy)?,
        fixture_database,
        runtime: config.run.runtime.clone(),
        attempts: config.run.attempts,
        sbom: config.scan.sbom,
        config_checks: config.scan.config_checks,
    })
}

async fn ledger(config: &Config, role: Role) -> Result<Arc<dyn Ledger>> {
    let budgets = Budgets {
        losses: config.queue.max_losses,
        ..Budgets::default()
    };
    let at = &config.ledger;
    let in_data_dir = config.data_dir.join("ledger.db");
    let path = match &at.url {
        None => in_data_dir,
        Some(url) if url.scheme() == "sqlite" => {
            let path = url.reveal().trim_start_matches("sqlite:");
            // Both `sqlite:/path` and `sqlite:///path`.
            Path::new(path.strip_prefix("//").unwrap_or(path)).to_owned()
        }
        Some(url) => {
            let options = RedisOptions {
                budgets,
                allow_loss: at.allow_loss,
                trust_unseen: role == Role::Worker,
                tls_ca: at.tls_ca.clone(),
                ..RedisOptions::default()
            };
            let connect = || RedisLedger::connect(url.reveal(), options.clone());
            let ledger = patiently("ledger", url, LedgerError::is_transient, connect).await?;
            return Ok(Arc::new(ledger));
        }
    };
    let ledger = SqliteLedger::open(&path, budgets).with_context(|| format!("ledger {}", path.display()))?;
    Ok(Arc::new(ledger))
}

/// A part that restarts just now is waited for; one that cannot be used is an error at once.
async fn patiently<T, E: std::error::Error + Send + Sync + 'static>(
    part: &str,
    url: &SecretUrl,
    may_pass: impl Fn(&E) -> bool,
    connect: impl AsyncFn() -> Result<T, E>,
) -> Result<T> {
    let until = Instant::now() + AWAY;
    loop {
        match connect().await {
            Ok(connected) => return Ok(connected),
            Err(error) if may_pass(&error) && Instant::now() < until => {
                tracing::warn!(part, error = &error as &dyn std::error::Error, "no answer yet");
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("{part} {}", url.redacted())),
        }
    }
}

async fn vault(config: &Config, settings: &Settings) -> Result<Arc<dyn Vault>> {
    let at = &config.vault;
    let ring = match &at.keys {
        Some(path) => KeyRing::load(path).with_context(|| format!("key ring {}", path.display()))?,
        None => {
            let path = config.data_dir.join("keys");
            KeyRing::open_or_create(&path).with_context(|| format!("key ring {}", path.display()))?
        }
    };
    let ring = Arc::new(ring);
    let life = config.queue.wait + config.queue.max_delay + settings.longest_trial();
    let ttl = at.keep.ttl(life);
    match &at.url {
        None => {
            let folder = config.data_dir.join("vault");
            let store = Folder::open(&folder, ttl).with_context(|| format!("vault {}", folder.display()))?;
            Ok(Arc::new(SealedVault::new(store, ring)))
        }
        Some(url) => {
            let options = VaultRedis {
                url: url.reveal().to_owned(),
                tls_ca: at.tls_ca.clone(),
                allow_loss: config.ledger.allow_loss,
            };
            let may_pass = |error: &OpenError| matches!(error, OpenError::Unreachable { .. });
            let store = patiently("vault", url, may_pass, || Redis::connect(&options, ttl)).await?;
            Ok(Arc::new(SealedVault::new(store, ring)))
        }
    }
}

async fn dispatch(config: &Config) -> Result<Option<Arc<dyn Dispatch>>> {
    let Some(url) = &config.dispatch.url else {
        return Ok(None);
    };
    let options = RabbitOptions {
        tls_ca: config.dispatch.tls_ca.clone(),
        ..RabbitOptions::default()
    };
    let connect = || RabbitDispatch::connect(url.reveal(), options.clone());
    // Whatever is wrong with it: a broker says no more than that it does not answer.
    let dispatch = patiently("dispatch", url, |_: &DispatchError| true, connect).await?;
    Ok(Some(Arc::new(dispatch)))
}

/// What signs call-backs; `None` where nobody is called back. There is no default: who knows it can speak for us.
pub(crate) fn webhook_secrets(config: &Config) -> Result<Option<Secrets>> {
    let webhooks = &config.server.webhooks;
    if !webhooks.enabled {
        return Ok(None);
    }
    let mut text = String::new();
    if let Some(secret) = &webhooks.secret {
        text.push_str(secret.reveal());
        text.push('\n');
    }
    if let Some(path) = &webhooks.secret_file {
        let loaded = private_file::load(path).context("the secrets of webhooks cannot be read")?;
        text.push_str(&loaded);
    }
    if text.is_empty() {
        bail!(
            "server.webhooks.enabled is true, and there is no secret to sign with: `seatrial keys webhook FILE` makes one; name the file in server.webhooks.secret_file"
        );
    }
    let secrets = Secrets::parse(&text).context("the secrets of webhooks cannot be used")?;
    Ok(Some(secrets))
}

/// Engine and scanner, for a worker.
pub(crate) async fn walker(
    config: &Config,
    settings: Arc<Settings>,
) -> Result<(Walker, Arc<seatrial_engine::DockerEngine>)> {
    // Checks that cannot be worked out would reject every job.
    crate::rego::try_out(&settings.policy)?;
    let engine = Arc::new(
        command::engine_with_pool(config, config.worker.pool)
            .await
            .context("the container engine cannot be used")?,
    );
    let kind = if settings.fixture_database {
        DatabaseKind::Fixture
    } else {
        DatabaseKind::Real
    };
    command::run::fixture(config, &engine, kind)
        .await
        .context("the fixture database cannot be used")?;
    let scanner = Trivy::new(
        engine.clone(),
        TrivySettings {
            data_dir: config.data_dir.clone(),
            database: kind,
            max_layers: settings.policy.limits.build.layers.as_u64(),
            base_memory: config.scan.base_memory,
        },
    );
    let walker = Walker {
        engine: engine.clone(),
        scanner: Arc::new(scanner),
        settings,
        room: Room::default(),
        checks: Arc::new(crate::rego::Processes),
    };
    Ok((walker, engine))
}
