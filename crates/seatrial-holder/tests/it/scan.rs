//! The scanner's frame, with a script in Trivy's place.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt, path::Path, process::Stdio, thread, time::Duration};

use tempfile::TempDir;

use crate::bench::{Ran, feed, frames, holder};

struct Scanner {
    root: TempDir,
}

impl Scanner {
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["tmp", "cache/fanal", "db"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let program = root.path().join("trivy");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn scan(&self, more: &[(&str, &Path)], args: &[&str], input: &[u8]) -> Ran {
        let mut command = holder();
        command.args(["scan", "--deadline-s", "20"]);
        for (name, path) in [
            ("--program", self.path("trivy")),
            ("--tmp", self.path("tmp")),
            ("--db", self.path("db")),
        ] {
            command.arg(name).arg(path);
        }
        for (name, path) in more {
            command.arg(name).arg(path);
        }
        feed(command.arg("--").args(args), input)
    }
}

#[test]
fn an_image_is_scanned_with_a_copy_of_the_cache() {
    let scanner = Scanner::new(
        "cd $TMPDIR; cat oci/index.json oci/blobs/sha256/x c/fanal/fanal.db c/db/metadata.json; echo log >&2; echo dirty >c/fanal/fanal.db",
    );
    let prepared = scanner.path("cache/fanal/fanal.db");
    fs::write(&prepared, "cache,").unwrap();
    fs::set_permissions(&prepared, fs::Permissions::from_mode(0o444)).unwrap();
    fs::write(scanner.path("db/metadata.json"), "db").unwrap();
    let ran = scanner.scan(
        &[("--cache", &scanner.path("cache"))],
        &["image"],
        b"F 6 index.json\nindex,F 5 blobs/sha256/x\nblob,.\n",
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "log\n"));
    let expected = [('O', b"index,blob,cache,db".to_vec()), ('X', b"0".to_vec())];
    assert_eq!(frames(&ran.stdout), expected);
    assert_eq!(fs::read(&prepared).unwrap(), b"cache,");
}

#[test]
fn commands_run_in_turn_until_one_fails() {
    let scanner = Scanner::new("echo $@; exit $1");
    let ran = scanner.scan(&[], &["0", "a", "--next", "3", "--", "--next", "0"], b".\n");
    assert_eq!(ran.code, 3);
    let expected = [
        ('O', b"0 a\n".to_vec()),
        ('X', b"0".to_vec()),
        ('O', b"3 --\n".to_vec()),
        ('X', b"3".to_vec()),
    ];
    assert_eq!(frames(&ran.stdout), expected);
}

#[test]
fn the_cache_of_a_base_is_kept_only_after_success() {
    let scanner = Scanner::new("cat $TMPDIR/base.tar; echo filled >$TMPDIR/c/fanal/fanal.db; exit $1");
    let target = scanner.path("cache");
    let kept = target.join("fanal/fanal.db");
    let failed = scanner.scan(&[("--base-fill", &target)], &["1"], b"T 4\nbase.\n");
    assert_eq!((failed.code, kept.exists()), (1, false));
    fs::remove_dir_all(scanner.path("tmp")).unwrap();
    fs::create_dir(scanner.path("tmp")).unwrap();
    let ran = scanner.scan(&[("--base-fill", &target)], &["0"], b"T 4\nbase.\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::read(&kept).unwrap(), b"filled\n");
}

#[test]
fn a_missing_scanner_is_no_answer() {
    let scanner = Scanner::new("exit 0");
    fs::remove_file(scanner.path("trivy")).unwrap();
    assert_eq!(scanner.scan(&[], &["x"], b".\n").code, 127);
}

#[test]
fn a_broken_input_is_refused() {
    for bad in [&b"F 1 ../x\nx.\n"[..], b"F 1 x\n", b"G\n", b"", b"T 1\nxT 1\ny.\n"] {
        let scanner = Scanner::new("exit 0");
        let code = scanner.scan(&[], &["x"], bad).code;
        assert!(matches!(code, 96 | 97), "{} {code}", bad.escape_ascii());
    }
    let scanner = Scanner::new("exit 0");
    assert_eq!(scanner.scan(&[], &[], b".\n").code, 2);
    assert_eq!(scanner.scan(&[], &["a", "--next"], b".\n").code, 2);
}

#[test]
fn who_stands_ready_has_no_limit_of_a_job_before_its_first_byte_and_does_not_wait_for_ever() {
    let scanner = Scanner::new("echo done");
    let standing = |idle: &str, root: &str| {
        fs::create_dir(scanner.path(root)).unwrap();
        holder()
            .args(["scan", "--deadline-s", "1", "--idle-s", idle, "--program"])
            .arg(scanner.path("trivy"))
            .arg("--tmp")
            .arg(scanner.path(root))
            .args(["--", "image"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (mut used, mut unused) = (standing("60", "used"), standing("1", "unused"));
    // That this time passes is what is tried.
    thread::sleep(Duration::from_millis(1500));
    used.stdin.take().unwrap().write_all(b".\n").unwrap();
    let used = Ran::of(used.wait_with_output().unwrap());
    assert_eq!((used.code, used.stderr.as_str()), (0, ""));
    let open = unused.stdin.take(); // a wait would close it
    assert_eq!(unused.wait().unwrap().code(), Some(124));
    drop(open);
    let mut orphan = standing("60", "orphan");
    drop(orphan.stdin.take());
    assert_eq!(orphan.wait().unwrap().code(), Some(96));
}
