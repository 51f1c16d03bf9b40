//! An OCI layout of a built image, written by us, without the base's layers.
//!
//! The manifest is ours: the builder's own manifest and index are never passed on. The base's
//! layers are named but absent, so that a reader either has them already (the Engine, the
//! scanner's cache of the base) or fails; an absent layer must never read as an empty one.

use std::{os::unix::fs::FileExt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{BoxError, digest::Digest, engine::ToolInput, image::BuiltImage};

/// How many bytes one piece of a layer has at most.
const PIECE: usize = 1 << 20;

/// One file of the layout.
#[derive(Clone, Debug)]
pub struct LayoutFile {
    /// `index.json`, `blobs/sha256/…`.
    pub name: String,
    /// Where its bytes are.
    pub content: Content,
}

/// Bytes in memory or in the spool.
#[derive(Clone, Debug)]
pub enum Content {
    /// Small ones.
    Bytes(Arc<[u8]>),
    /// A layer: offset and length in the image's spool.
    Spooled(u64, u64),
}

impl Content {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Spooled(_, len) => *len,
        }
    }

    /// No bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A layer of a base as an Engine's store has it: containerd's keeps it as the registry had it, often compressed,
/// and knows it by the digest of that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredLayer {
    /// Of the bytes as they are stored.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// They are a gzip stream, not a plain tar.
    pub gzip: bool,
}

/// The name of the file that every layout has, the same in all.
pub const MARK: &str = "oci-layout";

