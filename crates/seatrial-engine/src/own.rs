//! What is ours on the Engine: the image with nothing but our static binaries, the volume that brings
//! the holder into other images, and the configured tool images, checked against their pins.

use std::time::Duration;

use bollard::models::{ImageInspect, VolumeCreateRequest};
use bytes::Bytes;
use seatrial_core::{
    digest::Digest,
    engine::{EngineError, ToolImage},
};
use serde_json::json;

use crate::{
    archive,
    client::Client,
    container::Container,
    engine::Inner,
    lock, lower,
    names::{self, Kind},
    record,
};

/// The static binary, built from `seatrial-holder` with this crate.
pub(crate) const BINARY: &[u8] = include_bytes!(env!("HOLDER_PATH"));
const BINARY_SHA256: &str = env!("HOLDER_SHA256");

/// The static binary of the proxy, built from `seatrial-egress` with this crate. It is in the image alone: the
/// volume is seen by guests, and has only what they need.
pub(crate) const EGRESS: &[u8] = include_bytes!(env!("EGRESS_PATH"));
const EGRESS_SHA256: &str = env!("EGRESS_SHA256");

/// What every container needs, made sure of once per process.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Id of our image, as the Engine names it.
    pub(crate) image: String,
    /// Volume with our binary.
    pub(crate) tools: String,
}

/// The digest of our static binary.
pub(crate) fn binary_digest() -> Digest {
    format!("sha256:{BINARY_SHA256}")
        .parse()
        .unwrap_or_else(|_| Digest::of(BINARY))
}

/// The digest of both, by which the image is named.
pub(crate) fn binaries_digest() -> Digest {
    Digest::of(format!("holder {BINARY_SHA256}\negress {EGRESS_SHA256}\n").as_bytes())
}

/// Our image and our volume, made if they are not there.
pub(crate) async fn own(inner: &Inner) -> Result<&Own, EngineError> {
    inner
        .own
        .get_or_try_init(|| async {
            let tag = names::holder_tag(&binaries_digest());
            let volume = names::tools_volume(&binary_digest());
            let (image, filled) = tokio::try_join!(inner.client.image(&tag), record::is_filled(inner, &volume))?;
            if let Some(image) = image.as_ref().and_then(is_our_image)
                && filled
            {
                return Ok(Own { image, tools: volume });
            }
            make(inner, &tag, &volume).await
        })
        .await
}

/// The id of our image, if it is exactly what we would have made.
fn is_our_image(found: &ImageInspect) -> Option<String> {
    let layers = found.root_fs.as_ref()?.layers.as_ref()?;
    let layer = holder_layer();
    (layers == &[Digest::of(&layer).to_string()])
        .then(|| found.id.clone())
        .flatten()
}

async fn make(inner: &Inner, tag: &str, volume: &str) -> Result<Own, EngineError> {
    let _lock = lock::lock(&inner.data_dir.join("tools.lock"), Duration::from_secs(120)).await?;
    let image = match inner.client.image(tag).await?.as_ref().and_then(is_our_image) {
        Some(image) => image,
        None => {
            let archive = futures_util::stream::iter([Ok(Bytes::from(holder_archive(tag)?))]);
            Client::loaded(inner.client.load(archive)).await?;
            let loaded = inner.client.image(tag).await?;
            loaded
                .as_ref()
                .and_then(is_our_image)
                .ok_or_else(|| EngineError::Broken(format!("{tag} is not what was loaded as it")))?
        }
    };
    if !record::is_filled(inner, volume).await? {
        let request = VolumeCreateRequest {
            name: Some(volume.to_owned()),
            labels: Some(inner.identity().lasting_labels("tools")),
            ..VolumeCreateRequest::default()
        };
        inner.client.create_volume(request).await?;
        // Asked for again: of a volume that is there already, and since before its own start, Engine 20.10
        // answers a creation without the labels.
        let made = inner.client.volume(volume).await?.unwrap_or_default();
        install(inner, &image, volume).await?;
        record::note_filled(inner, volume, &made)?;
    }
    Ok(Own {
        image,
        tools: volume.to_owned(),
    })
}

/// Runs our binary once, to copy itself into the volume.
async fn install(inner: &Inner, image: &str, volume: &str) -> Result<(), EngineError> {
    let labels = inner.identity().labels(Kind::Put, None, Duration::from_secs(60));
    let spec = seatrial_core::engine::ToolSpec {
        role: "put",
        attempt: None,
        image: ToolImage::Holder,
        args: vec!["install".to_owned(), "/target".to_owned()],
        mounts: vec![seatrial_core::engine::ToolMount {
            volume: volume.to_owned(),
            path: "/target",
            writable: true,
        }],
        tmp: 1 << 20,
        memory: 64 << 20,
        cpus: 1.0,
        pids: 8,
        time: Duration::from_secs(30),
        network: false,
        max_output: 4096,
        user: "0:0".to_owned(),
    };
    let parts = lower::Parts {
        image,
        tools: None,
        labels,
        host_cpus: 1,
        apparmor: false,
    };
    let mut container = Container::arm(&inner.client, &inner.janitor, inner.identity().unique_name(Kind::Put));
    let stdio = container.launch(lower::tool(&parts, &spec)).await?;
    drop(stdio);
    match inner.client.wait(container.name(), spec.time).await? {
        0 => Ok(()),
        code => Err(EngineError::Broken(format!(
            "our static binary could not be put into its volume: exit code {code}"
        ))),
    }
}

