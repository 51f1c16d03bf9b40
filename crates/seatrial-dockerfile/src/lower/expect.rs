//! The config that the built image must have.

use std::collections::BTreeMap;

use seatrial_core::image::ImageConfig;

use super::path;

/// What differs, each as a sentence's part. Order of `ENV` means nothing: no name stands twice.
pub(super) fn mismatches(expected: &ImageConfig, built: &ImageConfig) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, same: bool| {
        if !same {
            found.push(format!("{what} is not as planned"));
        }
    };
    check("the user", expected.user == built.user);
    check(
        "the environment",
        environment(expected) == environment(built) && expected.env.len() == built.env.len(),
    );
    check("the entrypoint", expected.entrypoint == built.entrypoint);
    check("the command", expected.cmd == built.cmd);
    check(
        "the working directory",
        path::absolute("/", &expected.working_dir) == path::absolute("/", &built.working_dir),
    );
    check("the set of volumes", expected.volumes.keys().eq(built.volumes.keys()));
    check(
        "the set of ports",
        expected.exposed_ports.keys().eq(built.exposed_ports.keys()),
    );
    check("the set of labels", expected.labels == built.labels);
    check("the stop signal", expected.stop_signal == built.stop_signal);
    // The image format has no place for these.
    check("the set of ONBUILD triggers", built.on_build.is_empty());
    check("the shell", built.shell.is_empty());
    check("the health check", built.healthcheck.is_none());
    found
}

fn environment(config: &ImageConfig) -> BTreeMap<&str, &str> {
    config
        .env
        .iter()
        .map(|one| one.split_once('=').unwrap_or((one, "")))
        .collect()
}
