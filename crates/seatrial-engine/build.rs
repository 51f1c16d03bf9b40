//! Builds the static binaries that run in our containers, and hands their paths and digests to the crate, which
//! embeds them: the holder, which is PID 1 in all of them, and the proxy, which is alone in its own.
//!
//! A nested cargo with a target directory of its own: the outer one holds the lock of its own. It lies in the outer
//! one, beside `debug` and `release`, so that whoever builds both of those builds the binaries once.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

/// A binary to embed.
struct Binary {
    package: &'static str,
    /// Crates of ours that it is made of.
    sources: &'static [&'static str],
    /// What the names of its path and its digest begin with.
    name: &'static str,
    /// Where packagers may bring one that was built elsewhere.
    variable: &'static str,
    /// For the compiler.
    opt_level: &'static str,
    /// The same when the outer build is one for development.
    development_opt_level: &'static str,
    /// The proxy is mostly libraries that wait for the network. Optimising them as one, as the holder is, made its
    /// build twice as long, and nothing that counts faster.
    lto: &'static str,
}

const BINARIES: [Binary; 2] = [
    Binary {
        package: "seatrial-holder",
        sources: &["seatrial-holder"],
        name: "HOLDER",
        variable: "SEATRIAL_HOLDER",
        opt_level: "3",
        development_opt_level: "3",
        lto: "thin",
    },
    Binary {
        package: "seatrial-egress",
        sources: &["seatrial-egress", "seatrial-address"],
        name: "EGRESS",
        variable: "SEATRIAL_EGRESS",
        opt_level: "s",
        development_opt_level: "0",
        lto: "off",
    },
];

fn main() {
    let here = PathBuf::from(need("CARGO_MANIFEST_DIR"));
    let workspace = here.join("../..");
    let out = PathBuf::from(need("OUT_DIR"));
    for path in [workspace.join("Cargo.lock"), workspace.join("Cargo.toml")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for binary in &BINARIES {
        for source in binary.sources {
            let source = here.join("..").join(source);
            println!("cargo::rerun-if-changed={}", source.join("src").display());
            println!("cargo::rerun-if-changed={}", source.join("Cargo.toml").display());
            for entry in fs::read_dir(&source).into_iter().flatten().flatten() {
                // What they embed.
                if entry.path().extension().is_some_and(|extension| extension == "json") {
                    println!("cargo::rerun-if-changed={}", entry.path().display());
                }
            }
        }
        println!("cargo::rerun-if-env-changed={}", binary.variable);
        let path = match env::var_os(binary.variable) {
            Some(path) => {
                println!("cargo::rerun-if-changed={}", Path::new(&path).display());
                PathBuf::from(path)
            }
            // Not watched: it is younger than this run, so cargo would build everything once more.
            None => build(&workspace, &out, binary),
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => panic!("cannot read {}: {error}", path.display()),
        };
        println!("cargo::rustc-env={}_PATH={}", binary.name, path.display());
        println!(
            "cargo::rustc-env={}_SHA256={}",
            binary.name,
            hex::encode(Sha256::digest(bytes))
        );
    }
}

fn build(workspace: &Path, out: &Path, binary: &Binary) -> PathBuf {
    let target = need("TARGET");
    let opt_level = match need("PROFILE").as_str() {
        "release" => binary.opt_level,
        _ => binary.development_opt_level,
    };
    // OUT_DIR is target/debug/build/<package>/out. Should that change, it is built here, and perhaps twice.
    let target_dir = match out.ancestors().nth(2) {
        Some(build) if build.ends_with("build") => build.join("../../static"),
        _ => out.join("static"),
    };
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
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--quiet", "--package", binary.package])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level)
        .env("CARGO_PROFILE_RELEASE_LTO", binary.lto)
        .env(
            "RUSTFLAGS",
            format!("-Ctarget-feature=+crt-static {}", remaps.join(" ")),
        );
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the static binary of {} was not built: {status}", binary.package),
        Err(error) => panic!("cargo could not be started to build {}: {error}", binary.package),
    }
    // Another build may replace it while the compiler reads, so each outer build has a copy of its own.
    let built = target_dir.join(target).join("release").join(binary.package);
    let own = out.join(binary.package);
    match fs::copy(&built, &own) {
        Ok(_) => own,
        Err(error) => panic!("cannot copy {}: {error}", built.display()),
    }
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
