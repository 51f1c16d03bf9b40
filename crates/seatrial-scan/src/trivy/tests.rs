//! What the scanner says, and what is made of it.

use seatrial_core::testing::Fake;
use serde_json::json;

use super::*;

fn end(stdout: &[u8]) -> ToolEnd {
    ToolEnd {
        code: 0,
        stdout: stdout.to_vec(),
        stderr: Vec::new(),
        out_of_memory: false,
        timed_out: false,
    }
}

const VERSION_SAID: &str = "Version: 0.76.0\n";

/// What commands that ended well printed.
fn said(outputs: &[&str]) -> ToolEnd {
    let frames: Vec<String> = outputs
        .iter()
        .map(|output| format!("ST1 O {}\n{output}ST1 X 0\n", output.len()))
        .collect();
    end(frames.concat().as_bytes())
}

fn base() -> BaseImage {
    BaseImage {
        name: "docker.io/library/debian:12".into(),
        repo_digest: None,
        id: Digest::of(b"base"),
        layers: vec![Digest::of(b"layer")],
        config: seatrial_core::image::ImageConfig::default(),
        platform: "linux/amd64".into(),
        store_volume: "st-base".into(),
    }
}

/// With a database in force, on a fake that gives this report of the base.
async fn trivy(fake: &Fake, data_dir: &std::path::Path, report: &serde_json::Value) -> Trivy {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trivy.db"), "").unwrap();
    let metadata = r#"{"Version": 2, "UpdatedAt": "2026-11-23T00:00:00Z"}"#;
    fs::write(folder.path().join("metadata.json"), metadata).unwrap();
    let report = report.to_string();
    fake.script().tool_ends = [end(b"ok 2"), said(&[&report, VERSION_SAID])].into();
    database::import(fake, data_dir, folder.path(), DatabaseKind::Fixture)
        .await
        .unwrap();
    Trivy::new(
        Arc::new(fake.clone()),
        TrivySettings {
            data_dir: data_dir.to_owned(),
            database: DatabaseKind::Fixture,
            max_layers: 1 << 20,
            base_memory: bytesize::ByteSize::gib(4),
        },
    )
}

fn base_report() -> serde_json::Value {
    json!({"SchemaVersion": 2, "Metadata": {"ImageID": base().id, "DiffIDs": base().layers}})
}

struct There(Option<BuiltImage>);

#[async_trait]
impl ImageSource for There {
    async fn image(&mut self) -> Option<BuiltImage> {
        self.0.take()
    }
}

fn os_report(
    id: Digest,
    layers: &[Digest],
    os: &str,
    packages: serde_json::Value,
    found: serde_json::Value,
) -> serde_json::Value {
    json!({"SchemaVersion": 2,
        "Metadata": {"OS": {"Family": "debian", "Name": os}, "ImageID": id, "DiffIDs": layers},
        "Results": [{"Target": "t", "Class": "os-pkgs", "Type": "debian", "Packages": packages, "Vulnerabilities": found}]})
}

fn hole(package: &str) -> serde_json::Value {
    json!([{"VulnerabilityID": "CVE-1", "PkgName": package, "InstalledVersion": "1", "FixedVersion": "2", "Severity": "HIGH"}])
}

/// Scans an image on a Debian 12 with `zlib` 1, which has a hole, and `tar` 1.
async fn scan_of(os: &str, packages: serde_json::Value, found: serde_json::Value) -> ScanEnd {
    let report = os_report(Digest::of(b"image"), &base().layers, os, packages, found).to_string();
    // Which scanner it is was said when it scanned the base, and is not asked again.
    let end = scan_with(said(&[&report])).await.unwrap();
    if let ScanEnd::Report(report) = &end {
        assert_eq!(report.scanner, "trivy 0.76.0");
    }
    end
}

