//! `cargo xtask schemathesis`: a stranger's tests, made from the API's own description, against a live server.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{
    demo,
    dev::{Dev, workspace},
    fleet::{Product, free_port},
    packages, sh,
};

/// Beside the server.
const FOLDER: &str = "crates/seatrial-server";

/// Starts a server whose worker does nothing and asks it whatever its description allows, and forbids.
/// `examples` for each operation and phase; the same seed asks the same.
pub(crate) fn run(dev: &Dev, built: Option<&Path>, profile: &str, examples: u32, seed: u64) -> Result<()> {
    let tool = install(dev)?;
    let binary = demo::binary(built, profile)?;
    let folder = tempfile::Builder::new()
        .prefix("seatrial-schemathesis-")
        .tempdir()
        .context("cannot make a folder")?;
    let product = Product {
        binary,
        config: None,
        env: [
            ("SEATRIAL__DATA_DIR", folder.path().join("data").display().to_string()),
            ("SEATRIAL__LOG__FORMAT", "json".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        logs: folder.path().to_owned(),
    };
    let port = free_port()?;
    let mut server = product.api("api", port, &["serve", "--executor", "noop"])?;
    let mut command = sh::command("python3");
    command
        .env("PYTHONPATH", &tool)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(workspace().join(FOLDER).join("schemathesis.toml"))
        .args(["run", "--no-color", "--continue-on-failure"])
        .args(["--seed", &seed.to_string(), "--max-examples", &examples.to_string()])
        .arg(format!("http://127.0.0.1:{port}/openapi.json"));
    let asked = sh::run(&mut command);
    let ended = server.stop(std::time::Duration::from_secs(30));
    asked?;
    anyhow::ensure!(ended, "the server did not end in order; see its log");
    Ok(())
}

/// The tool, pinned by hash, in a folder of ours that is named by the pins.
fn install(dev: &Dev) -> Result<std::path::PathBuf> {
    let pins = workspace().join(FOLDER).join("schemathesis-requirements.txt");
    let text = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    let name = format!("schemathesis-{}", &hex::encode(Sha256::digest(&text))[..12]);
    let place = dev.folder("cache")?.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    packages::need(&[packages::PYTHON], "schemathesis")?;
    packages::need_pip("schemathesis")?;
    let draft = tempfile::tempdir_in(dev.folder("cache")?)?;
    sh::run(
        sh::command("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args([
                "--root-user-action",
                "ignore",
                "--only-binary=:all:",
                "--require-hashes",
                "--target",
            ])
            .arg(draft.path())
            .arg("--requirement")
            .arg(&pins),
    )?;
    // Whole, or not there.
    fs::rename(draft.keep(), &place).context("cannot put schemathesis in its place")?;
    Ok(place)
}
