//! `install`: fills the tools volume with ourselves, and with the filter of steps.

use std::{fs, io, os::unix::fs::PermissionsExt};

use crate::{
    args::Args,
    wire::{Broken, surroundings},
};

/// What buildah puts around each step. It reads the file anew for each of them, and a step that left its chroot is root
/// beside it: so it lies in this volume, which is read-only for a builder, and not where the job's own things are.
const STEP: &str = include_str!("../../build-step.json");
/// Its name beside ours.
pub(super) const STEP_NAME: &str = "build-step.json";

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    let target = args
        .directory()?
        .ok_or_else(|| Broken::Usage("install where?".to_owned()))?;
    let failed = surroundings("install");
    let copy = || {
        // Processes with data folders of their own may fill the one volume at the same time, and each is process 1.
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let fresh = target.join(format!(".fresh-{}", random.trim()));
        let finish = |mode: u32, name: &str| -> io::Result<()> {
            fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
            fs::File::open(&fresh)?.sync_all()?;
            fs::rename(&fresh, target.join(name))
        };
        fs::write(&fresh, STEP)?;
        finish(0o444, STEP_NAME)?;
        fs::copy("/proc/self/exe", &fresh)?;
        finish(0o555, "holder")
    };
    copy().map_err(failed)?;
    Ok(0)
}