/// Scans an image on that base; this is what became of the scanner.
async fn scan_with(end: ToolEnd) -> Result<ScanEnd, ScanError> {
    let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
    let of_base = json!([{"Name": "zlib", "Version": "1"}, {"Name": "tar", "Version": "1"}]);
    let of_base = os_report(base().id, &base().layers, "12", of_base, hole("zlib"));
    let trivy = trivy(&fake, data.path(), &of_base).await;
    let database = trivy.database().await.unwrap();
    trivy.prepare_base(&base(), &database).await.unwrap();
    let image = BuiltImage {
        id: Digest::of(b"image"),
        config_bytes: Arc::from(&b"{}"[..]),
        config: seatrial_core::image::ImageConfig::default(),
        layers: base().layers,
        base_layers: 1,
        new_layers: Vec::new(),
        spool: Arc::new(fs::File::open("/dev/null").unwrap()),
    };
    fake.script().tool_ends.push_back(end);
    let request = ScanRequest {
        attempt: AttemptId {
            job: seatrial_core::id::JobId::fresh(),
            number: 1,
        },
        base: Some(base()),
        limits: ScanLimits::default(),
        patience: Duration::from_secs(900),
        database,
        sbom: false,
    };
    let end = trivy.scan(&request, Box::new(There(Some(image)))).await;
    // The scanner passes over what it has no room to unpack: its memory must end first, for the base and the image.
    let mut room = fake.script().tool_room.clone();
    room.retain(|(role, ..)| *role == "scan");
    assert_eq!(room.len(), 2, "{room:?}");
    assert!(room.iter().all(|(_, memory, tmp)| tmp >= memory), "{room:?}");
    end
}

#[tokio::test]
async fn a_scanner_that_an_image_fills_up_ran_out_of_memory() {
    let killed = ToolEnd {
        code: 137,
        out_of_memory: true,
        ..end(b"")
    };
    let full = ToolEnd {
        code: 1,
        stderr: b"FATAL write /tmp/oci/blobs/sha256/00: no space left on device\n".to_vec(),
        ..end(b"")
    };
    for end in [killed, full] {
        let error = scan_with(end).await.unwrap_err();
        assert!(matches!(error, ScanError::OutOfMemory(_)), "{error}");
    }
}

fn holes(end: &ScanEnd) -> Vec<(&str, bool)> {
    let ScanEnd::Report(report) = end else {
        panic!("{end:?}")
    };
    let told = report.vulnerabilities.iter();
    told.map(|hole| (hole.package.as_str(), hole.kept_from_base)).collect()
}

#[tokio::test]
async fn an_image_that_names_another_release_than_its_base_is_not_clean() {
    let same = json!([{"Name": "zlib", "Version": "1"}, {"Name": "tar", "Version": "1"}]);
    let end = scan_of("99", same, json!([])).await;
    let ScanEnd::Unscannable(why) = end else {
        panic!("{end:?}")
    };
    assert_eq!(why, "its base is debian 12, and the image says that it is debian 99");
}

#[tokio::test]
async fn an_image_without_packages_on_a_base_with_some_is_not_clean() {
    assert!(matches!(
        scan_of("12", json!([]), json!([])).await,
        ScanEnd::Unscannable(_)
    ));
}

#[tokio::test]
async fn a_hole_of_the_base_stays_when_its_package_vanishes_or_no_longer_shows_it() {
    let vanished = scan_of("12", json!([{"Name": "tar", "Version": "1"}]), json!([])).await;
    assert_eq!(holes(&vanished), [("zlib", true)]);
    let renamed_source = scan_of("12", json!([{"Name": "zlib", "Version": "1"}]), json!([])).await;
    assert_eq!(holes(&renamed_source), [("zlib", true)]);
}

