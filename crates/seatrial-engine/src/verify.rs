//! What a build gave, checked before anything else reads it.
//!
//! The builder ran the guest's commands, so its output is the guest's. It becomes a [`BuiltImage`]
//! only when: it stands on exactly the base that was allowed (the first diffIDs are the base's),
//! brings every other layer itself, as a plain tar whose digest is its diffID, with entries that
//! [`crate::layer`] takes, and has a config that means the same to us and to the Engine.

use std::{collections::HashMap, fs::File, sync::Arc};

use seatrial_core::{
    digest::Digest,
    image::{BuiltImage, ImageConfig, SpooledLayer},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    json,
    layer::{Bad, Tree},
    lower::MAX_VOLUMES,
    region::Region,
};

/// Index, manifest: a few hundred bytes in life.
const MAX_DOCUMENT: u64 = 1 << 20;
/// Config.
const MAX_CONFIG: u64 = 1 << 20;
/// Layers of an image; the Engine's own bound is 127.
const MAX_LAYERS: usize = 127;
/// Variables, labels, arguments, ports: each.
const MAX_ITEMS: usize = 1000;

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Keys of an image config. Go takes `Volumes` and `volumes` for the same, so others are refused.
const CONFIG_KEYS: [&str; 10] = [
    "created",
    "author",
    "architecture",
    "variant",
    "os",
    "os.version",
    "os.features",
    "config",
    "rootfs",
    "history",
];
/// Keys of the `rootfs` in it.
const ROOTFS_KEYS: [&str; 2] = ["type", "diff_ids"];
/// Keys of each step of the `history` in it.
const HISTORY_KEYS: [&str; 5] = ["created", "created_by", "author", "comment", "empty_layer"];
/// Keys of the `config` in it.
const RUN_CONFIG_KEYS: [&str; 14] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "Healthcheck",
];

/// A file of the builder's output: where it is in the spool, and the digest of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

/// All that came out of the builder.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) spool: Arc<File>,
    /// By name: `index.json`, `blobs/sha256/…`.
    pub(crate) files: HashMap<String, Blob>,
}

/// What it must stand on.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// diffIDs of the base, the lowest first; none for `scratch`.
    pub(crate) base_layers: &'a [Digest],
    /// Paths of symbolic links in the base.
    pub(crate) base_links: &'a [Vec<u8>],
    /// `linux/amd64`.
    pub(crate) platform: &'a str,
    /// Sum of the new layers, in bytes.
    pub(crate) max_bytes: u64,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
    #[serde(rename = "mediaType", default)]
    media_type: String,
}

