//! The seam to a vulnerability scanner.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    BoxError,
    digest::Digest,
    engine::EngineError,
    finding::Severity,
    id::AttemptId,
    image::{BaseImage, BuiltImage},
    limits::ScanLimits,
};

/// A scan that gave no answer. Never the same as "clean".
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is no database.
    #[error("there is no vulnerability database")]
    DatabaseMissing,
    /// There is one, without the part for the Java archives that the image holds.
    #[error("there is no database of Java archives")]
    JavaDatabaseMissing,
    /// The Engine under the scanner.
    #[error("the scanner could not be run")]
    Engine(#[from] EngineError),
    /// Time ran out.
    #[error("the scan did not end within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Its memory was used up. There is nothing but the image and the database in it.
    #[error("the scan needed more memory than its limit of {0}, beside that of the layers")]
    OutOfMemory(bytesize::ByteSize),
    /// The scan of a base needed more memory than there is for one.
    #[error("the base image is too large to be scanned in {0} of memory")]
    BaseTooLarge(bytesize::ByteSize),
    /// The scanner said no, or said something that is not a report of this image.
    #[error("the scanner failed: {0}")]
    Failed(String),
    /// The build ended before it had an image: nothing to scan, and nobody asks for the answer.
    #[error("the scan was given up: no image was built")]
    Abandoned,
    /// A local file of ours.
    #[error("could not {action}")]
    Local {
        /// As a verb phrase.
        action: &'static str,
        /// What happened.
        source: BoxError,
    },
}

/// Real advisories, or made-up ones for demonstrations and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// The scanner's own.
    Real,
    /// A fixture: says nothing about real vulnerabilities.
    Fixture,
}

/// Which database a scan used.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Database {
    /// Real or fixture.
    pub kind: DatabaseKind,
    /// When its publisher made it.
    pub updated_at: Timestamp,
    /// SHA-256 of its file.
    pub sha256: String,
    /// The volume that holds it.
    #[serde(skip)]
    pub volume: String,
    /// Its part for Java archives, when it has one.
    pub java: Option<JavaDatabase>,
}

/// The part of a database that tells Java archives by their digests.
#[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
pub struct JavaDatabase {
    /// When its publisher made it.
    pub updated_at: Timestamp,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// One vulnerability in one package.
#[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
pub struct Vulnerability {
    /// `CVE-2023-45853`.
    pub id: String,
    /// Package name. Hostile.
    pub package: String,
    /// Installed version. Hostile.
    pub installed: String,
    /// First fixed version, when there is one.
    pub fixed: Option<String>,
    /// Severity, by the scanner's choice of source.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Where it was found: `debian 12.11`, a path. Hostile.
    pub target: String,
    /// The base has it, and the image neither shows it nor shows the package in another version.
    pub kept_from_base: bool,
}

/// A secret in the image. The secret itself is never kept.
#[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
pub struct Secret {
    /// The scanner's rule.
    pub rule: String,
    /// Severity.
    pub severity: Severity,
    /// The file. Hostile.
    pub path: String,
    /// First line of it.
    pub line: u64,
}

/// What the scanner says of the Dockerfile. Informs only.
#[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
pub struct Misconfiguration {
    /// `DS-0002`.
    pub id: String,
    /// Severity.
    pub severity: Severity,
    /// One line.
    pub message: String,
    /// 1-based line of the Dockerfile, when told.
    pub line: Option<u64>,
}

/// A report that was checked to be about this very image.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ScanReport {
    /// Id of the image that it is about.
    pub image: Digest,
    /// `trivy 0.76.0`.
    pub scanner: String,
    /// The scanner image's id.
    pub scanner_image: String,
    /// The database.
    pub database: Database,
    /// `debian 12.11`, and whether its support has ended; `None` when the image is of no known system.
    pub os: Option<String>,
    /// Packages seen.
    pub packages: usize,
    /// Sorted: the worst first, then by id and package.
    pub vulnerabilities: Vec<Vulnerability>,
    /// Sorted by path.
    pub secrets: Vec<Secret>,
    /// CycloneDX JSON, as the scanner wrote it.
    #[serde(skip)]
    pub sbom: Option<Vec<u8>>,
}

impl ScanReport {
    /// Counts by severity, the worst first.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Severity, usize> {
        let mut counts = BTreeMap::new();
        for vulnerability in &self.vulnerabilities {
            *counts.entry(vulnerability.severity).or_default() += 1;
        }
        counts
    }
}

/// What a finished scan said.
#[derive(Clone, PartialEq, Debug)]
pub enum ScanEnd {
    /// The image was scanned.
    Report(Box<ScanReport>),
    /// The guest made the image unreadable for the scanner; the clause says how. Not clean.
    Unscannable(String),
}

/// Gives the scanner the image once it is built; dropped when the build fails.
#[async_trait]
pub trait ImageSource: Send {
    /// Waits for the image. `None`: there will be none.
    async fn image(&mut self) -> Option<BuiltImage>;
}

/// What a scan needs to know before the image exists.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The try.
    pub attempt: AttemptId,
    /// The base that the image will stand on; `None` for `scratch`.
    pub base: Option<BaseImage>,
    /// Bounds, from the moment the image is there.
    pub limits: ScanLimits,
    /// How long the image may be in coming: the build's own limit.
    pub patience: std::time::Duration,
    /// Which database, from [`Scanner::database`].
    pub database: Database,
    /// Also make a CycloneDX SBOM.
    pub sbom: bool,
}

/// The scanner, as the pipeline sees it.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// The database in force.
    ///
    /// # Errors
    /// [`ScanError::DatabaseMissing`], or the Engine's.
    async fn database(&self) -> Result<Database, ScanError>;

    /// Scans a base once with this database, so that later scans only read the new layers and know
    /// what the base alone has.
    ///
    /// # Errors
    /// The scan gave no answer.
    async fn prepare_base(&self, base: &BaseImage, database: &Database) -> Result<(), ScanError>;

    /// Starts the scanner at once, waits for the image, scans it.
    ///
    /// # Errors
    /// The scan gave no answer.
    async fn scan(&self, request: &ScanRequest, source: Box<dyn ImageSource>) -> Result<ScanEnd, ScanError>;

    /// What the scanner says of the Dockerfile's text. Informs only.
    ///
    /// # Errors
    /// The scanner gave no answer.
    async fn lint(&self, attempt: AttemptId, dockerfile: &str) -> Result<Vec<Misconfiguration>, ScanError>;
}
