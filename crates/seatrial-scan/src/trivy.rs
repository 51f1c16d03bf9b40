//! Trivy in a tool container.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytesize::ByteSize;
use seatrial_core::{
    BoxError,
    digest::Digest,
    engine::{Engine, ReadyInput, ToolEnd, ToolImage, ToolInput, ToolMount, ToolSpec},
    id::AttemptId,
    image::{BaseImage, BuiltImage},
    limits::ScanLimits,
    oci::LayoutFrames,
    scanner::{
        Database, DatabaseKind, ImageSource, Misconfiguration, ScanEnd, ScanError, ScanReport, ScanRequest, Scanner,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{database, report, slot::Slot};

/// Where the database volume is mounted, and the folder in it that Trivy reads.
const DATABASE_MOUNT: &str = "/database";
const DATABASE_FOLDER: &str = "/database/db";
/// Where the cache of a base is mounted.
const CACHE_MOUNT: &str = "/cache";
/// Longest report, in bytes: 103 packages give 540 KB, so this is some 12,000 packages.
const MAX_REPORT: u64 = 64 << 20;
/// A scan of a base happens once, with nobody's own limits.
const BASE_TIME: Duration = Duration::from_secs(600);
/// Same set for bases and images: the cache of a base is good for the set it was made with.
const SCANNERS: &str = "vuln,secret";

/// Where Trivy's state is and which database counts.
#[derive(Clone, Debug)]
pub struct TrivySettings {
    /// Our data folder.
    pub data_dir: PathBuf,
    /// Which database is asked for.
    pub database: DatabaseKind,
    /// Largest sum of new layers, in bytes: they lie in the scanner's `/tmp`.
    pub max_layers: u64,
    /// Memory for the scan of a base, with its archive in it.
    pub base_memory: ByteSize,
}

/// The scanner.
pub struct Trivy {
    engine: Arc<dyn Engine>,
    settings: TrivySettings,
}

/// What the trusted scan of a base found with one database, and the volume that it filled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseRecord {
    os: Option<String>,
    os_packages: usize,
    packages: report::Packages,
    vulnerabilities: Vec<report::Found>,
    /// Volume of the database that found these.
    database: String,
    volume: String,
    /// Which scanner made it, in its own words; not in records of older versions of ours.
    #[serde(default)]
    scanner: Option<String>,
}

impl Trivy {
    /// On this Engine.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, settings: TrivySettings) -> Self {
        Self { engine, settings }
    }

    /// Name of a base's cache: it depends on the base, the scanner, its set of scanners, and
    /// whether a fixture is asked: real and made-up findings have a record each.
    async fn cache_name(&self, base: &BaseImage) -> Result<String, ScanError> {
        let scanner = self.engine.tool_image(ToolImage::Scanner).await?;
        Ok(format!(
            "st-scan-{}-{}",
            base.id.short(),
            &Digest::of(format!("{scanner} {SCANNERS} {:?}", self.settings.database).as_bytes()).hex()[..8]
        ))
    }

    fn slot(&self, name: &str) -> Slot {
        Slot::new(self.settings.data_dir.join("scans").join(format!("{name}.json")))
    }

    async fn record(&self, name: &str) -> Result<Option<BaseRecord>, ScanError> {
        Ok(match self.slot(name).read::<BaseRecord>()? {
            Some(record) if self.engine.has_volume(&record.volume).await? => Some(record),
            _ => None,
        })
    }

    /// Fills the cache of a base by a trusted scan of all its bytes.
    async fn scan_base(&self, base: &BaseImage, database: &Database, volume: &str) -> Result<BaseRecord, ScanError> {
        let limits = ScanLimits {
            time: BASE_TIME,
            cpus: 2.0,
            memory: self.settings.base_memory,
            pids: 256,
        };
        let mut spec = self.spec(
            None,
            &limits,
            FEED,
            &["--db", DATABASE_FOLDER, "--base-fill", CACHE_MOUNT],
            &[image_args("/tmp/base.tar", "json", "600s"), VERSION.to_vec()].concat(),
        );
        spec.user = "0:0".to_owned(); // the fresh volume belongs to the container's root
        spec.mounts = vec![
            ToolMount {
                volume: database.volume.clone(),
                path: DATABASE_MOUNT,
                writable: false,
            },
            ToolMount {
                volume: volume.to_owned(),
                path: CACHE_MOUNT,
                writable: true,
            },
        ];
        let archive = self.engine.export_base(base).await?;
        let end = self.engine.tool(spec, Box::new(ArchiveFrames::new(archive))).await?;
        if is_overfull(&end) {
            return Err(ScanError::BaseTooLarge(limits.memory));
        }
        let outputs = outputs(&end, limits.time)?;
        let report = outputs
            .first()
            .ok_or_else(|| ScanError::Failed("it gave no report of the base".to_owned()))?;
        let seen = report::read(report, base.id, &base.layers).map_err(|error| ScanError::Failed(error.to_string()))?;
        Ok(BaseRecord {
            scanner: outputs.get(1).map(|output| scanner_name(output)),
            os: seen.os,
            os_packages: seen.os_packages,
            packages: seen.packages,
            vulnerabilities: seen.vulnerabilities,
            database: database.volume.clone(),
            volume: volume.to_owned(),
        })
    }

    /// `patience`: how long the input may be in coming, before the scanner's own time begins.
    fn spec(
        &self,
        attempt: Option<AttemptId>,
        limits: &ScanLimits,
        patience: Duration,
        options: &[&str],
        trivy: &[&str],
    ) -> ToolSpec {
        let seconds = limits.time.as_secs().max(1) + patience.as_secs();
        // Our own limit ends the tool; the dead-man's switch in it is for the case that we are gone.
        let mut args = vec![
            "scan".to_owned(),
            "--deadline-s".to_owned(),
            (seconds + DEAD_MAN).to_string(),
        ];
        args.extend(options.iter().map(|option| (*option).to_owned()));
        args.push("--".to_owned());
        args.extend(trivy.iter().map(|arg| (*arg).to_owned()));
        ToolSpec {
            role: "scan",
            attempt,
            image: ToolImage::Scanner,
            args,
            mounts: Vec::new(),
            // As large as its memory, in which it lies, so that memory ends first: the scanner passes over what it has no
            // room to unpack, and what is killed is not clean.
            tmp: limits.memory.as_u64(),
            memory: limits.memory.as_u64(),
            cpus: limits.cpus,
            pids: limits.pids,
            time: limits.time,
            network: false,
            max_output: 2 * MAX_REPORT,
            user: "65532:65532".to_owned(),
        }
    }
}

