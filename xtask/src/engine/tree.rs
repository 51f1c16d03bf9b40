//! Engines of other Debian releases: the packages of one as a tree, and a daemon that has it for its root.
//!
//! Nothing of the machine changes. The daemon lives in a mount namespace of its own, so all that it and the script
//! below mount goes with it. The dev folder is at the same path inside and outside: sockets and data are where the
//! machine looks for them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{dev::Dev, images, sh};

/// The Engine, and what its daemon calls. `passwd` and `uidmap` make the user for user namespaces.
const PACKAGES: &str = "docker.io,iptables,ca-certificates,mount,passwd,uidmap";

/// `$1` is the tree, `$2` and `$3` are folders to share, the rest is what to start.
///
/// `pivot_root`, not `chroot`: the kernel makes no user namespace for a process in a chroot.
const ENTER: &str = r#"
set -e
tree=$1 first=$2 second=$3
shift 3
mount --bind "$tree" "$tree"
for each in dev proc sys; do mount --rbind "/$each" "$tree/$each"; done
mount -t tmpfs -o mode=755 tmpfs "$tree/run"
mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
for each in "$first" "$second"; do
    mkdir -p "$each" "$tree$each"
    mount --bind "$each" "$tree$each"
done
mkdir -p "$tree/outside"
cd "$tree"
pivot_root . outside
umount -l /outside
exec "$@"
"#;

/// The tree of a release, made if it is not there yet.
pub(super) fn prepare(dev: &Dev, suite: &str) -> Result<PathBuf> {
    let tree = dev.path(format!("trees/{suite}"));
    if tree.is_dir() {
        return Ok(tree);
    }
    eprintln!("Unpacking the Engine of Debian's {suite}, once; this takes two minutes");
    let draft = tempfile::tempdir_in(dev.folder("trees")?)?;
    let unpacked = draft.path().join("tree");
    sh::run(
        images::mmdebstrap()?
            // Lists of a release in the making expire in a week, also on a mirror that was frozen on purpose.
            // Their signature is checked all the same.
            .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .arg("--variant=minbase")
            .arg(format!("--include={PACKAGES}"))
            .arg(suite)
            .arg(&unpacked),
    )
    .with_context(|| format!("this machine cannot have the Engine of Debian's {suite}"))?;
    fs::rename(&unpacked, &tree).with_context(|| format!("cannot make {}", tree.display()))?;
    Ok(tree)
}

/// What `command` starts next has the tree for its root, and these folders where they are.
pub(super) fn enter(command: &mut Command, tree: &Path, shared: [&Path; 2]) -> Result<()> {
    let unshare = sh::find("unshare").context("unshare is missing")?;
    command
        .arg(unshare)
        .args(["--mount", "--propagation", "private", "--"])
        .args(["sh", "-c", ENTER, "sh"])
        .arg(tree)
        .args(shared)
        // What the machine has on its own path is not what the tree has.
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(())
}
