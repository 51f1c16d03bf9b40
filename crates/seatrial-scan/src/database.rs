//! The vulnerability database: which one is in force, where it lies, how it gets there.
//!
//! A database is a volume on the Engine that is written once and never again. The pointer to the
//! one in force is a small file in the data folder, replaced by rename; a fixture has a pointer of
//! its own, so that neither can stand in for the other by accident.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    BoxError,
    engine::{Engine, EngineError, ToolImage, ToolInput, ToolMount, ToolSpec},
    scanner::{Database, DatabaseKind, ScanError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What the pointer file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    kind: DatabaseKind,
    updated_at: Timestamp,
    sha256: String,
    volume: String,
}

/// The part of Trivy's `metadata.json` that we read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    version: u64,
    updated_at: Timestamp,
}

fn pointer_path(data_dir: &Path, kind: DatabaseKind) -> PathBuf {
    data_dir.join(match kind {
        DatabaseKind::Real => "database.json",
        DatabaseKind::Fixture => "database-fixture.json",
    })
}

/// The database in force, if there is one whose volume still exists.
///
/// # Errors
/// [`ScanError::DatabaseMissing`], or what the Engine or the file system says.
pub async fn current(engine: &dyn Engine, data_dir: &Path, kind: DatabaseKind) -> Result<Database, ScanError> {
    let path = pointer_path(data_dir, kind);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ScanError::DatabaseMissing);
        }
        Err(source) => return Err(local("read the pointer to the database", source)),
    };
    let pointer: Pointer =
        serde_json::from_slice(&text).map_err(|source| local("read the pointer to the database", source))?;
    if pointer.kind != kind || !engine.has_volume(&pointer.volume).await? {
        return Err(ScanError::DatabaseMissing);
    }
    Ok(Database {
        kind,
        updated_at: pointer.updated_at,
        sha256: pointer.sha256,
        volume: pointer.volume,
    })
}

/// Whether the database in force was made at the time that the folder's `metadata.json` tells.
///
/// # Errors
/// The folder's metadata cannot be read, or the Engine failed.
pub async fn is_current(
    engine: &dyn Engine,
    data_dir: &Path,
    folder: &Path,
    kind: DatabaseKind,
) -> Result<bool, ScanError> {
    let metadata_bytes =
        fs::read(folder.join("metadata.json")).map_err(|source| local("read metadata.json of the database", source))?;
    let metadata: Metadata = serde_json::from_slice(&metadata_bytes)
        .map_err(|source| local("understand metadata.json of the database", source))?;
    match current(engine, data_dir, kind).await {
        Ok(database) => Ok(database.updated_at == metadata.updated_at),
        Err(ScanError::DatabaseMissing) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts the folder's `trivy.db` and `metadata.json` into a fresh volume and switches to it.
///
/// # Errors
/// The folder does not hold a database, or the Engine failed.
pub async fn import(
    engine: &dyn Engine,
    data_dir: &Path,
    folder: &Path,
    kind: DatabaseKind,
) -> Result<Database, ScanError> {
    let metadata_bytes =
        fs::read(folder.join("metadata.json")).map_err(|source| local("read metadata.json of the database", source))?;
    let metadata: Metadata = serde_json::from_slice(&metadata_bytes)
        .map_err(|source| local("understand metadata.json of the database", source))?;
    if metadata.version != 2 {
        return Err(ScanError::Failed(format!(
            "the database has schema version {}, only 2 is known",
            metadata.version
        )));
    }
    let db_path = folder.join("trivy.db");
    let sha256 = sha256_of(&db_path).map_err(|source| local("read trivy.db", source))?;
    // The time is part of the name: the same bytes with a newer date are another state.
    let volume = format!("st-db-{}-{}", &sha256[..16], metadata.updated_at.as_second());
    if !engine.has_volume(&volume).await?
        && let Err(error) = fill(engine, &volume, &db_path, metadata_bytes).await
    {
        let _ = engine.remove_volume(&volume).await; // half a database must not be found by anybody
        return Err(error);
    }
    let pointer = Pointer {
        kind,
        updated_at: metadata.updated_at,
        sha256: sha256.clone(),
        volume: volume.clone(),
    };
    switch(engine, data_dir, &pointer).await?;
    Ok(Database {
        kind,
        updated_at: metadata.updated_at,
        sha256,
        volume,
    })
}

async fn fill(engine: &dyn Engine, volume: &str, db_path: &Path, metadata: Vec<u8>) -> Result<(), ScanError> {
    engine.create_volume(volume).await?;
    let file = fs::File::open(db_path).map_err(|source| local("open trivy.db", source))?;
    let len = file.metadata().map_err(|source| local("open trivy.db", source))?.len();
    let spec = ToolSpec {
        role: "db",
        attempt: None,
        image: ToolImage::Holder,
        args: ["put", "--deadline-s", "600", "/target"].map(str::to_owned).to_vec(),
        mounts: vec![ToolMount {
            volume: volume.to_owned(),
            path: "/target",
            writable: true,
        }],
        tmp: 1 << 20,
        memory: 256 << 20,
        cpus: 1.0,
        pids: 16,
        time: Duration::from_secs(600),
        network: false,
        max_output: 4096,
        user: "0:0".to_owned(),
    };
    let input = DatabaseFrames {
        file,
        left: len,
        head: Some(format!("F 444 {len} db/trivy.db\n").into_bytes()),
        metadata: Some(metadata),
    };
    let end = engine.tool(spec, Box::new(input)).await?;
    if end.code != 0 || !end.stdout.starts_with(b"ok 2") {
        return Err(ScanError::Failed(format!(
            "the database could not be written: {}",
            String::from_utf8_lossy(&end.stderr).trim()
        )));
    }
    Ok(())
}

/// Switches the pointer by rename, then removes the volume before it when nobody uses it.
async fn switch(engine: &dyn Engine, data_dir: &Path, pointer: &Pointer) -> Result<(), ScanError> {
    let path = pointer_path(data_dir, pointer.kind);
    let before: Option<Pointer> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let text =
        serde_json::to_vec_pretty(pointer).map_err(|source| local("write the pointer to the database", source))?;
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, &path))
        .map_err(|source| local("write the pointer to the database", source))?;
    if let Some(old) = before.filter(|old| old.volume != pointer.volume)
        && let Err(error) = engine.remove_volume(&old.volume).await
    {
        tracing::info!(
            volume = old.volume,
            error = &error as &dyn std::error::Error,
            "an old database is still in use; it stays"
        );
    }
    Ok(())
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

fn local(action: &'static str, source: impl Into<BoxError>) -> ScanError {
    ScanError::Local {
        action,
        source: source.into(),
    }
}

/// `trivy.db` in pieces, then `metadata.json`, then the end.
struct DatabaseFrames {
    file: fs::File,
    left: u64,
    head: Option<Vec<u8>>,
    metadata: Option<Vec<u8>>,
}

#[async_trait]
impl ToolInput for DatabaseFrames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        if self.left > 0 {
            let mut piece = vec![0; usize::try_from(self.left.min(1 << 20))?];
            io::Read::read_exact(&mut self.file, &mut piece)?;
            self.left -= piece.len() as u64;
            return Ok(Some(piece));
        }
        Ok(self.metadata.take().map(|metadata| {
            let mut bytes = format!("F 444 {} db/metadata.json\n", metadata.len()).into_bytes();
            bytes.extend(metadata);
            bytes.extend_from_slice(b".\n");
            bytes
        }))
    }
}

