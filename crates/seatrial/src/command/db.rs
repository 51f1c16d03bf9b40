//! `seatrial db`: the scanner's database.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::{
    job::Ending,
    scanner::{Database, DatabaseKind, ScanError},
};
use seatrial_pipeline::fault::HostFault;
use seatrial_scan::database;

use crate::{
    cli::{DbCommand, OutputFormat},
    config::Config,
};

/// Gets, takes or shows a database.
pub(crate) async fn run(config: &Config, what: &DbCommand) -> Result<u8> {
    match work(config, what).await {
        Ok(()) => Ok(0),
        Err(fault) => {
            let outcome = fault.outcome();
            super::print(&format!("errored ({}): {}", outcome.reason, outcome.message));
            if let Some(remedy) = outcome.remedy {
                super::print(&format!("  help: {remedy}"));
            }
            Ok(Ending::Errored.exit_code())
        }
    }
}

async fn work(config: &Config, what: &DbCommand) -> Result<(), HostFault> {
    let engine = super::engine(config).await?;
    std::fs::create_dir_all(&config.data_dir).map_err(|source| ScanError::Local {
        action: "make the data folder",
        source: source.into(),
    })?;
    match what {
        DbCommand::Update => {
            let sources = database::Sources {
                repository: config.scan.db_repository.as_deref(),
                java: config.scan.java,
                java_repository: config.scan.java_db_repository.as_deref(),
            };
            let database = database::update(&engine, &config.data_dir, sources).await?;
            super::print(&format!("in force: {}", sentence(&database)));
        }
        DbCommand::Import { folder, fixture } => {
            let kind = if *fixture {
                DatabaseKind::Fixture
            } else {
                DatabaseKind::Real
            };
            let database = import(&engine, config, folder, kind).await?;
            super::print(&format!("in force: {}", sentence(&database)));
        }
        DbCommand::Status(args) => {
            let mut all = Vec::new();
            for kind in [DatabaseKind::Real, DatabaseKind::Fixture] {
                match database::current(&engine, &config.data_dir, kind).await {
                    Ok(found) => all.push(found),
                    Err(ScanError::DatabaseMissing) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match args.format {
                OutputFormat::Json => super::print(&serde_json::json!({"databases": all}).to_string()),
                OutputFormat::Text if all.is_empty() => super::print("no database; get one with `seatrial db update`"),
                OutputFormat::Text => all.iter().for_each(|found| super::print(&sentence(found))),
            }
        }
    }
    Ok(())
}

async fn import(
    engine: &seatrial_engine::DockerEngine,
    config: &Config,
    folder: &Path,
    kind: DatabaseKind,
) -> Result<Database, ScanError> {
    database::import(engine, &config.data_dir, folder, kind).await
}

/// A database in one line.
pub(crate) fn sentence(database: &Database) -> String {
    let kind = match database.kind {
        DatabaseKind::Real => "real",
        DatabaseKind::Fixture => "FIXTURE",
    };
    let hours = database.updated_at.duration_until(Timestamp::now()).as_hours();
    let java = database.java.as_ref().map_or_else(
        || "none for Java archives (scan.java)".to_owned(),
        |java| format!("for Java archives made {}, sha256 {}", java.updated_at, java.sha256),
    );
    format!(
        "{kind}, made {} ({hours} h ago), sha256 {}; {java}",
        database.updated_at, database.sha256
    )
}
