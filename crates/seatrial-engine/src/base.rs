//! Base images: found or pulled, exported once, unpacked once into a read-only store that builders
//! mount.
//!
//! A store is a volume of its own, never filled twice: a half filled one is left for the sweep and
//! the next try takes a fresh name. The record that makes a store valid is written last. Processes
//! that share a data directory take turns; all but the first find the record.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bollard::models::{ImageInspect, VolumeCreateRequest};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use seatrial_core::{
    BoxError,
    digest::Digest,
    engine::{EngineError, ToolInput},
    image::BaseImage,
    log::BoundedLog,
    oci::StoredLayer,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::{
    container::Container,
    engine::Inner,
    lock, lower,
    names::{self, Kind},
    own,
    record::{self, is_filled},
    report::{Filter, Nonce},
    saved,
    stdio::{Piece, Turn},
};

/// Longest wait for another process that fills the same store.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Longest time to fill a store.
const FILL_S: u64 = 15 * 60;

/// Largest archive of a base: it lies in the data directory until its store is filled.
const MAX_ARCHIVE: u64 = 16 << 30;

/// What is remembered of a base whose store is complete.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The record's format; another one is not read.
    format: u32,
    /// The Engine's id of the image (not always the digest of its config).
    engine_id: Digest,
    base: BaseImage,
    /// Its layers as the Engine's store has them, where it has any of them compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<Vec<StoredLayer>>,
}

const FORMAT: u32 = 1;

/// A base as the builder needs it.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Paths of symbolic links in it.
    pub(crate) links: Vec<Vec<u8>>,
}

/// Finds `name` on the Engine, or pulls it, and sees to its store.
pub(crate) async fn prepare(inner: &Inner, name: &str) -> Result<BaseImage, EngineError> {
    let no_image = || EngineError::NoImage { name: name.to_owned() };
    let found = match inner.client.image(name).await? {
        Some(found) => found,
        None if inner.settings.pull => {
            inner.client.pull(name).await?;
            inner.client.image(name).await?.ok_or_else(no_image)?
        }
        None => return Err(no_image()),
    };
    let engine_id = parse_digest(found.id.as_deref())?;
    if let Some(base) = recorded(inner, engine_id).await? {
        return Ok(BaseImage {
            name: name.to_owned(),
            repo_digest: repo_digest(&found),
            ..base
        });
    }
    let _turn = lock::lock(&folder(inner)?.join(format!("{}.lock", engine_id.short())), PATIENCE).await?;
    if let Some(base) = recorded(inner, engine_id).await? {
        return Ok(BaseImage {
            name: name.to_owned(),
            repo_digest: repo_digest(&found),
            ..base
        });
    }
    fill(inner, name, &found, engine_id).await
}

/// The whole base as an archive: spooled, because its length is not known before its end.
pub(crate) async fn export(inner: &Inner, base: &BaseImage) -> Result<Box<dyn ToolInput>, EngineError> {
    // The Engine knows it by its own id, which is that of the config but for containerd's store.
    let mut stream = Box::pin(inner.client.export(&engine_name(inner, base)));
    let first = stream.next().await.transpose()?;
    let chunks = futures_util::stream::iter(first.map(Ok)).chain(stream);
    Ok(Box::new(Exported(Box::pin(chunks))))
}

fn engine_name(inner: &Inner, base: &BaseImage) -> String {
    records(inner)
        .find(|record| record.base.id == base.id)
        .map_or_else(|| base.id.to_string(), |record| record.engine_id.to_string())
}