/// Downloads Trivy's own database: the only tool container with network. It writes a fresh
/// volume; what it wrote is hashed by a container without network, and only then switched to.
///
/// # Errors
/// The download failed, or the Engine did.
pub async fn update(engine: &dyn Engine, data_dir: &Path, repository: Option<&str>) -> Result<Database, ScanError> {
    let volume = format!("st-db-new-{}", Timestamp::now().as_millisecond());
    engine.create_volume(&volume).await?;
    let updated = download(engine, &volume, repository).await;
    match updated {
        Ok((sha256, updated_at)) => {
            let pointer = Pointer {
                kind: DatabaseKind::Real,
                updated_at,
                sha256: sha256.clone(),
                volume: volume.clone(),
            };
            switch(engine, data_dir, &pointer).await?;
            Ok(Database {
                kind: DatabaseKind::Real,
                updated_at,
                sha256,
                volume,
            })
        }
        Err(error) => {
            let _ = engine.remove_volume(&volume).await;
            Err(error)
        }
    }
}

async fn download(
    engine: &dyn Engine,
    volume: &str,
    repository: Option<&str>,
) -> Result<(String, Timestamp), ScanError> {
    let mut args: Vec<String> = [
        "init",
        "--deadline-s",
        "900",
        "--",
        "/usr/local/bin/trivy",
        "image",
        "--download-db-only",
        "--cache-dir",
        "/target",
        "--no-progress",
        "--disable-telemetry",
        "--skip-version-check",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(repository) = repository {
        args.extend(["--db-repository".to_owned(), repository.to_owned()]);
    }
    let mut spec = ToolSpec {
        role: "db",
        attempt: None,
        image: ToolImage::Scanner,
        args,
        mounts: vec![ToolMount {
            volume: volume.to_owned(),
            path: "/target",
            writable: true,
        }],
        tmp: 64 << 20,
        memory: 1 << 30,
        cpus: 1.0,
        pids: 64,
        time: Duration::from_secs(900),
        network: true,
        max_output: 1 << 20,
        user: "0:0".to_owned(),
    };
    let input = nonce();
    let end = engine.tool(spec.clone(), Box::new(input)).await?;
    if end.code != 0 {
        let said = String::from_utf8_lossy(&end.stderr).into_owned();
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty() && !line.starts_with("ST1-REPORT"))
            .unwrap_or("no message")
            .to_owned();
        return Err(EngineError::Registry {
            name: repository.unwrap_or("the vulnerability database").to_owned(),
            source: last.into(),
        }
        .into());
    }
    // Hashed by a container that has no network: the one that had it is not asked what it wrote.
    spec.image = ToolImage::Builder;
    spec.network = false;
    spec.args = [
        "init",
        "--deadline-s",
        "600",
        "--",
        "sh",
        "-c",
        "sha256sum /target/db/trivy.db && cat /target/db/metadata.json",
    ]
    .map(str::to_owned)
    .to_vec();
    spec.mounts[0].writable = false;
    let end = engine.tool(spec, Box::new(nonce())).await?;
    if end.code != 0 {
        return Err(ScanError::Failed("the downloaded database cannot be read".to_owned()));
    }
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let unreadable = || ScanError::Failed("the downloaded database has no metadata that can be read".to_owned());
    let (line, metadata) = text.split_once('\n').ok_or_else(unreadable)?;
    let sha256 = line
        .split_whitespace()
        .next()
        .filter(|hash| hash.len() == 64)
        .ok_or_else(unreadable)?;
    let metadata: Metadata =
        serde_json::from_str(metadata).map_err(|source| local("understand metadata.json of the database", source))?;
    Ok((sha256.to_owned(), metadata.updated_at))
}

/// The role `init` reads one line before it starts; nobody forges the report of a trusted tool.
fn nonce() -> seatrial_core::engine::ReadyInput {
    seatrial_core::engine::ReadyInput::new(format!("{}\n", "0".repeat(32)).into_bytes())
}
