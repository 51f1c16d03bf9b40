//! The parts of a database: advisories, and, where an operator wants them, the names of Java archives.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    BoxError,
    engine::ToolInput,
    scanner::{JavaDatabase, ScanError},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::slot::local;

/// One of the scanner's databases, as it lies in its cache folder.
pub(super) struct Kind {
    /// The folder, beside which the other part has its own.
    pub(super) folder: &'static str,
    pub(super) file: &'static str,
    /// The one version of its schema that we know.
    schema: u64,
    /// What has the scanner get it, and nothing else.
    pub(super) download: &'static str,
    /// What tells it where from.
    pub(super) repository: &'static str,
    /// For messages.
    pub(super) name: &'static str,
}

/// Advisories.
pub(super) const ADVISORIES: Kind = Kind {
    folder: "db",
    file: "trivy.db",
    schema: 2,
    download: "--download-db-only",
    repository: "--db-repository",
    name: "the vulnerability database",
};
/// Which Java archive has which name and version, by its SHA-1: many do not say it themselves.
pub(super) const JAVA: Kind = Kind {
    folder: "java-db",
    file: "trivy-java.db",
    schema: 1,
    download: "--download-java-db-only",
    repository: "--java-db-repository",
    name: "the database of Java archives",
};

/// The part of the scanner's `metadata.json` that we read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    version: u64,
    updated_at: Timestamp,
}

impl Kind {
    /// When its publisher made it, by its `metadata.json`.
    pub(super) fn made(&self, metadata: &[u8]) -> Result<Timestamp, ScanError> {
        let read: Metadata = serde_json::from_slice(metadata)
            .map_err(|source| local("understand metadata.json of the database", source))?;
        if read.version != self.schema {
            return Err(ScanError::Failed(format!(
                "{} has schema version {}, only {} is known",
                self.name, read.version, self.schema
            )));
        }
        Ok(read.updated_at)
    }
}

/// A part in a folder of the host.
pub(super) struct Part {
    kind: &'static Kind,
    file: PathBuf,
    metadata: Vec<u8>,
    pub(super) updated_at: Timestamp,
}

impl Part {
    fn read(kind: &'static Kind, folder: &Path) -> Result<Self, ScanError> {
        let metadata = fs::read(folder.join("metadata.json"))
            .map_err(|source| local("read metadata.json of the database", source))?;
        Ok(Self {
            kind,
            file: folder.join(kind.file),
            updated_at: kind.made(&metadata)?,
            metadata,
        })
    }

    pub(super) fn sha256(&self) -> Result<String, ScanError> {
        sha256_of(&self.file).map_err(|source| local("read the database", source))
    }
}

/// What a folder of the host holds.
pub(super) struct Parts {
    pub(super) advisories: Part,
    pub(super) java: Option<Part>,
}

impl Parts {
    /// Of a cache folder of the scanner's (`db/`, and `java-db/` if it is there), or of a folder with the files of `db/`
    /// themselves.
    pub(super) fn read(folder: &Path) -> Result<Self, ScanError> {
        let nested = folder.join(ADVISORIES.folder);
        let own = if nested.is_dir() { &nested } else { folder };
        let java = folder.join(JAVA.folder);
        Ok(Self {
            advisories: Part::read(&ADVISORIES, own)?,
            java: java.is_dir().then(|| Part::read(&JAVA, &java)).transpose()?,
        })
    }

    pub(super) fn java(&self) -> Result<Option<JavaDatabase>, ScanError> {
        let java = self.java.as_ref().map(|part| {
            Ok(JavaDatabase {
                updated_at: part.updated_at,
                sha256: part.sha256()?,
            })
        });
        java.transpose()
    }

    /// Everything, as the role `put` takes it.
    pub(super) fn frames(&self) -> Result<Frames, ScanError> {
        let mut left = VecDeque::new();
        for part in std::iter::once(&self.advisories).chain(&self.java) {
            let kind = part.kind;
            let file = fs::File::open(&part.file).map_err(|source| local("open the database", source))?;
            let len = file
                .metadata()
                .map_err(|source| local("open the database", source))?
                .len();
            let head = |name: &str, len: u64| format!("F 444 {len} {}/{name}\n", kind.folder).into_bytes();
            left.push_back(Frame::Bytes(head(kind.file, len)));
            left.push_back(Frame::File(file, len));
            left.push_back(Frame::Bytes(
                [head("metadata.json", part.metadata.len() as u64), part.metadata.clone()].concat(),
            ));
        }
        left.push_back(Frame::Bytes(b".\n".to_vec()));
        Ok(Frames {
            files: 2 * (1 + usize::from(self.java.is_some())),
            left,
        })
    }
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

/// Files in pieces.
pub(super) struct Frames {
    /// How many there are.
    pub(super) files: usize,
    left: VecDeque<Frame>,
}

enum Frame {
    Bytes(Vec<u8>),
    /// So many bytes of it are left.
    File(fs::File, u64),
}

#[async_trait]
impl ToolInput for Frames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        loop {
            match self.left.front_mut() {
                None => return Ok(None),
                Some(Frame::File(file, left)) if *left > 0 => {
                    let mut piece = vec![0; usize::try_from((*left).min(1 << 20))?];
                    io::Read::read_exact(file, &mut piece)?;
                    *left -= piece.len() as u64;
                    return Ok(Some(piece));
                }
                Some(Frame::File(..)) => drop(self.left.pop_front()),
                Some(Frame::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.left.pop_front();
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