/// The file of that name.
#[must_use]
pub fn mark() -> LayoutFile {
    LayoutFile {
        name: MARK.to_owned(),
        content: Content::Bytes(Arc::from(&br#"{"imageLayoutVersion":"1.0.0"}"#[..])),
    }
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The OCI manifest of an image, its digest, and the index that names it as `tag`. `stored` is what the reader's
/// store has for the base's layers; without it they are plain tars.
#[must_use]
pub fn manifest_and_index(
    image: &BuiltImage,
    tag: Option<&str>,
    stored: Option<&[StoredLayer]>,
) -> (Vec<u8>, Digest, Vec<u8>) {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    // The size of an absent base layer is not known here and nobody reads it: 1 is not 0, so no
    // reader may take the layer for an empty one.
    let base: Vec<_> = match stored {
        None => image
            .layers
            .iter()
            .take(image.base_layers)
            .map(|digest| json!({"mediaType": LAYER, "digest": digest, "size": 1}))
            .collect(),
        Some(stored) => stored
            .iter()
            .map(|layer| {
                let kind = if layer.gzip {
                    format!("{LAYER}+gzip")
                } else {
                    LAYER.to_owned()
                };
                json!({"mediaType": kind, "digest": layer.digest, "size": layer.size})
            })
            .collect(),
    };
    let new = image
        .new_layers
        .iter()
        .map(|layer| json!({"mediaType": LAYER, "digest": layer.digest, "size": layer.len}));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": image.id, "size": image.config_bytes.len()},
        "layers": base.into_iter().chain(new).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    let digest = Digest::of(&manifest);
    let mut entry = json!({"mediaType": MANIFEST, "digest": digest, "size": manifest.len()});
    if let Some(tag) = tag {
        // containerd's importer reads the first, other tools the second.
        entry["annotations"] = json!({"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag});
    }
    let index = json!({"schemaVersion": 2, "manifests": [entry]})
        .to_string()
        .into_bytes();
    (manifest, digest, index)
}

/// All files of the layout, the small ones first; `stored` as for [`manifest_and_index`].
#[must_use]
pub fn layout(image: &BuiltImage, tag: Option<&str>, stored: Option<&[StoredLayer]>) -> Vec<LayoutFile> {
    let (manifest, digest, index) = manifest_and_index(image, tag, stored);
    let file = |name: String, bytes: Arc<[u8]>| LayoutFile {
        name,
        content: Content::Bytes(bytes),
    };
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let mut files = vec![
        mark(),
        file("index.json".to_owned(), index.into()),
        file(blob(digest), manifest.into()),
        file(blob(image.id), image.config_bytes.clone()),
    ];
    let mut named = std::collections::BTreeSet::new();
    for layer in &image.new_layers {
        if named.insert(layer.digest) {
            files.push(LayoutFile {
                name: blob(layer.digest),
                content: Content::Spooled(layer.offset, layer.len),
            });
        }
    }
    files
}

/// The layout as the frames that our static binary reads in the scanner (`F <len> <name>`, `.`).
#[derive(Debug)]
pub struct LayoutFrames {
    image: BuiltImage,
    files: std::vec::IntoIter<LayoutFile>,
    /// Offset and length of what is left of the current layer.
    rest: Option<(u64, u64)>,
    ended: bool,
}

impl LayoutFrames {
    /// Frames of the whole layout.
    #[must_use]
    pub fn new(image: BuiltImage) -> Self {
        let files = layout(&image, None, None).into_iter();
        Self {
            image,
            files,
            rest: None,
            ended: false,
        }
    }
}

#[async_trait]
impl ToolInput for LayoutFrames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        if let Some((offset, len)) = self.rest.take() {
            let piece = usize::try_from(len).map_or(PIECE, |len| len.min(PIECE));
            let mut bytes = vec![0; piece];
            self.image.spool.read_exact_at(&mut bytes, offset)?;
            let left = len - piece as u64;
            self.rest = (left > 0).then_some((offset + piece as u64, left));
            return Ok(Some(bytes));
        }
        if let Some(file) = self.files.next() {
            let mut bytes = format!("F {} {}\n", file.content.len(), file.name).into_bytes();
            match file.content {
                Content::Bytes(content) => bytes.extend_from_slice(&content),
                Content::Spooled(offset, len) => self.rest = (len > 0).then_some((offset, len)),
            }
            return Ok(Some(bytes));
        }
        if !std::mem::replace(&mut self.ended, true) {
            return Ok(Some(b".\n".to_vec()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageConfig, SpooledLayer};
    use std::io::Write;

    fn image() -> BuiltImage {
        let path = std::env::temp_dir().join(format!("seatrial-oci-{}", std::process::id()));
        let mut spool = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        spool.write_all(b"....new layer").unwrap();
        std::fs::remove_file(path).unwrap();
        let config_bytes: Arc<[u8]> = Arc::from(&b"{}"[..]);
        let digest = Digest::of(b"new layer");
        BuiltImage {
            id: Digest::of(&config_bytes),
            config_bytes,
            config: ImageConfig::default(),
            layers: vec![Digest::of(b"base"), digest],
            base_layers: 1,
            new_layers: vec![SpooledLayer {
                digest,
                offset: 4,
                len: 9,
            }],
            spool: Arc::new(spool),
        }
    }

    #[test]
    fn the_layout_names_the_base_layer_and_does_not_hold_it() {
        let files = layout(&image(), Some("t:1"), None);
        let base = Digest::of(b"base");
        assert!(files.iter().all(|file| !file.name.contains(&base.hex())));
        let Content::Bytes(manifest) = &files[2].content else {
            panic!("the manifest is in memory")
        };
        assert!(String::from_utf8_lossy(manifest).contains(&base.hex()));
        assert_eq!(files[2].name, format!("blobs/sha256/{}", Digest::of(manifest).hex()));
    }

    #[test]
    fn a_stored_layer_of_the_base_is_named_as_the_store_has_it() {
        let stored = StoredLayer {
            digest: Digest::of(b"base.gz"),
            size: 7,
            gzip: true,
        };
        let (manifest, ..) = manifest_and_index(&image(), None, Some(&[stored]));
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(
            manifest["layers"][0],
            json!({"mediaType": format!("{LAYER}+gzip"), "digest": Digest::of(b"base.gz"), "size": 7})
        );
        assert_eq!(manifest["layers"][1]["digest"], json!(Digest::of(b"new layer")));
    }

    #[test]
    fn frames_carry_the_layers_bytes_and_end_once() {
        let mut frames = LayoutFrames::new(image());
        let mut all = Vec::new();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            match frames.next().as_mut().poll(&mut context) {
                std::task::Poll::Ready(Ok(Some(bytes))) => all.extend(bytes),
                std::task::Poll::Ready(Ok(None)) => break,
                other => panic!("{other:?}"),
            }
        }
        let text = String::from_utf8_lossy(&all);
        assert!(
            text.ends_with(&format!(
                "F 9 blobs/sha256/{}\nnew layer.\n",
                Digest::of(b"new layer").hex()
            )),
            "{text}"
        );
    }
}