#[derive(Deserialize)]
struct Config {
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
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

/// Checks everything.
pub(crate) fn verify(output: Output, expected: &Expected<'_>) -> Result<BuiltImage, Bad> {
    let index: Index = output.document("index.json", "index")?;
    let [manifest] = &index.manifests[..] else {
        return refuse("the index does not name exactly one image");
    };
    let manifest: Manifest = output.document(&blob_name(manifest.digest), "manifest")?;
    let (id, config_bytes) = output.blob(&blob_name(manifest.config.digest), "config", MAX_CONFIG)?;
    let config = read_config(&config_bytes)?;
    if format!("{}/{}", config.os, config.architecture) != expected.platform {
        return refuse("the image is for another platform");
    }
    let layers = config.rootfs.diff_ids;
    if config.rootfs.kind != "layers" || layers.len() != manifest.layers.len() || layers.len() > MAX_LAYERS {
        return refuse("the config and the manifest do not agree on the layers");
    }
    let Some(new) = layers.strip_prefix(expected.base_layers) else {
        return refuse("the image does not stand on its base");
    };
    let base_layers = expected.base_layers.len();
    let new_layers = output.new_layers(new, &manifest.layers[base_layers..], expected.max_bytes)?;
    let mut tree = Tree::on(expected.base_links.iter().map(Vec::as_slice));
    for layer in &new_layers {
        tree.check_layer(&output.spool, layer.offset, layer.len)?;
    }
    if tree.privileged_files > 0 {
        tracing::debug!(
            files = tree.privileged_files,
            "the new layers have files with the setuid or setgid bit"
        );
    }
    let config = config.config.unwrap_or_default();
    check_paths(&config, &tree)?;
    Ok(BuiltImage {
        id,
        config_bytes: config_bytes.into(),
        config,
        layers,
        base_layers,
        new_layers,
        spool: output.spool,
    })
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Bad> {
    Err(Bad::Refused(why.into()))
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Output {
    fn blob(&self, name: &str, what: &str, max: u64) -> Result<(Digest, Vec<u8>), Bad> {
        let Some(blob) = self.files.get(name) else {
            return refuse(format!("the builder's output has no {what}"));
        };
        if name.starts_with("blobs/") && name != blob_name(blob.digest) {
            return refuse(format!("the {what} in the builder's output is not what its name says"));
        }
        match Region::whole(&self.spool, blob.offset, blob.len, max)? {
            Some(bytes) => Ok((blob.digest, bytes)),
            None => refuse(format!("the {what} is larger than {max} bytes")),
        }
    }

    fn document<T: for<'de> Deserialize<'de>>(&self, name: &str, what: &str) -> Result<T, Bad> {
        let (_, bytes) = self.blob(name, what, MAX_DOCUMENT)?;
        let parsed = json::parse(&bytes).and_then(serde_json::from_value);
        parsed.map_err(|error| Bad::Refused(format!("the {what} cannot be read: {error}")))
    }

    fn new_layers(
        &self,
        diff_ids: &[Digest],
        descriptors: &[Descriptor],
        max_bytes: u64,
    ) -> Result<Vec<SpooledLayer>, Bad> {
        let mut total = 0_u64;
        let mut layers = Vec::new();
        for (diff_id, descriptor) in diff_ids.iter().zip(descriptors) {
            // Compressed, its digest would not be its diffID, and somebody would have to unpack it.
            if descriptor.media_type != LAYER_TYPE || descriptor.digest != *diff_id {
                return refuse("a new layer is not a plain tar with its diffID as its digest");
            }
            let Some(blob) = self.files.get(&blob_name(*diff_id)) else {
                return refuse("a layer that is not the base's is missing");
            };
            if blob.digest != *diff_id {
                return refuse("a layer's bytes do not have its diffID");
            }
            total = total.saturating_add(blob.len);
            if total > max_bytes {
                return refuse(format!("the new layers have more than {max_bytes} bytes"));
            }
            layers.push(SpooledLayer {
                digest: *diff_id,
                offset: blob.offset,
                len: blob.len,
            });
        }
        Ok(layers)
    }
}

fn read_config(bytes: &[u8]) -> Result<Config, Bad> {
    let broken = |error: serde_json::Error| Bad::Refused(format!("the config cannot be read: {error}"));
    let value = json::parse(bytes).map_err(broken)?;
    known_keys(&value, &CONFIG_KEYS)?;
    known_keys(&value["rootfs"], &ROOTFS_KEYS)?;
    for step in value["history"].as_array().into_iter().flatten() {
        known_keys(step, &HISTORY_KEYS)?;
    }
    if let Some(config) = value.get("config").filter(|config| !config.is_null()) {
        known_keys(config, &RUN_CONFIG_KEYS)?;
        for (key, list) in config.as_object().into_iter().flatten() {
            let items = list
                .as_array()
                .map_or_else(|| list.as_object().map_or(0, serde_json::Map::len), Vec::len);
            if items > MAX_ITEMS {
                return refuse(format!("the config's {key} has more than {MAX_ITEMS} items"));
            }
        }
    }
    serde_json::from_value(value).map_err(broken)
}

fn known_keys(value: &Value, known: &[&str]) -> Result<(), Bad> {
    let Some(object) = value.as_object() else {
        return refuse("the config is not an object");
    };
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => refuse(format!("the config has the key {key}, which is not an image's")),
        None => Ok(()),
    }
}

/// Where the Engine will mount something or begin in, inside the guest's own tree.
fn check_paths(config: &ImageConfig, tree: &Tree) -> Result<(), Bad> {
    for path in ["/data", "/inputs", "/tmp", "/proc", "/sys", "/dev", "/etc"] {
        if tree.is_no_plain_folder(path) {
            return refuse(format!("its {path} is not a folder"));
        }
    }
    let work = config.working_dir.as_str();
    if !work.is_empty() {
        let Some(names) = names(work) else {
            return refuse(format!("its working directory {work} is not a plain absolute path"));
        };
        if names
            .first()
            .is_some_and(|first| ["proc", "sys", "dev"].contains(first))
        {
            return refuse(format!("its working directory is in /{}", names[0]));
        }
    }
    if config.volumes.len() > MAX_VOLUMES {
        return refuse(format!("it declares more than {MAX_VOLUMES} volumes"));
    }
    for volume in config.volumes.keys() {
        let Some(names) = names(volume).filter(|names| !names.is_empty()) else {
            return refuse(format!("its volume {volume} is not a plain absolute path"));
        };
        let first = names[0];
        let whole = names.len() == 1 && ["usr", "etc", "bin", "sbin", "lib", "lib64"].contains(&first);
        if whole || ["proc", "sys", "dev", ".seatrial"].contains(&first) {
            return refuse(format!("its volume {volume} would hide what the system needs"));
        }
        if tree.is_no_plain_folder(volume) {
            return refuse(format!("its volume {volume} is behind a symbolic link or is a file"));
        }
    }
    Ok(())
}

/// The names of an absolute path in its one spelling (a slash at the end is let pass).
fn names(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    let names: Vec<&str> = path.split('/').collect();
    let plain = path.len() <= 4096
        && names.iter().all(|name| {
            !matches!(*name, "" | "." | "..") && !name.contains(char::is_control) && !name.contains([':', ','])
        });
    plain.then_some(names)
}

#[cfg(test)]
#[path = "verify/tests.rs"]
mod tests;
