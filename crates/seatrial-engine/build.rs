//! Builds the static binary that is PID 1 in all our containers, and hands its path and digest to
//! the crate, which embeds it.
//!
//! A nested cargo with a target directory of its own: the outer one holds the lock of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

fn main() {
    let here = PathBuf::from(need("CARGO_MANIFEST_DIR"));
    let workspace = here.join("../..");
    let holder = here.join("../seatrial-holder");
    let out = PathBuf::from(need("OUT_DIR"));
    for path in [
        holder.join("src"),
        holder.join("Cargo.toml"),
        workspace.join("Cargo.lock"),
        workspace.join("Cargo.toml"),
    ] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-env-changed=SEATRIAL_HOLDER");

    // Packagers may bring a binary that was built elsewhere.
    let binary = match env::var_os("SEATRIAL_HOLDER") {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            PathBuf::from(path)
        }
        // Not watched: it is younger than this run, so cargo would build everything once more.
        None => build(&workspace, &holder, &out),
    };
    let bytes = match fs::read(&binary) {
        Ok(bytes) => bytes,
        Err(error) => panic!("cannot read {}: {error}", binary.display()),
    };
    println!("cargo::rustc-env=HOLDER_PATH={}", binary.display());
    println!("cargo::rustc-env=HOLDER_SHA256={}", hex::encode(Sha256::digest(bytes)));
}

fn build(workspace: &Path, holder: &Path, out: &Path) -> PathBuf {
    let target = need("TARGET");
    let target_dir = out.join("holder");
    // Absolute paths of the machine that builds must not change the bytes.
    let remaps: Vec<String> = [(workspace.canonicalize().ok(), "/seatrial"), (cargo_home(), "/cargo")]
        .into_iter()
        .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?.display())))
        .collect();
    let mut cargo = Command::new(need("CARGO"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_the_outer_build =
            text.starts_with("CARGO_") || text.starts_with("RUSTC") || text.starts_with("RUSTFLAGS");
        let of_the_user = [
            "CARGO_HOME",
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTR",
            "CARGO_SOURCE_",
            "CARGO_MAKEFLAGS",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix));
        if of_the_outer_build && !of_the_user {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(holder)
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            "seatrial-holder",
        ])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env(
            "RUSTFLAGS",
            format!("-Ctarget-feature=+crt-static {}", remaps.join(" ")),
        );
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the static binary of seatrial-holder was not built: {status}"),
        Err(error) => panic!("cargo could not be started to build seatrial-holder: {error}"),
    }
    target_dir.join(target).join("release/seatrial-holder")
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

fn need(name: &str) -> String {
    match env::var(name) {
        Ok(value) => value,
        Err(_) => panic!("cargo sets {name}"),
    }
}