/// The tar of the only layer.
fn holder_layer() -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut folder = archive::header(0, 0o755);
    folder.set_entry_type(tar::EntryType::Directory);
    // Mount points, made here so that the runtime makes none; and `/tmp` for tools without one.
    for name in [".seatrial/", "data/", "tmp/", "target/"] {
        let _ = layer.append_data(&mut folder.clone(), name, std::io::empty());
    }
    for (path, binary) in [(lower::HOLDER, BINARY), (lower::EGRESS, EGRESS)] {
        let mut header = archive::header(binary.len() as u64, 0o555);
        let _ = layer.append_data(&mut header, path.trim_start_matches('/'), binary);
    }
    layer.into_inner().unwrap_or_default()
}

fn holder_archive(tag: &str) -> Result<Vec<u8>, EngineError> {
    let layer = holder_layer();
    let config = json!({
        "architecture": go_arch(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": [lower::HOLDER], "Labels": {"io.seatrial.kind": "holder"}},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "seatrial"}],
    })
    .to_string()
    .into_bytes();
    archive::small(tag, config, layer)
}

/// The architecture as images name it: that of our binary.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A configured image, found and checked once per process.
pub(crate) async fn tool_image(inner: &Inner, image: ToolImage) -> Result<String, EngineError> {
    match image {
        ToolImage::Holder => Ok(own(inner).await?.image.clone()),
        ToolImage::Builder => builder_image(inner).await.map(str::to_owned),
        ToolImage::Scanner => inner
            .scanner
            .get_or_try_init(|| pinned(inner, "scanner", inner.settings.scanner_pin.as_deref()))
            .await
            .cloned(),
    }
}

/// The builder's image, likewise.
pub(crate) async fn builder_image(inner: &Inner) -> Result<&str, EngineError> {
    inner
        .builder
        .get_or_try_init(|| pinned(inner, "builder", inner.settings.builder_pin.as_deref()))
        .await
        .map(String::as_str)
}

/// Finds what a pin names: `name`, `name@sha256:…` or `sha256:…`. A digest must be the image's id
/// or the digest under which its registry knows it.
async fn pinned(inner: &Inner, role: &'static str, pin: Option<&str>) -> Result<String, EngineError> {
    let wrong = |problem: &str| EngineError::ToolImage {
        role,
        pin: pin.unwrap_or("(none)").to_owned(),
        problem: problem.to_owned(),
    };
    let pin_text = pin.ok_or_else(|| wrong("none is configured"))?;
    let (name, digest) = match pin_text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None if pin_text.starts_with("sha256:") => (pin_text, Some(pin_text)),
        None => (pin_text, None),
    };
    let mut found = inner.client.image(name).await?;
    if found.is_none() && inner.settings.pull && pin_text.contains('@') {
        inner.client.pull(pin_text).await?;
        found = inner.client.image(pin_text).await?;
    }
    let found = found.ok_or_else(|| wrong("the Engine does not have it"))?;
    let id = found.id.clone().ok_or_else(|| wrong("the Engine tells no id of it"))?;
    let Some(digest) = digest else { return Ok(id) };
    digest
        .parse::<Digest>()
        .map_err(|_| wrong("the pin's digest is not one"))?;
    let known = found.repo_digests.unwrap_or_default();
    let same = id == digest || known.iter().any(|known| known.ends_with(&format!("@{digest}")));
    if same {
        Ok(id)
    } else {
        Err(wrong("the Engine has another image under this name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_binaries_are_those_whose_digests_are_known() {
        assert_eq!(Digest::of(BINARY), binary_digest());
        assert_eq!(Digest::of(EGRESS).to_string(), format!("sha256:{EGRESS_SHA256}"));
    }

    #[test]
    fn the_embedded_binaries_need_no_loader() {
        const PT_INTERP: u32 = 3;
        for binary in [BINARY, EGRESS] {
            assert!(binary.starts_with(b"\x7fELF\x02\x01"), "64 bits, little endian");
            let half = |at: usize| usize::from(u16::from_le_bytes(binary[at..at + 2].try_into().unwrap()));
            let headers = u64::from_le_bytes(binary[32..40].try_into().unwrap()) as usize;
            let (size, count) = (half(54), half(56));
            let kinds: Vec<u32> = (0..count)
                .map(|index| headers + index * size)
                .map(|at| u32::from_le_bytes(binary[at..at + 4].try_into().unwrap()))
                .collect();
            assert!(!kinds.is_empty() && !kinds.contains(&PT_INTERP), "{kinds:?}");
        }
    }
}
