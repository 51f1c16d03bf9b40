//! From the configuration to the parts of the service.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use seatrial_core::{dispatch::Dispatch, ledger::Ledger, record::Budgets, scanner::DatabaseKind, vault::Vault};
use seatrial_pipeline::{
    case::Settings,
    service::{Service, worker::executor::Walker},
};
use seatrial_scan::{Trivy, TrivySettings};
use seatrial_store::{
    dispatch::rabbitmq::{RabbitDispatch, RabbitOptions},
    ledger::{
        redis::{RedisLedger, RedisOptions},
        sqlite::SqliteLedger,
    },
    vault::{
        SealedVault,
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

/// How long a process waits at its start for a ledger that gives no answer.
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
pub(crate) async fn service(config: &Config, settings: Settings, role: Role) -> Result<Service> {
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
    })
}

/// The operator's settings of a trial.
pub(crate) fn settings(config: &Config, policy: Option<&Path>, fixture_database: bool) -> Result<Settings> {
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
            return Ok(Arc::new(redis_ledger(url, options).await?));
        }
    };
    let ledger = SqliteLedger::open(&path, budgets).with_context(|| format!("ledger {}", path.display()))?;
    Ok(Arc::new(ledger))
}

/// A ledger that restarts just now is waited for; one that cannot be used is an error at once.
async fn redis_ledger(url: &SecretUrl, options: RedisOptions) -> Result<RedisLedger> {
    let until = Instant::now() + AWAY;
    loop {
        match RedisLedger::connect(url.reveal(), options.clone()).await {
            Ok(ledger) => return Ok(ledger),
            Err(error) if error.is_transient() && Instant::now() < until => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger gives no answer yet"
                );
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("ledger {}", url.redacted())),
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
            let store = Redis::connect(&options, ttl)
                .await
                .with_context(|| format!("vault {}", url.redacted()))?;
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
    let dispatch = RabbitDispatch::connect(url.reveal(), options)
        .await
        .with_context(|| format!("dispatch {}", url.redacted()))?;
    Ok(Some(Arc::new(dispatch)))
}

/// Engine and scanner, for a worker.
pub(crate) async fn walker(
    config: &Config,
    settings: Arc<Settings>,
) -> Result<(Walker, Arc<seatrial_engine::DockerEngine>)> {
    let engine = Arc::new(
        command::engine(config)
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
        },
    );
    let walker = Walker {
        engine: engine.clone(),
        scanner: Arc::new(scanner),
        settings,
    };
    Ok((walker, engine))
}