/// What the Engine's store has for the layers of a base, where it has them compressed: of a base that is still there.
pub(crate) async fn stored(inner: &Inner, layers: &[Digest]) -> Result<Option<Vec<StoredLayer>>, EngineError> {
    for record in records(inner).filter(|record| record.base.layers == layers) {
        let Some(stored) = record.stored else {
            continue;
        };
        if inner.client.image(&record.engine_id.to_string()).await?.is_some() {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// Whether the record of some base names this store.
pub(crate) fn names_store(inner: &Inner, volume: &str) -> bool {
    records(inner).any(|record| record.base.store_volume == volume)
}

fn records(inner: &Inner) -> impl Iterator<Item = Record> {
    let files = fs::read_dir(inner.data_dir.join("bases"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
}

struct Exported(std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>);

#[async_trait::async_trait]
impl ToolInput for Exported {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        match self.0.next().await {
            Some(Ok(bytes)) => Ok(Some(bytes.to_vec())),
            Some(Err(error)) => Err(Box::new(error)),
            None => Ok(None),
        }
    }
}

/// What was recorded about a base when its store was filled; kept in memory after the first time.
pub(crate) fn prepared(inner: &Inner, base: &BaseImage) -> Result<Arc<Prepared>, EngineError> {
    let mut known = inner.bases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(prepared) = known.get(&base.store_volume) {
        return Ok(Arc::clone(prepared));
    }
    let path = folder(inner)?.join(format!("{}.links", base.store_volume));
    let bytes = fs::read(path).map_err(|source| EngineError::Local {
        action: "read the record of a base image",
        source,
    })?;
    let links = bytes
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let prepared = Arc::new(Prepared { links });
    known.insert(base.store_volume.clone(), Arc::clone(&prepared));
    Ok(prepared)
}

fn folder(inner: &Inner) -> Result<PathBuf, EngineError> {
    let folder = inner.data_dir.join("bases");
    fs::create_dir_all(&folder).map_err(|source| EngineError::Local {
        action: "create the folder of base records",
        source,
    })?;
    Ok(folder)
}

fn record_path(inner: &Inner, engine_id: Digest) -> Result<PathBuf, EngineError> {
    Ok(folder(inner)?.join(format!("{}.json", engine_id.short())))
}

/// The base, when its store was filled to the end and is still there.
async fn recorded(inner: &Inner, engine_id: Digest) -> Result<Option<BaseImage>, EngineError> {
    let bytes = match fs::read(record_path(inner, engine_id)?) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(EngineError::Local {
                action: "read the record of a base image",
                source,
            });
        }
    };
    // A record of another version is no record.
    let Ok(record) = serde_json::from_slice::<Record>(&bytes) else {
        return Ok(None);
    };
    if record.format != FORMAT || record.engine_id != engine_id || !is_filled(inner, &record.base.store_volume).await? {
        return Ok(None);
    }
    Ok(Some(record.base))
}

async fn fill(inner: &Inner, name: &str, found: &ImageInspect, engine_id: Digest) -> Result<BaseImage, EngineError> {
    tracing::info!(base = name, "unpacking a base image into its store, once");
    let (spool, len) = spool_export(inner, &engine_id.to_string()).await?;
    let spool = Arc::new(spool);
    let reader = Arc::clone(&spool);
    let saved = tokio::task::spawn_blocking(move || saved::read(&reader))
        .await
        .map_err(|error| EngineError::Broken(format!("reading a base image was given up: {error}")))??;
    let layers = found
        .root_fs
        .as_ref()
        .and_then(|root| root.layers.clone())
        .unwrap_or_default();
    let layers: Vec<Digest> = layers
        .iter()
        .map(|layer| parse_digest(Some(layer)))
        .collect::<Result<_, _>>()?;
    if layers != saved.layers {
        return Err(EngineError::Broken(format!(
            "the engine exports another image than it describes as {name}"
        )));
    }
    let volume = names::base_volume(&engine_id);
    let request = VolumeCreateRequest {
        name: Some(volume.clone()),
        labels: Some(inner.identity().lasting_labels("base")),
        ..VolumeCreateRequest::default()
    };
    let made = inner.client.create_volume(request).await?;
    if let Err(error) = run_filler(inner, &volume, &spool, len, saved.id).await {
        inner.janitor.take(crate::janitor::Chore {
            volumes: vec![volume],
            confirmed: true,
            ..Default::default()
        });
        return Err(error);
    }
    let base = BaseImage {
        name: name.to_owned(),
        repo_digest: repo_digest(found),
        id: saved.id,
        layers,
        config: saved.config,
        platform: saved.platform,
        store_volume: volume.clone(),
    };
    record::write(&folder(inner)?.join(format!("{volume}.links")), &saved.links.join(&0))?;
    record::note_filled(inner, &volume, &made)?;
    let record = serde_json::to_vec_pretty(&Record {
        format: FORMAT,
        engine_id,
        base: base.clone(),
        stored: saved.stored,
    })
    .map_err(|error| EngineError::Broken(format!("a record cannot be written as JSON: {error}")))?;
    record::write(&record_path(inner, engine_id)?, &record)?;
    Ok(base)
}

async fn spool_export(inner: &Inner, id: &str) -> Result<(File, u64), EngineError> {
    spool(inner.spool_file()?, inner.client.export(id), MAX_ARCHIVE).await
}

/// Writes a stream of at most `max` bytes into a file.
async fn spool(
    file: File,
    pieces: impl Stream<Item = Result<Bytes, EngineError>>,
    max: u64,
) -> Result<(File, u64), EngineError> {
    let local = |source| EngineError::Local {
        action: "spool an exported image",
        source,
    };
    let mut writer = tokio::fs::File::from_std(file);
    let mut pieces = pin!(pieces);
    let mut len = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        len += piece.len() as u64;
        if len > max {
            return Err(EngineError::Broken(format!(
                "a base image is too large: its archive has more than {max} bytes"
            )));
        }
        writer.write_all(&piece).await.map_err(local)?;
    }
    writer.flush().await.map_err(local)?;
    Ok((writer.into_std().await, len))
}

async fn run_filler(inner: &Inner, volume: &str, spool: &File, len: u64, id: Digest) -> Result<(), EngineError> {
    use std::os::unix::fs::FileExt;

    let (own, image) = tokio::try_join!(own::own(inner), own::builder_image(inner))?;
    let facts = inner.facts().await?;
    let labels = inner.identity().labels(Kind::Fill, None, Duration::from_secs(FILL_S));
    let parts = lower::Parts {
        image,
        tools: Some(&own.tools),
        labels,
        host_cpus: facts.cpus,
        apparmor: facts.apparmor,
    };
    let mut container = Container::arm(&inner.client, &inner.janitor, inner.identity().unique_name(Kind::Fill));
    let mut stdio = container.launch(lower::filler(&parts, volume, FILL_S)).await?;
    let nonce = Nonce::fresh();
    let log = BoundedLog::new(16 << 10);
    let mut filter = Filter::new(&nonce, &log);
    let mut said = Vec::new();
    let mut input = stdio.input();
    let feed = async {
        input.write(&nonce.line()).await;
        input.write(format!("T {len}\n").as_bytes()).await;
        let mut at = 0;
        let mut buffer = vec![0; 1 << 20];
        while at < len && !input.is_gone() {
            let now = buffer.len().min((len - at) as usize);
            spool.read_exact_at(&mut buffer[..now], at)?;
            input.write(&buffer[..now]).await;
            at += now as u64;
        }
        input.flush().await;
        Ok(())
    };
    let talk = stdio.converse(feed, |turn| {
        match turn {
            Turn::Said(Piece::Out(bytes)) => said.extend_from_slice(&bytes[..bytes.len().min(1024)]),
            Turn::Said(Piece::Err(bytes)) => filter.take(&bytes),
            Turn::Quiet => filter.quiet(),
        }
        Ok(())
    });
    let bound = Duration::from_secs(FILL_S + 30);
    tokio::time::timeout(bound, talk)
        .await
        .map_err(|_| EngineError::Slow {
            action: "fill the store of a base image",
            after: bound,
        })??;
    let report = filter.end();
    let told = String::from_utf8_lossy(&said).trim().to_owned();
    if report.as_ref().and_then(crate::report::Report::code) == Some(0) && told == id.hex() {
        return Ok(());
    }
    let last = log.last_lines(5).join(" | ");
    Err(EngineError::Broken(format!(
        "the store of a base image could not be filled: {last}"
    )))
}

fn parse_digest(text: Option<&str>) -> Result<Digest, EngineError> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| EngineError::Broken("the engine names an image without a digest".to_owned()))
}

fn repo_digest(found: &ImageInspect) -> Option<String> {
    found.repo_digests.as_ref()?.first().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_archive_is_spooled_up_to_its_bound() {
        let spooled = |max| {
            let pieces = futures_util::stream::repeat_with(|| Ok(Bytes::from_static(b"1234"))).take(3);
            spool(tempfile::tempfile().unwrap(), pieces, max)
        };
        let (file, len) = spooled(12).await.unwrap();
        assert_eq!((file.metadata().unwrap().len(), len), (12, 12));
        let refusal = spooled(11).await.unwrap_err().to_string();
        assert!(refusal.contains("more than 11 bytes"), "{refusal}");
    }
}
