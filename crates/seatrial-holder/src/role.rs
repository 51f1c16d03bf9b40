//! One file per role; `PROTOCOL.md` has a section for each.

use std::ffi::OsString;

use crate::{args::Args, child, wire::Broken};

mod build;
mod fill;
mod hold;
mod init;
mod install;
mod probe;
mod put;
mod scan;

/// Runs the role that the first argument names; its exit code.
pub(crate) fn run(mut raw: impl Iterator<Item = OsString>) -> Result<i32, Broken> {
    let role = raw.next().unwrap_or_default();
    match role.to_str() {
        Some("install") => install::run(&Args::parse(raw, &[])?),
        Some("hold") => hold::run(&Args::parse(raw, hold::OPTIONS)?),
        Some("put") => put::run(&Args::parse(raw, put::OPTIONS)?),
        Some("init") => init::run(&Args::parse(raw, init::OPTIONS)?),
        Some("build") => build::run(&Args::parse(raw, build::OPTIONS)?),
        Some("fill") => fill::run(&Args::parse(raw, fill::OPTIONS)?),
        Some("scan") => scan::run(&Args::parse(raw, scan::OPTIONS)?),
        Some("probe") => probe::run(&Args::parse(raw, &[])?),
        Some("start") => {
            let args = Args::parse(raw, &["--workdir"])?;
            child::become_command(args.text("--workdir"), &args.operands)
        }
        _ => Err(Broken::Usage(
            "roles: install, hold, put, init, build, fill, scan, probe".to_owned(),
        )),
    }
}
