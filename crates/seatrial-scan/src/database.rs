//! The vulnerability database: which one is in force, where it lies, how it gets there.
//!
//! A database is a volume on the Engine that is written once and never again. The pointer to the
//! one in force is the record of a [`Slot`]; a fixture has a slot of its own, so that neither can
//! stand in for the other by accident.

use std::{fs, io, path::Path, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    BoxError,
    engine::{Engine, EngineError, ToolImage, ToolInput, ToolMount, ToolSpec},
    scanner::{Database, DatabaseKind, ScanError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::slot::{Slot, local};

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

impl Metadata {
    /// The one schema that we know.
    fn parse(bytes: &[u8]) -> Result<Self, ScanError> {
        let metadata: Self = serde_json::from_slice(bytes)
            .map_err(|source| local("understand metadata.json of the database", source))?;
        if metadata.version != 2 {
            return Err(ScanError::Failed(format!(
                "the database has schema version {}, only 2 is known",
                metadata.version
            )));
        }
        Ok(metadata)
    }
}

impl From<Pointer> for Database {
    fn from(pointer: Pointer) -> Self {
        Self {
            kind: pointer.kind,
            updated_at: pointer.updated_at,
            sha256: pointer.sha256,
            volume: pointer.volume,
        }
    }
}

fn slot(data_dir: &Path, kind: DatabaseKind) -> Slot {
    Slot::new(data_dir.join(match kind {
        DatabaseKind::Real => "database.json",
        DatabaseKind::Fixture => "database-fixture.json",
    }))
}

/// The database in force, if there is one whose volume still exists.
///
/// # Errors
/// [`ScanError::DatabaseMissing`], or what the Engine or the file system says.
pub async fn current(engine: &dyn Engine, data_dir: &Path, kind: DatabaseKind) -> Result<Database, ScanError> {
    let pointer = slot(data_dir, kind).read::<Pointer>()?;
    match pointer.filter(|pointer| pointer.kind == kind) {
        Some(pointer) if engine.has_volume(&pointer.volume).await? => Ok(pointer.into()),
        _ => Err(ScanError::DatabaseMissing),
    }
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
    let (_, metadata) = read_metadata(folder)?;
    let found = in_force(engine, data_dir, kind).await?;
    Ok(found.is_some_and(|database| database.updated_at == metadata.updated_at))
}

async fn in_force(engine: &dyn Engine, data_dir: &Path, kind: DatabaseKind) -> Result<Option<Database>, ScanError> {
    match current(engine, data_dir, kind).await {
        Ok(database) => Ok(Some(database)),
        Err(ScanError::DatabaseMissing) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_metadata(folder: &Path) -> Result<(Vec<u8>, Metadata), ScanError> {
    let bytes =
        fs::read(folder.join("metadata.json")).map_err(|source| local("read metadata.json of the database", source))?;
    let metadata = Metadata::parse(&bytes)?;
    Ok((bytes, metadata))
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
    let (metadata_bytes, metadata) = read_metadata(folder)?;
    let db_path = folder.join("trivy.db");
    let sha256 = sha256_of(&db_path).map_err(|source| local("read trivy.db", source))?;
    let held = slot(data_dir, kind).hold().await?;
    let before = in_force(engine, data_dir, kind).await?;
    if let Some(same) = before.filter(|before| before.sha256 == sha256 && before.updated_at == metadata.updated_at) {
        return Ok(same); // a sibling imported it while we waited
    }
    let volume = held.begin(engine, "st-db-").await?;
    if let Err(error) = fill(engine, &volume, &db_path, metadata_bytes).await {
        held.give_up(engine, &volume).await;
        return Err(error);
    }
    let pointer = Pointer {
        kind,
        updated_at: metadata.updated_at,
        sha256,
        volume,
    };
    held.switch(&pointer)?;
    Ok(pointer.into())
}

async fn fill(engine: &dyn Engine, volume: &str, db_path: &Path, metadata: Vec<u8>) -> Result<(), ScanError> {
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
    let kind = DatabaseKind::Real;
    let held = slot(data_dir, kind).hold().await?;
    let volume = held.begin(engine, "st-db-").await?;
    match download(engine, &volume, repository).await {
        Ok((sha256, updated_at)) => {
            let pointer = Pointer {
                kind,
                updated_at,
                sha256,
                volume,
            };
            held.switch(&pointer)?;
            Ok(pointer.into())
        }
        Err(error) => {
            held.give_up(engine, &volume).await;
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
    let metadata = Metadata::parse(metadata.as_bytes())?;
    Ok((sha256.to_owned(), metadata.updated_at))
}

/// The role `init` reads one line before it starts; nobody forges the report of a trusted tool.
fn nonce() -> seatrial_core::engine::ReadyInput {
    seatrial_core::engine::ReadyInput::new(format!("{}\n", "0".repeat(32)).into_bytes())
}

#[cfg(test)]
mod tests {
    use seatrial_core::{engine::ToolEnd, testing::Fake};

    use super::*;

    fn wrote() -> ToolEnd {
        ended(b"ok 2")
    }

    fn ended(stdout: &[u8]) -> ToolEnd {
        ToolEnd {
            code: 0,
            stdout: stdout.to_vec(),
            stderr: Vec::new(),
            out_of_memory: false,
            timed_out: false,
        }
    }

    fn folder(updated_at: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trivy.db"), "bytes").unwrap();
        fs::write(
            folder.path().join("metadata.json"),
            format!(r#"{{"Version": 2, "UpdatedAt": "{updated_at}"}}"#),
        )
        .unwrap();
        folder
    }

    const DAY: &str = "2026-11-23T00:00:00Z";

    #[tokio::test]
    async fn two_imports_of_one_folder_write_one_volume() {
        let (fake, data, new) = (Fake::default(), tempfile::tempdir().unwrap(), folder(DAY));
        fake.script().tool_ends = [wrote()].into();
        let one = || import(&fake, data.path(), new.path(), DatabaseKind::Fixture);
        let (first, second) = tokio::join!(one(), one());
        assert_eq!(first.unwrap(), second.unwrap());
        assert_eq!(fake.script().volumes.len(), 1);
    }

    #[tokio::test]
    async fn a_failed_import_leaves_the_database_in_force_alone() {
        let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
        fake.script().tool_ends = [wrote(), ended(b"no room")].into();
        let import = |day| {
            let (fake, data) = (&fake, data.path());
            async move { import(fake, data, folder(day).path(), DatabaseKind::Fixture).await }
        };
        let before = import(DAY).await.unwrap();
        import("2026-11-24T00:00:00Z").await.unwrap_err();
        let after = current(&fake, data.path(), DatabaseKind::Fixture).await.unwrap();
        assert_eq!(after, before);
        assert_eq!(fake.script().volumes.len(), 1, "the half one is gone");
    }

    #[tokio::test]
    async fn what_a_killed_import_left_never_counts_and_the_next_one_removes_it() {
        let (fake, data, new) = (Fake::default(), tempfile::tempdir().unwrap(), folder(DAY));
        let held = slot(data.path(), DatabaseKind::Fixture).hold().await.unwrap();
        let half = held.begin(&fake, "st-db-").await.unwrap();
        drop(held); // as the kernel does for a killed process
        let seen = current(&fake, data.path(), DatabaseKind::Fixture).await;
        assert!(matches!(seen, Err(ScanError::DatabaseMissing)));
        fake.script().tool_ends = [wrote()].into();
        let made = import(&fake, data.path(), new.path(), DatabaseKind::Fixture)
            .await
            .unwrap();
        assert_ne!(made.volume, half);
        assert_eq!(fake.script().volumes, [made.volume].into());
    }

    #[tokio::test]
    async fn a_replaced_database_stays_a_day_for_jobs_that_know_it() {
        let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
        fake.script().tool_ends = [wrote(), wrote(), wrote()].into();
        let import = |day| {
            let (fake, data) = (&fake, data.path());
            async move {
                import(fake, data, folder(day).path(), DatabaseKind::Real)
                    .await
                    .unwrap()
                    .volume
            }
        };
        let first = import(DAY).await;
        import("2026-11-24T00:00:00Z").await;
        assert!(fake.script().volumes.contains(&first));
        let note = fs::File::options()
            .write(true)
            .open(data.path().join("database.volumes").join(&first))
            .unwrap();
        note.set_modified(std::time::SystemTime::now() - Duration::from_secs(25 * 60 * 60))
            .unwrap();
        import("2026-11-25T00:00:00Z").await;
        assert!(!fake.script().volumes.contains(&first));
    }

    #[tokio::test]
    async fn a_downloaded_database_of_another_schema_is_not_put_in_force() {
        let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
        let read = format!(
            "{}  trivy.db\n{{\"Version\": 3, \"UpdatedAt\": \"{DAY}\"}}",
            "0".repeat(64)
        );
        fake.script().tool_ends = [ended(b""), ended(read.as_bytes())].into();
        let error = update(&fake, data.path(), None).await.unwrap_err();
        assert!(error.to_string().contains("schema version 3"), "{error}");
        assert!(fake.script().volumes.is_empty());
    }
}
