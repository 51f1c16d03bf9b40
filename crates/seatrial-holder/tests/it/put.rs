//! Filling a volume, and installing ourselves.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::bench::{HOLDER, Ran, feed, holder};

fn put(root: &std::path::Path, input: &[u8]) -> Ran {
    feed(holder().arg("put").arg(root), input)
}

#[test]
fn files_are_written_beneath() {
    let root = tempfile::tempdir().unwrap();
    let mut command = holder();
    command.args(["put", "--mode", "755"]).arg(root.path());
    let ran = feed(&mut command, b"F 444 2 a\nhiF 0600 0 d/e/f\nF 644 1 d/g\nx.\n");
    assert_eq!((ran.code, ran.stdout_text().as_str()), (0, "ok 3\n"));
    assert_eq!(fs::read(root.path().join("a")).unwrap(), b"hi");
    assert_eq!(fs::read(root.path().join("d/g")).unwrap(), b"x");
    let mode = |name: &str| {
        let meta = fs::metadata(root.path().join(name)).unwrap();
        meta.permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode("a"), mode("d/e/f"), mode("."), mode("d")),
        (0o444, 0o600, 0o755, 0o755)
    );
}

#[test]
fn nothing_is_written_outside_or_twice() {
    let outside = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), root.path().join("file")).unwrap();
    assert_eq!(put(root.path(), b"F 644 1 link/x\nx.\n").code, 97);
    assert_eq!(put(root.path(), b"F 644 1 file\nx.\n").code, 97);
    assert_eq!(put(root.path(), b"F 644 1 a\nxF 644 1 a\nx.\n").code, 97);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_broken_frame_ends_the_role() {
    let root = tempfile::tempdir().unwrap();
    for bad in [
        &b"F 644 1 ../x\nx.\n"[..],
        b"F 644 1 /x\nx.\n",
        b"F 4755 1 x\nx.\n",
        b"F 644 5 x\nx.\n",
        b"F 644 1 y\nx",
        b"F 644 x\n.\n",
        b"G\n",
        b"",
    ] {
        let ran = put(root.path(), bad);
        assert_eq!(ran.code, 96, "{}", bad.escape_ascii());
        assert_eq!(ran.stdout_text(), "");
    }
}

#[test]
fn it_installs_itself() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let ran = feed(holder().arg("install").arg(root.path()), b"");
        assert_eq!((ran.code, ran.stdout.len()), (0, 0));
    }
    let copy = root.path().join("holder");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(HOLDER).unwrap());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o555);
    // And beside itself what buildah puts around steps: no step can write in this volume.
    let filter = root.path().join("build-step.json");
    assert_eq!(fs::metadata(&filter).unwrap().permissions().mode() & 0o7777, 0o444);
    assert!(fs::read_to_string(&filter).unwrap().contains("SCMP_ACT_ERRNO"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
}
