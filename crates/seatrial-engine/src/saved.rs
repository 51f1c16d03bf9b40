//! Reads a `docker save` archive of one trusted base: its config, its layers' order, and which
//! paths in it are symbolic links.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, BufReader, Read},
};

use flate2::read::MultiGzDecoder;
use seatrial_core::{digest::Digest, engine::EngineError, image::ImageConfig, oci::StoredLayer};
use serde::Deserialize;

use crate::region::Region;

/// What an archive says.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Digest of the config.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    /// diffIDs.
    pub(crate) layers: Vec<Digest>,
    /// The layers as the Engine's store has them, where it has any of them compressed.
    pub(crate) stored: Option<Vec<StoredLayer>>,
    /// `linux/amd64`.
    pub(crate) platform: String,
    /// Paths of symbolic links in any layer, sorted. A link that a later layer replaced counts still.
    pub(crate) links: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ImageConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Engines with containerd's image store keep layers as their registry had them.
const COMPRESSED: &str = "the engine exports a base image whose layers are compressed with zstd, or do not say their \
    digest: load it into the engine from an uncompressed archive (`docker save` of an engine with the overlay2 \
    store), or use an engine with that store";

/// What the layers of a base may unpack to: a base is allowed by name, its layers may still be a bomb.
const MAX_LAYER: u64 = 64 << 30;

const MAX_DOCUMENT: u64 = 8 << 20;

/// Where a file is in the archive, or which other one it stands for.
enum Place {
    Here(u64, u64),
    Alias(String),
}

/// Reads it.
pub(crate) fn read(file: &File) -> Result<Saved, EngineError> {
    let local = |source| EngineError::Local {
        action: "read an exported image",
        source,
    };
    let places = places(file).map_err(local)?;
    let manifest: Vec<ManifestEntry> = document(file, &places, "manifest.json")?;
    let [manifest] = &manifest[..] else {
        return Err(broken("it does not hold exactly one image"));
    };
    let bytes = whole(file, &places, &manifest.config)?;
    let config: ConfigFile = serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?;
    let mut links = BTreeSet::new();
    if manifest.layers.len() != config.rootfs.diff_ids.len() {
        return Err(broken("its manifest and its config do not agree on the layers"));
    }
    let mut stored = Vec::new();
    for (name, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let (offset, len) = find(&places, name)?;
        let layer = || Region::new(file, offset, len);
        let packing = packing(layer()).map_err(local)?;
        let digest = match packing {
            Packing::None => Some(*diff_id),
            Packing::Gzip => digest_of(name),
            Packing::Zstd => None,
        };
        let Some(digest) = digest else {
            return Err(EngineError::Broken(COMPRESSED.to_owned()));
        };
        let gzip = packing == Packing::Gzip;
        let collected = if gzip {
            let plain = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, layer()));
            collect_links(tar::Archive::new(plain.take(MAX_LAYER)).entries(), &mut links)
        } else {
            let plain = BufReader::with_capacity(64 << 10, layer());
            collect_links(tar::Archive::new(plain).entries_with_seek(), &mut links)
        };
        collected.map_err(local)?;
        stored.push(StoredLayer {
            digest,
            size: len,
            gzip,
        });
    }
    Ok(Saved {
        id: Digest::of(&bytes),
        config: config.config.unwrap_or_default(),
        layers: config.rootfs.diff_ids,
        stored: stored.iter().any(|layer| layer.gzip).then_some(stored),
        platform: format!("{}/{}", config.os, config.architecture),
        links: links.into_iter().collect(),
    })
}

fn broken(why: &str) -> EngineError {
    EngineError::Broken(format!("an exported image cannot be read: {why}"))
}

fn places(file: &File) -> io::Result<HashMap<String, Place>> {
    let len = file.metadata()?.len();
    let mut archive = tar::Archive::new(BufReader::new(Region::new(file, 0, len)));
    let mut places = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = entry.path()?.display().to_string();
        let place = match entry.link_name()? {
            // Engines before 25 save a layer once and link to it as `../<id>/layer.tar`.
            Some(target) => Place::Alias(target.display().to_string().trim_start_matches("../").to_owned()),
            None => Place::Here(entry.raw_file_position(), entry.size()),
        };
        places.insert(name, place);
    }
    Ok(places)
}

fn find(places: &HashMap<String, Place>, name: &str) -> Result<(u64, u64), EngineError> {
    match places.get(name) {
        Some(Place::Here(offset, len)) => Ok((*offset, *len)),
        Some(Place::Alias(target)) => match places.get(target) {
            Some(Place::Here(offset, len)) => Ok((*offset, *len)),
            _ => Err(broken("a link in it leads nowhere")),
        },
        None => Err(broken("a file that it names is missing")),
    }
}

fn whole(file: &File, places: &HashMap<String, Place>, name: &str) -> Result<Vec<u8>, EngineError> {
    let (offset, len) = find(places, name)?;
    let bytes = Region::whole(file, offset, len, MAX_DOCUMENT);
    let bytes = bytes.map_err(|source| EngineError::Local {
        action: "read an exported image",
        source,
    })?;
    bytes.ok_or_else(|| broken("a document in it is too large"))
}