/// Seconds that the dead-man's switch of a scanner waits longer than we do.
const DEAD_MAN: u64 = 60;
/// How long feeding a whole base may take: gigabytes at disk speed.
const FEED: Duration = Duration::from_secs(600);

const READ_ONLY_ARGS: [&str; 11] = [
    "--cache-dir",
    "/tmp/c",
    "--skip-db-update",
    "--skip-java-db-update",
    "--skip-check-update",
    "--skip-version-check",
    "--disable-telemetry",
    "--offline-scan",
    "--no-progress",
    "--list-all-pkgs",
    "--quiet",
];

/// One more command, that says which version it is.
const VERSION: [&str; 2] = ["--next", "--version"];

fn scanner_name(version: &[u8]) -> String {
    let text = String::from_utf8_lossy(version);
    let number = text.lines().next().and_then(|line| line.strip_prefix("Version: "));
    format!("trivy {}", number.unwrap_or("of unknown version"))
}

fn image_args<'a>(input: &'a str, format: &'a str, timeout: &'a str) -> Vec<&'a str> {
    let mut args = vec![
        "image",
        "--input",
        input,
        "--cache-backend",
        "fs",
        "--scanners",
        SCANNERS,
        "--format",
        format,
        "--timeout",
        timeout,
    ];
    args.extend(READ_ONLY_ARGS);
    args
}

#[async_trait]
impl Scanner for Trivy {
    async fn database(&self) -> Result<Database, ScanError> {
        database::current(&*self.engine, &self.settings.data_dir, self.settings.database).await
    }

    async fn prepare_base(&self, base: &BaseImage, database: &Database) -> Result<(), ScanError> {
        let name = self.cache_name(base).await?;
        let of_this = |record: BaseRecord| record.database == database.volume;
        if self.record(&name).await?.is_some_and(of_this) {
            return Ok(());
        }
        let held = self.slot(&name).hold().await?;
        if self.record(&name).await?.is_some_and(of_this) {
            return Ok(()); // a sibling made it while we waited
        }
        let volume = held.begin(&*self.engine, &format!("{name}-")).await?;
        match self.scan_base(base, database, &volume).await {
            Ok(record) => held.switch(&record),
            Err(error) => {
                held.give_up(&*self.engine, &volume).await;
                Err(error)
            }
        }
    }