#[tokio::test]
async fn a_hole_of_the_base_is_told_once_and_goes_with_another_version() {
    let seen = scan_of("12", json!([{"Name": "zlib", "Version": "1"}]), hole("zlib")).await;
    assert_eq!(holes(&seen), [("zlib", false)]);
    let replaced = scan_of("12", json!([{"Name": "zlib", "Version": "2"}]), json!([])).await;
    assert_eq!(holes(&replaced), []);
    let both = json!([{"Name": "zlib", "Version": "1"}, {"Name": "zlib", "Version": "2"}]);
    assert_eq!(holes(&scan_of("12", both, json!([])).await), [("zlib", true)]);
}

#[tokio::test]
async fn a_base_is_scanned_once_and_again_when_its_cache_is_gone() {
    let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
    let trivy = trivy(&fake, data.path(), &base_report()).await;
    let scan = fake.script().tool_ends.front().cloned().unwrap();
    trivy
        .prepare_base(&base(), &trivy.database().await.unwrap())
        .await
        .unwrap();
    trivy
        .prepare_base(&base(), &trivy.database().await.unwrap())
        .await
        .unwrap();
    assert!(fake.script().tool_ends.is_empty());
    fake.script().volumes.retain(|name| !name.starts_with("st-scan-"));
    fake.script().tool_ends.push_back(scan);
    trivy
        .prepare_base(&base(), &trivy.database().await.unwrap())
        .await
        .unwrap();
    assert!(fake.script().tool_ends.is_empty());
}

#[tokio::test]
async fn an_engine_that_does_not_answer_costs_no_cache() {
    let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
    let trivy = trivy(&fake, data.path(), &base_report()).await;
    trivy
        .prepare_base(&base(), &trivy.database().await.unwrap())
        .await
        .unwrap();
    let before = fake.script().volumes.clone();
    let database = trivy.database().await.unwrap();
    fake.script().volumes_unknown = true;
    let error = trivy.prepare_base(&base(), &database).await.unwrap_err();
    assert!(matches!(error, ScanError::Engine(_)), "{error}");
    assert_eq!(fake.script().volumes, before);
}

#[tokio::test]
async fn a_scan_of_a_base_that_failed_leaves_nothing() {
    let (fake, data) = (Fake::default(), tempfile::tempdir().unwrap());
    let trivy = trivy(&fake, data.path(), &json!({"SchemaVersion": 3})).await;
    let before = fake.script().volumes.clone();
    trivy
        .prepare_base(&base(), &trivy.database().await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(fake.script().volumes, before);
}

#[test]
fn framed_outputs_are_taken_apart() {
    let parts = outputs(&end(b"ST1 O 3\nabcST1 X 0\nST1 O 0\nST1 X 0\n"), Duration::ZERO).unwrap();
    assert_eq!(parts, [b"abc".to_vec(), Vec::new()]);
}

#[test]
fn a_cut_or_foreign_frame_is_a_failed_scan_not_a_clean_one() {
    for bad in [&b"ST1 O 10\nabc"[..], b"{}", b"ST1 O x\n", b"ST1 X 1\n"] {
        assert!(matches!(outputs(&end(bad), Duration::ZERO), Err(ScanError::Failed(_))));
    }
}

#[test]
fn a_java_archive_without_the_database_for_it_is_told_apart() {
    let failed = ToolEnd {
        code: 1,
        stderr: b"FATAL\tFatal error\trun error: image scan error: Unable to initialize the Java DB: Java DB update failed: \
                  '--skip-java-db-update' cannot be specified on the first run\n"
            .to_vec(),
        ..end(b"")
    };
    let error = outputs(&failed, Duration::ZERO).unwrap_err();
    assert!(matches!(error, ScanError::JavaDatabaseMissing), "{error}");
}

#[test]
fn a_scanner_that_failed_says_its_last_words_without_driving_the_terminal() {
    let failed = ToolEnd {
        code: 1,
        stderr: b"one\n\x1b[31mFATAL no such db\n".to_vec(),
        ..end(b"")
    };
    let error = outputs(&failed, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("FATAL no such db") && !error.contains('\x1b'), "{error}");
}