fn document<T: for<'de> Deserialize<'de>>(
    file: &File,
    places: &HashMap<String, Place>,
    name: &str,
) -> Result<T, EngineError> {
    serde_json::from_slice(&whole(file, places, name)?).map_err(|error| broken(&error.to_string()))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// By the first bytes.
fn packing(layer: Region<'_>) -> io::Result<Packing> {
    let mut magic = Vec::new();
    layer.take(4).read_to_end(&mut magic)?;
    Ok(match &magic[..] {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        b"\x28\xb5\x2f\xfd" => Packing::Zstd,
        _ => Packing::None,
    })
}

/// Engines since 25 name a layer in the archive by its digest in their store.
fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/")?;
    format!("sha256:{hex}").parse().ok()
}

fn collect_links<'a, R: Read + 'a>(
    entries: io::Result<tar::Entries<'a, R>>,
    links: &mut BTreeSet<Vec<u8>>,
) -> io::Result<()> {
    for entry in entries? {
        let entry = entry?;
        let kind = entry.header().entry_type();
        let is_link = match kind {
            tar::EntryType::Symlink => true,
            tar::EntryType::Link => entry
                .link_name_bytes()
                .is_some_and(|target| links.contains(&plain(&target))),
            _ => false,
        };
        if is_link {
            links.insert(plain(&entry.path_bytes()));
        }
    }
    Ok(())
}

/// Without `./` before and `/` behind.
fn plain(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect::<Vec<_>>()
        .join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    /// An archive whose layers are all `layer`, the second one as old Engines write it.
    fn archive(config: &[u8], layer: &[u8]) -> File {
        let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["a/layer.tar", "b/layer.tar"]}])
            .to_string()
            .into_bytes();
        let mut outer = tar::Builder::new(tempfile::tempfile().unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            outer.append_data(&mut header, name, bytes).unwrap();
        };
        add("a/layer.tar", layer);
        add("c.json", config);
        add("manifest.json", &manifest);
        let mut alias = tar::Header::new_ustar();
        alias.set_entry_type(tar::EntryType::Symlink);
        alias.set_size(0);
        outer.append_link(&mut alias, "b/layer.tar", "../a/layer.tar").unwrap();
        let mut file = outer.into_inner().unwrap();
        file.flush().unwrap();
        file
    }

    fn config(layer: &[u8]) -> Vec<u8> {
        let diff_id = Digest::of(layer);
        json!({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["bash"]}, "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn layers_that_the_store_cannot_be_asked_for_are_told_with_what_to_do() {
        let config = &config(b"");
        for layer in [&b"\x1f\x8b\x08\0rest"[..], b"\x28\xb5\x2f\xfdrest"] {
            let refusal = read(&archive(config, layer)).unwrap_err();
            assert!(matches!(refusal, EngineError::Broken(_)), "{refusal:?}");
            assert!(refusal.to_string().contains("overlay2"), "{refusal}");
        }
        assert!(read(&archive(config, &[0; 1024])).is_ok());
    }

    #[test]
    fn a_saved_image_tells_its_config_its_layers_and_its_links() {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        layer.append_link(&mut header, "./lib64", "usr/lib64").unwrap();
        let mut hard = tar::Header::new_ustar();
        hard.set_entry_type(tar::EntryType::Link);
        hard.set_size(0);
        layer.append_link(&mut hard, "lib32", "lib64").unwrap();
        let layer = layer.into_inner().unwrap();
        let config = config(&layer);
        let saved = read(&archive(&config, &layer)).unwrap();
        assert_eq!(saved.stored, None);
        assert_eq!(saved.id, Digest::of(&config));
        assert_eq!(saved.config.cmd, ["bash"]);
        assert_eq!(saved.layers, [Digest::of(&layer); 2]);
        assert_eq!(saved.platform, "linux/amd64");
        assert_eq!(saved.links, [b"lib32".to_vec(), b"lib64".to_vec()]);
    }

    #[test]
    fn a_layer_that_is_stored_as_gzip_is_read_and_known_by_the_digest_of_that() {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        layer.append_link(&mut header, "./lib64", "usr/lib64").unwrap();
        let layer = layer.into_inner().unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&layer).unwrap();
        let packed = packed.finish().unwrap();
        let name = format!("blobs/sha256/{}", Digest::of(&packed).hex());
        let diff_id = Digest::of(&layer);
        let config = json!({"rootfs": {"type": "layers", "diff_ids": [diff_id]}}).to_string();
        let manifest = json!([{"Config": "c.json", "RepoTags": null, "Layers": [name]}]).to_string();
        let mut outer = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, bytes) in [
            (name.as_str(), &packed[..]),
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            outer.append_data(&mut header, name, bytes).unwrap();
        }
        let saved = read(&outer.into_inner().unwrap()).unwrap();
        assert_eq!(saved.layers, [diff_id]);
        assert_eq!(saved.links, [b"lib64".to_vec()]);
        let stored = StoredLayer {
            digest: Digest::of(&packed),
            size: packed.len() as u64,
            gzip: true,
        };
        assert_eq!(saved.stored, Some(vec![stored]));
    }
}
