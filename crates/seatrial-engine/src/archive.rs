//! Archives that we write for the Engine to load: of a checked image, and of our own.
//!
//! An archive is a hybrid, readable as a docker archive and as an OCI layout, with the same blobs:
//! Engines with the old image store read the one, those with containerd's the other (both proved to
//! take it without the base's layers). The only name in it is ours: a loaded archive may rename any
//! image of the Engine, so the builder's own is never passed on.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use seatrial_core::{
    digest::Digest,
    engine::EngineError,
    image::{BuiltImage, ImageConfig, SpooledLayer},
    oci::{self, Content, LayoutFile, StoredLayer},
};
use serde_json::json;

/// Bytes of one piece of the stream.
const PIECE: u64 = 1 << 20;

/// A tar header with nothing personal in it.
pub(crate) fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// What every archive of a checked image begins with.
pub(crate) fn beginning() -> Bytes {
    let mut parts = Vec::new();
    push(&mut parts, &oci::mark());
    let mut bytes = Vec::new();
    for part in parts {
        if let Ok(Part::Bytes(part)) = part {
            bytes.extend_from_slice(&part);
        }
    }
    bytes.into()
}

/// The archive of a checked image under `tag` but for its [`beginning`], without its base's layers; `stored` is what
/// containerd's store has for those, where it has them compressed.
pub(crate) fn rest(
    image: &BuiltImage,
    tag: &str,
    stored: Option<&[StoredLayer]>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
    let mut parts: Vec<io::Result<Part>> = Vec::new();
    for file in files(image, tag, stored) {
        if file.name != oci::MARK {
            push(&mut parts, &file);
        }
    }
    parts.push(Ok(Part::Bytes(Bytes::from_static(&[0; 1024]))));
    let spool = Arc::clone(&image.spool);
    futures_util::stream::unfold(
        (parts.into_iter(), None, spool),
        |(mut parts, current, spool)| async move {
            let part = match current {
                Some(part) => part,
                None => match parts.next()? {
                    Ok(part) => part,
                    Err(error) => return Some((Err(error), (parts, None, spool))),
                },
            };
            match part {
                Part::Bytes(bytes) => Some((Ok(bytes), (parts, None, spool))),
                Part::Spooled(offset, len) => {
                    let now = len.min(PIECE);
                    let mut bytes = vec![0; now as usize];
                    let read = spool.read_exact_at(&mut bytes, offset);
                    let rest = (len > now).then_some(Part::Spooled(offset + now, len - now));
                    Some((read.map(|()| Bytes::from(bytes)), (parts, rest, spool)))
                }
            }
        },
    )
}

/// A whole archive in memory, of one layer.
pub(crate) fn small(tag: &str, config: Vec<u8>, layer: Vec<u8>) -> Result<Vec<u8>, EngineError> {
    let local = |source| EngineError::Local {
        action: "write an archive of our own image",
        source,
    };
    let digest = Digest::of(&layer);
    let spool: File = tempfile::tempfile().map_err(local)?;
    spool.write_all_at(&layer, 0).map_err(local)?;
    let image = BuiltImage {
        id: Digest::of(&config),
        config_bytes: config.into(),
        config: ImageConfig::default(),
        layers: vec![digest],
        base_layers: 0,
        new_layers: vec![SpooledLayer {
            digest,
            offset: 0,
            len: layer.len() as u64,
        }],
        spool: Arc::new(spool),
    };
    let mut archive = tar::Builder::new(Vec::new());
    for file in files(&image, tag, None) {
        match &file.content {
            Content::Bytes(bytes) => {
                archive.append_data(&mut header(file.content.len(), 0o644), &file.name, &bytes[..])
            }
            Content::Spooled(..) => archive.append_data(&mut header(file.content.len(), 0o644), &file.name, &layer[..]),
        }
        .map_err(local)?;
    }
    archive.into_inner().map_err(local)
}

enum Part {
    Bytes(Bytes),
    Spooled(u64, u64),
}

fn files(image: &BuiltImage, tag: &str, stored: Option<&[StoredLayer]>) -> Vec<LayoutFile> {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<String> = image.layers.iter().map(blob).collect();
    let manifest = json!([{"Config": blob(&image.id), "RepoTags": [tag], "Layers": layers}])
        .to_string()
        .into_bytes();
    // A full name: containerd's importer takes no other.
    let mut files = oci::layout(image, Some(&format!("docker.io/{tag}")), stored);
    files.push(LayoutFile {
        name: "manifest.json".to_owned(),
        content: Content::Bytes(manifest.into()),
    });
    files
}

fn push(parts: &mut Vec<io::Result<Part>>, file: &LayoutFile) {
    let len = file.content.len();
    let mut header = header(len, 0o644);
    if let Err(error) = header.set_path(&file.name) {
        parts.push(Err(error));
        return;
    }
    header.set_cksum();
    parts.push(Ok(Part::Bytes(Bytes::copy_from_slice(header.as_bytes()))));
    match &file.content {
        Content::Bytes(bytes) => parts.push(Ok(Part::Bytes(Bytes::copy_from_slice(bytes)))),
        Content::Spooled(_, 0) => {}
        Content::Spooled(offset, len) => parts.push(Ok(Part::Spooled(*offset, *len))),
    }
    let padding = len.div_ceil(512) * 512 - len;
    if padding > 0 {
        parts.push(Ok(Part::Bytes(Bytes::from_static(&[0; 512]).slice(..padding as usize))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use std::io::Read;

    #[tokio::test]
    async fn an_archive_has_our_tag_only_and_no_layer_of_the_base() {
        let layer = vec![7; 3 << 20];
        let spool = tempfile::tempfile().unwrap();
        spool.write_all_at(&layer, 5).unwrap();
        let digest = Digest::of(&layer);
        let base = Digest::of(b"base");
        let config: Arc<[u8]> = Arc::from(&br#"{"config":{}}"#[..]);
        let image = BuiltImage {
            id: Digest::of(&config),
            config_bytes: config,
            config: ImageConfig::default(),
            layers: vec![base, digest],
            base_layers: 1,
            new_layers: vec![SpooledLayer {
                digest,
                offset: 5,
                len: layer.len() as u64,
            }],
            spool: Arc::new(spool),
        };
        let rest: Vec<Bytes> = rest(&image, "seatrial/job-x:1", None).try_collect().await.unwrap();
        let whole = [&beginning()[..], &rest.concat()].concat();
        let mut archive = tar::Archive::new(io::Cursor::new(whole));
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(Digest::of(&content).hex(), hex);
            }
            if name == "manifest.json" {
                let text = String::from_utf8(content).unwrap();
                assert!(text.contains(r#""RepoTags":["seatrial/job-x:1"]"#), "{text}");
            }
            names.push(name);
        }
        assert_eq!(names.iter().filter(|name| *name == oci::MARK).count(), 1);
        assert!(!names.iter().any(|name| name.contains(&base.hex())));
        assert!(names.iter().any(|name| name.contains(&digest.hex())));
    }
}
