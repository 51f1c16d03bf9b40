//! The vulnerability database: which one is in force, where it lies, how it gets there.
//!
//! A database is a volume on the Engine that is written once and never again. The pointer to the
//! one in force is the record of a [`Slot`]; a fixture has a slot of its own, so that neither can
//! stand in for the other by accident.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use seatrial_core::{
    engine::{Engine, EngineError, ReadyInput, ToolImage, ToolMount, ToolSpec},
    scanner::{Database, DatabaseKind, JavaDatabase, ScanError},
};
use serde::{Deserialize, Serialize};

use crate::slot::Slot;

mod part;

use part::{ADVISORIES, JAVA, Kind, Parts};

/// What the pointer file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    kind: DatabaseKind,
    updated_at: Timestamp,
    sha256: String,
    volume: String,
    /// Not in pointers of older versions of ours.
    #[serde(default)]
    java: Option<JavaDatabase>,
}

impl From<Pointer> for Database {
    fn from(pointer: Pointer) -> Self {
        Self {
            kind: pointer.kind,
            updated_at: pointer.updated_at,
            sha256: pointer.sha256,
            volume: pointer.volume,
            java: pointer.java,
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

/// Whether the database in force was made at the times that the folder's `metadata.json` tell.
///
/// # Errors
/// The folder's metadata cannot be read, or the Engine failed.
pub async fn is_current(
    engine: &dyn Engine,
    data_dir: &Path,
    folder: &Path,
    kind: DatabaseKind,
) -> Result<bool, ScanError> {
    let parts = Parts::read(folder)?;
    let found = in_force(engine, data_dir, kind).await?;
    Ok(found.is_some_and(|database| {
        let java = database.java.map(|java| java.updated_at);
        database.updated_at == parts.advisories.updated_at && java == parts.java.map(|java| java.updated_at)
    }))
}

async fn in_force(engine: &dyn Engine, data_dir: &Path, kind: DatabaseKind) -> Result<Option<Database>, ScanError> {
    match current(engine, data_dir, kind).await {
        Ok(database) => Ok(Some(database)),
        Err(ScanError::DatabaseMissing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a database into a fresh volume and switches to it. The folder is a cache folder of the scanner's, or holds `trivy.db`
/// and `metadata.json`, and `java-db/` if there is one.
///
/// # Errors
/// The folder does not hold a database, or the Engine failed.
pub async fn import(
    engine: &dyn Engine,
    data_dir: &Path,
    folder: &Path,
    kind: DatabaseKind,
) -> Result<Database, ScanError> {
    let parts = Parts::read(folder)?;
    // Hashed before others are kept waiting: it may be more than a gigabyte.
    let new = Pointer {
        kind,
        updated_at: parts.advisories.updated_at,
        sha256: parts.advisories.sha256()?,
        volume: String::new(),
        java: parts.java()?,
    };
    let held = slot(data_dir, kind).hold().await?;
    let before = in_force(engine, data_dir, kind).await?;
    let is_same = |before: &Database| {
        before.sha256 == new.sha256 && before.updated_at == new.updated_at && before.java == new.java
    };
    if let Some(same) = before.filter(is_same) {
        return Ok(same); // a sibling imported it while we waited
    }
    let volume = held.begin(engine, "st-db-").await?;
    if let Err(error) = fill(engine, &volume, &parts).await {
        held.give_up(engine, &volume).await;
        return Err(error);
    }
    let pointer = Pointer { volume, ..new };
    held.switch(&pointer)?;
    Ok(pointer.into())
}

async fn fill(engine: &dyn Engine, volume: &str, parts: &Parts) -> Result<(), ScanError> {
    let frames = parts.frames()?;
    let wrote = format!("ok {}", frames.files);
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
    let end = engine.tool(spec, Box::new(frames)).await?;
    if end.code != 0 || !end.stdout.starts_with(wrote.as_bytes()) {
        return Err(ScanError::Failed(format!(
            "the database could not be written: {}",
            String::from_utf8_lossy(&end.stderr).trim()
        )));
    }
    Ok(())
}

/// Where a database comes from; the scanner's own places where nothing is said.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sources<'a> {
    /// Advisories.
    pub repository: Option<&'a str>,
    /// Also get the database of Java archives.
    pub java: bool,
    /// The same for it.
    pub java_repository: Option<&'a str>,
}

/// Downloads Trivy's own database: the only tool container with network. It writes a fresh
/// volume; what it wrote is hashed by a container without network, and only then switched to.
///
/// # Errors
/// The download failed, or the Engine did.
pub async fn update(engine: &dyn Engine, data_dir: &Path, sources: Sources<'_>) -> Result<Database, ScanError> {
    let kind = DatabaseKind::Real;
    let held = slot(data_dir, kind).hold().await?;
    let volume = held.begin(engine, "st-db-").await?;
    let got = async {
        let (sha256, updated_at) = download(engine, &volume, &ADVISORIES, sources.repository).await?;
        let java = match sources.java {
            true => Some(download(engine, &volume, &JAVA, sources.java_repository).await?),
            false => None,
        };
        Ok(Pointer {
            kind,
            updated_at,
            sha256,
            volume: volume.clone(),
            java: java.map(|(sha256, updated_at)| JavaDatabase { updated_at, sha256 }),
        })
    };
    match got.await {
        Ok(pointer) => {
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
    kind: &Kind,
    repository: Option<&str>,
) -> Result<(String, Timestamp), ScanError> {
    let mut args: Vec<String> = [
        "init",
        "--deadline-s",
        "900",
        "--",
        "/usr/local/bin/trivy",
        "image",
        kind.download,
        "--cache-dir",
        "/target",
        "--no-progress",
        "--disable-telemetry",
        "--skip-version-check",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(repository) = repository {
        args.extend([kind.repository.to_owned(), repository.to_owned()]);
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
    let end = engine.tool(spec.clone(), Box::new(nonce())).await?;
    if end.code != 0 {
        let said = String::from_utf8_lossy(&end.stderr).into_owned();
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty() && !line.starts_with("ST1-REPORT"))
            .unwrap_or("no message")
            .to_owned();
        return Err(EngineError::Registry {
            name: repository.unwrap_or(kind.name).to_owned(),
            source: last.into(),
        }
        .into());
    }
    // Hashed by a container that has no network: the one that had it is not asked what it wrote.
    spec.image = ToolImage::Builder;
    spec.network = false;
    let Kind { folder, file, .. } = kind;
    let look = format!("sha256sum /target/{folder}/{file} && cat /target/{folder}/metadata.json");
    spec.args = ["init", "--deadline-s", "600", "--", "sh", "-c", &look]
        .map(str::to_owned)
        .to_vec();
    spec.mounts[0].writable = false;
    let end = engine.tool(spec, Box::new(nonce())).await?;
    if end.code != 0 {
        return Err(ScanError::Failed(format!(
            "{} was downloaded and cannot be read",
            kind.name
        )));
    }
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let unreadable = || ScanError::Failed(format!("{} has no metadata that can be read", kind.name));
    let (line, metadata) = text.split_once('\n').ok_or_else(unreadable)?;
    let sha256 = line
        .split_whitespace()
        .next()
        .filter(|hash| hash.len() == 64)
        .ok_or_else(unreadable)?;
    Ok((sha256.to_owned(), kind.made(metadata.as_bytes())?))
}

/// The role `init` reads one line before it starts; nobody forges the report of a trusted tool.
fn nonce() -> ReadyInput {
    ReadyInput::new(format!("{}\n", "0".repeat(32)).into_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    async fn the_part_for_java_archives_is_taken_from_beside_the_other_and_told() {
        let (fake, data, new) = (Fake::default(), tempfile::tempdir().unwrap(), folder(DAY));
        let java = new.path().join("java-db");
        fs::create_dir(&java).unwrap();
        fs::write(java.join("trivy-java.db"), "archives").unwrap();
        fs::write(
            java.join("metadata.json"),
            r#"{"Version": 1, "UpdatedAt": "2026-11-20T00:00:00Z"}"#,
        )
        .unwrap();
        fake.script().tool_ends = [ended(b"ok 2"), ended(b"ok 4")].into();
        let import = || import(&fake, data.path(), new.path(), DatabaseKind::Real);
        let half = import().await.unwrap_err();
        assert!(half.to_string().contains("could not be written"), "{half}");
        let whole = import().await.unwrap();
        assert_eq!(
            whole.java.as_ref().unwrap().updated_at.to_string(),
            "2026-11-20T00:00:00Z"
        );
        assert_eq!(current(&fake, data.path(), DatabaseKind::Real).await.unwrap(), whole);
        let is_current = || is_current(&fake, data.path(), new.path(), DatabaseKind::Real);
        assert!(is_current().await.unwrap());
        fs::write(
            java.join("metadata.json"),
            r#"{"Version": 1, "UpdatedAt": "2026-11-21T00:00:00Z"}"#,
        )
        .unwrap();
        assert!(!is_current().await.unwrap());
        fs::write(
            java.join("metadata.json"),
            r#"{"Version": 2, "UpdatedAt": "2026-11-21T00:00:00Z"}"#,
        )
        .unwrap();
        let strange = import().await.unwrap_err();
        assert!(
            strange.to_string().contains("Java archives has schema version 2"),
            "{strange}"
        );
    }

    #[tokio::test]
    async fn a_cache_folder_of_the_scanner_is_a_database_too() {
        let (fake, data, new) = (Fake::default(), tempfile::tempdir().unwrap(), folder(DAY));
        let cache = tempfile::tempdir().unwrap();
        fs::rename(new.path(), cache.path().join("db")).unwrap();
        fake.script().tool_ends = [wrote()].into();
        let found = import(&fake, data.path(), cache.path(), DatabaseKind::Real)
            .await
            .unwrap();
        assert_eq!((found.updated_at.to_string(), found.java), (DAY.to_owned(), None));
    }

    #[tokio::test]
    async fn both_parts_are_downloaded_when_both_are_wanted() {
        let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
        let read = |version: u8| {
            let hash = "0".repeat(64);
            ended(format!("{hash}  x\n{{\"Version\": {version}, \"UpdatedAt\": \"{DAY}\"}}").as_bytes())
        };
        fake.script().tool_ends = [ended(b""), read(2), ended(b""), read(1)].into();
        let sources = Sources {
            java: true,
            ..Sources::default()
        };
        let found = update(&fake, data.path(), sources).await.unwrap();
        assert_eq!(found.java.unwrap().updated_at.to_string(), DAY);
        fake.script().tool_ends = [ended(b""), read(2), ended(b""), read(2)].into();
        update(&fake, data.path(), sources).await.unwrap_err();
        let kept = current(&fake, data.path(), DatabaseKind::Real).await.unwrap();
        assert_eq!(kept.volume, found.volume, "half of a new one does not replace it");
    }

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
        let error = update(&fake, data.path(), Sources::default()).await.unwrap_err();
        assert!(error.to_string().contains("schema version 3"), "{error}");
        assert!(fake.script().volumes.is_empty());
    }
}
