//! Images: the bases that the operator allows, and what a build left.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The part of an image's config that changes what a build on it or a run of it means.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `USER`.
    pub user: String,
    /// `ENV`, as `NAME=value`, in order.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// `CMD`.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `VOLUME`: paths; the values are empty objects.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// `EXPOSE`: `80/tcp`; the values are empty objects.
    #[serde(deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// `LABEL`.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// `ONBUILD` triggers.
    #[serde(deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// `STOPSIGNAL`.
    pub stop_signal: String,
    /// `SHELL`.
    #[serde(deserialize_with = "null_is_default")]
    pub shell: Vec<String>,
    /// `HEALTHCHECK`, as Docker writes it.
    pub healthcheck: Option<Box<serde_json::Value>>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A base image that was allowed, resolved, fetched and put into its read-only store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BaseImage {
    /// The name that the Dockerfile used, completed: `docker.io/library/debian:bookworm-slim`.
    pub name: String,
    /// The digest of the registry's manifest, when the image came from a registry.
    pub repo_digest: Option<String>,
    /// The image id: the digest of its config.
    pub id: Digest,
    /// Its layers' diffIDs, the lowest first.
    pub layers: Vec<Digest>,
    /// Its config.
    pub config: ImageConfig,
    /// `linux/amd64`.
    pub platform: String,
    /// The volume that holds its read-only store.
    pub store_volume: String,
}

/// What a build left, checked by us byte for byte and spooled once to a file that has no name.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Digest of `config_bytes`: the image id.
    pub id: Digest,
    /// The config exactly as the builder wrote it: it is the identity.
    pub config_bytes: Arc<[u8]>,
    /// The parsed part of it.
    pub config: ImageConfig,
    /// All diffIDs, the lowest first.
    pub layers: Vec<Digest>,
    /// How many of `layers` are the base's; their bytes are not in the spool.
    pub base_layers: usize,
    /// The new layers, in the order of `layers`.
    pub new_layers: Vec<SpooledLayer>,
    /// Holds the new layers' bytes.
    pub spool: Arc<File>,
}

/// One uncompressed layer tar inside the spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpooledLayer {
    /// SHA-256 of the bytes; equal to the diffID, checked.
    pub digest: Digest,
    /// Where it starts in the spool, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub len: u64,
}
