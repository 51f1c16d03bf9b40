//! Calling the binary, and looking at the Engine from outside.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::docker_points::forget;

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A folder with these files, which ends with it.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// A day that is near and not over, for waivers.
pub(crate) fn soon() -> String {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    soon.strftime("%F").to_string()
}

/// The configuration that `make setup` wrote.
pub(crate) fn dev_config() -> PathBuf {
    let dev = std::env::var_os("SEATRIAL_DEV_DIR").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
                || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
                PathBuf::from,
            );
            cache.join("seatrial-dev")
        },
        PathBuf::from,
    );
    // Our own Engines have names; the one with user namespaces has none here.
    let engine = std::env::var("SEATRIAL_ENGINE").unwrap_or_default();
    let config = dev.join(match engine.as_str() {
        "" | "userns" => "seatrial.toml".to_owned(),
        name => format!("seatrial-{name}.toml"),
    });
    assert!(
        config.is_file(),
        "{} is missing: run `make setup` first",
        config.display()
    );
    config
}

/// The binary, without any Engine configured.
pub(crate) fn seatrial() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seatrial"));
    command
        .current_dir(root())
        .stdin(Stdio::null())
        .env_remove("SEATRIAL_CONFIG")
        .env("NO_COLOR", "1");
    command
}

/// The binary on the dev Engine.
pub(crate) fn on_engine() -> Command {
    let mut command = seatrial();
    command.arg("--config").arg(dev_config());
    command
}

/// A trial as JSON, without what takes time and is not asked about.
pub(crate) const QUICK: [&str; 6] = [
    "run",
    "--fixture-db",
    "--format",
    "json",
    "--no-sbom",
    "--no-config-checks",
];

/// `seatrial run` with the fixture database, as JSON: exit code and job.
pub(crate) fn run(args: &[&str]) -> (i32, Value) {
    let output = on_engine()
        .args(["run", "--fixture-db", "--format", "json"])
        .args(args)
        .output()
        .unwrap();
    (output.status.code().unwrap_or(-1), job(&output))
}

/// The job document on standard output.
pub(crate) fn job(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Whether the dev Engine has user namespaces, as the default one has: then the level of a build, and of a run by runc, is
/// `userns`, else `namespaces`.
pub(crate) fn has_user_namespaces() -> bool {
    docker(&["info", "--format", "{{.SecurityOptions}}"]).contains("userns")
}

/// The Docker command on the dev Engine.
pub(crate) fn docker(args: &[&str]) -> String {
    let config: toml::Table = std::fs::read_to_string(dev_config()).unwrap().parse().unwrap();
    let host = config["docker"]["host"].as_str().unwrap().to_owned();
    let output = Command::new("docker")
        .arg("--host")
        .arg(host)
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What jobs leave behind when something leaks: containers, networks, volumes and tags. Lasting
/// volumes (bases, scans of bases, databases, tools) are no leak.
pub(crate) fn leftovers() -> Vec<String> {
    let lasting = ["st-base-", "st-scan-", "st-db-", "st-tools-"];
    let mut left: Vec<String> = Vec::new();
    let names = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    left.extend(
        names(docker(&["ps", "--all", "--format", "container {{.Names}}"]))
            .into_iter()
            .filter(|name| name.starts_with("container st-")),
    );
    left.extend(
        names(docker(&["volume", "ls", "--format", "{{.Name}}"]))
            .into_iter()
            .filter(|name| name.starts_with("st-") && !lasting.iter().any(|kind| name.starts_with(kind))),
    );
    left.extend(names(docker(&[
        "network",
        "ls",
        "--filter",
        "type=custom",
        "--format",
        "network {{.Name}}",
    ])));
    left.extend(
        names(docker(&["images", "--format", "image {{.Repository}}:{{.Tag}}"]))
            .into_iter()
            .filter(|name| name.starts_with("image seatrial/job")),
    );
    left
}

/// Nothing of any job is left on the Engine.
pub(crate) fn assert_clean(after: &str) {
    let left = leftovers();
    assert!(left.is_empty(), "{after} left behind: {left:?}");
}

/// Tries the Dockerfile in `place` with a data folder of its own, where nothing is prepared, and removes what was.
pub(crate) fn first_trial(place: &Path, args: &[&str], env: &[(&str, &str)]) -> Value {
    let data = place.join("data");
    let output = on_engine()
        .args(QUICK)
        .args(args)
        .arg(place.join("Dockerfile"))
        .env("SEATRIAL__DATA_DIR", &data)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    forget(&data);
    job(&output)
}
