//! Hand-made hostile builds.

use std::io::Write;

use serde_json::json;

use super::*;

/// A build that may be bent before it is checked.
struct Build {
    base: Vec<Digest>,
    layers: Vec<Vec<u8>>,
    config: Value,
    layer_type: &'static str,
    leave_out: Option<Digest>,
    lie: Option<(Digest, Vec<u8>)>,
    platform: &'static str,
}

fn empty_layer() -> Vec<u8> {
    vec![0; 1024]
}

fn build() -> Build {
    Build {
        base: vec![Digest::of(b"base")],
        layers: vec![empty_layer()],
        config: json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]}),
        layer_type: LAYER_TYPE,
        leave_out: None,
        lie: None,
        platform: "linux/amd64",
    }
}

impl Build {
    fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    fn config_text(&self) -> Vec<u8> {
        let diff_ids: Vec<Digest> = self
            .base
            .iter()
            .copied()
            .chain(self.layers.iter().map(|layer| Digest::of(layer)))
            .collect();
        json!({"os": "linux", "architecture": "amd64", "config": self.config, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string()
            .into_bytes()
    }

    fn check(self) -> Result<BuiltImage, String> {
        let text = self.config_text();
        self.check_with(text)
    }

    fn check_with(self, config: Vec<u8>) -> Result<BuiltImage, String> {
        let expected_base = [Digest::of(b"base")];
        let digests: Vec<Digest> = self
            .base
            .iter()
            .copied()
            .chain(self.layers.iter().map(|layer| Digest::of(layer)))
            .collect();
        let layers: Vec<Value> = digests
            .iter()
            .map(|digest| json!({"mediaType": self.layer_type, "digest": digest, "size": 1}))
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": {"digest": Digest::of(&config)}, "layers": layers})
            .to_string()
            .into_bytes();
        let index = json!({"manifests": [{"digest": Digest::of(&manifest)}]})
            .to_string()
            .into_bytes();
        let mut spool = tempfile::tempfile().unwrap();
        let mut files = HashMap::new();
        let mut offset = 0;
        let mut add = |name: String, bytes: &[u8]| {
            spool.write_all(bytes).unwrap();
            files.insert(
                name,
                Blob {
                    offset,
                    len: bytes.len() as u64,
                    digest: Digest::of(bytes),
                },
            );
            offset += bytes.len() as u64;
        };
        add("index.json".to_owned(), &index);
        for bytes in [&config, &manifest].into_iter().chain(&self.layers) {
            if Some(Digest::of(bytes)) != self.leave_out {
                add(blob_name(Digest::of(bytes)), bytes);
            }
        }
        if let Some((name, bytes)) = &self.lie {
            add(blob_name(*name), bytes);
        }
        let output = Output {
            spool: Arc::new(spool),
            files,
        };
        let expected = Expected {
            base_layers: &expected_base,
            base_links: &[b"lib".to_vec()],
            platform: self.platform,
            max_bytes: 10_000,
        };
        verify(output, &expected).map_err(|bad| match bad {
            Bad::Refused(why) => why,
            Bad::Local(error) => panic!("{error}"),
        })
    }

    #[track_caller]
    fn refused(self, why: &str) {
        let refusal = self.check().unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn an_ordinary_build_is_taken() {
    let text = build().config_text();
    let image = build().check().unwrap();
    assert_eq!(image.id, Digest::of(&text));
    assert_eq!(&image.config_bytes[..], &text[..]);
    assert_eq!(image.base_layers, 1);
    assert_eq!(image.new_layers.len(), 1);
    assert_eq!(image.config.cmd, ["/bin/true"]);
}

#[test]
fn a_build_that_only_changes_the_config_is_taken() {
    let mut build = build();
    build.layers.clear();
    assert!(build.check().unwrap().new_layers.is_empty());
}

#[test]
fn another_base_is_refused() {
    for base in [
        vec![],
        vec![Digest::of(b"secrets of another tenant")],
        vec![Digest::of(b"x"), Digest::of(b"base")],
    ] {
        let mut build = build();
        build.base = base;
        build.refused("does not stand on its base");
    }
}

#[test]
fn a_layer_that_is_only_named_is_refused() {
    // The Engine would take the layer of another local image for it.
    let mut build = build();
    build.leave_out = Some(Digest::of(&empty_layer()));
    build.refused("is missing");
}

#[test]
fn a_layer_with_other_bytes_is_refused() {
    let mut build = build();
    let name = Digest::of(&empty_layer());
    build.leave_out = Some(name);
    build.lie = Some((name, vec![0; 2048]));
    build.refused("do not have its diffID");
}

#[test]
fn a_compressed_layer_is_refused() {
    let mut build = build();
    build.layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    build.refused("plain tar");
}

#[test]
fn layers_beyond_the_bound_are_refused() {
    let mut build = build();
    build.layers = vec![vec![0; 10_240]];
    build.refused("more than 10000 bytes");
}

#[test]
fn an_image_for_another_platform_is_refused() {
    let mut build = build();
    build.platform = "linux/arm64";
    build.refused("another platform");
}

#[test]
fn keys_that_the_engine_would_read_otherwise_are_refused() {
    build().config(json!({"volumes": {"/v": {}}})).refused("key volumes");
    build().config(json!({"Vol\u{17f}umes": {}})).refused("not an image's");
    let twice = |config: &str| {
        let layer = Digest::of(&empty_layer());
        let base = Digest::of(b"base");
        format!(r#"{{"os":"linux","architecture":"amd64","config":{config},"rootfs":{{"type":"layers","diff_ids":["{base}","{layer}"]}}}}"#).into_bytes()
    };
    assert!(build().check_with(twice("{}")).is_ok());
    for config in [
        r#"{"Volumes":{"/a":{}},"Volumes":{}}"#,
        r#"{"Volumes":{},"Volume\u0073":{}}"#,
    ] {
        let refusal = build().check_with(twice(config)).unwrap_err();
        assert!(refusal.contains("twice"), "{refusal}");
    }
}

#[test]
fn every_part_of_a_config_has_known_keys_only() {
    let text = String::from_utf8(build().config_text()).unwrap();
    assert!(build().check_with(text.clone().into_bytes()).is_ok());
    for (at, more) in [
        (r#""rootfs":{"#, r#""rootfs":{"Diff_IDs":["sha256:0"],"#),
        (r#""rootfs":{"#, r#""history":[{"Empty_Layer":true}],"rootfs":{"#),
    ] {
        let bent = text.replace(at, more);
        assert_ne!(bent, text);
        let refusal = build().check_with(bent.into_bytes()).unwrap_err();
        assert!(refusal.contains("not an image's"), "{refusal}");
    }
}

#[test]
fn working_directories_in_the_kernels_trees_are_refused() {
    for path in ["/proc/self/fd/7", "/proc", "/sys/fs/cgroup", "/dev/fd/8"] {
        build().config(json!({"WorkingDir": path})).refused("working directory");
    }
    for path in ["relative", "/a/../proc", "//proc", "/./proc"] {
        build()
            .config(json!({"WorkingDir": path}))
            .refused("not a plain absolute path");
    }
    assert!(build().config(json!({"WorkingDir": "/app"})).check().is_ok());
    assert!(build().config(json!({"WorkingDir": "/"})).check().is_ok());
}

#[test]
fn volumes_that_hide_the_system_are_refused() {
    for path in [
        "/proc",
        "/proc/x",
        "/sys",
        "/dev",
        "/dev/shm",
        "/usr",
        "/usr/",
        "/.seatrial",
    ] {
        build().config(json!({"Volumes": {path: {}}})).refused("would hide");
    }
    for path in ["/", "", "v", "/a/../b", "/a//b", "/a:rw", "/a,b"] {
        build()
            .config(json!({"Volumes": {path: {}}}))
            .refused("not a plain absolute path");
    }
    build()
        .config(json!({"Volumes": {"/lib/x": {}}}))
        .refused("behind a symbolic link");
    let many: serde_json::Map<String, Value> = (0..9).map(|n| (format!("/v{n}"), json!({}))).collect();
    build().config(json!({"Volumes": many})).refused("more than 8");
    assert!(
        build()
            .config(json!({"Volumes": {"/var/lib/x/": {}, "/data": {}}}))
            .check()
            .is_ok()
    );
}

#[test]
fn a_config_without_end_is_refused() {
    let labels: serde_json::Map<String, Value> = (0..1001).map(|n| (format!("l{n}"), json!("x"))).collect();
    build()
        .config(json!({"Labels": labels}))
        .refused("more than 1000 items");
    build()
        .config(json!({"Labels": {"l": "x".repeat(1 << 20)}}))
        .refused("larger than");
}

#[test]
fn nulls_in_a_config_are_empty() {
    assert!(build().config(Value::Null).check().is_ok());
    assert!(
        build()
            .config(json!({"Cmd": null, "Volumes": null}))
            .check()
            .unwrap()
            .config
            .cmd
            .is_empty()
    );
}
