//! The command as a user calls it: the real binary, a real Engine, a real scanner.
//!
//! Tests whose name starts with `docker_` need the Engine that `make setup` starts; without it
//! they fail and say so. They run one after another (nextest group `docker`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says how far it is"
)]

mod analyze;
mod cli;
mod client;
mod client_submit;
mod docker_egress;
mod docker_examples;
mod docker_forms;
mod docker_java;
mod docker_liar;
mod docker_lifecycle;
mod docker_points;
mod docker_pool;
mod docker_rego;
mod docker_remote;
mod docker_restart;
mod docker_scan_limits;
mod docker_service;
mod docker_specimens;
mod docker_walls;
mod fake;
mod house;
mod liar;
mod lsp;
mod mirror;
mod policy;
mod rego;
mod service;
mod support;
mod telemetry;
mod webhooks;