    async fn scan(&self, request: &ScanRequest, source: Box<dyn ImageSource>) -> Result<ScanEnd, ScanError> {
        let scanner_image = self.engine.tool_image(ToolImage::Scanner).await?;
        let seconds = format!("{}s", request.limits.time.as_secs().max(1));
        let mut options = vec!["--db", DATABASE_FOLDER];
        let mut mounts = vec![ToolMount {
            volume: request.database.volume.clone(),
            path: DATABASE_MOUNT,
            writable: false,
        }];
        let base = match &request.base {
            None => None,
            Some(base) => {
                let name = self.cache_name(base).await?;
                let record = self
                    .record(&name)
                    .await?
                    .ok_or_else(|| ScanError::Failed("the base was not scanned before".to_owned()))?;
                options.extend(["--cache", CACHE_MOUNT]);
                mounts.push(ToolMount {
                    volume: record.volume.clone(),
                    path: CACHE_MOUNT,
                    writable: false,
                });
                Some(record)
            }
        };
        let mut trivy = image_args("/tmp/oci", "json", &seconds);
        if request.sbom {
            trivy.push("--next");
            trivy.extend(image_args("/tmp/oci", "cyclonedx", &seconds));
        }
        // Its start costs as much as half of the scan. The record is of this very image of the scanner.
        let known = base.as_ref().and_then(|base| base.scanner.clone());
        if known.is_none() {
            trivy.extend(VERSION);
        }
        let mut spec = self.spec(
            Some(request.attempt),
            &request.limits,
            request.patience + FEED,
            &options,
            &trivy,
        );
        spec.mounts = mounts;
        // The layers lie in its `/tmp`, so in its memory; its own is besides.
        spec.memory += self.settings.max_layers;
        spec.tmp = spec.memory;
        let (told, tell) = oneshot::channel();
        let input = ImageFrames {
            source,
            tell: Some(told),
            frames: None,
        };
        let end = self.engine.tool(spec, Box::new(input)).await;
        let Ok(image) = tell.await else {
            return Err(end.err().map_or(ScanError::Abandoned, ScanError::from));
        };
        let end = end?;
        if is_overfull(&end) {
            return Err(ScanError::OutOfMemory(request.limits.memory));
        }
        let outputs = outputs(&end, request.limits.time)?;
        let (report, scanner) = match (outputs.as_slice(), known) {
            ([report, ..], Some(known)) => (report, known),
            ([report, .., version], None) => (report, scanner_name(version)),
            _ => return Err(ScanError::Failed("it gave no report".to_owned())),
        };
        let mut seen = report::read_for(report, &image).map_err(|error| ScanError::Failed(error.to_string()))?;
        if let Some(base) = base {
            if let Some(why) = unlike(&base, &seen) {
                return Ok(ScanEnd::Unscannable(why));
            }
            report::keep_from_base(&mut seen, &base.packages, &base.vulnerabilities);
        }
        let sbom = if request.sbom { outputs.get(1).cloned() } else { None };
        Ok(ScanEnd::Report(Box::new(ScanReport {
            image: image.id,
            scanner,
            scanner_image: scanner_image.to_string(),
            database: request.database.clone(),
            os: seen.os.map(|os| match seen.support_ended {
                true => format!("{os} (its support has ended)"),
                false => os,
            }),
            packages: seen.count,
            vulnerabilities: seen
                .vulnerabilities
                .into_iter()
                .map(|found| found.vulnerability)
                .collect(),
            secrets: seen.secrets,
            sbom,
        })))
    }

    async fn lint(&self, attempt: AttemptId, dockerfile: &str) -> Result<Vec<Misconfiguration>, ScanError> {
        let limits = ScanLimits {
            time: Duration::from_secs(60),
            ..ScanLimits::default()
        };
        let args = [
            "config",
            "--cache-dir",
            "/tmp/c",
            "--skip-check-update",
            "--skip-version-check",
            "--disable-telemetry",
            "--format",
            "json",
            "--quiet",
            "/tmp/oci",
        ];
        let mut spec = self.spec(Some(attempt), &limits, Duration::ZERO, &[], &args);
        spec.role = "lint";
        spec.tmp = 256 << 20;
        let mut frames = format!("F {} Dockerfile\n", dockerfile.len()).into_bytes();
        frames.extend_from_slice(dockerfile.as_bytes());
        frames.extend_from_slice(b".\n");
        let end = self.engine.tool(spec, Box::new(ReadyInput::new(frames))).await?;
        let outputs = outputs(&end, limits.time)?;
        let report = outputs
            .first()
            .ok_or_else(|| ScanError::Failed("it gave no report".to_owned()))?;
        report::read_config(report).map_err(|error| ScanError::Failed(error.to_string()))
    }
}

/// Why the image does not look like something that stands on this base. Advisories are looked up
/// by system and release, so another name of either makes everything clean.
fn unlike(base: &BaseRecord, seen: &report::Seen) -> Option<String> {
    let os = base.os.as_deref()?;
    let told = seen.os.as_deref().unwrap_or("no known system");
    if told != os {
        return Some(format!("its base is {os}, and the image says that it is {told}"));
    }
    (base.os_packages > 0 && seen.os_packages == 0).then(|| {
        format!(
            "its base has {} packages of {os}, and the image shows none of them",
            base.os_packages
        )
    })
}

/// Whether memory ended, in which `/tmp` lies. The scanner's words may quote the image, which then blames itself.
fn is_overfull(end: &ToolEnd) -> bool {
    let full = || {
        let said = String::from_utf8_lossy(&end.stderr).to_ascii_lowercase();
        said.contains("no space left on device")
    };
    end.out_of_memory || (end.code != 0 && full())
}

/// What the scanner says at the first Java archive when it has no database of them.
const NO_JAVA: &str = "'--skip-java-db-update' cannot be specified on the first run";

/// The framed outputs (`ST1 O <len>`, `ST1 X <code>`) of all commands, when all ended well.
fn outputs(end: &ToolEnd, limit: Duration) -> Result<Vec<Vec<u8>>, ScanError> {
    if end.timed_out {
        return Err(ScanError::TimedOut(limit));
    }
    if end.code != 0 {
        let said = String::from_utf8_lossy(&end.stderr).into_owned();
        if said.contains(NO_JAVA) {
            return Err(ScanError::JavaDatabaseMissing);
        }
        let mut last: Vec<&str> = said
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(3)
            .collect();
        last.reverse();
        return Err(ScanError::Failed(format!(
            "exit code {}: {}",
            end.code,
            seatrial_core::finding::escape_untrusted(&last.join(" | "))
        )));
    }
    let broken = || ScanError::Failed("its container broke the protocol".to_owned());
    let mut outputs = Vec::new();
    let mut rest = &end.stdout[..];
    while !rest.is_empty() {
        let line_end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let line = std::str::from_utf8(&rest[..line_end]).map_err(|_| broken())?;
        rest = &rest[line_end + 1..];
        if let Some(len) = line.strip_prefix("ST1 O ") {
            let len: usize = len.parse().map_err(|_| broken())?;
            if len > rest.len() {
                return Err(broken());
            }
            let (output, after) = rest.split_at(len);
            outputs.push(output.to_vec());
            rest = after;
        } else if line != "ST1 X 0" {
            return Err(broken());
        }
    }
    Ok(outputs)
}

/// Waits for the image, then gives its layout; tells which image it was.
struct ImageFrames {
    source: Box<dyn ImageSource>,
    tell: Option<oneshot::Sender<BuiltImage>>,
    frames: Option<LayoutFrames>,
}

#[async_trait]
impl ToolInput for ImageFrames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        if let Some(frames) = &mut self.frames {
            return frames.next().await;
        }
        let image = self.source.image().await.ok_or("no image was built")?;
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(image.clone());
        }
        self.frames.insert(LayoutFrames::new(image)).next().await
    }
}

/// A `docker save` archive of unknown length, spooled so that its length can be told first.
struct ArchiveFrames {
    archive: Option<Box<dyn ToolInput>>,
    spooled: Option<(fs::File, u64)>,
}

impl ArchiveFrames {
    fn new(archive: Box<dyn ToolInput>) -> Self {
        Self {
            archive: Some(archive),
            spooled: None,
        }
    }
}

#[async_trait]
impl ToolInput for ArchiveFrames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        if let Some(mut archive) = self.archive.take() {
            let mut file = tempfile::tempfile()?;
            let mut len = 0;
            while let Some(bytes) = archive.next().await? {
                std::io::Write::write_all(&mut file, &bytes)?;
                len += bytes.len() as u64;
            }
            std::io::Seek::rewind(&mut file)?;
            self.spooled = Some((file, len));
            return Ok(Some(format!("T {len}\n").into_bytes()));
        }
        let Some((file, left)) = &mut self.spooled else {
            return Ok(None);
        };
        if *left == 0 {
            self.spooled = None;
            return Ok(Some(b".\n".to_vec()));
        }
        let mut piece = vec![0; usize::try_from((*left).min(1 << 20))?];
        std::io::Read::read_exact(file, &mut piece)?;
        *left -= piece.len() as u64;
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests;
